/** Writes factors in the place of layers, and says what they must equal. */
import { ints } from "../../graph/attribute.js";
import { cloneModel } from "../../graph/clone.js";
import type { Model, Node, Value } from "../../graph/graph.js";
import { infer } from "../../graph/infer.js";
import { transposed } from "../../graph/rearrange.js";
import { Tensor } from "../../graph/tensor.js";
import { type Layer, layersOf } from "../../score/layers.js";
import { kernelsOf, productOf, type Split, weightOf } from "../../score/low-rank/factors.js";
import type { LayerDecision } from "./decide.js";

/** In place: a layer is put before each, which then reads what that gives. Names of what layers give stay. */
export function emit(model: Model, decisions: readonly LayerDecision[]): void {
  const before = layersAt(model);
  const biases = new Map(decisions.map((d) => [d.output, layerOf(before, d).read().bias]));
  for (const d of decisions) put(model, d);
  const after = layersAt(model);
  for (const d of decisions) {
    const layer = layerOf(after, d);
    layer.write({ weight: d.second, bias: (biases.get(d.output) as Float64Array).map((b, o) => b + (d.shift[o] as number)) });
  }
}

/** The exact oracle: `model` with the product of the factors as the weight of each layer. Knows nothing of two nodes. */
export function oracle(model: Model, decisions: readonly LayerDecision[]): Model {
  const next = cloneModel(model);
  const layers = layersAt(next);
  for (const d of decisions) {
    const layer = layerOf(layers, d);
    const weight = weightOf(productOf(d, d.outputs), d, d.split);
    layer.write({ weight, bias: layer.read().bias.map((b, o) => b + (d.shift[o] as number)) });
  }
  return next;
}

function layersAt(model: Model): ReadonlyMap<string | undefined, Layer> {
  return new Map(layersOf(model, infer(model)).layers.map((l) => [l.node.outputs[0]?.name, l]));
}

function layerOf(layers: ReadonlyMap<string | undefined, Layer>, { output }: LayerDecision): Layer {
  return layers.get(output) as Layer;
}

/** Two nodes where one was, the second with weights of zeros. */
export function put({ graph }: Model, d: Omit<LayerDecision, "label" | "op" | "kept" | "shift">): void {
  const node = graph.value(d.output)?.producer as Node;
  const [X, W] = node.inputs as readonly [Value, Value];
  const { dtype } = W.constant as Tensor;
  const { first, second } = kernelsOf(d.kernel, d.split);
  const isConv = node.opType === "Conv";
  const filtersFirst = isConv || (node.opType === "Gemm" && node.int("transB", 0) !== 0);
  const dims = (out: number, inputs: number, kernel: readonly number[]) => (filtersFirst ? [out, inputs, ...kernel] : [inputs, out]);
  const weight = Tensor.fromNumbers(
    dtype,
    dims(d.rank, d.inputs, first),
    filtersFirst ? d.first : transposed(d.first, d.rank, d.first.length / d.rank),
  );
  const made = graph.insertNode(node.opType, [X, graph.addInitializer(`${d.output}_first`, weight)], {
    before: node,
    outputs: [`${d.output}_factor`],
    attributes: Object.fromEntries([...node.attributes].filter(([name]) => name !== "alpha" && name !== "beta")),
  });
  node.setInput(0, made.outputs[0]);
  // Its numbers are written later, when it is a layer again: what scales its outputs is taken off them.
  const nothing = Tensor.fromNumbers(dtype, dims(d.outputs, d.rank, second), new Float64Array(d.second.length));
  graph.setConstant(W, nothing);
  if (!isConv) return;
  restrict(made, d.split, first);
  restrict(
    node,
    d.split.map((isFirst) => !isFirst),
    second,
  );
}

/** Strides, pads and dilations of the axes that `has` says, none of others. What pads themselves (auto_pad) go by the kernel. */
function restrict(node: Node, has: Split, kernel: readonly number[]): void {
  const n = kernel.length;
  if (node.attributes.has("kernel_shape")) node.setAttribute("kernel_shape", ints(kernel));
  for (const [name, none] of [
    ["strides", 1],
    ["dilations", 1],
    ["pads", 0],
  ] as const) {
    const given = node.ints(name);
    if (given) node.setAttribute(name, ints(given.map((x, i) => (has[i % n] ? x : none))));
  }
}
