import { describe, expect, test } from "vitest";
import { BudgetError, ConfigError } from "../../src/errors.js";
import { cloneModel } from "../../src/graph/clone.js";
import { encode, joinChunks } from "../../src/graph/codec.js";
import { cost } from "../../src/graph/cost.js";
import type { Model } from "../../src/graph/graph.js";
import { infer } from "../../src/graph/infer.js";
import { random } from "../../src/graph/random.js";
import { Tensor } from "../../src/graph/tensor.js";
import { candidatesOf } from "../../src/passes/low-rank/candidates.js";
import { analysisOf, decider, decisionOf } from "../../src/passes/low-rank/decide.js";
import { emit, oracle } from "../../src/passes/low-rank/emit.js";
import { type LowRankOptions, lowRank } from "../../src/passes/low-rank.js";
import type { Pass } from "../../src/passes/pass.js";
import { runPass } from "../../src/passes/run-pass.js";
import { type PruneOptions, prune } from "../../src/pipeline.js";
import { normalSamples } from "../recover/support.js";
import { findNode, findValue, modelOf, randomFloats } from "../support/build.js";
import { relative } from "../support/oracle.js";
import { randomRecipe } from "../support/random-graph.js";
import { extentOf, modelOfRecipe } from "../support/recipe.js";
import { difference, run } from "../support/run.js";

const entry = { kind: "pass", pass: lowRank as unknown as Pass } as const;
const quick = { ep: "cpu", latency: false, threads: 1, align: 1 } as const;
const factorised = (model: Model, options: Partial<LowRankOptions>, more: Partial<PruneOptions> = {}) =>
  prune(model, { ...quick, passes: [{ entry, options: { saliency: "weights", ...options } }], ...more });
const encoded = (m: Model) => Buffer.from(joinChunks(encode(m)));

/** Every layer that can be, in each of its divisions, of half the rank: what is emitted against the oracle, by a runtime of the test's own. */
async function expectEqual(model: Model, divisions?: number) {
  const candidates = candidatesOf(model, { measures: false, skip: [] });
  const count = Math.max(...candidates.map((c) => c.divisions.length));
  expect(count).toBe(divisions ?? count);
  for (let i = 0; i < count; i++) {
    const decisions = candidates.map((c) => {
      const found = analysisOf(c, c.divisions[i % c.divisions.length] as (typeof c.divisions)[number], undefined);
      return decisionOf(c, found, Math.ceil(found.components.vectors.length / 2));
    });
    const made = cloneModel(model);
    emit(made, decisions);
    expect(made.graph.nodes).toHaveLength(model.graph.nodes.length + decisions.length);
    const want = await run(oracle(model, decisions));
    expect(difference(want, await run(made))).toBeLessThanOrEqual(1e-5);
    expect(difference(want, await run(model))).toBeGreaterThan(1e-3);
  }
}

