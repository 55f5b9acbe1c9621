import { afterAll, beforeAll, expect, test } from "vitest";
import { readModel } from "../../../src/export/read.js";
import { findGroups } from "../../../src/graph/coupling/groups.js";
import type { Model } from "../../../src/graph/graph.js";
import { openNodeRunner } from "../../../src/runtime/node.js";
import type { Runner } from "../../../src/runtime/runner.js";
import { Study } from "../../../src/score/dominos/study.js";
import { findValue, modelOf, randomFloats } from "../../support/build.js";
import { edited } from "../scoring.js";
import { ATTENTION, givenStatistics, studied } from "./study.js";

let runner: Runner;
beforeAll(async () => {
  runner = await openNodeRunner({ threads: 1 });
});
afterAll(() => runner.close());

type Given = Parameters<typeof givenStatistics>[2];

/** Squared influence by "layer > target", with its depth; layers by the value they make. */
function effectsOf(model: Model, given: Given = {}): Record<string, { depth: number; squared: number[] }> {
  const coupling = findGroups(model);
  const context = { model, coupling, seed: 0, note: () => {} };
  const bare = new Study(context);
  const extent = (value: string) => {
    const member = bare.network.memberOf(findValue(model, value));
    return member?.map.cells ?? 0;
  };
  const study = new Study({ ...context, statistics: givenStatistics(bare.requests([], 7), extent, given) });
  const out: Record<string, { depth: number; squared: number[] }> = {};
  for (const [layer, effects] of study.effects()) {
    study.targetsOf(layer).forEach((t, i) => {
      const { depth, squared } = effects[i] as (typeof effects)[number];
      out[`${layer.source.name} > ${t.source.name}`] = { depth, squared: [...squared] };
    });
  }
  return out;
}

test("on a linear 1×1 layer with uncorrelated inputs, each channel has the share of variance that it brings", () => {
  const model = modelOf(`g (float[N, 1, 4, 4] x) => (float[N, 2, 4, 4] y)
    <float[3, 1, 1, 1] w = {1, 1, 1}, float[2, 3, 1, 1] v = {1, 2, 0, 3, 0, 1}> { a = Conv (x, w) y = Conv (a, v) }`);
  // Var(y) = (1·1 + 4·2 + 0, 9·1 + 0 + 1·5) = (9, 14) with Var(a) = (1, 2, 5).
  const { squared } = effectsOf(model, { variance: { a: [1, 2, 5], y: [9, 14] } })["a > y"] as { squared: number[] };
  [10 / 23, 8 / 23, 5 / 23].forEach((s, k) => {
    expect(squared[k]).toBeCloseTo(s, 12);
  });
});

test("activity and normalisation stand between a layer's product and its map", () => {
  // Two layers down: r = A_2ᵀ(g ∘ s² ∘ A_3ᵀ1) with A_3 = [1 4; 0 9], A_2 = [1 0; 4 1], s = (2, 3), g = (0.5, 0.25).
  const model = modelOf(`g (float[N, 1, 4, 4] x) => (float[N, 2, 4, 4] y)
    <float[2, 1, 1, 1] w = {1, 1}, float[2, 2, 1, 1] v = {1, 0, 2, 1}, float[2, 2, 1, 1] u = {1, 2, 0, 3},
     float[2] gamma = {2, -3}, float[2] beta = {0, 0}, float[2] mean = {0, 0}, float[2] var = {1, 1}> {
    a = Conv (x, w)
    b = Conv (a, v)
    n = BatchNormalization <epsilon = 0.0> (b, gamma, beta, mean, var)
    r = Relu (n)
    y = Conv (r, u) }`);
  const found = effectsOf(model, { active: { r: [0.5, 0.25] } });
  const at = [0.5 * 4 * 1, 0.25 * 9 * 13];
  expect(found["a > y"]).toEqual({
    depth: 2,
    squared: [at[0] as number, 0].map((_, k) =>
      expect.closeTo(k === 0 ? ((at[0] as number) + 4 * (at[1] as number)) / 2 : (at[1] as number) / 2, 10),
    ),
  });
  // On its own map the target counts its activity and scale, too.
  expect(found["a > b"]?.squared[1]).toBeCloseTo((0.25 * 9 * 1) / 2, 10);
  expect(found["b > y"]?.squared).toEqual([expect.closeTo(1 / 2, 10), expect.closeTo(13 / 2, 10)]);
});

