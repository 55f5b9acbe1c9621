/** fold-gates: what a gate does whatever its input goes into the weights that read the gated map. */
import { z } from "zod";
import { capturedOutputs } from "../graph/captured-outputs.js";
import type { Model, Node, Value } from "../graph/graph.js";
import { infer, type Types } from "../graph/infer.js";
import { Tensor } from "../graph/tensor.js";
import { perChannel } from "../score/affine.js";
import { linearReaders } from "./gates/readers.js";
import { scaleReaders } from "./gates/scale-readers.js";
import { GATED_TYPES } from "./gates/sites.js";
import { definePass } from "./pass.js";

/**
 * Three steps, for each Mul(X, s) of a map with a factor per channel:
 *
 * - s does not depend on X, because the weights of its last layer are zero: s is a constant, and where it is 1 the gate disappears;
 * - s is a constant: W[:, c] ← s_c·W[:, c] in every layer that reads the product (through pooling and flattening), and the Mul goes;
 * - s is a constant times something: the constant goes into those weights (2·σ costs no rounding: 2 is a power of two).
 *
 * Arithmetic is in float64, results are stored in the weight's type.
 */
export const foldGates = definePass({
  name: "fold-gates",
  summary: "move the constant part of each channel gate into the weights that read the gated map",
  options: z.strictObject({}),
  effect: "equal",

  run(model, { note }) {
    const { graph } = model;
    // What a subgraph returns as it is has no use that could be followed.
    const captured = capturedOutputs(graph);
    const removeUnread = remover(captured);
    const types = infer(model);
    let changed = false;
    for (const product of graph.nodes.filter((n) => n.isStandard && n.opType === "Mul")) {
      const gate = gateOf(product, types);
      if (!gate) continue;
      const constant = gate.s.constant ? gate.s : constantGate(model, product, gate, types, removeUnread);
      if (constant) {
        changed ||= constant !== gate.s;
        const factor = perChannel(constant.constant as Tensor, gate.rank, gate.axis, gate.channels);
        if (!factor) continue;
        const why = captured.has(product.outputs[0] as Value)
          ? "a subgraph returns it"
          : foldStatic(model, product, gate, factor, types, removeUnread);
        if (why) note({ code: "GATE_KEPT", about: product.label, why });
        else changed = true;
      } else changed = foldScale(model, product, gate, types, removeUnread) || changed;
    }
    return changed;
  },
});

/** Mul(X, s): a map and one factor per channel, or per sample and channel. */
interface Gated {
  readonly X: Value;
  readonly s: Value;
  readonly rank: number;
  readonly axis: number;
  readonly channels: number;
}

/** [N, C, H, W] times [.., C, 1, 1], or [N, T, C] times [.., 1, C]. */
function gateOf(node: Node, types: Types): Gated | undefined {
  const [a, b] = node.inputs;
  if (!a || !b || a === b) return undefined;
  for (const [X, s] of [
    [a, b],
    [b, a],
  ] as const) {
    const shape = types.shape(X);
    const of = types.shape(s);
    if (!shape || !of || X.constant || !isGatedType(X, types)) continue;
    if (shape.length !== 3 && shape.length !== 4) continue;
    const axis = shape.length === 4 ? 1 : 2;
    const channels = shape[axis];
    if (typeof channels !== "number" || of.length > shape.length) continue;
    const at = (k: number) => of[k - (shape.length - of.length)] ?? 1;
    const isPerChannel = shape.every((d, k) => (k === axis ? at(k) === channels : at(k) === 1 || (k === 0 && at(k) === d)));
    const isMap = shape.some((d, k) => k > 0 && k !== axis && d !== 1);
    if (isPerChannel && isMap) return { X, s, rank: shape.length, axis, channels };
  }
  return undefined;
}

function isGatedType(value: Value, types: Types): boolean {
  const type = types.type(value);
  return type?.kind === "tensor" && GATED_TYPES.has(type.dtype);
}

/**
 * The constant that s always is, in its place, if its last layer has zero weights: c·σ(b) (Sigmoid after a Conv or a MatMul and an Add), or
 * clip(b, 0, 2). What made s goes.
 */
function constantGate(
  model: Model,
  product: Node,
  { X, s, rank, axis, channels }: Gated,
  types: Types,
  removeUnread: Remove,
): Value | undefined {
  let of = s.producer;
  let factor = 1;
  const scale = of && scalarFactor(of, types);
  if (scale) {
    factor = scale.factor;
    of = scale.of.producer;
  }
  let value: Float64Array | undefined;
  if (of?.qualifiedType === "Sigmoid") value = biasAlone(of.inputs[0]?.producer, rank, axis, channels)?.map((b) => 1 / (1 + Math.exp(-b)));
  else if (of?.qualifiedType === "Clip" || of?.qualifiedType === "Relu") {
    const bounds = of.opType === "Relu" ? [0, Number.POSITIVE_INFINITY] : clipBounds(of);
    const [low, high] = bounds ?? [];
    if (low !== undefined && high !== undefined)
      value = biasAlone(of.inputs[0]?.producer, rank, axis, channels)?.map((b) => Math.min(high, Math.max(low, b)));
  }
  if (!value) return undefined;
  const dims = rank === 4 ? [1, channels, 1, 1] : [channels];
  const dtype = types.type(X);
  if (dtype?.kind !== "tensor") return undefined;
  const values = value.map((v) => factor * v);
  const made = model.graph.addInitializer(`${s.name}_constant`, Tensor.fromNumbers(dtype.dtype, dims, values));
  product.setInput(product.inputs.indexOf(s), made);
  removeUnread(s);
  return made;
}

