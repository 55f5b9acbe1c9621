/** Large models are run in pieces: what comes out is what one session gives. */
import { afterAll, describe, expect, it } from "vitest";
import type { Model } from "../../src/graph/graph.js";
import { prune } from "../../src/pipeline.js";
import { openNodeRunner } from "../../src/runtime/node.js";
import { randomFeeds } from "../../src/verify/feeds.js";
import { isRunWhole, PiecewiseSession, piecesOf, runAll } from "../../src/verify/pieces.js";
import { modelOf } from "../support/build.js";

const runner = await openNodeRunner({ threads: 1 });
afterAll(() => runner.close());

/** Two residual blocks, a shared weight, a dead node, and a second output half way. */
const RESIDUAL = `g (float[N,8] x) => (float[N,4] y, float[N,8] half) <
    float[8,16] w1 = {...}, float[16,8] w2 = {...}, float[8,16] w3 = {...}, float[8,4] w4 = {...}> {
  a = MatMul (x, w1) b = Relu (a) c = MatMul (b, w2) half = Add (x, c)
  d = MatMul (half, w3) e = Relu (d) f = MatMul (e, w2) g = Add (half, f)
  dead = Neg (g) y = MatMul (g, w4) }`;

async function bothWays(model: Model, limit: number, constant = false) {
  const feeds = [randomFeeds(model, 1), randomFeeds(model, 2)];
  const whole = await runAll(runner, model, feeds, { optimization: "disabled" });
  const pieces = await runAll(runner, model, feeds, { optimization: "disabled", limit, constant });
  return { whole, pieces };
}

describe("running in pieces", () => {
  it.each([1, 520, 1100])("with at most %i bytes of weights at once gives the same outputs, bit for bit", async (limit) => {
    const model = modelOf(RESIDUAL);
    expect(isRunWhole(model, limit)).toBe(false);
    const { whole, pieces } = await bothWays(model, limit);
    expect(Object.keys(pieces[0] ?? {}).sort()).toEqual(["half", "y"]);
    for (const [i, run] of whole.entries()) for (const [name, t] of Object.entries(run)) expect(pieces[i]?.[name]?.bytes).toEqual(t.bytes);
  });

  it("each piece has the weights it reads and no others", () => {
    const pieces = piecesOf(modelOf(RESIDUAL), new Set(["y", "half"]), { limit: 520 });
    expect(pieces.map((p) => p.model.graph.initializers.map((v) => v.name))).toEqual(
      [["w1"], ["w2"], ["w3"], ["w2"], ["w4"]].slice(0, pieces.length),
    );
    expect(pieces.at(-1)?.outputs).toEqual(["y"]);
  });

  it("weights of a megabyte are given as inputs, which every run has", async () => {
    const model = modelOf(`g (float[2,512] x) => (float[2,512] y) <float[512,512] w = {...}, float[512,512] v = {...}> {
      a = MatMul (x, w) b = Relu (a) y = MatMul (b, v) }`);
    const pieces = piecesOf(model, new Set(["y"]), { limit: 2 ** 20 });
    expect(pieces.map((p) => Object.keys(p.fed))).toEqual([["w"], ["v"]]);
    for (const constant of [false, true]) {
      const { whole, pieces: apart } = await bothWays(model, 2 ** 20, constant);
      // The kernel for a computed weight sums in another order than the one that packs a constant.
      const far = (i: number) =>
        Math.max(...(whole[i]?.["y"]?.numbers() ?? []).map((v, k) => Math.abs(v - (apart[i]?.["y"]?.numbers()[k] as number))));
      for (const i of [0, 1]) expect(far(i)).toBeLessThan(1e-3);
    }
  });

  it("what a subgraph reads crosses a cut, and what cannot be fed does not", async () => {
    const model = modelOf(
      `g (float[2,8] x, bool c) => (float[2,8] y) <float[8,8] w = {...}, float[8,8] v = {...}, int64 at = {0}> {
        a = MatMul (x, w) s = SequenceConstruct (a, x) b = MatMul (a, v)
        d = If (c) <then_branch = t () => (float[2,8] o) { o = Add (a, b) }, else_branch = e () => (float[2,8] p) { p = Sub (a, b) }>
        f = SequenceAt (s, at) y = Add (d, f) }`,
    );
    const { whole, pieces } = await bothWays(model, 1);
    for (const i of [0, 1]) expect(pieces[i]?.["y"]?.bytes).toEqual(whole[i]?.["y"]?.bytes);
    for (const p of piecesOf(model, new Set(["y"]), { limit: 1 })) expect(p.inputs).not.toContain("s");
  });

  it("a session of pieces is a session", async () => {
    const model = modelOf(RESIDUAL);
    const session = PiecewiseSession.of(runner, model);
    expect(session.inputs.map((i) => [i.name, i.dtype])).toEqual([["x", "float32"]]);
    const { half, y } = await session.run(randomFeeds(model, 3));
    expect([half?.dims, y?.dims]).toEqual([
      [2, 8],
      [2, 4],
    ]);
    expect(Object.keys(await session.run(randomFeeds(model, 3), ["half"]))).toEqual(["half"]);
    await session.release();
  });
});

describe("a run within little memory", () => {
  it("is not timed, and says so", async () => {
    const model = modelOf(
      "g (float[N,8] x) => (float[N,4] y) <float[8,16] w = {...}, float[16,4] v = {...}> { a = MatMul (x, w) b = Relu (a) y = MatMul (b, v) }",
    );
    const { report } = await prune(model, { passes: ["l1"], target: { ratio: 0.5 }, ep: "cpu", memory: 100 });
    expect(report.latency).toBeUndefined();
    expect(report.notes.map((n) => n.code)).toContain("NOT_TIMED");
    expect(report.equality.every((e) => e.ok)).toBe(true);
  });
});
