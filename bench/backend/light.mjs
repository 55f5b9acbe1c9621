// The light nets of the backend data hold weights as ConstantOfShape, all equal: random ones in their place.
import { decode, normal, random, Tensor } from "../../dist/graph/index.js";

/** The net with every constant of a shape replaced by a seeded random initializer, scaled so that activations neither vanish nor explode; without the last softmax. */
export function randomised(bytes, seed) {
  const model = decode(bytes);
  const { graph } = model;
  const shapes = [];
  for (const node of [...graph.nodes]) {
    if (node.opType !== "ConstantOfShape") continue;
    const [shape] = node.inputs;
    const [out] = node.outputs;
    const dims = Array.from(shape.initializer.numbers());
    const isVariance = out.uses().some((u) => u.node.opType === "BatchNormalization" && u.index === 4);
    const isScale =
      out.uses().some((u) => u.node.opType === "BatchNormalization" && u.index === 1) ||
      (dims.length <= 1 && out.uses().some((u) => u.node.opType === "Unsqueeze"));
    graph.replaceUses(
      out,
      graph.addInitializer(graph.freshName(`${out.name}_random`), weights(dims, random(`${seed}/${out.name}`), isVariance || isScale)),
    );
    shapes.push(shape);
    graph.removeNode(node);
  }
  for (const shape of shapes) {
    if (shape.uses().length > 0 || !shape.initializer) continue;
    graph.removeInput(shape);
    graph.removeInitializer(shape);
  }
  // Behind a softmax that random weights saturate, any two nets would look alike.
  graph.outputs.forEach((y, i) => {
    if (y.producer?.opType !== "Softmax") return;
    const [logits] = y.producer.inputs;
    logits.type = y.type;
    graph.setOutput(i, logits);
  });
  // The remaining initializers that are also inputs (of reshapes) are constants: IR version 3 knows no others.
  model.irVersion = 4;
  for (const v of graph.initializers) if (v.isInput) graph.removeInput(v);
  return model;
}

function weights(dims, uniform, isPositive) {
  const fan = dims.slice(1).reduce((a, b) => a * b, 1);
  const size = dims.reduce((a, b) => a * b, 1);
  const scale = dims.length > 1 ? Math.sqrt(2 / fan) : 0.1;
  return Tensor.floats(
    dims,
    Float32Array.from({ length: size }, () => (isPositive ? 1 + 0.2 * Math.abs(normal(uniform)) : scale * normal(uniform))),
  );
}
