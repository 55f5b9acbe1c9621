/** The way back through each operator, against differences of what ONNX Runtime gives the other way. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Builder } from "../../src/gradient/builder.js";
import { PASSED, passageOf } from "../../src/gradient/rules.js";
import type { Value } from "../../src/graph/graph.js";
import { infer } from "../../src/graph/infer.js";
import { Tensor } from "../../src/graph/tensor.js";
import { openRunner } from "../../src/runtime/provider.js";
import type { Runner } from "../../src/runtime/runner.js";
import { sourceOf } from "../../src/runtime/source.js";
import { modelOf, randomFloats } from "../support/build.js";

let runner: Runner;
beforeAll(async () => {
  runner = await openRunner("cpu", { threads: 1 });
});
afterAll(async () => runner.close());

/** Extents of x and y; the output is z. What is read of constants comes before the node. */
interface Case {
  readonly name: string;
  readonly inputs: readonly (readonly number[])[];
  readonly body: string;
  readonly opset?: number;
  readonly weights?: string;
}

const X = [2, 3, 7, 6];
const CASES: readonly Case[] = [
  { name: "Relu", inputs: [X], body: "z = Relu (x)" },
  { name: "LeakyRelu", inputs: [X], body: "z = LeakyRelu <alpha = 0.2> (x)" },
  { name: "Sigmoid", inputs: [X], body: "z = Sigmoid (x)" },
  { name: "Tanh", inputs: [X], body: "z = Tanh (x)" },
  { name: "Clip with both bounds", inputs: [X], body: "z = Clip (x, lo, hi)", weights: "float lo = {-0.3}, float hi = {0.9}" },
  { name: "Clip from below", inputs: [X], body: "z = Clip (x, lo)", weights: "float lo = {-0.3}" },
  { name: "Clip by attributes", inputs: [X], body: "z = Clip <min = 0.0, max = 1.0> (x)", opset: 10 },
  { name: "Add of two", inputs: [X, X], body: "z = Add (x, y)" },
  { name: "Add of itself", inputs: [X], body: "z = Add (x, x)" },
  { name: "Add of a constant that broadcasts", inputs: [X], body: "z = Add (c, x)", weights: "float[3, 1, 1] c = {...}" },
  {
    name: "BatchNormalization",
    inputs: [X],
    body: "z = BatchNormalization (x, s, t, m, v)",
    weights: "float[3] s = {0.5, -1.5, 2}, float[3] t = {...}, float[3] m = {...}, float[3] v = {0.5, 1, 2}",
  },
  { name: "MaxPool", inputs: [X], body: "z = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x)" },
  {
    name: "MaxPool that overlaps and is padded",
    inputs: [X],
    body: "z = MaxPool <kernel_shape = [3, 3], strides = [2, 1], pads = [1, 1, 0, 1]> (x)",
  },
  { name: "MaxPool, ceil_mode", inputs: [X], body: "z = MaxPool <kernel_shape = [2, 2], strides = [2, 2], ceil_mode = 1> (x)" },
  { name: "AveragePool", inputs: [X], body: "z = AveragePool <kernel_shape = [2, 3], strides = [2, 3]> (x)" },
  {
    name: "AveragePool that leaves a row over",
    inputs: [[2, 3, 8, 6]],
    body: "z = AveragePool <kernel_shape = [3, 2], strides = [3, 2]> (x)",
  },
  {
    name: "AveragePool whose windows leave rows between and at the end out",
    inputs: [[2, 3, 9, 8]],
    body: "z = AveragePool <kernel_shape = [2, 1], strides = [4, 3]> (x)",
  },
  {
    name: "AveragePool, padded, counting pads",
    inputs: [X],
    body: "z = AveragePool <kernel_shape = [3, 3], strides = [1, 2], pads = [1, 1, 1, 1], count_include_pad = 1> (x)",
  },
  { name: "GlobalAveragePool", inputs: [X], body: "z = GlobalAveragePool (x)" },
  { name: "Concat", inputs: [X, [2, 2, 7, 6]], body: "z = Concat <axis = 1> (x, y)" },
  { name: "Concat of one value twice, last axis", inputs: [X], body: "z = Concat <axis = -1> (x, x)" },
  { name: "Flatten", inputs: [X], body: "z = Flatten (x)" },
  { name: "Reshape", inputs: [X], body: "z = Reshape (x, d)", weights: "int64[3] d = {2, -1, 14}" },
  { name: "Squeeze", inputs: [[2, 3, 1, 1]], body: "z = Squeeze (x, d)", weights: "int64[2] d = {2, 3}" },
  { name: "Unsqueeze", inputs: [X], body: "z = Unsqueeze (x, d)", weights: "int64[1] d = {-1}" },
  { name: "Identity", inputs: [X], body: "z = Identity (x)" },
  { name: "Dropout", inputs: [X], body: "z = Dropout (x)" },
  {
    name: "Slice with steps, as shortcuts have it",
    inputs: [X],
    body: "z = Slice (x, from, to, axes, steps)",
    weights: "int64[2] from = {0, 1}, int64[2] to = {9223372036854775807, 6}, int64[2] axes = {2, 3}, int64[2] steps = {2, 3}",
  },
  {
    name: "Slice of a middle, counted from the back",
    inputs: [X],
    body: "z = Slice (x, from, to, axes)",
    weights: "int64[2] from = {1, -5}, int64[2] to = {-1, 100}, int64[2] axes = {-3, 2}",
  },
  { name: "Slice by attributes", inputs: [X], body: "z = Slice <starts = [1], ends = [5], axes = [2]> (x)", opset: 9 },
  { name: "Pad", inputs: [X], body: "z = Pad (x, p)", weights: "int64[8] p = {0, 2, 1, 0, 0, 1, 0, 3}" },
  { name: "Pad with a number", inputs: [X], body: "z = Pad (x, p, c)", weights: "int64[8] p = {0, 1, 0, 0, 0, 0, 2, 0}, float c = {0.7}" },
  { name: "Pad by attributes", inputs: [X], body: "z = Pad <pads = [0, 0, 1, 1, 0, 0, 1, 1]> (x)", opset: 10 },
];

