/** Quadratics of a gate's place, computed by the runtime: teacher and student run side by side on the same samples. */
import type { Samples } from "../calibrate/samples.js";
import { int, ints } from "../graph/attribute.js";
import { cloneModel } from "../graph/clone.js";
import { removeDeadFrom } from "../graph/dead.js";
import { type Graph, type Model, Value } from "../graph/graph.js";
import { infer, type Types } from "../graph/infer.js";
import { Tensor } from "../graph/tensor.js";
import { type LinearReader, linearReaders } from "../passes/gates/readers.js";
import type { GateSite } from "../passes/gates/sites.js";
import type { Runner } from "../runtime/runner.js";
import { withBoth } from "../runtime/source.js";
import { biasOf } from "../score/affine.js";
import type { Looks } from "./looks.js";
import type { Quadratics } from "./quadratics.js";
import { layerOf, type ReadLayer, type Wanted } from "./read-layer.js";

/** Two nets whose values have the same names: the student is what is left of the teacher. */
export interface Pair {
  readonly teacher: Model;
  readonly student: Model;
  /** Indices along `axis` of the teacher's value that the student has; undefined: all. A sentence where that cannot be said. */
  kept(value: string, axis: number): readonly number[] | undefined | string;
}

export interface MeasureOptions {
  readonly looks: Looks;
  /** Bytes of quadratics held at a time: where C² of all samples would take more, only the first runs are looked at. */
  readonly memory: number;
  readonly signal?: AbortSignal | undefined;
}

/** Bytes of intermediate results of one sample beyond which positions of a map are sampled. */
const SAMPLE_BYTES = 64 * 2 ** 20;

/**
 * The quadratics of a gate at `site` of the student, whose wanted results are what the teacher's layers of the same names give before
 * their activation, or the residual sums these go into. A sentence where they cannot be measured: a reader that is no linear layer, or of which the teacher has no twin.
 *
 * G of readers with few weights per channel is (WᵀW)∘(XXᵀ), else it is made of Z itself. Where one sample's Z is beyond 64 MiB, positions
 * are sampled evenly; the loss is then that of these positions.
 */
export async function measureQuadratics(
  runner: Runner,
  pair: Pair,
  site: GateSite,
  samples: Samples,
  options: MeasureOptions,
): Promise<Quadratics | string> {
  const types = infer(pair.student);
  const value = pair.student.graph.value(site.value.name);
  if (!value) return "the student does not have it";
  const found = linearReaders(value, site.axis, site.channels, (v) => types.shape(v));
  if (typeof found === "string") return found;
  const layers: ReadLayer[] = [];
  for (const reader of found.readers) {
    const layer = readLayer(reader, site, types, pair);
    if (typeof layer === "string") return layer;
    layers.push(layer);
  }
  const teacher = targetsOf(pair.teacher, layers);
  const student = quadraticGraph(pair.student, site, layers);
  return run(runner, [teacher, student], layers, site, samples, options);
}

function readLayer(reader: LinearReader, site: GateSite, types: Types, { teacher, kept }: Pair): ReadLayer | string {
  const { node } = reader;
  const about = `${node.opType} "${node.label}"`;
  const Y = node.outputs[0] as Value;
  if (teacher.graph.value(Y.name)?.producer?.opType !== node.opType) return `the model before removal has no ${about}`;
  const shape = types.shape(Y);
  const channels = node.opType === "MatMul" || node.opType === "Gemm" ? (shape?.length ?? 0) - 1 : 1;
  const outputs = shape?.[channels];
  if (!shape || typeof outputs !== "number") return `the shape of what ${about} makes is not known`;
  const bias = biasOf(node, outputs);
  if (bias === "other") return `the bias of ${about} is not a constant`;
  const rows = kept(Y.name, channels);
  if (typeof rows === "string") return rows;
  const wanted = sumAfter(Y, teacher, types) ?? { value: Y.name, minus: undefined };
  return layerOf(reader, site, { shape, channels, outputs, bias, rows, wanted }, SAMPLE_BYTES / 4);
}

/**
 * Where the layer's result goes into a residual sum alone, the sum is what should be right: what removal before it has done to the skip
 * is made good here, as far as this layer can.
 */
function sumAfter(Y: Value, teacher: Model, types: Types): Wanted | undefined {
  const [use] = Y.uses();
  const sum = use?.node;
  const other = sum?.inputs[1 - (use?.index ?? 0)];
  const S = sum?.outputs[0];
  if (sum?.qualifiedType !== "Add" || Y.useCount > 1 || Y.isOutput || !other || other === Y || other.constant || !S) return undefined;
  const isSame = (a: Value, b: Value) => types.shape(a)?.join() === types.shape(b)?.join();
  if (!isSame(Y, other) || !isSame(Y, S) || teacher.graph.value(S.name)?.producer?.opType !== "Add") return undefined;
  return { value: S.name, minus: other.name };
}

