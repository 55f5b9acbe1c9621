/** Mean ablation: how far values of a model move when one channel of an earlier value is replaced by its mean. */
import { UnsupportedError } from "../errors.js";
import { ints } from "../graph/attribute.js";
import { cloneModel } from "../graph/clone.js";
import { removeDeadFrom } from "../graph/dead.js";
import { type Graph, type Model, type Use, Value } from "../graph/graph.js";
import { infer } from "../graph/infer.js";
import { Tensor } from "../graph/tensor.js";
import type { Feeds, Runner, Session } from "../runtime/runner.js";
import { sourceOf } from "../runtime/source.js";
import type { Samples } from "./samples.js";
import { batchOf } from "./statistics/instrument.js";
import type { Tap } from "./statistics/request.js";

/** A value whose channels are replaced one by one, and the values that are watched. */
export interface Ablation extends Tap {
  /** Mean of each channel: what replaces it. */
  readonly means: Float64Array;
  /** Names of values of the main graph. */
  readonly targets: readonly string[];
}

export interface AblateOptions {
  /** Samples to run on, spread evenly over the data. */
  readonly samples: number;
  /** Copies of a sample per run, one of them untouched; default 33. A model exported for a fixed batch keeps its own. */
  readonly copies?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Runs done of all. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/**
 * Of each ablation, by its value's name, and each target: per channel k the mean, over samples and elements of the target t, of
 * (F_t − F_t with k at its mean)².
 *
 * One instrumented copy of the model: between each ablated value and its readers stands a Where whose mask is an input, so that the
 * copies of a sample in one batch lack another channel each. Only the differences leave the graph.
 *
 * @throws UnsupportedError ABLATION_BATCH for a model of batch 1, ABLATION_OPSET below opset 9. Ablated values whose axis 0 does not
 *   count samples one by one are left out of the result.
 */
export async function ablate(
  runner: Runner,
  model: Model,
  ablations: readonly Ablation[],
  samples: Samples,
  options: AblateOptions,
): Promise<ReadonlyMap<string, ReadonlyMap<string, Float64Array>>> {
  const axis0 = batchOf(model);
  if (axis0 === 1) {
    throw new UnsupportedError(
      "ABLATION_BATCH",
      "Ablation runs several copies of a sample in a batch, but the model takes one at a time.",
      {
        hint: 'Export the model with a dynamic batch, or use {"influence": "variance"}.',
      },
    );
  }
  if (model.opset < 9) {
    throw new UnsupportedError("ABLATION_OPSET", `Ablation needs Where, of opset 9, but the model has opset ${model.opset}.`, {
      hint: 'Convert the model to a newer opset, or use {"influence": "variance"}.',
    });
  }
  const copies = typeof axis0 === "number" ? axis0 : (options.copies ?? 33);
  const types = infer(model);
  const shapeOf = (name: string) => types.shape(model.graph.value(name) as Value);
  const able = ablations.filter((a) => shapeOf(a.value)?.[0] === axis0);
  const ranks = able.map((a) => shapeOf(a.value)?.length ?? 0);
  const instrumented = instrument(model, able, ranks, copies);
  const session = await runner.load(sourceOf(instrumented.model));
  try {
    return await run(session, able, ranks, instrumented, samples, copies, options);
  } finally {
    await session.release();
  }
}

interface Instrumented {
  readonly model: Model;
  /** Input that holds the mask of each ablation: true where the mean stands in. */
  readonly masks: readonly string[];
  /** Output [copies] that holds the squared differences of each target. */
  readonly moved: ReadonlyMap<string, string>;
}

function instrument(model: Model, ablations: readonly Ablation[], ranks: readonly number[], copies: number): Instrumented {
  const copy = cloneModel(model);
  const { graph } = copy;
  const moved = new Map<string, string>();
  const before = new Set(graph.nodes);
  for (const name of new Set(ablations.flatMap((a) => a.targets)))
    moved.set(name, movedBy(graph, graph.value(name) as Value, copies, copy.opset));
  const watchers = new Set(graph.nodes.filter((n) => !before.has(n)));
  const masks = ablations.map(({ value, axis, means }, i) => {
    const made = graph.value(value) as Value;
    // A watched value is watched as it is made, before it is masked itself.
    const readers = made.uses().filter((u) => !watchers.has(u.node));
    return maskBehind(graph, made, axis, means, ranks[i] as number, readers);
  });
  graph.setOutputs([...moved.values()].map((name) => graph.value(name) as Value));
  graph.sort();
  removeDeadFrom(graph);
  copy.sha256 = undefined;
  return { model: copy, masks, moved };
}

/** Mean of (row − row 0)² for each of `copies` rows. */
function movedBy(graph: Graph, value: Value, copies: number, opset: number): string {
  const node = (type: string, inputs: readonly Value[], attributes = {}) =>
    graph.insertNode(type, inputs, { outputs: ["ablation"], attributes }).outputs[0] as Value;
  const constant = (values: readonly number[]) => graph.addInitializer(graph.freshName("ablation_constant"), Tensor.ints(values));
  const real = node("Cast", [value], { to: { kind: "int", value: 1 } });
  const rows = node("Reshape", [real, constant([copies, -1])]);
  const difference = node("Sub", [rows, node("Gather", [rows, constant([0])])]);
  const squares = node("Mul", [difference, difference]);
  return (opset >= 18 ? node("ReduceMean", [squares, constant([1])]) : node("ReduceMean", [squares], { axes: ints([1]) })).name;
}

/** Puts a Where between a value and its readers; gives the name of its mask. */
function maskBehind(graph: Graph, value: Value, axis: number, means: Float64Array, rank: number, readers: readonly Use[]): string {
  const name = graph.freshName("ablation_mask");
  const shape = Array.from({ length: rank }, (_, a) => `${name}_${a}`);
  const mask = graph.addInput(new Value(name, { kind: "tensor", dtype: "bool", shape }));
  const dims = Array.from({ length: rank }, (_, a) => (a === axis ? means.length : 1));
  const fill = graph.addInitializer(graph.freshName("ablation_means"), Tensor.fromNumbers(value.dtype ?? "float32", dims, means));
  const masked = graph.insertNode("Where", [mask, fill, value], { outputs: ["ablated"] }).outputs[0] as Value;
  for (const { node, index } of readers) node.setInput(index, masked);
  return name;
}

async function run(
  session: Session,
  ablations: readonly Ablation[],
  ranks: readonly number[],
  { masks, moved }: Instrumented,
  samples: Samples,
  copies: number,
  options: AblateOptions,
): Promise<Map<string, Map<string, Float64Array>>> {
  const count = Math.min(options.samples, samples.count);
  const perRun = copies - 1;
  const runs = count * ablations.reduce((n, a) => n + Math.ceil(a.means.length / perRun), 0);
  const out = new Map(ablations.map((a) => [a.value, new Map(a.targets.map((t) => [t, new Float64Array(a.means.length)]))]));
  const idle = Object.fromEntries(masks.map((m, i) => [m, Tensor.fromNumbers("bool", new Array<number>(ranks[i] as number).fill(1), [0])]));
  let done = 0;
  for (let s = 0; s < count; s++) {
    const at = Math.floor((s * samples.count) / count);
    const feeds: Feeds = { ...repeated(await samples.batch(at, at + 1), copies), ...idle };
    for (const [i, { value, axis, means, targets }] of ablations.entries()) {
      const mine = out.get(value) as Map<string, Float64Array>;
      for (let first = 0; first < means.length; first += perRun) {
        options.signal?.throwIfAborted();
        const C = means.length;
        const mask = new Uint8Array(copies * C);
        for (let r = 1; r < copies && first + r - 1 < C; r++) mask[r * C + first + r - 1] = 1;
        const dims = Array.from({ length: ranks[i] as number }, (_, a) => (a === 0 ? copies : a === axis ? C : 1));
        const names = targets.map((t) => moved.get(t) as string);
        const results = await session.run({ ...feeds, [masks[i] as string]: Tensor.ofBytes("bool", dims, mask) }, names);
        targets.forEach((t, j) => {
          const rows = (results[names[j] as string] as Tensor).numbers();
          const sums = mine.get(t) as Float64Array;
          for (let r = 1; r < copies && first + r - 1 < C; r++)
            sums[first + r - 1] = (sums[first + r - 1] as number) + (rows[r] as number) / count;
        });
        options.onProgress?.(++done, runs);
      }
    }
  }
  return out;
}

/** Each feed with one row as `copies` equal rows; others belong to all samples alike. */
function repeated(feeds: Feeds, copies: number): Feeds {
  return Object.fromEntries(
    Object.entries(feeds).map(([name, t]) => {
      if (t.dims[0] !== 1) return [name, t];
      const bytes = new Uint8Array(t.bytes.length * copies);
      for (let r = 0; r < copies; r++) bytes.set(t.bytes, r * t.bytes.length);
      return [name, Tensor.ofBytes(t.dtype, [copies, ...t.dims.slice(1)], bytes)];
    }),
  );
}
