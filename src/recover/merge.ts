/** What left is written as a linear map of what stayed, and that map is folded into every layer that reads the two. */
import type { Model, Value } from "../graph/graph.js";
import { infer, type Types } from "../graph/infer.js";
import type { Runner } from "../runtime/runner.js";
import type { Batches } from "./batches.js";
import { cholesky, solveRows } from "./cholesky.js";
import { type Layer, layersOf } from "./layers.js";
import { hasGaps, type Moments, type Weights, withMeans } from "./moments.js";
import type { Pairing } from "./pairing.js";
import type { Seen } from "./session.js";
import { Stages } from "./stages.js";
import { bestOf, momentsOf, type SweepOptions, type Swept } from "./sweep.js";

interface Task {
  readonly layer: Layer;
  /** The same layer of the original. */
  readonly whole: Layer;
  /** Channels of the original's input that are left, and of its output. */
  readonly inputs: readonly number[];
  readonly outputs: readonly number[];
}

/**
 * x_R ≈ A·x_K + c with A = Σ_RK (Σ_KK + λI)⁻¹ and c = μ_R − A·μ_K over the original's activations; then W_K + W_R·A at every tap reads from K
 * what it read from R. Of the constant, Σ over taps of W_R·c is exact except where a kernel reaches into zero padding; so it is taken
 * only where held-out samples prefer it to the bias that gives the right mean over all positions, borders included. Changes `pruned`
 * in place.
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
  const layers: Swept["layers"][number][] = [];
  for (const [i, task] of tasks.entries()) {
    options.signal?.throwIfAborted();
    options.onProgress?.(i, tasks.length);
    const { layer, whole, outputs, inputs } = task;
    const stage = await stages.open(read(task), tasks.slice(i + 1).flatMap(read));
    const seen = async (batch: number) => {
      const have = await stage.run(batch);
      return { x: have.get(whole.input), target: have.get(whole.end), other: undefined } as Seen;
    };
    const { fitting, heldOut } = await momentsOf(runner, whole, undefined, seen, batches, options, `merge/${options.seed}/${i}`);
    await stage.close();
    // Judged in the original's own coordinates: weights on what left are 0, other rows stay as they are.
    const now = widened(task, layer.read());
    const original = whole.read();
    const merged = strengths.flatMap((strength) => mergedOf(task, original, fitting, strength, layer.hasBias));
    const { best, before, after } = bestOf(heldOut, now, merged);
    if (best) layer.write(narrowed(task, best, outputs, inputs));
    layers.push({ node: layer.node.label, changed: best !== undefined, before, after });
  }
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
  if (whole.groups > 1) return "its channels are read group by group";
  return { layer, whole, inputs: read.kept, outputs: given.kept ?? Array.from({ length: whole.rows }, (_, o) => o) };
}

/** The pruned layer's weights at their places in the original's. */
function widened({ whole, layer, inputs, outputs }: Task, { weight, bias }: Weights): Weights {
  const original = whole.read();
  const out = { weight: Float64Array.from(original.weight), bias: Float64Array.from(original.bias) };
  const { taps } = whole;
  for (const [o, row] of outputs.entries()) {
    out.weight.fill(0, row * whole.columns, (row + 1) * whole.columns);
    for (const [k, channel] of inputs.entries()) {
      for (let t = 0; t < taps; t++) {
        out.weight[row * whole.columns + channel * taps + t] = weight[o * layer.columns + k * taps + t] as number;
      }
    }
    out.bias[row] = bias[o] as number;
  }
  return out;
}

function narrowed({ whole, layer }: Task, { weight, bias }: Weights, outputs: readonly number[], inputs: readonly number[]): Weights {
  const { taps } = whole;
  const out = { weight: new Float64Array(layer.rows * layer.columns), bias: Float64Array.from(outputs, (row) => bias[row] as number) };
  for (const [o, row] of outputs.entries()) {
    for (const [k, channel] of inputs.entries()) {
      for (let t = 0; t < taps; t++) {
        out.weight[o * layer.columns + k * taps + t] = weight[row * whole.columns + channel * taps + t] as number;
      }
    }
  }
  return out;
}

/** The merged layer in the original's coordinates: with the constant folded into the bias, and with the bias of the means. */
function mergedOf(task: Task, original: Weights, m: Moments, strength: number, hasBias: boolean): Weights[] {
  const { whole, inputs, outputs } = task;
  const { taps, columns, rows } = whole;
  const channels = columns / taps;
  const { mean, covariance } = channelMoments(m, channels, taps);
  const isKept = new Uint8Array(channels);
  for (const k of inputs) isKept[k] = 1;
  const gone = Array.from({ length: channels }, (_, c) => c).filter((c) => isKept[c] === 0);
  const K = inputs.length;
  let trace = 0;
  for (const k of inputs) trace += covariance[k * channels + k] as number;
  const a = Float64Array.from({ length: gone.length * K }, (_, i) => {
    const [r, k] = [gone[Math.floor(i / K)] as number, inputs[i % K] as number];
    return covariance[r * channels + k] as number;
  });
  const system = Float64Array.from({ length: K * K }, (_, i) => {
    const [p, q] = [Math.floor(i / K), i % K];
    return (covariance[(inputs[p] as number) * channels + (inputs[q] as number)] as number) + (p === q ? (strength * trace) / K : 0);
  });
  const l = trace > 0 ? cholesky(system, K) : undefined;
  if (l) solveRows(l, K, a, gone.length);
  else a.fill(0);
  const weight = Float64Array.from(original.weight);
  const bias = Float64Array.from(original.bias);
  for (const row of outputs) {
    for (const [r, channel] of gone.entries()) {
      let constant = mean[channel] as number;
      for (const [k, kept] of inputs.entries()) constant -= (a[r * K + k] as number) * (mean[kept] as number);
      for (let t = 0; t < taps; t++) {
        const at = row * columns + channel * taps + t;
        const w = weight[at] as number;
        weight[at] = 0;
        bias[row] = (bias[row] as number) + w * constant;
        for (const [k, kept] of inputs.entries()) {
          const to = row * columns + kept * taps + t;
          weight[to] = (weight[to] as number) + w * (a[r * K + k] as number);
        }
      }
    }
  }
  if (rows === 0) return [];
  const folded = { weight, bias };
  return hasBias ? [folded, withMeans(m, folded)] : [{ weight, bias: original.bias }];
}

/** Means and covariances of channels: of the taps of a patch each is one more reading. */
function channelMoments(m: Moments, channels: number, taps: number): { readonly mean: Float64Array; readonly covariance: Float64Array } {
  const D = m.columns + m.rows + 1;
  const n = (m.sums[D * D - 1] as number) * taps;
  const mean = new Float64Array(channels);
  const covariance = new Float64Array(channels * channels);
  for (let c = 0; c < channels; c++) {
    for (let t = 0; t < taps; t++) {
      const row = (c * taps + t) * D;
      mean[c] = (mean[c] as number) + (m.sums[row + D - 1] as number) / n;
      for (let d = 0; d < channels; d++) {
        covariance[c * channels + d] = (covariance[c * channels + d] as number) + (m.sums[row + d * taps + t] as number) / n;
      }
    }
  }
  for (let c = 0; c < channels; c++)
    for (let d = 0; d < channels; d++)
      covariance[c * channels + d] = (covariance[c * channels + d] as number) - (mean[c] as number) * (mean[d] as number);
  return { mean, covariance };
}
