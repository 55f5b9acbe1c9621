/** Types of the operators that ONNX Runtime runs on GPUs only: nothing here can run them, so their shapes are those of the specification, by hand. */
import { expect, test } from "vitest";
import { infer } from "../src/graph/infer.js";
import { specs } from "../src/graph/ops/gpu-only.js";
import { fusedModel } from "./support/proven.js";

/** Operator, inputs, call, shape of the first output, multiply-accumulates. */
const rows: readonly (readonly [op: string, inputs: string, call: string, shape: readonly (number | string)[]])[] = [
  ["BiasAdd", "float[N,4,6] x, float[6] b, float[N,4,6] s", "(x, b, s)", ["N", 4, 6]],
  ["BiasSplitGelu", "float[N,4,6] x, float[6] b", "(x, b)", ["N", 4, 3]],
  ["GemmFastGelu", "float[N,4,6] x, float[6,5] w, float[5] b", "(x, w, b)", ["N", 4, 5]],
  ["GroupNorm", "float[N,4,4,6] x, float[6] g, float[6] b", "<groups = 2, activation = 1> (x, g, b)", ["N", 4, 4, 6]],
  ["SkipGroupNorm", "float[N,4,4,6] x, float[6] g, float[6] b, float[N,6] s", "<groups = 2, activation = 0> (x, g, b, s)", ["N", 4, 4, 6]],
  ["NhwcConv", "float[N,8,7,6] x, float[4,3,3,3] w", "<group = 2, pads = [1,1,1,1], strides = [2,2]> (x, w)", ["N", 4, 4, 4]],
  ["NhwcFusedConv", "float[N,8,7,6] x, float[4,6,3,3] w", '<activation = "Relu"> (x, w)', ["N", 6, 5, 4]],
  ["PackedAttention", "float[T,6] x, float[6,24] w, float[24] b, int32[2,5] o, int32[3] c", "<num_heads = 2> (x, w, b, o, c)", ["T", 8]],
  ["PackedMultiHeadAttention", "float[T,2,3,4] x, int32[2,5] o, int32[3] c", "<num_heads = 2> (x, , , , o, c)", ["T", 8]],
  ["QLinearReduceMean", "uint8[N,4,6] x, float s, uint8 z", "<axes = [-1], keepdims = 0> (x, s, z, s, z)", ["N", 4]],
];

test("every operator that only GPUs run has a row here", () => {
  expect(rows.map(([op]) => op).sort()).toEqual(specs.map((s) => s.type).sort());
});

for (const [op, inputs, call, shape] of rows) {
  test(`${op} gives the shape of its specification`, () => {
    const model = fusedModel(`g (${inputs}) => (float[] y) { y = com.microsoft.${op} ${call} }`);
    const y = model.graph.outputs[0];
    expect(y && infer(model).type(y)).toEqual({ kind: "tensor", dtype: op === "QLinearReduceMean" ? "uint8" : "float32", shape });
  });
}