describe("two layers are what one with the product of their weights is", () => {
  test.each([
    ["a convolution", "x", 3, "pads = [1, 1, 1, 1]", "[8,6,3,3]"],
    ["with strides", "x", 3, "pads = [1, 0, 2, 1], strides = [2, 3]", "[8,6,3,3]"],
    ["with dilations", "x", 3, "pads = [2, 1, 2, 1], dilations = [2, 1]", "[8,6,3,3]"],
    ["that says its kernel", "x", 3, "kernel_shape = [3, 2], pads = [1, 1, 1, 0]", "[8,6,3,2]"],
    ["that pads itself", "x", 3, 'auto_pad = "SAME_UPPER", strides = [2, 2]', "[8,6,3,4]"],
    ["that pads itself before", "x", 3, 'auto_pad = "SAME_LOWER", strides = [3, 2]', "[8,6,4,3]"],
    ["without pads", "x", 3, 'auto_pad = "VALID"', "[8,6,3,3]"],
    ["of one tap", "x", 1, "strides = [2, 2]", "[8,6,1,1]"],
    ["of one row", "x", 1, "pads = [0, 3, 0, 3]", "[8,6,1,7]"],
  ])("%s", async (_, input, divisions, attributes, dims) => {
    const model = modelOf(`g (float[2,6,9,11] x) => (float[2,8,N,M] y) <float${dims} w = {...}, float[8] b = {...}> {
      y = Conv <${attributes}> (${input}, w, b) }`);
    await expectEqual(model, divisions);
  });

  test("convolutions of one and three dimensions", async () => {
    await expectEqual(
      modelOf(`g (float[2,6,9] x) => (float[2,8,N] y) <float[8,6,3] w = {...}> { y = Conv <pads = [1, 1], strides = [2]> (x, w) }`),
      1,
    );
    await expectEqual(
      modelOf(`g (float[2,6,4,5,6] x) => (float[2,8,N,M,K] y) <float[8,6,2,3,2] w = {...}, float[8] b = {...}> {
        y = Conv <pads = [1, 1, 0, 0, 1, 1], strides = [1, 2, 1]> (x, w, b) }`),
      7,
    );
  });

  test("normalisations and scales after a layer are of what the second factor gives", async () => {
    const model = modelOf(`g (float[2,6,9,9] x) => (float[2,8,9,9] y)
      <float[8,6,3,3] w = {...}, float[8] g1 = {...}, float[8] b1 = {...}, float[8] m = {...}, float[8] v = {1,2,3,4,5,6,7,8}, float[8,1,1] s = {2,0,1,1,3,1,1,1}> {
      a = Conv <pads = [1, 1, 1, 1]> (x, w) n = BatchNormalization (a, g1, b1, m, v) t = Mul (n, s) y = Relu (t) }`);
    await expectEqual(model, 3);
  });

  test("products of matrices, in each layout", async () => {
    for (const [text, dims] of [
      ["y = Gemm <transB = 1, alpha = 0.5, beta = 2.0> (x, w, b)", "[7,9]"],
      ["y = Gemm (x, w, b)", "[9,7]"],
      ["m = MatMul (x, w) y = Add (m, b)", "[9,7]"],
      ["y = MatMul (x, w)", "[9,7]"],
    ] as const) {
      await expectEqual(modelOf(`g (float[5,9] x) => (float[5,7] y) <float${dims} w = {...}, float[7] b = {...}> { ${text} }`), 1);
    }
    await expectEqual(
      modelOf(`g (float[2,5,9] x) => (float[2,5,7] y) <float[9,7] w = {...}, float[7] b = {...}> { m = MatMul (x, w) y = Add (m, b) }`),
      1,
    );
  });

  const SEEDS = Number(process.env["FUZZ_SEEDS"] ?? 60);
  const FROM = Number(process.env["FUZZ_FROM"] ?? 1);
  test(`layers of ${SEEDS} random graphs`, { timeout: 60_000 + SEEDS * 1000 }, async () => {
    let layers = 0;
    for (let seed = FROM; seed < FROM + SEEDS; seed++) {
      const recipe = randomRecipe(seed);
      const options = { seed, batch: recipe.dynamicBatch ? 3 : 2, extent: extentOf };
      const model = modelOfRecipe(recipe);
      const uniform = random(`low-rank/${seed}`);
      const decisions = candidatesOf(model, { measures: false, skip: [] }).flatMap((c) => {
        const division = c.divisions[Math.floor(uniform() * c.divisions.length)] as (typeof c.divisions)[number];
        const found = analysisOf(c, division, undefined);
        const rank = Math.ceil(uniform() * found.components.vectors.length);
        return rank > 0 ? [decisionOf(c, found, rank)] : [];
      });
      if (decisions.length === 0) continue;
      layers += decisions.length;
      const made = cloneModel(model);
      emit(made, decisions);
      const expected = oracle(model, decisions);
      const want = await run(expected, options);
      const noise = relative(await run(expected, { ...options, jitter: 1e-7 }), want);
      expect(relative(await run(made, options), want), `seed ${seed}`).toBeLessThanOrEqual(Math.max(1e-5, 50 * noise));
    }
    expect(layers).toBeGreaterThan(SEEDS);
  });
});

const chain = modelOf(`g (float[N,3,12,12] x) => (float[N,5] y)
  <float[24,3,3,3] w1 = {...}, float[24] b1 = {...}, float[24,24,3,3] w2 = {...}, float[24] b2 = {...}, float[24,12,3,3] w4 = {...},
   float[5,24] w3 = {...}, float[5] b3 = {...}> {
  a = Conv <pads = [1, 1, 1, 1]> (x, w1, b1) r = Relu (a)
  c = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (r, w2, b2) s = Relu (c)
  d = Conv <pads = [1, 1, 1, 1], group = 2> (s, w4) e = Relu (d)
  p = GlobalAveragePool (e) f = Flatten (p) y = Gemm <transB = 1> (f, w3, b3) }`);

