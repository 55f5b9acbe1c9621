/** A second look at what leaves: whatever a criterion exchanges, widths, balances and cost stay, and the file computes what it should. */
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { ConfigError } from "../../src/errors.js";
import { cost } from "../../src/graph/cost.js";
import { Kept } from "../../src/graph/coupling/choices.js";
import { findGroups } from "../../src/graph/coupling/groups.js";
import type { Model } from "../../src/graph/graph.js";
import { removeDead } from "../../src/passes/remove-dead.js";
import { applyPlan } from "../../src/passes/remove-filters.js";
import { runPass } from "../../src/passes/run-pass.js";
import { makePlan, type PlanRequest } from "../../src/score/budget.js";
import { type Criterion, defineCriterion, type Ranking } from "../../src/score/criterion.js";
import { judgedOnce } from "../../src/score/judged-once.js";
import { brokenBalances, findPools } from "../../src/score/pools.js";
import { modelOf } from "../support/build.js";
import { prove } from "../support/oracle.js";

/** Low numbers leave first; then all that may be exchanged is: the highest of each kind leave. */
const turncoat = (refine: Ranking["refine"] = highest) =>
  defineCriterion({
    name: "turncoat",
    summary: "their number, until it counts",
    source: "test",
    options: z.strictObject({}),
    needs: ["weights"],
    comparable: true,
    prepare: () => (group) => ({ scores: Float64Array.from(group.choices, (_, k) => k), ...(refine ? { refine } : {}) }),
  }) as Criterion;

function highest(gone: readonly number[], kinds: readonly number[]) {
  const out = gone.filter((k) => kinds[k] === -1);
  for (const kind of new Set(kinds)) {
    if (kind === -1) continue;
    const mine = kinds.flatMap((x, k) => (x === kind ? [k] : []));
    const count = gone.filter((k) => kinds[k] === kind).length;
    out.push(...mine.slice(mine.length - count));
  }
  return { gone: out, loss: [2, 1] as const };
}

const request = (over: Partial<PlanRequest> = {}): PlanRequest => ({
  criterion: turncoat(),
  options: {},
  target: { macs: 0.6 },
  scope: "local",
  align: 1,
  seed: 0,
  measure: (m) => cost(runPass(removeDead, m).model).macs,
  note: () => undefined,
  ...over,
});

const chain = () =>
  modelOf(`g (float[N,10] x) => (float[N,5] y) < float[10,20] a = {...}, float[20,40] b = {...}, float[40,5] c = {...} > {
    h = MatMul (x, a) p = Relu (h) q = MatMul (p, b) r = Relu (q) y = MatMul (r, c) }`);

describe("in layers of their own", () => {
  test("any channels may leave in the place of others, at the same cost", () => {
    const plain = makePlan(chain(), request({ criterion: turncoat(() => highest([], [])), target: { macs: 1 } }));
    expect(plain.plan.why).not.toHaveProperty("exchanges");
    const before = makePlan(chain(), request({ criterion: turncoat((gone) => ({ gone, loss: [2, 2] })) }));
    const after = makePlan(chain(), request());
    expect(after.budget).toEqual(before.budget);
    for (const [group, of] of [
      ["a:1", 20],
      ["b:1", 40],
    ] as const) {
      const low = before.plan.remove[group] as number[];
      expect(low).toEqual(low.map((_, i) => i));
      expect(after.plan.remove[group]).toEqual(low.map((_, i) => of - low.length + i));
    }
    const exchanged = Object.entries(before.plan.remove).reduce(
      (n, [g, low]) => n + low.filter((k) => !after.plan.remove[g]?.includes(k)).length,
      0,
    );
    expect(after.plan.why["exchanges"]).toEqual({ channels: exchanged, loss: [4, 2] });
    expect(before.plan.why["exchanges"]).toEqual({ channels: 0, loss: [4, 4] });
  });

  test("are asked once for the same channels, however many plans are made of one judgement", () => {
    const model = chain();
    const coupling = findGroups(model);
    const asked: string[] = [];
    const criterion = judgedOnce(
      turncoat((gone, kinds) => {
        asked.push(`${gone} of ${kinds.length}`);
        return highest(gone, kinds);
      }),
    );
    const plan = (target: PlanRequest["target"]) => makePlan(model, request({ criterion, coupling, target })).plan.remove;
    const [first, other, again] = [plan({ latency: 0.6 }), plan({ latency: 0.4 }), plan({ latency: 0.6 })];
    expect(again).toEqual(first);
    expect(other).not.toEqual(first);
    expect(first["a:1"]).toContain(19);
    expect(asked).toHaveLength(4);
    expect(new Set(asked).size).toBe(4);
  });

  test.each([
    ["too few", (gone: readonly number[]) => gone.slice(1)],
    ["one twice", (gone: readonly number[]) => [...gone.slice(1), gone[1] as number]],
    ["none of the layer's", (gone: readonly number[]) => [...gone.slice(1), 1000]],
  ])("%s are refused", (_name, other) => {
    const criterion = turncoat((gone) => ({ gone: other(gone), loss: [1, 1] }));
    let error: unknown;
    try {
      makePlan(chain(), request({ criterion }));
    } catch (e) {
      error = e;
    }
    expect(error).toBeInstanceOf(ConfigError);
    expect((error as ConfigError).code).toBe("CRITERION_REFINE");
  });
});

