// A case's graph between sums: every axis of its inputs is made, and every axis of its outputs summed over, by weights.
//
// Alone, a node between a graph input and a graph output has nothing that could leave: both are interface. Here
//
//   raw ─ MatMul along axis 0 ─ … ─ along axis r ─▶ x ─ [ the case ] ─▶ y ─ MatMul along axis 0 ─ … ─▶ out
//
// every axis can lose indices, as far as the case's own operators allow it. What they allow, and what they then
// compute, is judged by the exact oracle.
import { decode, Model, normal, random, Tensor } from "../../dist/graph/index.js";

const MAX_EXTENT = 64;
const MAX_ELEMENTS = 20000;

/**
 * The wrapped model. `inputs` are the case's input tensors by name, `outputs` what a run gave. `weights`: float inputs but
 * the first are constants, as in a trained file, and not wrapped.
 *
 * @returns {Model | undefined} undefined where no float32 tensor of rank ≥ 1 comes in or goes out.
 */
export function sandwich(bytes, inputs, outputs, { weights, seed }) {
  const model = decode(bytes);
  const { graph } = model;
  const fed = graph.inputs.filter((v) => !v.initializer);
  if (fed.some((v) => !inputs[v.name])) return undefined;
  const uniform = random(`sandwich/${seed}`);
  let wrappedInputs = 0;
  let first = true;
  for (const x of fed) {
    const data = inputs[x.name];
    const isFloat = data.dtype === "float32";
    if (!isFloat || (weights && !first)) {
      graph.attachInitializer(x, data);
      graph.removeInput(x);
      continue;
    }
    first = false;
    if (!fits(data.dims)) continue;
    wrappedInputs++;
    const readers = x.uses();
    let last = x;
    data.dims.forEach((extent, axis) => {
      if (extent > 1) last = along(graph, last, axis, data.dims, uniform, readers[0]?.node);
    });
    if (last !== x) for (const { node, index } of readers) node.setInput(index, last);
  }
  let wrappedOutputs = 0;
  graph.outputs.forEach((y, at) => {
    const t = outputs[y.name];
    if (t?.type !== "float32" || !fits(t.dims) || y.isInput) return;
    let last = y;
    t.dims.forEach((extent, axis) => {
      if (extent > 1) last = along(graph, last, axis, t.dims, uniform, undefined);
    });
    if (last === y) return;
    wrappedOutputs++;
    last.type = { kind: "tensor", dtype: "float32", shape: t.dims };
    graph.setOutput(at, last);
  });
  // From IR version 4 on, initializers need not be inputs; those that are stay what they were before: constants.
  model.irVersion = Math.max(4, model.irVersion);
  graph.initializersAreConstant = true;
  graph.sort();
  return wrappedInputs > 0 && wrappedOutputs > 0 ? model : undefined;
}

function fits(dims) {
  return (
    dims.length > 0 && dims.every((d) => d <= MAX_EXTENT) && dims.reduce((a, b) => a * b, 1) <= MAX_ELEMENTS && dims.some((d) => d > 1)
  );
}

/** `value` times a matrix along `axis`: near the identity, so that what the case expects of its inputs stays so. */
function along(graph, value, axis, dims, uniform, before) {
  const n = dims[axis];
  const rank = dims.length;
  const W = Float32Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? 1 : 0) + 0.2 * normal(uniform));
  const w = graph.addInitializer(graph.freshName(`${value.name}_w${axis}`), Tensor.floats([n, n], W));
  const insert = (op, inputs, attributes = {}) => graph.insertNode(op, inputs, { ...(before ? { before } : {}), attributes }).outputs[0];
  const swap = Array.from({ length: rank }, (_, i) => (i === axis ? rank - 1 : i === rank - 1 ? axis : i));
  const perm = { perm: { kind: "ints", value: swap } };
  if (axis === rank - 1) return insert("MatMul", [value, w]);
  return insert("Transpose", [insert("MatMul", [insert("Transpose", [value], perm), w])], perm);
}
