import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { collect } from "../../../src/calibrate/statistics/collect.js";
import { statisticsFrom } from "../../../src/calibrate/statistics/summary.js";
import { readModel } from "../../../src/export/read.js";
import { findBlocks } from "../../../src/graph/blocks/find.js";
import { findGroups } from "../../../src/graph/coupling/groups.js";
import type { Model } from "../../../src/graph/graph.js";
import { openNodeRunner } from "../../../src/runtime/node.js";
import type { Runner } from "../../../src/runtime/runner.js";
import { makePlan } from "../../../src/score/budget.js";
import type { Merge } from "../../../src/score/criterion.js";
import { dominos } from "../../../src/score/dominos/dominos.js";
import { Conditional } from "../../../src/score/dominos/representativeness.js";
import { Study } from "../../../src/score/dominos/study.js";
import { applyMerges } from "../../../src/score/merge.js";
import { findNode, modelOf } from "../../support/build.js";
import { difference, run } from "../../support/run.js";
import { edited, without } from "../scoring.js";
import { ATTENTION, studied } from "./study.js";

let runner: Runner;
beforeAll(async () => {
  runner = await openNodeRunner({ threads: 1 });
});
afterAll(() => runner.close());

/** Ten channels (w1), a stream of eight (w2, w4), six in the block (w3). */
const NET = `g (float[N, 3, 8, 8] x) => (float[N, 5] y)
  <float[10, 3, 3, 3] w1 = {...}, float[10] b1 = {...}, float[8, 10, 3, 3] w2 = {...}, float[8] b2 = {...},
   float[6, 8, 3, 3] w3 = {...}, float[6] b3 = {...}, float[8, 6, 1, 1] w4 = {...}, float[8] b4 = {...}, float[5, 8] w5 = {...}> {
  a = Conv <pads = [1, 1, 1, 1]> (x, w1, b1) ra = Relu (a)
  b = Conv <pads = [1, 1, 1, 1]> (ra, w2, b2) rb = Relu (b)
  c = Conv <pads = [1, 1, 1, 1]> (rb, w3, b3) rc = Relu (c)
  d = Conv (rc, w4, b4) s = Add (d, rb) rs = Relu (s)
  p = GlobalAveragePool (rs) f = Flatten (p) y = Gemm <transB = 1> (f, w5) }`;

/** Row `k` of w1 and b1 becomes `scale` times row `of`. */
function copyFilter(model: Model, k: number, of: number, scale: number): Model {
  const w = edited(model, "w1", (data) => {
    for (let i = 0; i < 27; i++) data[k * 27 + i] = scale * (data[of * 27 + i] as number);
  });
  return edited(w, "b1", (data) => {
    data[k] = scale * (data[of] as number);
  });
}

/** The outgoing weights of channel k of w1. */
const outgoing = (model: Model, k: number, edit: (w: number) => number) =>
  edited(model, "w2", (w) => {
    for (let o = 0; o < 8; o++) for (let t = 0; t < 9; t++) w[(o * 10 + k) * 9 + t] = edit(w[(o * 10 + k) * 9 + t] as number);
  });

/** 3 is a copy of 1; 8 is twice 2; 5 never fires; nothing reads 7; the block gives nothing. */
function planted(): Model {
  let model = copyFilter(modelOf(NET), 3, 1, 1);
  model = copyFilter(model, 8, 2, 2);
  model = edited(model, "w1", (w) => w.fill(0, 5 * 27, 6 * 27));
  model = edited(model, "b1", (b) => {
    b[5] = -1;
  });
  model = outgoing(model, 7, () => 0);
  return edited(
    edited(model, "w4", (w) => w.fill(0)),
    "b4",
    (b) => b.fill(0),
  );
}

describe.each([
  { uniqueness: "nearest", influence: "variance" },
  { uniqueness: "conditional", influence: "variance" },
  { uniqueness: "nearest", influence: "ablation" },
])("planted redundancy, $uniqueness and $influence", (options) => {
  test("dead channels leave first, then one of each pair of twins, and no other is near", async () => {
    const { scores, order = [] } = (await studied(runner, planted(), options)).rank("w1:0");
    expect(new Set(order.slice(0, 2))).toEqual(new Set([5, 7]));
    const twins = order.slice(2, 4);
    expect(twins.filter((k) => k === 1 || k === 3)).toHaveLength(1);
    expect(twins.filter((k) => k === 2 || k === 8)).toHaveLength(1);
    expect(scores[5]).toBe(0);
    expect(scores[7]).toBe(0);
    // Twins: rounding of the statistics, or the ridge, under a root.
    for (const k of twins) expect(scores[k]).toBeLessThan(0.02);
    for (const k of order.slice(4)) expect(scores[k]).toBeGreaterThan(0.1);
  });

  test("a block that gives nothing leaves at any threshold, and what only it reads goes with it", async () => {
    const model = planted();
    const { scores, rank } = await studied(runner, model, options);
    expect(scores.blockAt([findNode(model, "d")])).toBe(0);
    expect([...rank("w3:0").scores]).toEqual([0, 0, 0, 0, 0, 0]);
  });
});