test("a sum hands its rows to both branches, and depth is that of the longest path", () => {
  const model = modelOf(`g (float[N, 1, 4, 4] x) => (float[N, 1, 4, 4] y)
    <float[2, 1, 1, 1] w = {1, 1}, float[2, 2, 1, 1] v = {3, 0, 0, 1}, float[1, 2, 1, 1] u = {1, 2}> {
    a = Conv (x, w) b = Conv (a, v) s = Add (a, b) y = Conv (s, u) }`);
  const found = effectsOf(model);
  expect(found["b > y"]).toEqual({ depth: 1, squared: [1, 4] });
  // Past b, 9·1 and 1·4; around it, 1 and 4.
  expect(found["a > y"]).toEqual({ depth: 2, squared: [10, 8] });
  expect(found["a > b"]).toEqual({ depth: 1, squared: [9 / 2, 1 / 2] });
});

test("parts of a concatenation have their own rows, and columns behind a Flatten add up", () => {
  const model = modelOf(`g (float[N, 1, 1, 2] x) => (float[N, 1] y)
    <float[2, 1, 1, 1] w = {1, 1}, float[2, 1, 1, 1] v = {1, 1}, float[1, 8] u = {1, 2, 3, 4, 5, 6, 7, 8}> {
    a = Conv (x, w) b = Conv (x, v) c = Concat <axis = 1> (a, b) f = Flatten (c) y = Gemm <transB = 1> (f, u) }`);
  const found = effectsOf(model);
  expect(found["a > y"]?.squared).toEqual([1 + 4, 9 + 16]);
  expect(found["b > y"]?.squared).toEqual([25 + 36, 49 + 64]);
});

test("groups of a convolution, and a transposed one, read what they read", () => {
  const model = modelOf(`g (float[N, 1, 4, 4] x) => (float[N, 2, 4, 4] y)
    <float[4, 1, 1, 1] w = {1, 1, 1, 1}, float[4, 2, 1, 1] v = {1, 2, 3, 4, 5, 6, 7, 8}, float[4, 2, 1, 1] u = {1, 0, 1, 0, 0, 1, 0, 3}> {
    a = Conv (x, w) b = Conv <group = 2> (a, v) y = ConvTranspose (b, u) }`);
  const found = effectsOf(model);
  // Outputs 0 and 1 read inputs 0 and 1; outputs 2 and 3 the others. Four outputs of variance 1.
  expect(found["a > b"]?.squared).toEqual([(1 + 9) / 4, (4 + 16) / 4, (25 + 49) / 4, (36 + 64) / 4]);
  expect(found["b > y"]?.squared).toEqual([1 / 2, 1 / 2, 1 / 2, 9 / 2]);
});

test("a depthwise layer is a layer of its own, channel by channel", () => {
  const model = modelOf(`g (float[N, 1, 4, 4] x) => (float[N, 1, 4, 4] y)
    <float[2, 1, 1, 1] w = {1, 1}, float[2, 1, 1, 1] v = {2, 3}, float[1, 2, 1, 1] u = {1, 1}> {
    a = Conv (x, w) b = Conv <group = 2> (a, v) y = Conv (b, u) }`);
  expect(effectsOf(model)["a > y"]).toEqual({ depth: 2, squared: [4, 9] });
});

test("an activation spelt out in several nodes is one activation", () => {
  const text = (act: string) => `g (float[N, 1, 4, 4] x) => (float[N, 1, 4, 4] y)
    <float[2, 1, 1, 1] w = {1, 1}, float[2, 2, 1, 1] v = {3, 0, 0, 1}, float[1, 2, 1, 1] u = {1, 2}> {
    a = Conv (x, w) b = Conv (a, v) ${act} y = Conv (r, u) }`;
  const given = { active: { r: [0.5, 0.25] } };
  const whole = effectsOf(modelOf(text("r = HardSwish (b)"), 14), given);
  expect(whole["a > y"]?.squared).toEqual([4.5, 1]);
  expect(effectsOf(modelOf(text("s = Sigmoid (b) r = Mul (b, s)"), 14), given)).toEqual(whole);
});

