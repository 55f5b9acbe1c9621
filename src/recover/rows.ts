/** Least squares of a layer with more inputs than there are samples: what is solved has the size of the samples, not of the inputs. */
import { transposed } from "../graph/rearrange.js";
import type { Tensor } from "../graph/tensor.js";
import type { RecoveredLayer } from "../report.js";
import type { Layer } from "../score/layers.js";
import type { Batches } from "./batches.js";
import { factored, solved } from "./large.js";
import type { Products } from "./products.js";
import type { Seen } from "./session.js";

/** Most rows that fit a layer: with tokens, positions are taken at even distances. */
const MOST_ROWS = 4096;
/** Columns of weights that are made at a time. */
const STRIP = 512;
/** How much a singular system is strengthened at a time until it can be solved, and where that ends (ridge.ts). */
const STRONGER = 100;
const STRONGEST = 1;

/** What the layer reads [count, columns] and what it should give [count, rows]. */
interface Rows {
  readonly count: number;
  readonly x: Float64Array;
  readonly t: Float64Array;
}

/**
 * The ridge regression of ridge.ts, of a product of matrices: with centred inputs X [n, K], residuals R [n, O] and μ = λ·tr(X·Xᵀ)/(n·K),
 * ΔW = Rᵀ·(X·Xᵀ/n + μ·I)⁻¹·X/n, by a system of n rows where ridge.ts' has K. Neither [K, K] nor [K + O, K + O] is ever made, and held-out
 * errors need X_h·Xᵀ alone. Writes the weights that are best on held-out samples; `strengths` none: another bias at most.
 */
export async function refitByRows(
  products: Products,
  layer: Layer,
  kept: readonly number[] | undefined,
  read: (batch: number) => Promise<Seen>,
  batches: Batches,
  strengths: readonly number[],
): Promise<RecoveredLayer> {
  const [fitting, heldOut] = await rowsOf(layer, kept, read, batches);
  const { columns: K, rows: O, hasBias } = layer;
  const n = fitting.count;
  const now = layer.read();
  const variance = spread(heldOut.t, O) || 1;
  const error = (r: Float64Array) => r.reduce((s, x) => s + x * x, 0) / heldOut.count / variance;
  await residuals(products, fitting, now.weight, now.bias, layer);
  await residuals(products, heldOut, now.weight, now.bias, layer);
  const before = error(heldOut.t);
  const [meanX, meanR] = [hasBias ? meansOf(fitting.x, K) : new Float64Array(K), hasBias ? meansOf(fitting.t, O) : new Float64Array(O)];
  for (const { x, t } of [fitting, heldOut]) {
    shift(x, meanX);
    shift(t, meanR);
  }
  let after = before;
  /** What the weights change by is (solution)ᵀ·X; undefined: the bias alone changes. */
  let best: { readonly solution: Float64Array | undefined } | undefined;
  const consider = (r: Float64Array, solution: Float64Array | undefined) => {
    const e = error(r);
    if (e < after) [after, best] = [e, { solution }];
  };
  if (hasBias) consider(heldOut.t, undefined);
  const gram = strengths.length > 0 ? await products.timesTransposed(fitting.x, fitting.x, n, n, K) : new Float64Array(0);
  let trace = 0;
  for (let i = 0; i < gram.length; i += n + 1) trace += gram[i] as number;
  const across = trace > 0 ? await products.timesTransposed(heldOut.x, fitting.x, heldOut.count, n, K) : new Float64Array(0);
  const residual = transposed(fitting.t, n, O);
  for (const strength of trace > 0 ? strengths : []) {
    for (let lambda = strength; lambda <= STRONGEST; lambda *= STRONGER) {
      const system = gram.map((v) => v / n);
      for (let i = 0; i < system.length; i += n + 1) system[i] = (system[i] as number) + (lambda * trace) / n / K;
      const l = await factored(products, system, n);
      if (!l) continue;
      // [O, n]: a row per output.
      const solution = residual.map((v) => v / n);
      await solved(products, l, n, solution, O);
      const given = await products.timesTransposed(across, solution, heldOut.count, O, n);
      consider(
        heldOut.t.map((r, i) => r - (given[i] as number)),
        solution,
      );
      break;
    }
  }
  if (best) {
    const weight = now.weight;
    if (best.solution) await addProduct(products, weight, best.solution, fitting, layer);
    // b' = b + mean of what is missing − ΔW·mean of what comes in, of which W·mean was part of what is missing.
    const change = best.solution ? await changeAt(products, best.solution, fitting.x, meanX, layer, n) : new Float64Array(O);
    layer.write({ weight, bias: hasBias ? now.bias.map((b, o) => b + (meanR[o] as number) - (change[o] as number)) : now.bias });
  }
  return { node: layer.node.label, changed: best !== undefined, before, after };
}