/** What a linear layer with zero weights gives: its bias; undefined when it has others, or is another node. */
function biasAlone(node: Node | undefined, rank: number, axis: number, channels: number): Float64Array | undefined {
  if (!node?.isStandard) return undefined;
  const isZero = (v: Value | undefined) => v?.constant?.numbers().every((x) => x === 0) ?? false;
  if (node.opType === "Conv" && isZero(node.inputs[1])) {
    const bias = node.inputs[2];
    return bias ? vector(bias, 1, 0, channels) : new Float64Array(channels);
  }
  if (node.opType !== "Add") return undefined;
  for (const [product, bias] of [
    [node.inputs[0], node.inputs[1]],
    [node.inputs[1], node.inputs[0]],
  ]) {
    const by = product?.producer;
    if (!by || !bias || !["MatMul", "Mul"].includes(by.qualifiedType) || !by.inputs.some(isZero)) continue;
    return vector(bias, rank, axis, channels);
  }
  return undefined;
}

function vector(value: Value, rank: number, axis: number, channels: number): Float64Array | undefined {
  return value.constant && perChannel(value.constant, rank, axis, channels);
}

function clipBounds(node: Node): readonly [number, number] | undefined {
  const bound = (index: number, name: string, none: number): number | undefined => {
    const value = node.inputs[index];
    return value ? value.constant?.numbers()[0] : node.float(name, none);
  };
  const low = bound(1, "min", Number.NEGATIVE_INFINITY);
  const high = bound(2, "max", Number.POSITIVE_INFINITY);
  return low === undefined || high === undefined ? undefined : [low, high];
}

/** `node` as a product with one constant number. */
function scalarFactor(node: Node, types: Types): { readonly factor: number; readonly of: Value } | undefined {
  if (node.qualifiedType !== "Mul") return undefined;
  const [a, b] = node.inputs;
  for (const [of, by] of [
    [a, b],
    [b, a],
  ]) {
    const t = by?.constant;
    if (of && !of.constant && t?.size === 1 && t.dims.length <= (types.shape(of)?.length ?? 0))
      return { factor: t.numbers()[0] as number, of };
  }
  return undefined;
}

/** Says why not. */
function foldStatic(
  model: Model,
  product: Node,
  { X, axis, channels }: Gated,
  factor: Float64Array,
  types: Types,
  removeUnread: Remove,
): string | undefined {
  const Y = product.outputs[0] as Value;
  const isOne = factor.every((f) => f === 1);
  if (!isOne) {
    const found = linearReaders(Y, axis, channels, (v) => types.shape(v));
    if (typeof found === "string") return `its factors cannot move into weights: ${found}`;
    if (found.takesMaximum && factor.some((f) => f < 0)) return "some factors are negative, and a maximum is taken of the product";
    if (!scaleReaders(model, found.readers, factor)) return "the scaled weights exceed the range of their type";
  }
  const inputs = [...product.inputs];
  if (!model.graph.bypass(Y, X)) return "its input and its output both have names that others rely on";
  model.graph.removeNode(product);
  for (const v of inputs) if (v && v !== X) removeUnread(v);
  return undefined;
}

/** Moves a constant factor of s on; a factor that is not positive stays. */
function foldScale(model: Model, product: Node, { s, axis, channels }: Gated, types: Types, removeUnread: Remove): boolean {
  const scale = s.producer && scalarFactor(s.producer, types);
  const Y = product.outputs[0] as Value;
  if (!scale || scale.factor <= 0 || s.isOutput) return false;
  const found = linearReaders(Y, axis, channels, (v) => types.shape(v));
  if (typeof found === "string" || !scaleReaders(model, found.readers, new Float64Array(channels).fill(scale.factor))) return false;
  product.setInput(product.inputs.indexOf(s), scale.of);
  removeUnread(s);
  return true;
}

type Remove = (value: Value) => void;

/** Removes what made a value, as far as nobody else reads it. */
function remover(captured: ReadonlySet<Value>): Remove {
  const isRead = (v: Value) => v.useCount > 0 || v.isOutput || captured.has(v);
  const remove = (value: Value): void => {
    const { graph, producer: node } = value;
    if (!graph || isRead(value)) return;
    if (!node) {
      if (value.constant && !value.isInput) graph.removeInitializer(value);
      return;
    }
    if (node.outputs.some((o) => o && isRead(o))) return;
    const inputs = [...node.inputs];
    graph.removeNode(node);
    for (const v of inputs) if (v) remove(v);
  };
  return remove;
}