test("with twins merged, the outputs stay what they were without the first four to leave", async () => {
  const model = planted();
  const { order = [], merges = [] } = (await studied(runner, model, { merge: true })).rank("w1:0");
  const gone = order.slice(0, 4);
  const taken = merges.slice(0, 4).filter((m): m is Merge => m !== undefined);
  const merged = applyMerges(
    model,
    taken.map((m) => ({ group: "w1:0", ...m })),
    findGroups(model),
  );
  const whole = await run(model);
  // Measured 1e-7; without merging 0.2.
  expect(difference(whole, await run(without(merged, "w1:0", gone)))).toBeLessThan(1e-5);
  expect(difference(whole, await run(without(model, "w1:0", gone)))).toBeGreaterThan(1e-2);
});

test("weights that make up for a channel are those of the full-resolution covariance: outputs stay", async () => {
  // Without activations channel 4 is half of channel 0 less a third of channel 1.
  let model = modelOf(`g (float[N, 3, 6, 6] x) => (float[N, 4, 6, 6] y) <float[5, 3, 3, 3] w1 = {...}, float[4, 5, 1, 1] w2 = {...}> {
    a = Conv <pads = [1, 1, 1, 1]> (x, w1) y = Conv (a, w2) }`);
  model = edited(model, "w1", (w) => {
    for (let i = 0; i < 27; i++) w[4 * 27 + i] = (w[i] as number) / 2 - (w[27 + i] as number) / 3;
  });
  const { samples } = await studied(runner, model);
  const request = { kind: "gram", value: "a", axis: 1 } as const;
  const { covariance } = statisticsFrom(await collect(runner, model, [request], samples)).of(request);
  const beta = new Conditional(covariance, 5).compensation(4);
  const compensated = edited(model, "w2", (w) => {
    for (let o = 0; o < 4; o++)
      for (let j = 0; j < 4; j++) w[o * 5 + j] = (w[o * 5 + j] as number) + (beta[j] as number) * (w[o * 5 + 4] as number);
  });
  expect(difference(await run(model), await run(without(compensated, "w1:0", [4])))).toBeLessThan(1e-5);
});

test("channels of a residual sum stay, with the reason, unless they are to be pruned too", async () => {
  const model = modelOf(NET);
  const kept = await studied(runner, model);
  expect(kept.rank("w2:0").whole).toContain("residual sum");
  expect(kept.rank("w1:0").whole).toBeUndefined();
  const { whole, scores, order } = (await studied(runner, model, { linked: "prune" })).rank("w2:0");
  expect(whole).toBeUndefined();
  expect(order).toHaveLength(8);
  expect([...scores].every((s) => s > 0)).toBe(true);
});

test("channels in another order have the same scores", async () => {
  const permutation = [4, 9, 0, 2, 7, 1, 8, 3, 6, 5];
  const model = modelOf(NET);
  const moved = (name: string, block: number, outer: number) => (m: Model) =>
    edited(m, name, (data) => {
      const before = data.slice();
      for (let o = 0; o < outer; o++)
        permutation.forEach((from, to) => {
          const [a, b] = [(o * 10 + from) * block, (o * 10 + to) * block];
          data.set(before.subarray(a, a + block), b);
        });
    });
  const other = [moved("w1", 27, 1), moved("b1", 1, 1), moved("w2", 9, 8)].reduce((m, edit) => edit(m), model);
  const [a, b] = [(await studied(runner, model)).rank("w1:0"), (await studied(runner, other)).rank("w1:0")];
  permutation.forEach((from, to) => {
    expect(b.scores[to]).toBeCloseTo(a.scores[from] as number, 5);
  });
  expect(b.order?.map((k) => permutation[k])).toEqual(a.order);
});

