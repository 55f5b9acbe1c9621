/** What a run gave at one tap, as accumulators read it. */
import { DataError } from "../../errors.js";
import type { Tensor } from "../../graph/tensor.js";
import type { Seen } from "./accumulators.js";
import type { Reduction, Tapped } from "./reductions.js";

/** Samples [first, first + n) at a tap of C channels; `names` are those of its reductions among the outputs. */
export function seenOf(
  out: Readonly<Record<string, Tensor>>,
  names: ReadonlyMap<Reduction, string>,
  tap: Tapped,
  C: number,
  first: number,
  n: number,
  labels: Int32Array | undefined,
): Seen {
  const raw = (r: Reduction) => out[names.get(r) as string] as Tensor;
  const known = new Map<Reduction, Float64Array>();
  const perRow = tap.extents.slice(1).reduce((a: number | undefined, e) => (a === undefined || e === undefined ? undefined : a * e), 1);
  return {
    first,
    n,
    labels: labels?.subarray(first, first + n),
    get positions() {
      if (names.has("extent"))
        return (
          raw("extent")
            .ints()
            .reduce((a, b) => a * b, 1) /
          n /
          C
        );
      const [reduced] = [...names.keys()].filter((r) => !/^(gram|grid|patches)/.test(r));
      const rows = reduced === undefined ? n : raw(reduced).size / C;
      return ((perRow as number) / C) * (rows / n);
    },
    raw,
    row(r) {
      let row = known.get(r);
      if (!row) {
        const numbers = raw(r).numbers();
        const per = numbers.length / C / n;
        if (!Number.isInteger(per)) throw notCounted(tap, numbers.length / C, n);
        row = perSample(numbers, n, per, C, r);
        known.set(r, row);
      }
      return row;
    },
  };
}

function notCounted({ name }: Tapped, rows: number, n: number): DataError {
  return new DataError("STATISTICS_ROWS", `Axis 0 of "${name}" has ${rows} rows for ${n} samples: it does not count them.`, {
    at: { value: name },
    hint: "Calibrate with --batch 1, where all of it belongs to the one sample.",
  });
}

/** [n·per, C] as [n, C]: the mean of each sample's rows, or their greatest or least. */
function perSample(data: ArrayLike<number>, n: number, per: number, C: number, reduction: Reduction): Float64Array {
  if (per === 1) return Float64Array.from(data);
  const out = new Float64Array(n * C);
  for (let s = 0; s < n; s++) {
    for (let k = 0; k < C; k++) {
      let x = data[s * per * C + k] as number;
      for (let r = 1; r < per; r++) {
        const y = data[(s * per + r) * C + k] as number;
        x = reduction === "max" ? Math.max(x, y) : reduction === "min" ? Math.min(x, y) : x + y;
      }
      out[s * C + k] = reduction === "max" || reduction === "min" ? x : x / per;
    }
  }
  return out;
}