function modelFor({ inputs, body, opset, weights }: Case) {
  const heads = inputs.map((dims, i) => `float[${dims.join(", ")}] ${i === 0 ? "x" : "y"}`).join(", ");
  return modelOf(`g (${heads}) => (float z) ${weights ? `<${weights}>` : ""} { ${body} }`, opset);
}

const at = (values: Float32Array, by: number, along: Float32Array) => values.map((v, i) => v + by * (along[i] as number));

describe("the way back", () => {
  for (const c of CASES) {
    it(c.name, async () => {
      const model = modelFor(c);
      const types = infer(model);
      const [node] = model.graph.nodes;
      if (!node) throw new Error("The case has no node.");
      const activations = new Set<Value>(model.graph.inputs);
      const passage = passageOf({ node, types, isActivation: (i) => activations.has(node.inputs[i] as Value) });
      if (typeof passage === "string") throw new Error(passage);
      const b = new Builder();
      const read = node.inputs.filter((v): v is Value => v !== undefined && activations.has(v));
      const inputs = new Map([...new Set(read)].map((v) => [v, b.input(v.name)]));
      const { value, back } = passage(
        b,
        read.map((v) => inputs.get(v) as Value),
      );
      const slopes = back(b.input("g"));
      b.give("z", value);
      for (const [i, s] of slopes.entries()) b.give(`slope_${i}`, s as Value);
      const session = await runner.load(sourceOf(b.model), { optimization: "disabled" });
      const theirs = await runner.load(sourceOf(model), { optimization: "disabled" });
      // Values far enough apart that no step crosses a corner.
      const values = new Map(
        [...inputs.keys()].map((v, i) => {
          const n = (c.inputs[i] as readonly number[]).reduce((a, d) => a * d, 1);
          const order = randomFloats(`${c.name}/order/${i}`, n);
          const ranks = [...order.keys()].sort((p, q) => (order[p] as number) - (order[q] as number));
          const out = new Float32Array(n);
          ranks.forEach((p, r) => {
            out[p] = (4 * (r + 0.5)) / n - 2;
          });
          return [v, out] as const;
        }),
      );
      const along = new Map(
        [...values].map(([v, x]) => [v, randomFloats(`${c.name}/${v.name}`, x.length).map((d) => Math.max(-1, Math.min(1, d)))] as const),
      );
      const feeds = (by: number) =>
        Object.fromEntries(
          [...values].map(([v, x], i) => [v.name, Tensor.floats(c.inputs[i] as number[], at(x, by, along.get(v) as Float32Array))]),
        );
      const z = (await theirs.run(feeds(0)))["z"] as Tensor;
      const weights = randomFloats(`${c.name}/g`, z.size);
      const got = await session.run({ ...feeds(0), g: Tensor.floats(z.dims, weights) });
      expect(Array.from((got["z"] as Tensor).numbers(), Number)).toEqual(Array.from(z.numbers(), (v) => expect.closeTo(Number(v), 5)));
      let slope = 0;
      for (const [i, v] of read.entries()) {
        const s = got[`slope_${i}`] as Tensor;
        expect(s.dims).toEqual(c.inputs[[...inputs.keys()].indexOf(v)]);
        slope += Array.from(s.numbers(), Number).reduce((sum, n, k) => sum + n * ((along.get(v) as Float32Array)[k] as number), 0);
      }
      const step = 1e-3;
      const loss = async (by: number) =>
        Array.from(((await theirs.run(feeds(by)))["z"] as Tensor).numbers(), Number).reduce((s, v, k) => s + v * (weights[k] as number), 0);
      const difference = ((await loss(step)) - (await loss(-step))) / (2 * step);
      expect(Math.abs(difference - slope)).toBeLessThan(2e-3 * Math.max(1, Math.abs(slope)));
      await session.release();
      await theirs.release();
    });
  }

  it("is tried for every operator that is passed", () => {
    expect(PASSED.filter((op) => !CASES.some((c) => c.body.includes(`${op} (`) || c.body.includes(`${op} <`)))).toEqual([]);
  });
});