test("neither uniqueness nor influence changes when a channel grows and its readers shrink by as much", async () => {
  const model = modelOf(NET);
  const scaled = outgoing(copyFilter(model, 6, 6, 8), 6, (w) => w / 8);
  expect(difference(await run(model), await run(scaled))).toBeLessThan(1e-5);
  const [a, b] = [(await studied(runner, model)).rank("w1:0"), (await studied(runner, scaled)).rank("w1:0")];
  b.scores.forEach((s, k) => {
    expect(s).toBeCloseTo(a.scores[k] as number, 4);
  });
  expect(b.order).toEqual(a.order);
});

test("normalisations give the same scores in the graph and folded into weights", async () => {
  const text = (bn: boolean) => `g (float[N, 3, 8, 8] x) => (float[N, 4, 8, 8] y)
    <float[6, 3, 3, 3] w1 = {...}, float[5, 6, 3, 3] w2 = {...}, float[4, 5, 1, 1] w3 = {...}, float[6] zero = {0, 0, 0, 0, 0, 0},
     float[6] gamma = {1, -2, 0.5, 3, 1, 0.1}, float[6] beta = {0, 1, 0.5, -1, 0.2, 0}, float[6] var = {1, 1, 1, 1, 1, 1}> {
    a = Conv <pads = [1, 1, 1, 1]> (x, w1${bn ? "" : ", beta"})
    ${bn ? "n = BatchNormalization <epsilon = 0.0> (a, gamma, beta, zero, var) r = Relu (n)" : "r = Relu (a)"}
    b = Conv <pads = [1, 1, 1, 1]> (r, w2) rb = Relu (b) y = Conv (rb, w3) }`;
  const gamma = [1, -2, 0.5, 3, 1, 0.1];
  const folded = edited(modelOf(text(false)), "w1", (w) => {
    w.forEach((x, i) => {
      w[i] = x * (gamma[Math.floor(i / 27)] as number);
    });
  });
  const [a, b] = [(await studied(runner, modelOf(text(true)))).rank("w1:0"), (await studied(runner, folded)).rank("w1:0")];
  b.scores.forEach((s, k) => {
    expect(s).toBeCloseTo(a.scores[k] as number, 5);
  });
});

test("a channel of two layers has the mean of what it is worth in each", async () => {
  const model = modelOf(`g (float[N, 3, 8, 8] x) => (float[N, 4, 8, 8] y)
    <float[6, 3, 1, 1] w1 = {...}, float[6, 1, 3, 3] w2 = {...}, float[4, 6, 1, 1] w3 = {...}> {
    a = Conv (x, w1) ra = Relu (a) b = Conv <group = 6, pads = [1, 1, 1, 1]> (ra, w2) rb = Relu (b) y = Conv (rb, w3) }`);
  const { rank, context } = await studied(runner, model, { alpha: 0 });
  const influence = [...new Study(context).influence({ survival: "per-filter", fit: "mle" }).values()];
  expect(influence).toHaveLength(2);
  rank("w1:0").scores.forEach((s, k) => {
    expect(s).toBeCloseTo(((influence[0]?.[k] as number) + (influence[1]?.[k] as number)) / 2, 12);
  });
});

test("each survival and fit ranks all channels of a real network", async () => {
  const model = await readModel("models/cifar10_resnet20.onnx");
  for (const options of [{ survival: "per-layer" }, { survival: "global" }, { fit: "curve" }, { uniqueness: "mean" }]) {
    const { context, scores } = await studied(runner, model, options, "random:8");
    const rankings = context.coupling.groups.map((g) => scores.rank(g));
    expect(rankings.filter((r) => r.whole === undefined)).toHaveLength(9);
    for (const r of rankings) expect([...r.scores].every((s) => Number.isFinite(s) && s >= 0)).toBe(true);
    for (const { order, scores: s } of rankings.filter((r) => r.order)) {
      expect(new Set(order).size).toBe(s.length);
      order?.forEach((k, i) => {
        if (i > 0) expect(s[k]).toBeGreaterThanOrEqual(s[order[i - 1] as number] as number);
      });
    }
  }
});

test("every block of a real network has a threshold, on the scale of channels", async () => {
  const model = await readModel("models/cifar10_resnet20.onnx");
  const { scores } = await studied(runner, model, { blocks: "layer", omegaMin: 0.5 }, "random:8");
  const { blocks } = findBlocks(model);
  expect(blocks.length).toBeGreaterThanOrEqual(7);
  for (const { last } of blocks) {
    const at = scores.blockAt(last) as number;
    const values = last.flatMap((node) => [...(scores.filters(node) as Float64Array)]);
    // Half of the filters of the last convolution: 8, 16 or 32.
    expect(values.filter((v) => v < at).length).toBeLessThan(values.length / 2);
    expect(values.filter((v) => v <= at).length).toBeGreaterThanOrEqual(values.length / 2);
    expect(at).toBeGreaterThan(0);
  }
});