describe("a budget", () => {
  test.each([["macs"], ["params"], ["bytes"]] as const)("of %s is met, proven, the same each time", async (measure) => {
    const { model, report } = await factorised(chain, {}, { target: { [measure]: 0.7 } });
    const { before, after } = report.cost;
    const of = { macs: "macs", params: "parameters", bytes: "bytes" } as const;
    const reached = (after[of[measure] as "macs"] as number) / (before[of[measure] as "macs"] as number);
    expect(Math.abs(reached - 0.7)).toBeLessThanOrEqual(0.007);
    expect(report.steps[0]?.budget).toEqual({ measure, asked: 0.7, reached: expect.closeTo(reached, 2) });
    expect(report.equality.map((e) => e.ok)).toEqual([true]);
    const again = await factorised(chain, {}, { target: { [measure]: 0.7 } });
    expect(encoded(again.model)).toEqual(encoded(model));
  });

  test("is the pass's own where it has one; of the original, whatever ran before", async () => {
    const { report } = await prune(chain, {
      ...quick,
      target: { macs: 0.813 },
      passes: ["l1", { entry, options: { saliency: "weights", macs: 0.5 } }],
    });
    expect(report.steps.map((s) => s.budget?.asked)).toEqual([0.813, 0.5]);
    expect(report.cost.after.macs / report.cost.before.macs).toBeCloseTo(0.5, 2);
    expect(report.equality.map((e) => e.ok)).toEqual([true, true]);
  });

  test("that is met already changes nothing, and is said", async () => {
    const { report } = await prune(chain, { ...quick, target: { macs: 0.5 }, passes: ["l1", { entry, options: { saliency: "weights" } }] });
    expect(report.steps[1]).toMatchObject({
      changed: false,
      notes: expect.arrayContaining([expect.objectContaining({ code: "BUDGET_MET" })]),
    });
  });

  test("out of reach, of time, or not given, is refused with what to do", async () => {
    await expect(factorised(chain, {}, { target: { macs: 0.05 } })).rejects.toThrow(BudgetError);
    await expect(factorised(chain, {}, { target: { macs: 0.05 } })).rejects.toMatchObject({
      message: expect.stringMatching(/rank 1.*left/),
    });
    await expect(factorised(chain, {}, { target: { ratio: 0.5 } })).rejects.toMatchObject({ code: "TARGET_KIND" });
    await expect(factorised(chain, {})).rejects.toThrow(ConfigError);
    const narrow = modelOf(
      `g (float[1,4,6,6] x) => (float[1,4,6,6] y) <float[4,4,3,3] w = {...}> { y = Conv <pads = [1, 1, 1, 1]> (x, w) }`,
    );
    await expect(factorised(narrow, {}, { target: { macs: 0.7 } })).rejects.toThrow(/66\.7 % is the nearest below/);
    expect(() => runPass(entry.pass, chain, {})).toThrow(/told of here/);
  });

  test("ranks suit the kernels where widths are aligned", async () => {
    const wide =
      modelOf(`g (float[1,64,8,8] x) => (float[1,64,8,8] y) <float[64,64,3,3] w = {...}, float[96,64,3,3] v = {...}, float[64,96,3,3] u = {...}> {
      a = Conv <pads = [1, 1, 1, 1]> (x, w) b = Relu (a) c = Conv <pads = [1, 1, 1, 1]> (b, v) d = Relu (c) y = Conv <pads = [1, 1, 1, 1]> (d, u) }`);
    const { report } = await factorised(wide, {}, { target: { macs: 0.5 }, align: 16 });
    for (const row of report.steps[0]?.figures ?? []) {
      const rank = Number(/→ (\d+)/.exec(row["first"] as string)?.[1]);
      expect(rank % 16 === 0 || rank <= 8, `rank ${rank}`).toBe(true);
    }
    expect(report.steps[0]?.figures).not.toEqual([]);
  });
});

