/** Times of single layers on the machine at hand, by shape: what a model will take is their sum, before it exists. */
import { z } from "zod";
import { type Dim, isKnown } from "../graph/dim.js";
import type { Model, Node, Value } from "../graph/graph.js";
import { infer } from "../graph/infer.js";
import { parse } from "../graph/parse.js";
import { sizeOf } from "../graph/rearrange.js";
import { Tensor } from "../graph/tensor.js";
import type { Feeds, Runner } from "../runtime/runner.js";
import { sourceOf } from "../runtime/source.js";

/** A layer as far as its time depends on it, or one that stands for it: its time is `share` of that one's. */
export interface LayerShape {
  /** Operator, attributes and shapes: two layers with one key take the same time. */
  readonly key: string;
  /** Operator, attributes and all extents but those of channels. */
  readonly kind: string;
  readonly macs: number;
  /** 1 but for matrix products, whose time grows evenly with their extents (docs/widths.md): one is timed for all of about its size. */
  readonly share: number;
  /** Operator with its attributes, as ONNX text. */
  readonly call: string;
  readonly input: readonly number[];
  readonly weight: readonly number[];
}

/** A table file: what its times hold for, and the times. */
const fileSchema = z.strictObject({
  format: z.literal(2),
  /** Provider, threads, runtime and processor. */
  machine: z.string(),
  /** Milliseconds by key of the layer. */
  layers: z.record(z.string(), z.number().positive()),
});

export interface FillOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** What a model takes by the table: known layers, and an estimate for those that were not timed yet. */
export interface Prediction {
  /** Milliseconds of all layers. */
  readonly milliseconds: number;
  /** How many of them are estimated. */
  readonly estimated: number;
  /** Layers that are only estimated. */
  readonly missing: readonly LayerShape[];
}

export class LatencyTable {
  readonly machine: string;
  readonly #times: Map<string, number>;
  /** Timed layers that came up in this run, for estimates. */
  readonly #seen = new Map<string, LayerShape>();

  /** @param machine what times hold for: another machine has another table */
  constructor(machine: string, times: Iterable<readonly [string, number]> = []) {
    this.machine = machine;
    this.#times = new Map(times);
  }

