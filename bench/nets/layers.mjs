// What the networks of this folder are made of: layers with random weights, in a graph for images of 224×224.
import { int, ints } from "../../dist/graph/attribute.js";
import { Graph, Model, Value } from "../../dist/graph/graph.js";
import { random } from "../../dist/graph/random.js";
import { Tensor } from "../../dist/graph/tensor.js";

/** A model under construction: `input`, layers that take a value and give one, `finish`. */
export function network(name) {
  const graph = new Graph(name);
  const model = new Model(graph);
  model.opsets.set("", 13);
  model.irVersion = 7;
  const uniform = random(name);
  const weight = (of, dims) => {
    const n = dims.reduce((a, b) => a * b, 1);
    // Variance 2 / fan-in (He); biases are small.
    const scale = dims.length === 1 ? 0.1 : Math.sqrt(24 / (n / dims[0]));
    return graph.addInitializer(
      of,
      Tensor.floats(
        dims,
        Float32Array.from({ length: n }, () => (uniform() - 0.5) * scale),
      ),
    );
  };
  const node = (op, inputs, output, attributes = {}) => graph.insertNode(op, inputs, { outputs: [output], attributes }).outputs[0];
  const relu = (x, output) => node("Relu", [x], output);
  let count = 0;
  return {
    model,
    node,
    relu,
    input: graph.addInput(new Value("input", { kind: "tensor", dtype: "float32", shape: ["N", 3, 224, 224] })),
    /** Convolution k×k from `from` to `to` channels, padded to the same extent; a Relu after it unless told. */
    conv(x, from, to, k, stride, isActive = true) {
      const of = `conv${count++}`;
      const pad = (k - 1) / 2;
      const y = node("Conv", [x, weight(`${of}.weight`, [to, from, k, k]), weight(`${of}.bias`, [to])], `${of}.out`, {
        kernel_shape: ints([k, k]),
        strides: ints([stride, stride]),
        pads: ints([pad, pad, pad, pad]),
      });
      return isActive ? relu(y, `${of}.relu`) : y;
    },
    pool(x, k, pad, output) {
      return node("MaxPool", [x], output, { kernel_shape: ints([k, k]), strides: ints([2, 2]), pads: ints([pad, pad, pad, pad]) });
    },
    flatten: (x) => node("Flatten", [x], "flat", { axis: int(1) }),
    linear(x, from, to, of, output) {
      return node("Gemm", [x, weight(`${of}.weight`, [to, from]), weight(`${of}.bias`, [to])], output, { transB: int(1) });
    },
    finish(y, classes) {
      y.type = { kind: "tensor", dtype: "float32", shape: ["N", classes] };
      graph.addOutput(y);
      return model;
    },
  };
}