describe("a budget of time", () => {
  const wide = modelOf(`g (float[N,48,12,12] x) => (float[N,48,12,12] y)
    <float[96,48,3,3] w = {...}, float[96,96,3,3] v = {...}, float[48,96,3,3] u = {...}> {
    a = Conv <pads = [1, 1, 1, 1]> (x, w) b = Relu (a) c = Conv <pads = [1, 1, 1, 1]> (b, v) d = Relu (c) y = Conv <pads = [1, 1, 1, 1]> (d, u) }`);
  const inputs = { x: [1, 48, 12, 12] };
  /** A machine on which blocks of 16 channels take as long as if they were full. */
  const layers = (m: Model, extents: Readonly<Record<string, readonly number[]>>) => {
    const types = infer(m, { bind: extents });
    const blocks = (channels: number) => 16 * Math.ceil(channels / 16);
    return m.graph.nodes
      .filter((n) => n.opType === "Conv")
      .map((n) => {
        const weight = n.inputs[1]?.constant as Tensor;
        const [o, i, ...kernel] = weight.dims as [number, number, ...number[]];
        const [, , ...map] = types.shape(findValue(m, n.outputs[0]?.name as string)) as [number, number, ...number[]];
        return blocks(o) * blocks(i) * [...kernel, ...map].reduce((a, b) => a * b, 1);
      });
  };
  const milliseconds = (of: unknown) => (of as readonly number[]).reduce((a, b) => a + b, 0) / 1e6;
  const timing = { inputs, layers, milliseconds };
  const asked = (latency: number) => ({
    target: { latency },
    original: wide,
    align: 1,
    exclude: [],
    measure: (m: Model) => 0.1 + milliseconds(layers(m, inputs)),
    cost: () => cost(wide),
    timing,
  });

  test("is met by what layers take, and no rank is lower than its time allows", () => {
    const decide = decider(wide, { skip: [], data: false, own: undefined }, { exclude: [], align: 1 }, undefined, () => undefined);
    for (const keep of [0.8, 0.6, 0.4]) {
      const { layers: chosen, budget } = decide(asked(keep));
      expect(Math.abs(budget.reached / keep - 1)).toBeLessThanOrEqual(0.03);
      const made = cloneModel(wide);
      emit(made, chosen);
      expect(asked(keep).measure(made) / asked(keep).measure(wide)).toBeCloseTo(budget.reached, 6);
      for (const { rank } of chosen) expect(rank % 16, `rank ${rank} at ${keep}`).toBe(0);
    }
    expect(() => decide(asked(0.05))).toThrow(BudgetError);
  });

  test("is measured on the file that comes out", { timeout: 60_000 }, async () => {
    const run = await factorised(wide, {}, { target: { latency: 0.9 }, inputShapes: inputs }).catch((e: unknown) => e as BudgetError);
    // A machine may be too busy, or too fast for it to matter: then it says so.
    if (run instanceof Error) expect(run).toMatchObject({ code: expect.stringMatching(/^(LATENCY_NOT_MET|LOW_RANK_BUDGET)$/) });
    else expect(run.report.steps[0]?.budget).toEqual({ measure: "latency", asked: 0.9, reached: expect.any(Number) });
  });
});

describe("which layers", () => {
  test("groups and transposed convolutions stay, with a reason; others stay where asked", async () => {
    const { report } = await factorised(chain, { skip: ["a"] }, { target: { params: 0.7 }, exclude: ["y"] });
    const notes = new Map(report.steps[0]?.notes.map((n) => [n.about, n.why]));
    expect(notes.get("d")).toMatch(/groups/);
    expect([notes.get("a"), notes.get("y")]).toEqual(["it is to be left whole", "it is to be left whole"]);
    expect(report.steps[0]?.figures?.map((f) => f["layer"])).toEqual(["c"]);
    const transposed = modelOf(`g (float[1,8,8,8] x) => (float[1,4,10,10] y) <float[8,4,3,3] w = {...}> { y = ConvTranspose (x, w) }`);
    await expect(factorised(transposed, {}, { target: { params: 0.5 } })).rejects.toThrow(BudgetError);
  });

  test("a shared weight, and one computed in the graph, stay", () => {
    const model = modelOf(`g (float[1,8,8,8] x, float[8,8,3,3] v) => (float[1,8,8,8] y) <float[8,8,3,3] w = {...}> {
      a = Conv <pads = [1, 1, 1, 1]> (x, w) b = Conv <pads = [1, 1, 1, 1]> (a, w) y = Conv <pads = [1, 1, 1, 1]> (b, v) }`);
    const notes: string[] = [];
    expect(candidatesOf(model, { measures: false, skip: [] }, (n) => notes.push(n.why))).toEqual([]);
    expect(notes).toEqual(["its weight is shared", "its weight is shared", "its weight is computed in the graph"]);
  });

  test("a matrix of thousands of outputs stays; what cannot be seen is judged by its weights, and is said", async () => {
    const model = modelOf(`g (float[N,6,H,W] x, float[N,4] z) => (float[N,8,H,W] y, float[N,2000] t)
      <float[8,6,3,3] w = {...}, float[4,2000] v = {...}> { y = Conv <auto_pad = "SAME_UPPER"> (x, w) t = MatMul (z, v) }`);
    const notes = new Map<string, string>();
    const found = candidatesOf(model, { measures: true, skip: [] }, (n) => notes.set(n.about, n.why));
    expect(notes.get("t")).toMatch(/more than 1536 outputs/);
    // How far windows reach over the border is known at run time alone; what the layer gives can be seen all the same.
    expect(found.map((c) => c.divisions.map((d) => d.request?.kind))).toEqual([[undefined, undefined, "gram"]]);
    decider(model, { skip: [], data: true, own: undefined }, { exclude: [], align: 1 }, undefined, (n) => notes.set(n.about, n.code));
    expect(notes.get("y")).toBe("INPUT_NOT_SEEN");
  });

  test("a layer that is of low rank becomes two that give the same", async () => {
    const model = cloneModel(chain);
    const [u, v] = [randomFloats("u", 24 * 3 * 2), randomFloats("v", 2 * 24 * 3)];
    const value = findValue(model, "w2");
    const numbers = Array.from({ length: 24 * 24 * 9 }, (_, at) => {
      const [o, i, y, x] = [Math.floor(at / 216), Math.floor(at / 9) % 24, Math.floor(at / 3) % 3, at % 3];
      return [0, 1].reduce((s, r) => s + (u[(o * 3 + x) * 2 + r] as number) * (v[(r * 24 + i) * 3 + y] as number), 0);
    });
    model.graph.setConstant(value, Tensor.fromNumbers("float32", [24, 24, 3, 3], numbers));
    // A row of the kernel is applied at 6 × 12 positions, the rest at 6 × 6.
    const rank2 = 2 * (24 * 3 * 72 + 24 * 3 * 36);
    const keep = 1.003 - (24 * 24 * 9 * 36 - rank2) / cost(model).macs;
    const { model: made, report } = await factorised(model, {}, { target: { macs: keep } });
    const figures = report.steps[0]?.figures?.find((f) => f["layer"] === "c");
    expect(figures).toMatchObject({ first: "24 → 2 of 3 × 1", "variance kept": 1 });
    expect(difference(await run(model), await run(made))).toBeLessThanOrEqual(1e-5);
  });
});