const MODELS: Record<string, () => Model> = {
  "a convolution in groups": () =>
    modelOf(`g (float[N,3,6,6] x) => (float[N,5,6,6] y) <
        float[16,3,1,1] w0 = {...}, float[24,8,3,3] w1 = {...}, float[24] b1 = {...}, float[5,24,1,1] w2 = {...} > {
      a = Conv (x, w0) b = Relu (a) c = Conv <group = 2, pads = [1, 1, 1, 1]> (b, w1, b1) d = Relu (c) y = Conv (d, w2) }`),
  "two convolutions in groups, one after the other": () =>
    modelOf(`g (float[N,3,6,6] x) => (float[N,5,6,6] y) <
        float[24,3,1,1] w0 = {...}, float[48,12,1,1] w1 = {...}, float[48,12,3,3] w2 = {...}, float[5,48,1,1] w3 = {...} > {
      a = Conv (x, w0) b = Relu (a) c = Conv <group = 2> (b, w1) d = Relu (c)
      e = Conv <group = 4, pads = [1, 1, 1, 1]> (d, w2) f = Relu (e) y = Conv (f, w3) }`),
  "a depthwise convolution with a multiplier": () =>
    modelOf(`g (float[N,3,6,6] x) => (float[N,5,6,6] y) <
        float[16,3,1,1] w0 = {...}, float[32,1,3,3] w1 = {...}, float[5,32,1,1] w2 = {...} > {
      a = Conv (x, w0) b = Relu (a) c = Conv <group = 16, pads = [1, 1, 1, 1]> (b, w1) d = Relu (c) y = Conv (d, w2) }`),
  heads: () =>
    modelOf(`g (float[2,5,12] x) => (float[2,5,7] y) <
        float[12,24] wq = {...}, float[12,24] wk = {...}, float[12,24] wv = {...}, float[24,12] wo = {...}, float[12,7] wy = {...},
        int64[4] split = {2,5,4,6}, int64[3] merged = {2,5,24} > {
      q0 = MatMul (x, wq) k0 = MatMul (x, wk) v0 = MatMul (x, wv)
      q1 = Reshape (q0, split) k1 = Reshape (k0, split) v1 = Reshape (v0, split)
      q = Transpose <perm = [0, 2, 1, 3]> (q1) k = Transpose <perm = [0, 2, 3, 1]> (k1) v = Transpose <perm = [0, 2, 1, 3]> (v1)
      s = MatMul (q, k) p = Softmax <axis = -1> (s) h = MatMul (p, v)
      t = Transpose <perm = [0, 2, 1, 3]> (h) m = Reshape (t, merged) o = MatMul (m, wo) y = MatMul (o, wy) }`),
  "a stream joined from two layers, one of which another layer reads as well": () =>
    modelOf(`g (float[N,3,6,6] x) => (float[N,5,6,6] y, float[N,4,6,6] z) <
        float[12,3,1,1] w0 = {...}, float[20,3,1,1] w1 = {...}, float[5,32,1,1] w2 = {...}, float[4,12,1,1] w3 = {...} > {
      a0 = Conv (x, w0) a = Relu (a0) b0 = Conv (x, w1) b = Relu (b0)
      c = Concat <axis = 1> (a, b) y = Conv (c, w2) z = Conv (a, w3) }`),
  "channels of which some are read once more": () =>
    modelOf(`g (float[N,3,6,6] x) => (float[N,5,6,6] y, float[N,4,6,6] z) <
        float[16,3,1,1] w0 = {...}, float[5,16,1,1] w1 = {...}, float[4,6,1,1] w2 = {...},
        int64[1] from = {2}, int64[1] to = {8}, int64[1] axis = {1} > {
      a0 = Conv (x, w0) a = Relu (a0) y = Conv (a, w1) b = Slice (a, from, to, axis) z = Conv (b, w2) }`),
};

describe.each(Object.entries(MODELS))("in %s", (_name, made) => {
  test.each([1, 4])("exchanges keep what balances and costs ask for (widths in steps of %i)", async (align) => {
    let exchanged = 0;
    for (const target of [{ macs: 0.6 }, { ratio: 0.75 }, { ratio: 0.5 }, { ratio: 0.25 }]) {
      const ask = (criterion?: Criterion) => {
        try {
          return makePlan(made(), request({ target, align, ...(criterion ? { criterion } : {}) }));
        } catch (error) {
          // Coarse pools do not meet every budget.
          if ((error as ConfigError).code === "BUDGET_NOT_MET" || (error as ConfigError).code === "BUDGET_UNREACHABLE") return undefined;
          throw error;
        }
      };
      const [before, after] = [ask(turncoat((gone) => ({ gone, loss: [2, 2] }))), ask()];
      expect(after === undefined).toBe(before === undefined);
      if (!before || !after) continue;
      const { coupling, plan } = after;
      expect(after.budget).toEqual(before.budget);
      const [was, is] = [before, after].map((r) => cost(runPass(removeDead, applyPlan(made(), r.plan).result).model).macs) as [
        number,
        number,
      ];
      expect(is).toBe(was);
      const removed = new Set(coupling.groups.flatMap((g) => (plan.remove[g.name] ?? []).map((k) => g.choices[k] as number)));
      expect(brokenBalances(coupling, new Kept(coupling.typing.system, coupling.choices, removed))).toEqual([]);
      const were = new Set(before.coupling.groups.flatMap((g) => (before.plan.remove[g.name] ?? []).map((k) => g.choices[k] as number)));
      for (const { cells } of findPools(coupling).pools)
        for (const { choices } of cells) {
          const count = (gone: ReadonlySet<number>) => choices.filter((c) => gone.has(c)).length;
          expect(count(removed)).toBe(count(were));
        }
      expect((await prove(findGroups(made()), removed)).maxRel).toBeLessThan(1e-5);
      exchanged += (plan.why["exchanges"] as { channels: number }).channels;
    }
    expect(exchanged).toBeGreaterThan(0);
  });
});