async function rowsOf(
  layer: Layer,
  kept: readonly number[] | undefined,
  read: (batch: number) => Promise<Seen>,
  batches: Batches,
): Promise<[fitting: Rows, heldOut: Rows]> {
  const { columns: K, rows: O } = layer;
  const pieces: { held: boolean; x: Float64Array; t: Float64Array }[] = [];
  for (let b = 0; b < batches.count; b++) {
    const { x, target, other } = await read(b);
    const count = x.size / K;
    const step = Math.max(1, Math.ceil((count / batches.size(b)) * (batches.fitting / MOST_ROWS)));
    const chosen = Array.from({ length: Math.ceil(count / step) }, (_, i) => i * step);
    const t = values(target, chosen, kept ?? Array.from({ length: O }, (_, o) => o));
    if (other) for (const [i, v] of values(other, chosen).entries()) t[i] = (t[i] as number) - v;
    pieces.push({ held: batches.isHeldOut(b), x: values(x, chosen), t });
  }
  const joined = (held: boolean): Rows => {
    const mine = pieces.filter((p) => p.held === held);
    const join = (of: (p: (typeof pieces)[number]) => Float64Array) => {
      const out = new Float64Array(mine.reduce((s, p) => s + of(p).length, 0));
      let at = 0;
      for (const p of mine) {
        out.set(of(p), at);
        at += of(p).length;
      }
      return out;
    };
    const x = join((p) => p.x);
    return { count: x.length / K, x, t: join((p) => p.t) };
  };
  return [joined(false), joined(true)];
}

/** Rows `chosen` of a tensor whose last axis are channels, of which `kept`. */
function values(tensor: Tensor, chosen: readonly number[], kept?: readonly number[]): Float64Array {
  const width = tensor.dims.at(-1) as number;
  const numbers = tensor.numbers();
  const out = new Float64Array(chosen.length * (kept?.length ?? width));
  let at = 0;
  for (const row of chosen) {
    if (kept) for (const k of kept) out[at++] = numbers[row * width + k] as number;
    else {
      out.set(numbers.subarray(row * width, (row + 1) * width), at);
      at += width;
    }
  }
  return out;
}

/** `of.t` becomes what is missing: t − W·x − b. */
async function residuals(
  products: Products,
  of: Rows,
  weight: Float64Array,
  bias: Float64Array,
  { columns: K, rows: O }: Layer,
): Promise<void> {
  for (let from = 0; from < O; from += STRIP) {
    const width = Math.min(STRIP, O - from);
    const given = await products.timesTransposed(of.x, weight.subarray(from * K, (from + width) * K), of.count, width, K);
    for (let r = 0, i = 0; r < of.count; r++) {
      for (let o = from; o < from + width; o++)
        of.t[r * O + o] = (of.t[r * O + o] as number) - (given[i++] as number) - (bias[o] as number);
    }
  }
}

/** weight [O, K] + solution [O, n]·X [n, K], some columns at a time. */
async function addProduct(
  products: Products,
  weight: Float64Array,
  solution: Float64Array,
  { x, count: n }: Rows,
  layer: Layer,
): Promise<void> {
  const { columns: K, rows: O } = layer;
  for (let from = 0; from < K; from += STRIP) {
    const width = Math.min(STRIP, K - from);
    const columns = new Float64Array(width * n);
    for (let r = 0; r < n; r++) for (let c = 0; c < width; c++) columns[c * n + r] = x[r * K + from + c] as number;
    const change = await products.timesTransposed(solution, columns, O, width, n);
    for (let o = 0, i = 0; o < O; o++) {
      for (let k = o * K + from; k < o * K + from + width; k++) weight[k] = (weight[k] as number) + (change[i++] as number);
    }
  }
}

/** solution·X·mean: what the change of the weights gives at the mean of the inputs. */
async function changeAt(
  products: Products,
  solution: Float64Array,
  x: Float64Array,
  mean: Float64Array,
  layer: Layer,
  n: number,
): Promise<Float64Array> {
  const at = await products.timesTransposed(x, mean, n, 1, layer.columns);
  return products.timesTransposed(solution, at, layer.rows, 1, n);
}

function meansOf(rows: Float64Array, width: number): Float64Array {
  const mean = new Float64Array(width);
  const count = rows.length / width;
  for (let i = 0; i < rows.length; ) for (let k = 0; k < width; k++) mean[k] = (mean[k] as number) + (rows[i++] as number) / count;
  return mean;
}

function shift(rows: Float64Array, by: Float64Array): void {
  for (let i = 0; i < rows.length; ) for (let k = 0; k < by.length; k++, i++) rows[i] = (rows[i] as number) - (by[k] as number);
}

/** Sum of the variances of the columns. */
function spread(rows: Float64Array, width: number): number {
  const mean = meansOf(rows, width);
  return rows.reduce((s, v, i) => s + (v - (mean[i % width] as number)) ** 2, 0) / (rows.length / width);
}