describe("samples", () => {
  /** Of what the layer reads, a quarter of the channels is there, and the others hardly ever: 12 components of 3 × 1 are nearly all. */
  const uneven = modelOf(`g (float[N,16,10,10] x) => (float[N,24,10,10] y)
    <float[16,1,1] s = {1,1,1,1,0.01,0.01,0.01,0.01,0.01,0.01,0.01,0.01,0.01,0.01,0.01,0.01}, float[24,16,3,3] w = {...}, float[24] b = {...}> {
    i = Mul (x, s) y = Conv <pads = [1, 1, 1, 1]> (i, w, b) }`);

  test("tell which combinations matter: less is lost than by weights alone", async () => {
    const calibration = await normalSamples(uneven, 64);
    const loss = async (saliency: "data" | "weights") => {
      const { model } = await factorised(uneven, { saliency }, { target: { params: 0.426 }, calibration });
      return difference(await run(uneven), await run(model));
    };
    expect(await loss("data")).toBeLessThan(0.1 * (await loss("weights")));
  });

  test("are asked for where they decide", async () => {
    await expect(factorised(uneven, { saliency: "data" }, { target: { macs: 0.5 } })).rejects.toThrow(/low-rank/);
  });

  test.each(["least-squares", "joint"] as const)(
    "correct the factors afterwards (%s), at the same cost",
    { timeout: 60_000 },
    async (reconstruct) => {
      const calibration = await normalSamples(chain, 200);
      const plain = await factorised(chain, { saliency: "data" }, { target: { macs: 0.45 }, calibration });
      const better = await factorised(chain, { saliency: "data" }, { target: { macs: 0.45 }, calibration, reconstruct });
      const want = await run(chain, { seed: 7, batch: 32 });
      const error = async (m: Model) => difference(want, await run(m, { seed: 7, batch: 32 }));
      expect(await error(better.model)).toBeLessThan(0.8 * (await error(plain.model)));
      expect(cost(better.model).macs).toBe(cost(plain.model).macs);
      expect(better.report.steps.map((s) => s.pass)).toEqual(["low-rank", "reconstruct"]);
      const layers = better.report.steps[1]?.recovery?.steps.flatMap((s) => s.layers.filter((l) => l.changed).map((l) => l.node)) ?? [];
      expect(layers).toContain(findNode(better.model, "c").label);
      // The first factor alone has no partner in the original: windows reach it.
      const first = findNode(better.model, "c").inputs[0]?.producer?.label;
      expect(layers.includes(first as string)).toBe(reconstruct === "joint");
      expect(better.report.steps[1]?.recovery?.left.some((l) => l.node === first)).toBe(reconstruct !== "joint");
    },
  );
});
