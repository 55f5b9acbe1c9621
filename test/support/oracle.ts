/** Proves a removal by running it: the sliced graph against the exact oracle, both against the original, in ONNX Runtime. */
import { Kept } from "../../src/graph/coupling/choices.js";
import type { Coupling } from "../../src/graph/coupling/groups.js";
import { oracleOf } from "../../src/graph/coupling/oracle.js";
import { removeSlices } from "../../src/graph/coupling/slice.js";
import type { Model } from "../../src/graph/graph.js";
import { random } from "../../src/graph/random.js";
import { emptiedAxes } from "../../src/score/plan.js";
import { brokenBalances, findPools, takenOf } from "../../src/score/pools.js";
import { type RunOptions, run } from "./run.js";

export interface Proof {
  /** max|sliced - oracle| over max|oracle|, the largest over all outputs; Infinity where only one is finite. */
  readonly maxRel: number;
  /** max|sliced - original| over max|original|: 0 would prove nothing. */
  readonly drift: number;
  /** What the oracle itself moves when its inputs move by one part in 10^7: the rounding this graph amplifies. */
  readonly noise: number;
  /** max|oracle|, the largest over all outputs. */
  readonly scale: number;
  readonly sliced: Model;
  readonly oracle: Model;
}

/** Removes `removed` (choice numbers) and runs sliced graph, oracle and original on the same random inputs. */
export async function prove(coupling: Coupling, removed: Iterable<number>, options: Omit<RunOptions, "jitter"> = {}): Promise<Proof> {
  const { typing, choices } = coupling;
  const kept = new Kept(typing.system, choices, removed);
  const sliced = removeSlices(typing, kept);
  const oracle = oracleOf(typing, kept);
  const want = await run(oracle, options);
  const got = await run(sliced, options);
  const original = await run(typing.model, options);
  const moved = await run(oracle, { ...options, jitter: 1e-7 });
  const scale = Math.max(0, ...Object.values(want).map(largest));
  return { maxRel: relative(got, want), drift: relative(got, original), noise: relative(moved, want), scale, sliced, oracle };
}

type Outputs = Readonly<Record<string, Float32Array>>;

function largest(x: Float32Array): number {
  let most = 0;
  for (const v of x) if (!(Math.abs(v) <= most)) most = Math.abs(v);
  return most;
}

/** Largest difference of any output, relative to that output's largest reference value. */
export function relative(got: Outputs, want: Outputs): number {
  let worst = 0;
  for (const [name, b] of Object.entries(want)) {
    const a = got[name];
    if (a?.length !== b.length) return Number.POSITIVE_INFINITY;
    const scale = largest(b);
    for (let i = 0; i < b.length; i++) {
      if (Object.is(a[i], b[i])) continue;
      const d = Math.abs((a[i] as number) - (b[i] as number)) / scale;
      // NaN on one side is a difference.
      if (!(d <= worst)) worst = Number.isNaN(d) ? Number.POSITIVE_INFINITY : d;
    }
  }
  return worst;
}

/**
 * Random choices to remove, about 1 - `ratio` of every pool (a random share of each without `ratio`): balanced as pools
 * are, and given back where an axis would lose its last index.
 */
export function randomRemoval(coupling: Coupling, seed: number | string, ratio?: number): Set<number> {
  const uniform = random(`removal ${seed}`);
  const removed = new Set<number>();
  for (const pool of findPools(coupling).pools) {
    const share = ratio ?? uniform();
    const gone = Math.min(pool.moves - 1, Math.round(pool.moves * (1 - share)));
    const orders = pool.cells.map((cell) => shuffled(cell.choices, uniform));
    pool.cells.forEach((cell, i) => {
      for (const c of (orders[i] as number[]).slice(0, takenOf(cell, Math.max(0, gone)))) removed.add(c);
    });
  }
  restoreEmptied(coupling, removed);
  return removed;
}

/** Gives back all choices of pools that empty an axis, until none is empty and every balance holds. */
function restoreEmptied(coupling: Coupling, removed: Set<number>): void {
  const { pools } = findPools(coupling);
  const poolOf = new Map(pools.flatMap((p) => p.cells.flatMap((c) => c.choices.map((x) => [x, p] as const))));
  for (;;) {
    const kept = new Kept(coupling.typing.system, coupling.choices, removed);
    const empty = emptiedAxes(coupling, kept)[0];
    if (!empty) break;
    const here = coupling.choices
      .layers(empty)
      .flatMap((l) => [...l])
      .filter((c) => removed.has(c));
    const pool = poolOf.get(here[0] as number);
    const isBalanced = pool !== undefined && pool.cells.length > 1;
    if (isBalanced) for (const c of pool.cells.flatMap((x) => x.choices)) removed.delete(c);
    else removed.delete(here[0] as number);
  }
  const broken = brokenBalances(coupling, new Kept(coupling.typing.system, coupling.choices, removed));
  if (broken.length > 0) throw new Error(`A removal taken by whole moves of pools breaks a balance: ${broken.join("; ")}`);
}

export function shuffled<T>(items: readonly T[], uniform: () => number): T[] {
  const out = [...items];
  for (let i = out.length - 1; i > 0; i--) {
    const j = Math.floor(uniform() * (i + 1));
    [out[i], out[j]] = [out[j] as T, out[i] as T];
  }
  return out;
}
