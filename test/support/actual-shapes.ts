/**
 * The judge of type inference: runs a model with every intermediate value as an output, optimisation off, and compares
 * what ONNX Runtime made with what `infer` said, bound to numbers and symbolic.
 */
import { InferenceSession, Tensor as OrtTensor } from "onnxruntime-node";
import { decode, encode, joinChunks } from "../../src/graph/codec.js";
import { type Dim, evaluate } from "../../src/graph/dim.js";
import type { Model, Value } from "../../src/graph/graph.js";
import { infer, type Types } from "../../src/graph/infer.js";

/** Numeric shapes of the graph inputs, by name. */
export type InputShapes = Readonly<Record<string, readonly number[]>>;

export interface ShapeReport {
  /** Values compared: every node output of the main graph that the runtime returned. */
  readonly values: number;
  /** Of these, the ones whose shape is fully known once the inputs are bound, and as text over the input's symbols. */
  readonly known: number;
  readonly symbolic: number;
  /** Values whose contents were predicted (and compared). */
  readonly contents: number;
  /** One sentence per difference between prediction and run. */
  readonly wrong: readonly string[];
  /** Names of values whose shape is not fully known. */
  readonly unknown: readonly string[];
}

/** Compares inferred shapes, element types and contents of all values of the model in `bytes` with those of a run. */
export async function compareWithRun(bytes: Uint8Array, inputs: InputShapes): Promise<ShapeReport> {
  const model = decode(bytes);
  const free = infer(model);
  const bound = infer(model, { bind: inputs });
  const symbols = symbolsOf(model, free, inputs);
  const actual = await runAll(bytes, inputs);
  const wrong: string[] = [];
  const unknown: string[] = [];
  let known = 0;
  let symbolic = 0;
  let contents = 0;
  for (const [name, tensor] of actual) {
    const value = model.graph.value(name) as Value;
    const complain = (what: string, said: unknown) =>
      wrong.push(`${name} (${value.producer?.opType}): ${what} ${said}, the run [${tensor.dims.join(", ")}] ${tensor.type}`);
    const dtype = bound.type(value);
    if (dtype?.kind === "tensor" && dtype.dtype !== tensor.type) complain("dtype", dtype.dtype);
    if (settle(bound.shape(value), new Map(), tensor.dims, (said) => complain("bound", said))) known++;
    else unknown.push(name);
    if (settle(free.shape(value), symbols, tensor.dims, (said) => complain("symbolic", said))) symbolic++;
    for (const [types, map] of [
      [bound, new Map<string, number>()],
      [free, symbols],
    ] as const) {
      const content = types.content(value)?.map((d) => evaluate(d, map));
      if (!content?.every((d) => d !== undefined)) continue;
      contents++;
      // Tensors saturate integers beyond what a number holds exactly, as "to the end" is written.
      const limit = Number.MAX_SAFE_INTEGER;
      const data = Array.from(tensor.data as ArrayLike<number | bigint>, (x) => Math.max(-limit, Math.min(limit, Number(x))));
      if (data.join() !== content.join()) wrong.push(`${name} (${value.producer?.opType}): content [${content}], the run [${data}]`);
    }
  }
  return { values: actual.size, known, symbolic, contents, wrong, unknown };
}

/** True when `shape` is fully known under `symbols`; complains when it then differs. Known parts of an unknown shape must agree too. */
function settle(
  shape: readonly Dim[] | undefined,
  symbols: ReadonlyMap<string, number>,
  actual: readonly number[],
  complain: (said: string) => void,
): boolean {
  if (!shape) return false;
  const numbers = shape.map((d) => evaluate(d, symbols));
  if (shape.length !== actual.length || numbers.some((n, a) => n !== undefined && n !== actual[a])) complain(`[${shape.join(", ")}]`);
  return numbers.every((n) => n !== undefined);
}

/** The numbers that `inputs` give to the symbols of the inputs' shapes. */
function symbolsOf(model: Model, types: Types, inputs: InputShapes): Map<string, number> {
  const symbols = new Map<string, number>();
  for (const v of model.graph.inputs) {
    types.shape(v)?.forEach((d, a) => {
      const n = inputs[v.name]?.[a];
      if (typeof d === "string" && n !== undefined) symbols.set(d, n);
    });
  }
  return symbols;
}

/** Every node output of the main graph, as the runtime computes it from pseudo-random inputs. */
export async function runAll(bytes: Uint8Array, inputs: InputShapes): Promise<Map<string, OrtTensor>> {
  const model = decode(bytes);
  for (const node of model.graph.nodes) {
    for (const v of node.outputs) {
      if (!v || v.isOutput || v.type?.kind === "other") continue;
      // Whatever value_info says must not reach the runtime: it would refuse a stale shape.
      v.type = undefined;
      v.origin = undefined;
      model.graph.addOutput(v);
    }
  }
  const session = await InferenceSession.create(joinChunks(encode(model)), { graphOptimizationLevel: "disabled", logSeverityLevel: 3 });
  const feeds: Record<string, OrtTensor> = {};
  for (const v of model.graph.inputs) {
    if (v.initializer) continue;
    const dims = inputs[v.name];
    if (!dims) throw new Error(`No shape is given for input "${v.name}".`);
    feeds[v.name] = randomTensor(v, dims);
  }
  const results = await session.run(feeds);
  await session.release();
  const names = model.graph.nodes.flatMap((n) => n.outputs.flatMap((v) => (v && v.name in results ? [v.name] : [])));
  return new Map(names.map((name) => [name, results[name] as OrtTensor]));
}

function randomTensor(v: Value, dims: readonly number[]): OrtTensor {
  const size = dims.reduce((a, b) => a * b, 1);
  let state = 12345;
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  if (v.dtype === "int64")
    return new OrtTensor(
      "int64",
      BigInt64Array.from({ length: size }, () => 1n),
      dims,
    );
  if (v.dtype === "bool") return new OrtTensor("bool", new Uint8Array(size).fill(1), dims);
  return new OrtTensor("float32", Float32Array.from({ length: size }, next), dims);
}
