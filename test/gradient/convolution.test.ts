/** Convolutions: what goes forth is the operator's, and the three ways back agree with differences. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Builder } from "../../src/gradient/builder.js";
import { backToBias, backToInput, backToWeight, convolutionOf, convolved } from "../../src/gradient/convolution.js";
import { infer } from "../../src/graph/infer.js";
import { Tensor } from "../../src/graph/tensor.js";
import { openRunner } from "../../src/runtime/provider.js";
import type { Runner } from "../../src/runtime/runner.js";
import { sourceOf } from "../../src/runtime/source.js";
import { findNode, modelOf, randomFloats } from "../support/build.js";

let runner: Runner;
beforeAll(async () => {
  runner = await openRunner("cpu", { threads: 1 });
});
afterAll(async () => runner.close());

const CASES: readonly (readonly [name: string, x: readonly number[], w: readonly number[], attributes: string])[] = [
  ["3 × 3, padded", [2, 3, 7, 6], [4, 3, 3, 3], "pads = [1, 1, 1, 1]"],
  ["1 × 1", [2, 3, 7, 6], [4, 3, 1, 1], "strides = [1, 1]"],
  ["1 × 1, strided", [2, 3, 7, 6], [4, 3, 1, 1], "strides = [2, 2]"],
  ["1 × 1, padded", [2, 3, 4, 4], [4, 3, 1, 1], "pads = [1, 0, 0, 1]"],
  ["uneven pads", [2, 3, 7, 6], [4, 3, 2, 3], "pads = [0, 2, 1, 0]"],
  ["pads beyond the kernel", [2, 3, 5, 5], [4, 3, 2, 2], "pads = [2, 2, 3, 3]"],
  ["strides that leave rows over", [2, 3, 10, 9], [4, 3, 3, 2], "strides = [3, 2], pads = [1, 0, 0, 0]"],
  ["strides wider than the kernel", [2, 3, 9, 9], [4, 3, 2, 1], "strides = [4, 3]"],
  ["dilations", [2, 3, 9, 8], [4, 3, 3, 2], "dilations = [2, 3], pads = [2, 1, 2, 2]"],
  ["dilations and strides", [2, 3, 11, 9], [4, 3, 3, 2], "dilations = [2, 3], strides = [2, 2], pads = [1, 1, 2, 0]"],
  ["SAME_UPPER", [2, 3, 7, 6], [4, 3, 2, 4], 'auto_pad = "SAME_UPPER", strides = [2, 1]'],
  ["SAME_LOWER", [2, 3, 7, 6], [4, 3, 4, 2], 'auto_pad = "SAME_LOWER"'],
  ["VALID", [2, 3, 7, 6], [4, 3, 3, 3], 'auto_pad = "VALID"'],
  ["groups", [2, 6, 7, 6], [4, 3, 3, 3], "group = 2, pads = [1, 1, 1, 1]"],
  ["groups, strided", [2, 6, 7, 6], [4, 3, 3, 3], "group = 2, strides = [2, 2]"],
  ["depthwise", [2, 6, 7, 6], [12, 1, 3, 3], "group = 6, pads = [1, 1, 1, 1], strides = [2, 1]"],
  ["one axis", [2, 3, 9], [4, 3, 3], "pads = [1, 1]"],
  ["three axes", [1, 2, 4, 5, 3], [3, 2, 2, 3, 1], "strides = [1, 2, 1], pads = [1, 1, 0, 0, 1, 0]"],
];

describe("a convolution", () => {
  for (const [name, xDims, wDims, attributes] of CASES) {
    it(`${name}: slopes at the input, the weight and the bias`, async () => {
      const model = modelOf(
        `g (float[${xDims.join(", ")}] x, float[${wDims.join(", ")}] w, float[${wDims[0]}] c) => (float z) { z = Conv <${attributes}> (x, w, c) }`,
      );
      const types = infer(model);
      const node = findNode(model, "z");
      const out = types.shape(node.outputs[0] as never) as number[];
      const conv = convolutionOf(node, wDims, xDims.slice(2), out.slice(2));
      const b = new Builder();
      const [x, w, c, g] = ["x", "w", "c", "g"].map((n) => b.input(n)) as [never, never, never, never];
      b.give("z", convolved(b, conv, x, w, c));
      b.give("dx", backToInput(b, conv, w, g));
      b.give("dw", backToWeight(b, conv, x, g));
      b.give("dc", backToBias(b, conv, g));
      const mine = await runner.load(sourceOf(b.model), { optimization: "disabled" });
      const theirs = await runner.load(sourceOf(model), { optimization: "disabled" });
      const values = (dims: readonly number[], seed: string) =>
        randomFloats(
          `${name}/${seed}`,
          dims.reduce((n, d) => n * d, 1),
        );
      const sizes = { x: xDims, w: wDims, c: [wDims[0] as number] };
      const feeds = Object.fromEntries(Object.entries(sizes).map(([n, dims]) => [n, Tensor.floats(dims, values(dims, n))]));
      const slope = values(out, "g");
      const got = await mine.run({ ...feeds, g: Tensor.floats(out, slope) });
      const z = (await theirs.run(feeds))["z"] as Tensor;
      expect(Array.from((got["z"] as Tensor).numbers(), Number)).toEqual(Array.from(z.numbers(), (v) => expect.closeTo(Number(v), 4)));
      // The output is linear in each: a step of 1 along it is the slope itself, to rounding.
      for (const [n, dims] of Object.entries(sizes)) {
        const along = values(dims, `along ${n}`);
        const moved = Float32Array.from((feeds[n] as Tensor).numbers(), (v, i) => Number(v) + (along[i] as number));
        const there = (await theirs.run({ ...feeds, [n]: Tensor.floats(dims, moved) }))["z"] as Tensor;
        const difference = Array.from(there.numbers(), (v, i) => (Number(v) - Number(z.numbers()[i])) * (slope[i] as number)).reduce(
          (s, v) => s + v,
          0,
        );
        const back = got[`d${n}`] as Tensor;
        expect(back.dims).toEqual(dims);
        const product = Array.from(back.numbers(), (v, i) => Number(v) * (along[i] as number)).reduce((s, v) => s + v, 0);
        expect(Math.abs(difference - product)).toBeLessThan(1e-3 * Math.max(1, Math.abs(product)));
      }
      await mine.release();
      await theirs.release();
    });
  }
});