/** The teacher with the rows of wanted results that the student has as its outputs, in the order of the layers. */
function targetsOf(teacher: Model, layers: readonly ReadLayer[]): Model {
  const copy = cloneModel(teacher);
  const { graph } = copy;
  const outputs = layers.map(({ wanted, rows, channels }, k) => {
    const Y = graph.value(wanted.value) as Value;
    if (!rows) return graph.insertNode("Identity", [Y], { outputs: [`gate_target_${k}`] }).outputs[0] as Value;
    const indices = graph.addInitializer(`gate_rows_${k}`, Tensor.ints(rows));
    const attributes = { axis: int(channels) };
    return graph.insertNode("Gather", [Y, indices], { outputs: [`gate_target_${k}`], attributes }).outputs[0] as Value;
  });
  return onlyOutputs(copy, outputs);
}

function onlyOutputs(model: Model, outputs: readonly Value[]): Model {
  model.graph.setOutputs(outputs);
  removeDeadFrom(model.graph);
  model.sha256 = undefined;
  return model;
}

/** The student up to the readers, with G, h, k and z of each sample as its outputs; what the teacher gives comes in as inputs. */
function quadraticGraph(student: Model, site: GateSite, layers: readonly ReadLayer[]): Model {
  const copy = cloneModel(student);
  const { graph } = copy;
  const emit = new Emitter(graph, copy.opset);
  const parts = layers.map((layer, k) => {
    const target = graph.addInput(new Value(graph.freshName(`gate_target_${k}`), { kind: "tensor", dtype: site.dtype, shape: undefined }));
    const operand = graph.value(layer.reader.operand.name) as Value;
    const other = layer.wanted.minus === undefined ? undefined : graph.value(layer.wanted.minus);
    const Y = other ? emit.node("Sub", [target, other]) : target;
    return emit.quadratic(layer, emit.float32(operand, site), emit.float32(Y, site));
  });
  const sum = (of: (p: (typeof parts)[number]) => Value) => parts.map(of).reduce((a, b) => emit.node("Add", [a, b]));
  const X = emit.float32(graph.value(site.value.name) as Value, site);
  const outputs = [sum((p) => p.G), sum((p) => p.h), sum((p) => p.k), emit.mean(X, site)].map(
    (v, i) => graph.insertNode("Identity", [v], { outputs: [`gate_${"Ghkz"[i]}`] }).outputs[0] as Value,
  );
  return onlyOutputs(copy, outputs);
}

class Emitter {
  readonly #graph: Graph;
  readonly #opset: number;

  constructor(graph: Graph, opset: number) {
    this.#graph = graph;
    this.#opset = opset;
  }

  node(opType: string, inputs: readonly Value[], attributes = {}): Value {
    return this.#graph.insertNode(opType, inputs, { outputs: ["gate_measure"], attributes }).outputs[0] as Value;
  }

  float32(value: Value, { dtype }: GateSite): Value {
    return dtype === "float32" ? value : this.node("Cast", [value], { to: int(1) });
  }

  floats(dims: readonly number[], data: Float64Array): Value {
    return this.#graph.addInitializer("gate_constant", Tensor.fromNumbers("float32", dims, data));
  }

