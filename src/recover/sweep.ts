/** One walk over a pruned model, front to back: each linear layer is refitted to the original's values on what now comes in. */
import type { Model, Value } from "../graph/graph.js";
import { captures } from "../graph/graph.js";
import { infer, type Types } from "../graph/infer.js";
import type { Tensor } from "../graph/tensor.js";
import type { RecoveredLayer } from "../report.js";
import type { Runner } from "../runtime/runner.js";
import { type Layer, layersOf, type Weights } from "../score/layers.js";
import type { Batches } from "./batches.js";
import { addMoments, hasGaps, type Moments, zeroMoments } from "./moments.js";
import type { Pair, Pairing } from "./pairing.js";
import { Products } from "./products.js";
import { errors } from "./ridge.js";
import { refitByRows } from "./rows.js";
import { MomentSession, positionsOf, type Seen } from "./session.js";
import { Stages } from "./stages.js";

/** Other weights for a layer, from moments of the fitting samples; the best on held-out samples is taken. */
export type Fit = (moments: Moments, now: Weights, layer: Layer, products: Products) => Iterable<Weights> | AsyncIterable<Weights>;

export interface SweepOptions {
  readonly seed: number;
  /** Bytes of activations kept between layers; what does not fit is computed again. */
  readonly memory: number;
  /** Equations wanted per unknown: positions of maps are sampled where there are more. */
  readonly equations: number;
  /** Whether the best of the fits is taken even where the layer's own error does not fall: the whole decides. */
  readonly unconditional?: boolean;
  /** Whether a layer before a sum is fitted to the sum (default), or to its own values. */
  readonly sums?: boolean;
  /** Whether each BatchNormalization is a layer of its own (layers.ts). */
  readonly norms?: boolean;
  /** Strengths of ridge for layers too wide for moments, which are fitted by rows (rows.ts); absent: they are left. */
  readonly wide?: readonly number[];
  /** Whether a layer before a rectifier is fitted a second time, to what gets through it. */
  readonly rectify?: boolean;
  /** Layers that are fitted, by their nodes' labels; absent: all. */
  readonly only?: (label: string) => boolean;
  /** Whether the correction before this one was kept, so that biases suit the original's means (borders.ts). */
  readonly biases?: boolean;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

export interface Swept {
  readonly layers: readonly RecoveredLayer[];
  readonly left: readonly { readonly node: string; readonly why: string }[];
}

/** A layer and what it is fitted to. */
export interface Task {
  readonly layer: Layer;
  /** The value of the pruned model whose partner is the target. */
  readonly pair: Pair;
  /** The other operand of the sum that is fitted, where a sum is. */
  readonly other: Value | undefined;
  /** Whether what is fitted is read by rectifiers alone. */
  readonly isRectified: boolean;
}

/** Moments of layers wider than this would not fit. */
export const WIDEST = 6144;

/** Changes the weights of `pruned` in place. */
export async function sweep(
  runner: Runner,
  pruned: Model,
  pairing: Pairing,
  batches: Batches,
  solve: Fit,
  options: SweepOptions,
): Promise<Swept> {
  const types = infer(pruned);
  const found = layersOf(pruned, types, options);
  const left = found.left.map(({ node, why }) => ({ node: node.label, why }));
  const tasks: Task[] = [];
  for (const [i, layer] of found.layers.entries()) {
    if (options.only && !options.only(layer.node.label)) continue;
    if (isTooWide(layer) && !(options.wide && layer.channelsLast)) {
      left.push({ node: layer.node.label, why: `${layer.columns} inputs per output are more than ${WIDEST}` });
      continue;
    }
    const task = taskOf(layer, options.sums === false ? undefined : found.layers.slice(i), pairing, types);
    if (typeof task === "string") left.push({ node: layer.node.label, why: task });
    else tasks.push(task);
  }
  const mine = new Stages(runner, pruned, batches, options.memory / 2);
  const theirs = new Stages(runner, pairing.original, batches, options.memory / 2);
  const read = (task: Task) => [task.layer.input, task.other].filter((v) => v !== undefined);
  const products = new Products(runner);
  const layers: RecoveredLayer[] = [];
  for (const [i, task] of tasks.entries()) {
    options.signal?.throwIfAborted();
    options.onProgress?.(i, tasks.length);
    const { layer, pair, other } = task;
    const a = await mine.open(read(task), tasks.slice(i).flatMap(read));
    const b = await theirs.open(
      [pair.value],
      tasks.slice(i + 1).map((t) => t.pair.value),
    );
    const values = remembering(options.memory / 2, async (batch) => ({ have: await a.run(batch), reference: await b.run(batch) }));
    const seen = async (batch: number) => {
      const { have, reference } = await values(batch);
      return { x: have.get(layer.input), target: reference.get(pair.value), other: other && have.get(other) } as Seen;
    };
    if (options.wide && isTooWide(layer)) {
      // Columns of zeros stay zeros: then the bias alone is fitted.
      const strengths = hasGaps(layer.read(), layer) ? [] : options.wide;
      layers.push(await refitByRows(products, layer, pair.kept, seen, batches, strengths));
      await a.close();
      await b.close();
      continue;
    }
    const seed = `recover/${options.seed}/${i}`;
    const isRectified = options.rectify === true && task.isRectified;
    const { fitting, heldOut } = await momentsOf(runner, layer, pair.kept, seen, batches, options, seed);
    let result = await refit(products, layer, fitting, heldOut, solve, options.unconditional ?? false);
    if (isRectified) {
      const through = await momentsOf(runner, layer, pair.kept, seen, batches, options, seed, layer.read());
      const again = await refit(products, layer, through.fitting, through.heldOut, solve, false);
      result = { ...result, changed: result.changed || again.changed };
    }
    await a.close();
    await b.close();
    layers.push(result);
  }
  await products.release();
  return { layers, left };
}

/** `read`, each batch of which is run once where all fit `memory` bytes. */
function remembering<T extends { readonly have: ReadonlyMap<Value, Tensor>; readonly reference: ReadonlyMap<Value, Tensor> }>(
  memory: number,
  read: (batch: number) => Promise<T>,
): (batch: number) => Promise<T> {
  const known = new Map<number, T>();
  let bytes = 0;
  return async (batch) => {
    const before = known.get(batch);
    if (before) return before;
    const values = await read(batch);
    for (const t of new Set([...values.have.values(), ...values.reference.values()])) bytes += t.byteLength;
    if (bytes <= memory) known.set(batch, values);
    return values;
  };
}

/** Sums over all batches, apart for those that fit and those that judge. `read` is called for each batch in order. */
export async function momentsOf(
  runner: Runner,
  layer: Layer,
  kept: readonly number[] | undefined,
  read: (batch: number) => Promise<Seen>,
  batches: Batches,
  { equations, signal }: Pick<SweepOptions, "equations" | "signal">,
  seed: string,
  rectified?: Weights,
): Promise<{ readonly fitting: Moments; readonly heldOut: Moments }> {
  const fitting = zeroMoments(layer.groups, layer.columns, layer.rows);
  const heldOut = zeroMoments(layer.groups, layer.columns, layer.rows);
  let session: MomentSession | undefined;
  try {
    for (let b = 0; b < batches.count; b++) {
      signal?.throwIfAborted();
      const seen = await read(b);
      // Statistics of a normalisation are cheap to take everywhere.
      const wanted = layer.isNorm ? Number.POSITIVE_INFINITY : Math.max(8, Math.ceil((equations * layer.columns) / batches.fitting));
      const positions = Math.min(positionsOf(layer, seen), wanted);
      session ??= await MomentSession.open(runner, layer, seen, kept, positions, seed, rectified);
      addMoments(batches.isHeldOut(b) ? heldOut : fitting, await session.run(seen, b));
    }
  } finally {
    await session?.release();
  }
  return { fitting, heldOut };
}

/** Writes the weights that are best on held-out samples. */
async function refit(
  products: Products,
  layer: Layer,
  fitting: Moments,
  heldOut: Moments,
  solve: Fit,
  unconditional: boolean,
): Promise<RecoveredLayer> {
  const now = layer.read();
  const { best, before, after } = await bestOf(products, heldOut, now, solve(fitting, now, layer, products), unconditional);
  if (best) layer.write(best);
  return { node: layer.node.label, changed: best !== undefined, before, after };
}

/** The weights with the least held-out error; undefined where none is better than `now` (or, unconditionally, where there are none). */
export async function bestOf(
  products: Products,
  heldOut: Moments,
  now: Weights,
  others: Iterable<Weights> | AsyncIterable<Weights>,
  unconditional = false,
): Promise<{ readonly best: Weights | undefined; readonly before: number; readonly after: number }> {
  const scale = variances(heldOut);
  const error = async (w: Weights) => (await errors(products, heldOut, w)).reduce((s, e) => s + e, 0) / scale;
  const before = await error(now);
  let best: Weights | undefined;
  let after = unconditional ? Number.POSITIVE_INFINITY : before;
  for await (const weights of others) {
    if (![weights.weight, weights.bias].every((a) => a.every(Number.isFinite))) continue;
    const e = await error(weights);
    if (e < after) [best, after] = [weights, e];
  }
  return { best, before, after: best ? after : before };
}

/** Sum of the targets' variances; 1 where they are constant, so that errors stay numbers. */
function variances(m: Moments): number {
  const { groups, columns: K, rows: O, sums } = m;
  const D = K + O + 1;
  const means = meansOf(m);
  let sum = 0;
  for (const [i, mean] of means.entries()) {
    const [base, t] = [Math.floor(i / O) * D * D, K + (i % O)];
    sum += Math.max(0, (sums[base + t * D + t] as number) / (sums[base + D * D - 1] as number) - mean ** 2);
  }
  return groups > 0 && sum > 0 ? sum : 1;
}

function meansOf({ groups, columns: K, rows: O, sums }: Moments): Float64Array {
  const D = K + O + 1;
  return Float64Array.from({ length: groups * O }, (_, i) => {
    const base = Math.floor(i / O) * D * D;
    return (sums[base + (K + (i % O)) * D + D - 1] as number) / (sums[base + D * D - 1] as number);
  });
}

/**
 * What `layer` is fitted to: the sum it goes into, if only that reads it, and its other operand is settled (only the sum reaches what comes
 * next, so that errors of the other operand are made good as well); else its own end.
 */
export function taskOf(layer: Layer, unsettled: readonly Layer[] | undefined, pairing: Pairing, types: Types): Task | string {
  const axis = layer.channelsLast ? (types.shape(layer.end)?.length ?? 2) - 1 : 1;
  const sum = sumAfter(layer, types);
  if (sum && unsettled && !dependsOn(sum.other, unsettled)) {
    const pair = pairing.of(sum.value, axis);
    if (typeof pair !== "string") return { layer, pair, other: sum.other, isRectified: isRectified(sum.value) };
  }
  const pair = pairing.of(layer.end, axis);
  return typeof pair === "string" ? pair : { layer, pair, other: undefined, isRectified: isRectified(layer.end) };
}

function isTooWide({ columns, rows }: Layer): boolean {
  return columns + rows > WIDEST;
}

function isRectified(value: Value): boolean {
  const uses = value.uses();
  return uses.length > 0 && !value.isOutput && uses.every(({ node }) => node.isStandard && node.opType === "Relu");
}

function sumAfter({ end, node }: Layer, types: Types): { value: Value; other: Value } | undefined {
  const [use, ...others] = end.uses();
  if (!use || others.length > 0 || end.isOutput || use.node.graph !== node.graph) return undefined;
  const value = use.node.outputs[0];
  if (!use.node.isStandard || use.node.opType !== "Add" || !value) return undefined;
  const other = use.node.inputs[1 - use.index];
  if (!other || other.constant) return undefined;
  const [a, b] = [types.shape(end), types.shape(other)];
  if (!a || !b || a.length !== b.length || a.some((d, i) => d !== b[i])) return undefined;
  return { value, other };
}

function dependsOn(value: Value, layers: readonly Layer[]): boolean {
  const nodes = new Set(layers.map((l) => l.node));
  const seen = new Set<Value>();
  const stack = [value];
  for (let v = stack.pop(); v; v = stack.pop()) {
    if (seen.has(v) || !v.producer) continue;
    seen.add(v);
    if (nodes.has(v.producer)) return true;
    for (const i of [...v.producer.inputs, ...captures(v.producer)]) if (i) stack.push(i);
  }
  return false;
}