test("influence reaches the values of attention head by head; of queries and keys it is not known, which is not none", () => {
  const model = modelOf(ATTENTION);
  const coupling = findGroups(model);
  const context = { model, coupling, seed: 0, note: () => {} };
  const bare = new Study(context);
  const statistics = givenStatistics(bare.requests([], 7), (v) => (v === "qkv" ? 12 : 4));
  const study = new Study({ ...context, statistics });
  const [layer] = study.layers;
  const [effect] = study.effects().values().next().value ?? [];
  const p = findValue(model, "p").constant?.numbers() as ArrayLike<number>;
  const row = (i: number) => [0, 1, 2, 3].reduce((sum, o) => sum + (p[i * 4 + o] as number) ** 2, 0) / 4;
  // 0–3 are q, 4–7 k, 8–11 v of head 0 and then head 1: those are read by rows 0–3 of p.
  expect([...(effect?.known ?? [])]).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1]);
  [0, 1, 2, 3].forEach((i) => {
    expect(effect?.squared[8 + i]).toBeCloseTo(row(i), 10);
  });
  const relative = study.influence({ survival: "per-filter", fit: "mle" }).get(layer as NonNullable<typeof layer>);
  expect([...(relative ?? [])].map(Number.isNaN)).toEqual([true, true, true, true, true, true, true, true, false, false, false, false]);
});

test("an operator without a rule ends the walk, with its reason", () => {
  const model = modelOf(`<ir_version: 8, opset_import: ["" : 13, "own" : 1]> g (float[N, 1, 4, 4] x) => (float[N, 1, 4, 4] y)
    <float[N, 2, 4, 4] c, float[2, 1, 1, 1] w = {1, 1}, float[2, 2, 1, 1] v = {3, 0, 0, 1}, float[1, 2, 1, 1] u = {1, 2}> {
    a = Conv (x, w) b = Conv (a, v) c = own.Strange (b) y = Conv (c, u) }`);
  const study = new Study({ model, coupling: findGroups(model), seed: 0, note: () => {} });
  expect(study.layers.map((l) => l.source.name)).toEqual(["a"]);
  expect(study.notes.map((n) => [n.code, n.about])).toContainEqual(["INFLUENCE_ENDS", "y"]);
});

test("only what the walk needs is asked for: variances of layers, activity behind activations", async () => {
  const model = await readModel("models/cifar10_resnet20.onnx");
  const study = new Study({ model, coupling: findGroups(model), seed: 0, note: () => {} });
  const requests = study.requests([], 7);
  // 19 convolutions and the classifier; a Relu behind each convolution inside a block, after each sum, and after the first.
  expect(requests.filter((r) => r.kind === "moments")).toHaveLength(20);
  expect(requests.filter((r) => r.kind === "active")).toHaveLength(19);
  expect(requests.filter((r) => r.kind === "gram")).toHaveLength(0);
});

test("weights and maps that pass through quantisation count as the numbers they stand for", () => {
  const text = (quantised: boolean) => `g (float[N, 1, 4, 4] x) => (float[N, 1, 4, 4] y)
    <float[2, 1, 1, 1] w = {1, 1}, int8[2, 2, 1, 1] q = {6, 0, 0, 2}, float[2, 2, 1, 1] v = {3, 0, 0, 1}, float[1, 2, 1, 1] u = {1, 2},
     float half = {0.5}, float step = {0.1}, int8 zero = {0}, uint8 middle = {0}> {
    a = Conv (x, w)
    ${quantised ? "d = DequantizeLinear (q, half, zero) b = Conv (a, d)" : "b = Conv (a, v)"}
    r = Relu (b)
    ${quantised ? "e = QuantizeLinear (r, step, middle) f = DequantizeLinear (e, step, middle) y = Conv (f, u)" : "y = Conv (r, u)"} }`;
  const given = { active: { r: [0.5, 0.25] } };
  const whole = effectsOf(modelOf(text(false)), given);
  expect(whole["a > y"]?.squared).toEqual([4.5, 1]);
  expect(effectsOf(modelOf(text(true)), given)).toEqual(whole);
});

