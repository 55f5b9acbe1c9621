/** Two convolutions with a Relu between: the products with J and Jᵀ, and what fitting the first gives. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Model } from "../../src/graph/graph.js";
import { infer } from "../../src/graph/infer.js";
import { random } from "../../src/graph/random.js";
import { Tensor } from "../../src/graph/tensor.js";
import { joinedWith } from "../../src/recover/joint.js";
import { apart, type Joined, type JointForm, JointSession, unknownsOf } from "../../src/recover/joint-session.js";
import { layersOf } from "../../src/recover/layers.js";
import type { Weights } from "../../src/recover/moments.js";
import type { Seen } from "../../src/recover/session.js";
import { openRunner } from "../../src/runtime/provider.js";
import type { Runner } from "../../src/runtime/runner.js";
import { sourceOf } from "../../src/runtime/source.js";
import { modelOf, randomFloats } from "../support/build.js";

let runner: Runner;
beforeAll(async () => {
  runner = await openRunner("cpu", { threads: 1 });
});
afterAll(async () => runner.close());

const CASES: readonly (readonly [name: string, first: string, second: string, kernels: readonly [string, string]])[] = [
  ["padded 3 × 3", "pads = [1, 1, 1, 1]", "pads = [1, 1, 1, 1]", ["3, 3", "3, 3"]],
  ["strides that leave rows over", "strides = [2, 3], pads = [0, 1, 1, 0]", "strides = [2, 2]", ["2, 3", "1, 2"]],
  ["dilations", "dilations = [2, 1], pads = [2, 0, 1, 1]", "dilations = [1, 2], pads = [1, 2, 0, 2]", ["3, 2", "2, 3"]],
  ["SAME_UPPER and SAME_LOWER", 'auto_pad = "SAME_UPPER"', 'auto_pad = "SAME_LOWER", strides = [2, 2]', ["2, 4", "4, 2"]],
];

function modelFor([, first, second, [k1, k2]]: (typeof CASES)[number]) {
  return modelOf(
    `g (float[N, 3, 9, 8] x) => (float[N, 4, H, W] z, float[N, 4, H, W] y) <float[5, 3, ${k1}] w1 = {...}, float[5] b1 = {...}, float[4, 5, ${k2}] w2 = {...}, float[4] b2 = {...}> { a = Conv <${first}> (x, w1, b1) h = Relu (a) y = Conv <${second}> (h, w2, b2) z = Relu (y) }`,
  );
}

/** A batch of two, with a target of six channels of which four are kept, and another operand. */
function seenFor(dims: readonly number[]): Seen {
  const floats = (name: string, d: readonly number[]) =>
    Tensor.floats(
      d,
      randomFloats(
        name,
        d.reduce((n, x) => n * x, 1),
      ),
    );
  return {
    x: floats("x", [2, 3, 9, 8]),
    target: floats("target", [2, 6, ...dims.slice(2)]),
    other: floats("other", [2, 4, ...dims.slice(2)]),
  };
}

/** What the second layer gives with these weights, and the other operand. */
async function endOf(model: Model, { first, second }: Joined, w1: Weights, w2: Weights, { x, other }: Seen): Promise<Tensor> {
  first.write(w1);
  second.write(w2);
  const session = await runner.load(sourceOf(model), { optimization: "disabled" });
  const { y } = await session.run({ x });
  await session.release();
  const added = (other as Tensor).numbers();
  return Tensor.floats(
    (y as Tensor).dims,
    Float32Array.from((y as Tensor).numbers(), (v, i) => Number(v) + Number(added[i])),
  );
}

describe("the linear part of two layers", () => {
  for (const shape of CASES) {
    for (const isRectified of [false, true]) {
      it(`${shape[0]}${isRectified ? ", read through a Relu" : ""}: Jᵀr is the slope of the error, and JᵀJ its change`, async () => {
        const model = modelFor(shape);
        const types = infer(model);
        const { layers } = layersOf(model, types);
        const joined = joinedWith(layers[1] as (typeof layers)[number], layers);
        expect(joined?.first).toBe(layers[0]);
        if (!joined) return;
        const seen = seenFor((types.shape(joined.second.end) as number[]).map((d) => (typeof d === "number" ? d : 2)));
        // Biases so large that no Relu changes its mind: channels pass everywhere or nowhere, and the error is quadratic.
        const first = { ...joined.first.read(), bias: Float64Array.of(15, -15, 15, 15, -15) };
        const second = { ...joined.second.read(), bias: Float64Array.of(-400, 400, -400, 400) };
        const form: JointForm = { joined, first, second, kept: [0, 2, 3, 5], isRectified };
        const at = await JointSession.open(runner, form, seen);
        const { residual, pattern } = await at.slope(seen);
        const [n1, n2] = unknownsOf(joined);
        const uniform = random(7);
        const direction = Float64Array.from({ length: n1 + n2 }, () => uniform() - 0.5);
        const along = (by: number) => {
          const [d1, d2] = [apart(direction.subarray(0, n1), joined.first), apart(direction.subarray(n1), joined.second)];
          const to = (w: Weights, d: Weights) => ({
            weight: w.weight.map((x, i) => x + by * (d.weight[i] as number)),
            bias: w.bias.map((x, i) => x + by * (d.bias[i] as number)),
          });
          return { first: to(first, d1), second: to(second, d2) };
        };
        const stepped = async (by: number, of: JointForm, what: Seen) => {
          const session = await JointSession.open(runner, { ...of, ...along(by) }, what);
          const got = { error: await session.error(what), ...(await session.slope(what)) };
          await session.release();
          return got;
        };
        const dot = (a: Float64Array, b: Float64Array) => a.reduce((s, x, i) => s + x * (b[i] as number), 0);
        const step = 1e-2;
        const errors = [await stepped(step, form, seen), await stepped(-step, form, seen)].map((s) => s.error) as [number, number];
        // Where the Relu after them hides some of the difference, the error is not that of Jᵀr's model.
        if (!isRectified) expect((errors[1] - errors[0]) / (4 * step) / dot(residual, direction)).toBeCloseTo(1, 2);
        // Fitted perfectly, the curvature of the error is JᵀJ itself.
        const perfect = { ...seen, target: await endOf(model, joined, first, second, seen) };
        const whole = { ...form, kept: undefined };
        const there = await JointSession.open(runner, whole, perfect);
        const JJ = await there.product((await there.slope(perfect)).pattern, direction);
        const [up, down] = [await stepped(step, whole, perfect), await stepped(-step, whole, perfect)];
        const off = up.residual.map((r, i) => ((down.residual[i] as number) - r) / (2 * step) - (JJ[i] as number));
        expect(Math.sqrt(dot(off, off) / dot(JJ, JJ))).toBeLessThan(1e-2);
        await there.release();
        // Symmetric and positive.
        expect(dot(JJ, direction)).toBeGreaterThan(0);
        const other = Float64Array.from({ length: n1 + n2 }, () => uniform() - 0.5);
        const [a, b] = [await at.product(pattern, direction), await at.product(pattern, other)];
        expect(dot(b, direction) / dot(a, other)).toBeCloseTo(1, 2);
        await at.release();
      });
    }
  }
});
