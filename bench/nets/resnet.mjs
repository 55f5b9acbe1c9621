// Networks of published shapes with random weights: for timing, where what is computed does not matter.
import { int, ints } from "../../dist/graph/attribute.js";
import { Graph, Model, Value } from "../../dist/graph/graph.js";
import { random } from "../../dist/graph/random.js";
import { Tensor } from "../../dist/graph/tensor.js";

/**
 * ResNet-18 or -50 (He et al. 2016, table 1) for 224×224 images, random weights of He's scale, BatchNormalization folded as
 * exporters do: 20 or 53 convolutions and a Gemm.
 */
export function resnet(depth) {
  const isDeep = depth === 50;
  const graph = new Graph(`resnet${depth}`);
  const model = new Model(graph);
  model.opsets.set("", 13);
  model.irVersion = 7;
  const uniform = random(`resnet${depth}`);
  const weight = (name, dims) => {
    const n = dims.reduce((a, b) => a * b, 1);
    // Variance 2 / fan-in; biases are small.
    const scale = dims.length === 1 ? 0.1 : Math.sqrt(24 / (n / dims[0]));
    return graph.addInitializer(
      name,
      Tensor.floats(
        dims,
        Float32Array.from({ length: n }, () => (uniform() - 0.5) * scale),
      ),
    );
  };
  let count = 0;
  const conv = (x, from, to, k, stride, relu = true) => {
    const name = `conv${count++}`;
    const pad = (k - 1) / 2;
    const y = graph.insertNode("Conv", [x, weight(`${name}.weight`, [to, from, k, k]), weight(`${name}.bias`, [to])], {
      outputs: [`${name}.out`],
      attributes: { kernel_shape: ints([k, k]), strides: ints([stride, stride]), pads: ints([pad, pad, pad, pad]) },
    }).outputs[0];
    return relu ? graph.insertNode("Relu", [y], { outputs: [`${name}.relu`] }).outputs[0] : y;
  };
  const input = graph.addInput(new Value("input", { kind: "tensor", dtype: "float32", shape: ["N", 3, 224, 224] }));
  let x = conv(input, 3, 64, 7, 2);
  x = graph.insertNode("MaxPool", [x], {
    outputs: ["pool"],
    attributes: { kernel_shape: ints([3, 3]), strides: ints([2, 2]), pads: ints([1, 1, 1, 1]) },
  }).outputs[0];
  let width = 64;
  for (const [stage, blocks] of (isDeep ? [3, 4, 6, 3] : [2, 2, 2, 2]).entries()) {
    const inner = 64 * 2 ** stage;
    for (let b = 0; b < blocks; b++) {
      const stride = stage > 0 && b === 0 ? 2 : 1;
      const out = isDeep ? inner * 4 : inner;
      const y = isDeep
        ? conv(conv(conv(x, width, inner, 1, 1), inner, inner, 3, stride), inner, out, 1, 1, false)
        : conv(conv(x, width, inner, 3, stride), inner, out, 3, 1, false);
      const skip = stride > 1 || width !== out ? conv(x, width, out, 1, stride, false) : x;
      const sum = graph.insertNode("Add", [y, skip], { outputs: [`add${stage}_${b}`] }).outputs[0];
      x = graph.insertNode("Relu", [sum], { outputs: [`relu${stage}_${b}`] }).outputs[0];
      width = out;
    }
  }
  x = graph.insertNode("GlobalAveragePool", [x], { outputs: ["gap"] }).outputs[0];
  x = graph.insertNode("Flatten", [x], { outputs: ["flat"], attributes: { axis: int(1) } }).outputs[0];
  const fc = graph.insertNode("Gemm", [x, weight("fc.weight", [1000, width]), weight("fc.bias", [1000])], {
    outputs: ["logits"],
    attributes: { transB: int(1) },
  }).outputs[0];
  fc.type = { kind: "tensor", dtype: "float32", shape: ["N", 1000] };
  graph.addOutput(fc);
  return model;
}