test("on one linear 1×1 layer the closed form is what ablation measures, however the inputs are correlated", async () => {
  const model = modelOf(`g (float[N, 3, 6, 6] x) => (float[N, 4, 6, 6] y)
    <float[8, 3, 3, 3] w = {...}, float[8] b = {...}, float[4, 8, 1, 1] v = {...}> {
    a = Conv <pads = [1, 1, 1, 1]> (x, w, b) r = Relu (a) y = Conv (r, v) }`);
  const { context, samples } = await studied(runner, model, {}, "random:16");
  const study = new Study(context);
  const [closed] = study.effects().values();
  const [measured] = study.effects(await study.ablate({ runner, samples }, 16)).values();
  closed?.[0]?.squared.forEach((i, k) => {
    expect((measured?.[0]?.squared[k] as number) / i).toBeCloseTo(1, 4);
  });
});

/** Random layers with ReLU; a 3×3 layer correlates what the next ones read. */
const RELU_NET = `g (float[N, 6, 4, 4] x) => (float[N, 10, 4, 4] y)
  <float[24, 6, 3, 3] w1 = {...}, float[24] b1 = {...}, float[24, 24, 1, 1] w2 = {...}, float[24] b2 = {...},
   float[24, 24, 1, 1] w3 = {...}, float[24] b3 = {...}, float[10, 24, 1, 1] w4 = {...}> {
  a = Conv <pads = [1, 1, 1, 1]> (x, w1, b1) ra = Relu (a)
  b = Conv (ra, w2, b2) rb = Relu (b)
  c = Conv (rb, w3, b3) rc = Relu (c)
  y = Conv (rc, w4) }`;

function spearman(a: ArrayLike<number>, b: ArrayLike<number>): number {
  const ranks = (x: ArrayLike<number>) => {
    const out = new Float64Array(x.length);
    Array.from(x, (v, i) => [v, i] as const)
      .sort((p, q) => p[0] - q[0])
      .forEach(([, i], r) => {
        out[i] = r;
      });
    return out;
  };
  const [p, q] = [ranks(a), ranks(b)];
  const n = a.length;
  let d = 0;
  for (let i = 0; i < n; i++) d += ((p[i] as number) - (q[i] as number)) ** 2;
  return 1 - (6 * d) / (n * (n * n - 1));
}

test("the closed form ranks filters as ablation does", async () => {
  // Weights of one channel have a scale of their own, as in trained nets: where all are alike there is nothing to rank.
  let model = modelOf(RELU_NET);
  for (const name of ["w2", "w3", "w4"]) {
    const scales = randomFloats(`scales of ${name}`, 24).map((x) => Math.exp(0.5 * x));
    model = edited(model, name, (w) => {
      w.forEach((x, i) => {
        w[i] = x * (scales[i % 24] as number);
      });
    });
  }
  const { context, samples } = await studied(runner, model, {}, "random:48");
  const study = new Study(context);
  const ablated = await study.ablate({ runner, samples }, 48);
  const exact = study.effects(ablated);
  const means: Record<number, number[]> = {};
  for (const [layer, closed] of study.effects()) {
    closed.forEach(({ depth, squared }, i) => {
      const of = exact.get(layer)?.[i]?.squared as Float64Array;
      means[depth] = [...(means[depth] ?? []), spearman(squared, of)];
    });
  }
  const mean = (x: readonly number[] = []) => x.reduce((a, b) => a + b, 0) / x.length;
  // Measured: 0.999, 0.94 and 0.78 one, two and three layers down; 0.999 for the influence in all.
  expect(mean(means[1])).toBeGreaterThan(0.9);
  expect(mean(means[2])).toBeGreaterThan(0.8);
  const options = { survival: "per-filter", fit: "mle" } as const;
  const [closed, measured] = [study.influence(options), study.influence(options, ablated)];
  const totals = study.layers.map((l) => spearman(closed.get(l) as Float64Array, measured.get(l) as Float64Array));
  expect(mean(totals)).toBeGreaterThan(0.8);
});
