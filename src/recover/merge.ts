/** What left is written as a linear map of what stayed, and that map is folded into every layer that reads the two. */
import type { Model, Value } from "../graph/graph.js";
import { infer, type Types } from "../graph/infer.js";
import type { Tensor } from "../graph/tensor.js";
import type { Runner } from "../runtime/runner.js";
import { type Layer, layersOf, type Weights } from "../score/layers.js";
import type { Batches } from "./batches.js";
import { ChannelSums } from "./channels.js";
import { factored, solved } from "./large.js";
import { hasGaps, type Moments, withMeans } from "./moments.js";
import type { Pairing } from "./pairing.js";
import { Products } from "./products.js";
import type { Seen } from "./session.js";
import { Stages } from "./stages.js";
import { bestOf, momentsOf, type SweepOptions, type Swept, WIDEST } from "./sweep.js";

interface Task {
  readonly layer: Layer;
  /** The same layer of the original. */
  readonly whole: Layer;
  /** Outputs of the original that are left. */
  readonly outputs: readonly number[];
  /** For each group that is left, in the pruned layer's order. */
  readonly groups: readonly Group[];
}

/** What a group of the original reads, by number within the group. */
interface Group {
  /** Number of the group in the original. */
  readonly home: number;
  readonly kept: readonly number[];
  readonly gone: readonly number[];
}

/**
 * x_R ≈ A·x_K + c with A = Σ_RK (Σ_KK + λI)⁻¹ and c = μ_R − A·μ_K over the original's activations; then W_K + W_R·A at every tap reads from K
 * what it read from R. R and K are channels of one group: a group of a convolution reads no others, and of a depthwise one nothing that
 * left, so that what it makes is merged where it is read. Of the constant, Σ over taps of W_R·c is exact except where a kernel reaches into
 * zero padding, or between strides (`borders.ts` sees to that); so it is taken only where held-out samples prefer it to the bias
 * that gives the right mean over all positions, borders included. Changes `pruned` in place.
 */
export async function merge(
  runner: Runner,
  pruned: Model,
  pairing: Pairing,
  batches: Batches,
  strengths: readonly number[],
  options: SweepOptions,
): Promise<Swept> {
  const types = infer(pruned);
  const found = layersOf(pruned, types);
  const originals = new Map(layersOf(pairing.original, infer(pairing.original)).layers.map((l) => [l.node.outputs[0]?.name, l]));
  const left = found.left.map(({ node, why }) => ({ node: node.label, why }));
  const tasks: Task[] = [];
  for (const layer of found.layers) {
    const task = taskOf(layer, originals.get(layer.node.outputs[0]?.name), pairing, types);
    if (typeof task === "string") left.push({ node: layer.node.label, why: task });
    else if (task) tasks.push(task);
  }
  const stages = new Stages(runner, pairing.original, batches, options.memory);
  const read = ({ whole }: Task) => [whole.input, whole.end];
  const products = new Products(runner);
  const layers: Swept["layers"][number][] = [];
  for (const [i, task] of tasks.entries()) {
    options.signal?.throwIfAborted();
    options.onProgress?.(i, tasks.length);
    const { layer, whole } = task;
    const stage = await stages.open(read(task), tasks.slice(i + 1).flatMap(read));
    let channels: ChannelSums | undefined;
    const seen = async (batch: number) => {
      const have = await stage.run(batch);
      const x = have.get(whole.input) as Tensor;
      channels ??= await ChannelSums.open(runner, x, whole.channelsLast);
      if (!batches.isHeldOut(batch)) await channels.add(x);
      return { x, target: have.get(whole.end), other: undefined } as Seen;
    };
    const { fitting, heldOut } = await momentsOf(runner, whole, undefined, seen, batches, options, `merge/${options.seed}/${i}`);
    await stage.close();
    await channels?.release();
    // Judged in the original's own coordinates: weights on what left are 0, other rows stay as they are.
    const now = widened(task, layer.read());
    const original = whole.read();
    const { mean, covariance } = (channels as ChannelSums).moments();
    const merged = async function* () {
      for (const strength of strengths) {
        yield* mergedOf(task, original, fitting, await mapsOf(products, task, mean, covariance, strength), layer.hasBias);
      }
    };
    const { best, before, after } = await bestOf(products, heldOut, now, merged());
    if (best) layer.write(narrowed(task, best));
    layers.push({ node: layer.node.label, changed: best !== undefined, before, after });
  }
  await products.release();
  return { layers, left };
}

/** undefined where the layer reads nothing that left. */
function taskOf(layer: Layer, whole: Layer | undefined, pairing: Pairing, types: Types): Task | string | undefined {
  const paired = (value: Value) => pairing.of(value, layer.channelsLast ? (types.shape(value)?.length ?? 2) - 1 : 1);
  const [read, given] = [paired(layer.input), paired(layer.end)];
  if (typeof read === "string") return read;
  if (!read.kept) return undefined;
  if (typeof given === "string") return given;
  if (!whole || whole.end !== given.value || whole.input !== read.value || whole.taps !== layer.taps)
    return "the original has no such layer";
  if (hasGaps(layer.read(), layer)) return "columns of its weights were pruned where they stand, and merging would fill them";
  if (whole.columns + whole.rows > WIDEST) return `${whole.columns} inputs per output are more than ${WIDEST}`;
  const outputs = given.kept ?? Array.from({ length: whole.groups * whole.rows }, (_, o) => o);
  const groups = groupsOf(layer, whole, read.kept, outputs);
  if (typeof groups === "string") return groups;
  return groups.some((g) => g.gone.length > 0) ? { layer, whole, outputs, groups } : undefined;
}