  /** Reads a table; an empty one where the text is damaged or of another machine, for it is a cache. */
  static read(text: string | undefined, machine: string): LatencyTable {
    try {
      const file = fileSchema.parse(JSON.parse(text ?? ""));
      if (file.machine === machine) return new LatencyTable(machine, Object.entries(file.layers));
    } catch {
      // Measured anew.
    }
    return new LatencyTable(machine);
  }
  print(): string {
    const layers = Object.fromEntries([...this.#times].sort(([a], [b]) => (a < b ? -1 : 1)));
    return `${JSON.stringify({ format: 2, machine: this.machine, layers } satisfies z.output<typeof fileSchema>, undefined, 1)}\n`;
  }

  get size(): number {
    return this.#times.size;
  }
  get(key: string): number | undefined {
    return this.#times.get(key);
  }

  predict(layers: readonly LayerShape[]): Prediction {
    let milliseconds = 0;
    let estimated = 0;
    const missing = new Map<string, LayerShape>();
    for (const layer of layers) {
      const time = this.#times.get(layer.key);
      if (time === undefined) {
        const about = layer.share * this.#estimate(layer);
        missing.set(layer.key, layer);
        estimated += about;
        milliseconds += about;
      } else {
        this.#seen.set(layer.key, layer);
        milliseconds += layer.share * time;
      }
    }
    return { milliseconds, estimated, missing: [...missing.values()] };
  }

  /** By the multiply-accumulates a millisecond of the timed layer that is nearest in size, of the same kind where there is one. */
  #estimate({ macs, kind }: LayerShape): number {
    let nearest: LayerShape | undefined;
    const distance = (l: LayerShape) => Math.abs(Math.log(l.macs / macs));
    for (const l of this.#seen.values()) {
      const isCloser =
        !nearest || (nearest.kind === kind) === (l.kind === kind) ? !nearest || distance(l) < distance(nearest) : l.kind === kind;
      if (isCloser) nearest = l;
    }
    return nearest ? ((this.#times.get(nearest.key) as number) * macs) / nearest.macs : macs / 1e7;
  }

  /** Times layers that the table lacks. */
  async fill(runner: Runner, layers: readonly LayerShape[], { signal, onProgress }: FillOptions = {}): Promise<void> {
    const lacking = layers.filter((l) => !this.#times.has(l.key));
    for (const [i, layer] of lacking.entries()) {
      signal?.throwIfAborted();
      onProgress?.(i, lacking.length);
      this.#times.set(layer.key, await timeOf(runner, layer));
      this.#seen.set(layer.key, layer);
    }
  }
}

/**
 * A layer's time is the difference of two models, one with more copies of it: what a run costs beside its layers, some 30 µs, and what is done
 * once for all copies (inputs brought into the layout of blocked kernels) is in both. The shorter the layer, the more copies.
 */
const COPIES = { short: [2, 6], long: [1, 2] } as const;
const LONG_MACS = 5e7;
/** Milliseconds of a block of runs, and most blocks. */
const BLOCK_MS = 6;
const MOST_BLOCKS = 6;
/** How near the two fastest runs must be to one another. */
const AGREEMENT = 0.02;

/** Milliseconds of one layer: the least of many runs, which other work on the machine disturbs least. */
async function timeOf(runner: Runner, layer: LayerShape): Promise<number> {
  const copies = COPIES[layer.macs >= LONG_MACS ? "long" : "short"];
  const models = copies.map((n) => modelOf(layer, n));
  const [few, many] = (await leastTimes(runner, models, { x: floats(layer.input) })) as [number, number];
  // Noise may turn the difference of two small numbers round; a layer never takes nothing.
  return Math.max((many - few) / (copies[1] - copies[0]), many / copies[1] / 10);
}

async function leastTimes(runner: Runner, models: readonly Model[], feeds: Feeds): Promise<number[]> {
  const sessions = [];
  try {
    for (const m of models) sessions.push({ session: await runner.load(sourceOf(m)), feeds });
    return await leastOf(sessions, BLOCK_MS, MOST_BLOCKS);
  } finally {
    for (const { session } of sessions) await session.release();
  }
}

/**
 * The least time of a run of each session, in milliseconds; blocks of runs take turns. Other work makes a run slower by any amount, so what two
 * runs agree on is the run alone: blocks are added until they do, up to `most`.
 */
export async function leastOf(
  sessions: readonly { readonly session: { time(feeds: Feeds, runs: number): Promise<Float64Array> }; readonly feeds: Feeds }[],
  milliseconds: number,
  most: number,
): Promise<number[]> {
  const times: number[][] = [];
  const runs: number[] = [];
  for (const { session, feeds } of sessions) {
    const warm = [...(await session.time(feeds, 3))];
    times.push(warm);
    runs.push(Math.max(2, Math.min(200, Math.ceil(milliseconds / Math.max(Math.min(...warm), 1e-3)))));
  }
  for (let b = 0; b < most; b++) {
    for (const [i, { session, feeds }] of sessions.entries()) {
      const [first, second] = [...(times[i] as number[]), ...(await session.time(feeds, runs[i] as number))].sort((x, y) => x - y);
      times[i] = [first as number, second as number];
    }
    if (b > 0 && times.every(([first, second]) => (second as number) <= (first as number) * (1 + AGREEMENT))) break;
  }
  return times.map(([first]) => first as number);
}

/** `copies` of the layer side by side, each with weights of its own, added up: as blocked kernels have them in a network. */
function modelOf({ call, input, weight }: LayerShape, copies: number): Model {
  const each = Array.from({ length: copies }, (_, i) => i);
  const inputs = [`float[${input.join(", ")}] x`, ...each.map((i) => `float[${weight.join(", ")}] w${i}`)].join(", ");
  // Adding up large outputs would take longer than some layers: of images one position is looked at, in whatever layout they are.
  const isImage = call.startsWith("Conv");
  const looked = (i: number) => `\n  z${i} = MaxPool <kernel_shape = [${taps}], strides = [${strides}]> (y${i})`;
  const [taps, strides] = [1, 2 ** 15].map((n) => input.slice(2).map(() => n));
  const nodes = each.map((i) => `  y${i} = ${call} (x, w${i})${isImage ? looked(i) : ""}`).join("\n");
  const last = isImage ? "z" : "y";
  const sum = copies === 1 ? `  y = Identity (${last}0)` : `  y = Sum (${each.map((i) => `${last}${i}`).join(", ")})`;
  // The runtime infers the shape of what comes out.
  const rank = Array.from({ length: outputRank(call, input, weight) }, (_, a) => `D${a}`);
  const model = parse(`<ir_version: 8, opset_import: ["" : 13]> layer (${inputs}) => (float[${rank.join(", ")}] y) {\n${nodes}\n${sum}\n}`);
  const data = floats(weight);
  for (const i of each) {
    const w = model.graph.value(`w${i}`) as Value;
    model.graph.attachInitializer(w, data);
    model.graph.removeInput(w);
  }
  return model;
}

/** Numbers of ordinary size, a few over and over: what they are changes no time, and drawing millions takes longer than running the layer. */
function floats(dims: readonly number[]): Tensor {
  const data = new Float32Array(sizeOf(dims));
  for (let i = 0; i < data.length; i++) data[i] = ((i % 61) - 30) / 100;
  return Tensor.floats(dims, data);
}

function outputRank(call: string, input: readonly number[], weight: readonly number[]): number {
  return call.startsWith("MatMul") ? Math.max(input.length, weight.length) : input.length;
}

const TIMED: Readonly<Record<string, readonly string[]>> = {
  Conv: ["auto_pad", "dilations", "group", "pads", "strides"],
  ConvTranspose: ["auto_pad", "dilations", "group", "output_padding", "output_shape", "pads", "strides"],
  Gemm: ["transA", "transB"],
  MatMul: [],
};

/** The layers of the main graph that multiply float32 matrices of known extents, when inputs have `shapes`. */
export function layersOf(model: Model, shapes: Readonly<Record<string, readonly number[]>>): LayerShape[] {
  const types = infer(model, { bind: shapes });
  const shapeOf = (v: Value | undefined): number[] | undefined => {
    const type = v && types.type(v);
    if (type?.kind !== "tensor" || type.dtype !== "float32" || !type.shape?.every((d: Dim) => isKnown(d))) return undefined;
    return type.shape as number[];
  };
  return model.graph.nodes.flatMap((node) => {
    const attributes = node.isStandard ? TIMED[node.opType] : undefined;
    const [input, weight, output] = [shapeOf(node.inputs[0]), shapeOf(node.inputs[1]), shapeOf(node.outputs[0])];
    if (!attributes || !input || !weight || !output) return [];
    const call = callOf(node, attributes);
    const stands = standIn(node, input, weight);
    const macs = Math.max(1, macsOf(node, stands.input, stands.weight, output));
    const key = `${call} [${stands.input}] [${stands.weight}]`;
    const kind = `${call} [${input[0]}, ${input.slice(2)}] [${weight.slice(2)}]`;
    return [{ key, kind, call, input: stands.input, weight: stands.weight, macs, share: stands.share }];
  });
}

/** Steps of the extents of a timed matrix product between a power of two and the next. */
const STEPS_PER_OCTAVE = 8;

/** Of a product with a matrix of weights, one with both extents of that matrix rounded; any other layer stands for itself. */
function standIn(
  node: Node,
  input: readonly number[],
  weight: readonly number[],
): { readonly input: readonly number[]; readonly weight: readonly number[]; readonly share: number } {
  if (!["Gemm", "MatMul"].includes(node.opType) || weight.length !== 2) return { input, weight, share: 1 };
  const rounded = (extent: number) => {
    const step = Math.max(1, 2 ** Math.floor(Math.log2(extent)) / STEPS_PER_OCTAVE);
    return Math.round(extent / step) * step;
  };
  const inner = innerAxis(node, input);
  const matrix = weight.map(rounded);
  return { input: input.with(inner, rounded(input[inner] as number)), weight: matrix, share: sizeOf(weight) / sizeOf(matrix) };
}

function callOf(node: Node, attributes: readonly string[]): string {
  const given = attributes.flatMap((name) => {
    if (!node.attributes.has(name)) return [];
    if (name === "auto_pad") return [`auto_pad = "${node.string(name, "NOTSET")}"`];
    if (["group", "transA", "transB"].includes(name)) return [`${name} = ${node.int(name, 0)}`];
    return [`${name} = [${node.ints(name, []).join(", ")}]`];
  });
  return given.length > 0 ? `${node.opType} <${given.join(", ")}>` : node.opType;
}

function macsOf(node: Node, input: readonly number[], weight: readonly number[], output: readonly number[]): number {
  if (node.opType === "Conv") return sizeOf(output) * sizeOf(weight.slice(1));
  if (node.opType === "ConvTranspose") return sizeOf(input) * sizeOf(weight.slice(1));
  const inner = input[innerAxis(node, input)] as number;
  // Rows of what comes in, of a matrix or of many; two that are computed may be spread against each other.
  return weight.length === 2 ? (sizeOf(input) / inner) * sizeOf(weight) : sizeOf(output) * inner;
}

/** Of what comes into a Gemm or MatMul, the axis that is summed over. */
function innerAxis(node: Node, input: readonly number[]): number {
  return node.opType === "Gemm" && node.int("transA", 0) !== 0 ? 0 : input.length - 1;
}
