/** Random matrices for row-and-column tests. */
import { normal, random } from "../../../src/graph/random.js";

/** Cells of three kinds in turn: uniform, mostly zero, heavy-tailed. */
export function randomMatrix(seed: number, m: number, n: number): Float64Array {
  const next = random(`matrix ${seed}`);
  const kind = seed % 3;
  return Float64Array.from({ length: m * n }, () => (kind === 0 ? next() : kind === 1 ? Number(next() < 0.4) : next() ** 6));
}

/** |normal| cells, `boost` times as heavy where row and column belong to the same of `k` interleaved clusters. */
export function coclustered(seed: number, m: number, n: number, k: number, boost: number): Float64Array {
  const next = random(`clusters ${seed}`);
  return Float64Array.from({ length: m * n }, (_, at) => {
    const [i, j] = [Math.floor(at / n), at % n];
    return Math.abs(normal(next)) * (i % k === j % k ? boost : 1);
  });
}