/** What is left of each group, where groups are still those of the original, if fewer. */
function groupsOf(layer: Layer, whole: Layer, inputs: readonly number[], outputs: readonly number[]): Group[] | string {
  const { taps } = whole;
  const [mine, theirs] = [layer.columns / taps, whole.columns / taps];
  const groups: Group[] = [];
  for (let g = 0; g < layer.groups; g++) {
    const home = Math.floor((outputs[g * layer.rows] as number) / whole.rows);
    const rows = outputs.slice(g * layer.rows, (g + 1) * layer.rows);
    const kept = inputs.slice(g * mine, (g + 1) * mine).map((c) => c - home * theirs);
    if (rows.some((r) => Math.floor(r / whole.rows) !== home) || kept.some((c) => c < 0 || c >= theirs)) {
      return "its groups hold other channels than the original's";
    }
    const isKept = new Set(kept);
    groups.push({ home, kept, gone: Array.from({ length: theirs }, (_, c) => c).filter((c) => !isKept.has(c)) });
  }
  return groups;
}

/** For each weight of the pruned layer its place in the original's. */
function* places({ whole, layer, outputs, groups }: Task): Generator<[at: number, place: number]> {
  const { taps } = whole;
  for (const [o, row] of outputs.entries()) {
    const { kept } = groups[Math.floor(o / layer.rows)] as Group;
    for (const [k, channel] of kept.entries()) {
      for (let t = 0; t < taps; t++) yield [o * layer.columns + k * taps + t, row * whole.columns + channel * taps + t];
    }
  }
}

/** The pruned layer's weights at their places in the original's. */
function widened(task: Task, { weight, bias }: Weights): Weights {
  const { whole, outputs } = task;
  const original = whole.read();
  const out = { weight: Float64Array.from(original.weight), bias: Float64Array.from(original.bias) };
  for (const row of outputs) out.weight.fill(0, row * whole.columns, (row + 1) * whole.columns);
  for (const [at, place] of places(task)) out.weight[place] = weight[at] as number;
  for (const [o, row] of outputs.entries()) out.bias[row] = bias[o] as number;
  return out;
}

function narrowed(task: Task, { weight, bias }: Weights): Weights {
  const { layer, outputs } = task;
  const out = {
    weight: new Float64Array(layer.groups * layer.rows * layer.columns),
    bias: Float64Array.from(outputs, (row) => bias[row] as number),
  };
  for (const [at, place] of places(task)) out.weight[at] = weight[place] as number;
  return out;
}

/** A [gone, kept] and c [gone] of a group. */
interface ChannelMap {
  readonly linear: Float64Array;
  readonly constant: Float64Array;
}

/** For each group, what left as a map of what stayed; where what stayed says nothing, the constant is all. */
async function mapsOf(
  products: Products,
  { whole, groups }: Task,
  mean: Float64Array,
  covariance: Float64Array,
  strength: number,
): Promise<ChannelMap[]> {
  const [width, channels] = [whole.columns / whole.taps, mean.length];
  const maps: ChannelMap[] = [];
  for (const { home, kept, gone } of groups) {
    const from = home * width;
    const at = (i: number, j: number) => covariance[(from + i) * channels + from + j] as number;
    const K = kept.length;
    const trace = kept.reduce((s, k) => s + at(k, k), 0);
    const linear = Float64Array.from({ length: gone.length * K }, (_, i) => at(gone[Math.floor(i / K)] as number, kept[i % K] as number));
    const system = Float64Array.from({ length: K * K }, (_, i) => {
      const [p, q] = [Math.floor(i / K), i % K];
      return at(kept[p] as number, kept[q] as number) + (p === q ? (strength * trace) / K : 0);
    });
    const l = trace > 0 ? await factored(products, system, K) : undefined;
    if (l) await solved(products, l, K, linear, gone.length);
    else linear.fill(0);
    const constant = Float64Array.from(gone, (channel, r) =>
      kept.reduce((c, k, i) => c - (linear[r * K + i] as number) * (mean[from + k] as number), mean[from + channel] as number),
    );
    maps.push({ linear, constant });
  }
  return maps;
}

/** The merged layer in the original's coordinates: with the constant folded into the bias, and with the bias of the means. */
function mergedOf(task: Task, original: Weights, m: Moments, maps: readonly ChannelMap[], hasBias: boolean): Weights[] {
  const { whole, layer, outputs, groups } = task;
  const { taps, columns } = whole;
  const weight = Float64Array.from(original.weight);
  const bias = Float64Array.from(original.bias);
  for (const [o, row] of outputs.entries()) {
    const g = Math.floor(o / layer.rows);
    const { kept, gone } = groups[g] as Group;
    const { linear, constant } = maps[g] as ChannelMap;
    for (const [r, channel] of gone.entries()) {
      for (let t = 0; t < taps; t++) {
        const at = row * columns + channel * taps + t;
        const w = weight[at] as number;
        weight[at] = 0;
        bias[row] = (bias[row] as number) + w * (constant[r] as number);
        for (const [k, channel] of kept.entries()) {
          const to = row * columns + channel * taps + t;
          weight[to] = (weight[to] as number) + w * (linear[r * kept.length + k] as number);
        }
      }
    }
  }
  const folded = { weight, bias };
  return hasBias ? [folded, withMeans(m, folded)] : [{ weight, bias: original.bias }];
}