describe("what is not passed, and why", () => {
  const reasons: readonly (readonly [string, Case])[] = [
    ["the way back through Softmax is not known", { name: "", inputs: [X], body: "z = Softmax (x)" }],
    ["it broadcasts an activation", { name: "", inputs: [X, [2, 3, 1, 1]], body: "z = Add (x, y)" }],
    [
      "its windows do not all count the same",
      { name: "", inputs: [X], body: "z = AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x)" },
    ],
    ["it joins samples", { name: "", inputs: [X, X], body: "z = Concat <axis = 0> (x, y)" }],
    ["samples are no axis of their own after it", { name: "", inputs: [X], body: "z = Reshape (x, d)", weights: "int64[2] d = {6, 42}" }],
    [
      "it pads with what it reads",
      { name: "", inputs: [X], body: 'z = Pad <mode = "reflect"> (x, p)', weights: "int64[8] p = {0, 0, 1, 1, 0, 0, 1, 1}" },
    ],
    [
      "it crops, or its pads are not known",
      { name: "", inputs: [X], body: "z = Pad (x, p)", weights: "int64[8] p = {0, 0, -1, 0, 0, 0, 0, 0}" },
    ],
    [
      "it turns an axis round, or takes nothing of it",
      {
        name: "",
        inputs: [X],
        body: "z = Slice (x, from, to, axes, steps)",
        weights: "int64[1] from = {-1}, int64[1] to = {-9223372036854775807}, int64[1] axes = {2}, int64[1] steps = {-1}",
      },
    ],
    ["it picks samples", { name: "", inputs: [X], body: "z = Slice (x, from, to)", weights: "int64[1] from = {0}, int64[1] to = {1}" }],
  ];
  for (const [why, c] of reasons) {
    it(why, () => {
      const model = modelFor(c);
      const [node] = model.graph.nodes;
      if (!node) throw new Error("The case has no node.");
      const activations = new Set<Value>(model.graph.inputs);
      expect(passageOf({ node, types: infer(model), isActivation: (i) => activations.has(node.inputs[i] as Value) })).toBe(why);
    });
  }
});