test("a block that adds little leaves before one that adds much, unless V is to be relative to its layer", async () => {
  const model = modelOf(`g (float[N, 3, 6, 6] x) => (float[N, 3, 6, 6] y)
    <float[8, 3, 1, 1] w0 = {...}, float[8, 8, 3, 3] w1 = {...}, float[8, 8, 3, 3] w2 = {...}, float[3, 8, 1, 1] w3 = {...}> {
    s0 = Conv (x, w0) r0 = Relu (s0) a = Conv <pads = [1, 1, 1, 1]> (r0, w1) s1 = Add (r0, a) r1 = Relu (s1)
    b = Conv <pads = [1, 1, 1, 1]> (r1, w2) s2 = Add (r1, b) y = Conv (s2, w3) }`);
  const little = edited(model, "w2", (w) => {
    w.forEach((x, i) => {
      w[i] = x / 1000;
    });
  });
  const at = async (m: Model, blocks: string) => {
    const { scores } = await studied(runner, m, { blocks });
    return [scores.blockAt([findNode(m, "a")]), scores.blockAt([findNode(m, "b")])] as [number, number];
  };
  const [much, less] = await at(little, "contribution");
  expect(less).toBeLessThan(much / 10);
  const [before, after] = [await at(model, "layer"), await at(little, "layer")];
  expect(after[1]).toBeCloseTo(before[1], 4);
});

test("a gate or a scale on the branch does not hide which layer it ends with", async () => {
  const model = modelOf(`g (float[N, 4, 6, 6] x) => (float[N, 3, 6, 6] y)
    <float[8, 4, 1, 1] w0 = {...}, float[8, 8, 3, 3] w1 = {...}, float[2, 8, 1, 1] g1 = {...}, float[8, 2, 1, 1] g2 = {...}, float[3, 8, 1, 1] w2 = {...}> {
    s0 = Conv (x, w0) a = Conv <pads = [1, 1, 1, 1]> (s0, w1)
    p = GlobalAveragePool (a) h = Conv (p, g1) hr = Relu (h) q = Conv (hr, g2) z = Sigmoid (q) m = Mul (a, z)
    s = Add (s0, m) y = Conv (s, w2) }`);
  const { scores } = await studied(runner, model);
  const [block] = findBlocks(model).blocks;
  expect(block?.last.map((n) => n.outputs[0]?.name)).toContain("a");
  expect(scores.blockAt(block?.last ?? [])).toBeGreaterThan(0);
});

test("queries and keys, of which no influence is known, are ranked by uniqueness, and a note says so", async () => {
  const model = modelOf(ATTENTION);
  const { context, rank, notes } = await studied(runner, model);
  for (const group of context.coupling.groups) {
    const { scores, whole, order } = rank(group.name);
    expect(whole).toBeUndefined();
    expect(order).toHaveLength(group.choices.length);
    expect([...scores].every((s) => s > 0 && Number.isFinite(s))).toBe(true);
  }
  // Two heads of two dims that q and k share.
  const note = notes.find((n) => n.code === "INFLUENCE_UNKNOWN");
  expect(note?.why).toContain("4 of its channels");
});

test("a budget of everything removes nothing", async () => {
  const model = modelOf(NET);
  const { context } = await studied(runner, model);
  const { plan } = makePlan(model, {
    criterion: dominos as Parameters<typeof makePlan>[1]["criterion"],
    options: dominos.options.parse({}),
    target: { ratio: 1 },
    scope: "global",
    align: 1,
    seed: 0,
    statistics: context.statistics,
    measure: () => 1,
    note: () => {},
  });
  expect(plan.remove).toEqual({});
});

test("channels of values that do not count samples first are not measured: they stay, and a note says so", async () => {
  const model = modelOf(`g (float[N, 4, 3] x) => (float[4, N, 2] y) <float[3, 5] w = {...}, float[5, 2] v = {...}> {
    t = Transpose <perm = [1, 0, 2]> (x) a = MatMul (t, w) r = Relu (a) y = MatMul (r, v) }`);
  const { rank, notes } = await studied(runner, model);
  expect(rank("w:1").whole).toContain("no linear layer");
  expect(notes.map((n) => [n.code, n.about])).toContainEqual(["NOT_MEASURED", "r"]);
});