  reshape(value: Value, dims: readonly number[]): Value {
    return this.node("Reshape", [value, this.#graph.addInitializer("gate_shape", Tensor.ints(dims))]);
  }

  transpose(value: Value, perm: readonly number[]): Value {
    return this.node("Transpose", [value], { perm: ints(perm) });
  }

  /** Over `axes`, which go. */
  #reduce(opType: "ReduceSum" | "ReduceMean", value: Value, axes: readonly number[]): Value {
    const since = opType === "ReduceSum" ? 13 : 18;
    const keepdims = { keepdims: int(0) };
    if (this.#opset < since) return this.node(opType, [value], { axes: ints(axes), ...keepdims });
    return this.node(opType, [value, this.#graph.addInitializer("gate_axes", Tensor.ints(axes))], keepdims);
  }

  /** [N, C]. */
  mean(X: Value, { rank }: GateSite): Value {
    if (rank === 2) return X;
    return this.#reduce("ReduceMean", X, rank === 4 ? [2, 3] : [1]);
  }

  /** G [N, C, C], h [N, C] and k [N] of one reader. */
  quadratic(layer: ReadLayer, X: Value, Y: Value): { readonly G: Value; readonly h: Value; readonly k: Value } {
    const { C, K, O } = layer;
    const { U, T } = this.#sampled(layer, this.#taps(layer, X), this.#target(layer, Y));
    const k = this.#reduce("ReduceSum", this.node("Mul", [T, T]), [1, 2]);
    if (layer.isGram) {
      const rows = this.reshape(U, [0, C * K, -1]);
      const products = this.node("MatMul", [rows, this.transpose(rows, [0, 2, 1])]);
      const weighted = this.node("Mul", [products, this.floats([C * K, C * K], layer.weightGram())]);
      const G = K === 1 ? weighted : this.#reduce("ReduceSum", this.reshape(weighted, [0, C, K, C, K]), [2, 4]);
      const back = this.node("MatMul", [this.floats([C * K, O], layer.weightByTap()), T]);
      const h = this.#reduce("ReduceSum", this.reshape(this.node("Mul", [rows, back]), [0, C, -1]), [2]);
      return { G, h, k };
    }
    const Z = this.reshape(this.node("MatMul", [this.floats([C, O, K], layer.weightByChannel()), U]), [0, C, -1]);
    const G = this.node("MatMul", [Z, this.transpose(Z, [0, 2, 1])]);
    const h = this.reshape(this.node("MatMul", [Z, this.reshape(T, [0, -1, 1])]), [0, C]);
    return { G, h, k };
  }

  /** U [N, C, K, P]: what the K weights of a filter on one channel meet at each of P positions. */
  #taps({ reader, C, K, form }: ReadLayer, X: Value): Value {
    if (form === "tokens") return this.reshape(this.transpose(X, [0, 2, 1]), [0, C, 1, -1]);
    if (form === "features") return this.reshape(X, [0, C, K, 1]);
    const { node } = reader;
    const one = new Float64Array(C * K * K);
    for (let c = 0; c < C; c++) for (let t = 0; t < K; t++) one[(c * K + t) * K + t] = 1;
    const kernel = reader.weight.dims.slice(2);
    const attributes: Record<string, unknown> = { group: int(C) };
    for (const name of ["pads", "strides", "dilations", "auto_pad"]) {
      const a = node.attributes.get(name);
      if (a) attributes[name] = a;
    }
    const shifted = this.node("Conv", [X, this.floats([C * K, 1, ...kernel], one)], attributes);
    return this.reshape(shifted, [0, C, K, -1]);
  }

  /** T [N, O, P]: the wanted result without what the student's bias gives. */
  #target({ form, bias, O }: ReadLayer, Y: Value): Value {
    const rows = form === "tokens" ? this.transpose(Y, [0, 2, 1]) : this.reshape(Y, form === "features" ? [0, O, 1] : [0, O, -1]);
    return bias ? this.node("Sub", [rows, this.floats([1, O, 1], bias)]) : rows;
  }

  #sampled({ positions }: ReadLayer, U: Value, T: Value): { readonly U: Value; readonly T: Value } {
    if (!positions) return { U, T };
    const at = this.#graph.addInitializer("gate_positions", Tensor.ints(positions));
    return { U: this.node("Gather", [U, at], { axis: int(3) }), T: this.node("Gather", [T, at], { axis: int(2) }) };
  }
}

async function run(
  runner: Runner,
  models: readonly [Model, Model],
  layers: readonly ReadLayer[],
  { channels }: GateSite,
  samples: Samples,
  { looks: { size, starts }, memory, signal }: MeasureOptions,
): Promise<Quadratics> {
  const runs = starts.slice(0, Math.max(1, Math.floor(memory / (4 * channels * channels * size))));
  const targets = layers.map((_, i) => `gate_target_${i}`);
  // The student's inputs for them come last, under names of its own.
  const inputs = models[1].graph.inputs.slice(-layers.length).map((v) => v.name);
  return withBoth(runner, models, async (teacher, student) => {
    const G: Float32Array[] = [];
    const h: Float32Array[] = [];
    const z: Float32Array[] = [];
    const k: number[] = [];
    for (const from of runs) {
      signal?.throwIfAborted();
      const feeds = await samples.batch(from, from + size);
      const wanted = await teacher.run(feeds);
      const out = await student.run({
        ...feeds,
        ...Object.fromEntries(inputs.map((name, i) => [name, wanted[targets[i] as string] as Tensor])),
      });
      const rows = (name: string, width: number) => {
        const data = (out[name] as Tensor).data as Float32Array;
        return Array.from({ length: size }, (_, n) => data.slice(n * width, (n + 1) * width));
      };
      G.push(...rows("gate_G", channels * channels));
      h.push(...rows("gate_h", channels));
      z.push(...rows("gate_z", channels));
      k.push(...rows("gate_k", 1).map((v) => v[0] as number));
    }
    return { channels, G, h, z, k: Float64Array.from(k) };
  });
}
