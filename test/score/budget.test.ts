/** From scores and a target to a plan: which channels leave, how near the budget comes, and what cannot be met. */
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { BudgetError, ConfigError } from "../../src/errors.js";
import type { Model } from "../../src/graph/graph.js";
import { removeDead } from "../../src/passes/remove-dead.js";
import { applyPlan } from "../../src/passes/remove-filters.js";
import { runPass } from "../../src/passes/run-pass.js";
import { makePlan, type PlanRequest } from "../../src/score/budget.js";
import { type Criterion, defineCriterion } from "../../src/score/criterion.js";
import { printPlan, resolvePlan } from "../../src/score/plan.js";
import { random } from "../../src/score/random.js";
import { modelOf } from "../support/build.js";

/** Scores are the channel's number, plus 100 for groups made by the value `high`: low numbers leave first. */
const byNumber = (high = "") =>
  defineCriterion({
    name: "by-number",
    summary: "their number",
    source: "test",
    options: z.strictObject({}),
    needs: ["weights"],
    comparable: true,
    prepare: () => (group) => ({ scores: Float64Array.from(group.choices, (_, k) => k + (group.name.startsWith(`${high}:`) ? 100 : 0)) }),
  }) as Criterion;

function request(over: Partial<PlanRequest> = {}): PlanRequest {
  const measure = (model: Model) => parameters(runPass(removeDead, model).model);
  return {
    criterion: byNumber(),
    options: {},
    target: { ratio: 0.5 },
    scope: "local",
    align: 1,
    seed: 0,
    measure,
    note: () => undefined,
    ...over,
  };
}

const parameters = (model: Model): number => model.graph.initializers.reduce((n, v) => n + (v.initializer?.size ?? 0), 0);

/** Two free layers, of 20 and 40 channels unless told. */
const mlp = (one = 20, two = 40) =>
  modelOf(`g (float[N,10] x) => (float[N,5] y) < float[10,${one}] a = {...}, float[${one},${two}] b = {...}, float[${two},5] c = {...} > {
    h = MatMul (x, a)
    p = Relu (h)
    q = MatMul (p, b)
    r = Relu (q)
    y = MatMul (r, c)
  }`);

function thrown(f: () => unknown): BudgetError {
  try {
    f();
  } catch (error) {
    if (error instanceof BudgetError) return error;
    throw error;
  }
  throw new Error("Nothing was thrown.");
}

describe("a ratio", () => {
  test("taken from every layer leaves the lowest scores out of each", () => {
    const { plan, budget } = makePlan(mlp(), request({ target: { ratio: 0.75 } }));
    expect(plan.remove).toEqual({ "a:1": [0, 1, 2, 3, 4], "b:1": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9] });
    expect(budget).toEqual({ measure: "ratio", asked: 0.75, reached: 0.75 });
  });

  test("taken over all layers leaves out the lowest scores wherever they are", () => {
    const { plan } = makePlan(mlp(), request({ scope: "global", criterion: byNumber("a") }));
    expect(Object.keys(plan.remove)).toEqual(["b:1"]);
    expect(plan.remove["b:1"]).toHaveLength(30);
  });

  test("of 1 removes nothing", () => {
    expect(makePlan(mlp(), request({ target: { ratio: 1 } })).plan.remove).toEqual({});
  });

  test("leaves every layer one channel, and says so when less is asked for", () => {
    for (const scope of ["local", "global"] as const) {
      const { plan } = makePlan(mlp(), request({ scope, target: { ratio: 2 / 60 } }));
      expect([plan.remove["a:1"]?.length, plan.remove["b:1"]?.length]).toEqual([19, 39]);
      expect(thrown(() => makePlan(mlp(), request({ scope, target: { ratio: 0.001 } }))).code).toBe("BUDGET_UNREACHABLE");
    }
  });

  test("is rounded to whole channels", () => {
    const { budget } = makePlan(mlp(), request({ scope: "local", target: { ratio: 0.333 } }));
    expect(Math.abs(budget.reached * 60 - 20)).toBeLessThanOrEqual(0.5);
  });
});

describe("a cost", () => {
  test("is met within 1 % by the file that the plan makes", () => {
    for (const scope of ["local", "global"] as const) {
      for (const params of [0.9, 0.5, 0.25]) {
        const model = mlp(120, 160);
        const { plan, budget } = makePlan(model, request({ scope, target: { params } }));
        const made = parameters(runPass(removeDead, applyPlan(model, plan).result).model) / parameters(mlp(120, 160));
        expect(budget.reached).toBeCloseTo(made, 12);
        expect(Math.abs(made / params - 1)).toBeLessThanOrEqual(0.01);
      }
    }
  });

  test("below what one channel per layer costs names what can be reached", () => {
    const error = thrown(() => makePlan(mlp(), request({ target: { params: 0.001 } })));
    expect([error.code, error.exitCode]).toEqual(["BUDGET_UNREACHABLE", 3]);
    expect(error.message).toMatchInlineSnapshot(
      `"--params 0.001 asks for 0.1 % of the original, but with every layer at its least 1.3 % remain."`,
    );
    expect(error.hint).toMatchInlineSnapshot(`"Ask for --params 0.02 or more. \`onnx-prune inspect\` tells what is frozen and why."`);
  });

  test("between the steps that widths allow names both sides", () => {
    const model = modelOf(
      `g (float[N,2] x) => (float[N,2] y) < float[2,2] a = {...}, float[2,2] b = {...} > { h = MatMul (x, a)  y = MatMul (h, b) }`,
    );
    const error = thrown(() => makePlan(model, request({ target: { params: 0.75 } })));
    expect(error.code).toBe("BUDGET_NOT_MET");
    expect(error.message).toMatchInlineSnapshot(
      `"--params 0.75 cannot be met within 1.0 %: the nearest found are 50.0 % and 100.0 % of the original."`,
    );
  });

  test("of a model without free channels says so", () => {
    const model = modelOf("g (float[N,2] x) => (float[N,2] y) < float[2,2] a = {...} > { y = MatMul (x, a) }");
    expect(thrown(() => makePlan(model, request())).code).toBe("BUDGET_NOTHING_TO_PRUNE");
  });
});

describe("a target", () => {
  test("is exactly one fraction in (0, 1]", () => {
    for (const target of [{}, { ratio: 0.5, macs: 0.5 }]) {
      expect(() => makePlan(mlp(), request({ target }))).toThrow(expect.objectContaining({ code: "TARGET_COUNT" }));
    }
    for (const ratio of [0, -1, 1.5, Number.NaN]) {
      expect(() => makePlan(mlp(), request({ target: { ratio } }))).toThrow(ConfigError);
    }
  });
});

describe("the plan", () => {
  test("is the same when made twice, from one seed, and another from another", () => {
    const make = (seed: number) => printPlan(makePlan(mlp(), request({ criterion: random, seed })).plan);
    expect(make(7)).toBe(make(7));
    expect(make(7)).not.toBe(make(8));
  });

  test("leaves excluded groups and nodes whole", () => {
    expect(Object.keys(makePlan(mlp(), request({ exclude: ["a:1"] })).plan.remove)).toEqual(["b:1"]);
    // Node "q" makes b's channels and sums over a's.
    expect(() => makePlan(mlp(), request({ exclude: ["q"] }))).toThrow(expect.objectContaining({ code: "BUDGET_NOTHING_TO_PRUNE" }));
  });

  test("has aligned widths where asked, and free ones below the block", () => {
    const { plan } = makePlan(mlp(), request({ align: 8, target: { ratio: 0.45 } }));
    const kept = [20 - (plan.remove["a:1"]?.length ?? 0), 40 - (plan.remove["b:1"]?.length ?? 0)];
    for (const width of kept) expect(width % 8 === 0 || width <= 4).toBe(true);
    expect(Math.abs(((kept[0] as number) + (kept[1] as number)) / 60 / 0.45 - 1)).toBeLessThanOrEqual(0.03);
  });

  test("keeps the balance of grouped convolutions where an emptied axis got a channel back", () => {
    // The channel once came back alone, and the plan was refused when it was applied.
    const model = () =>
      modelOf(`g (float[N,3,4,4] x) => (float[N,3,4,4] y, float[N,3,4,4] z) <
        float[12,3,1,1] a = {...}, float[6,6,1,1] b = {...}, float[3,6,1,1] c = {...}, float[3,2,1,1] d = {...},
        int64[1] from = {0}, int64[1] to = {2}, int64[1] axis = {1}> {
        h = Conv (x, a)
        u = Conv <group = 2> (h, b)
        y = Conv (u, c)
        s = Slice (h, from, to, axis)
        z = Conv (s, d)
      }`);
    for (const ratio of [0.5, 0.4, 0.3]) {
      const { plan, coupling } = makePlan(model(), request({ target: { ratio } }));
      const kept = resolvePlan(plan, coupling, undefined);
      expect(kept.indices((coupling.typing.axesOf(coupling.typing.model.graph.value("s") as never) as never)[1])?.length).toBeGreaterThan(
        0,
      );
    }
    expect(makePlan(model(), request()).plan.remove["a:0"]).toHaveLength(6);
  });
});

test.each([0, -100])("scores may be negative where they are comparable: an emptied axis gets its best channel back (%d)", (least) => {
  // Divided by a negative mean, the worst one was the best.
  const model = modelOf(`g (float[N,3,4,4] x) => (float[N,3,4,4] y, float[N,3,4,4] z) <
    float[12,3,1,1] a = {...}, float[3,12,1,1] c = {...}, float[3,2,1,1] d = {...}, int64[1] from = {0}, int64[1] to = {2}, int64[1] axis = {1}> {
    h = Conv (x, a)
    y = Conv (h, c)
    s = Slice (h, from, to, axis)
    z = Conv (s, d)
  }`);
  const criterion = {
    ...byNumber(),
    prepare: () => (group) => ({ scores: Float64Array.from(group.choices, (_, k) => least + k) }),
  } as Criterion;
  expect(makePlan(model, request({ criterion })).plan.remove).toEqual({ "a:0": [0, 2, 3, 4, 5, 6] });
});

describe("what is left whole", () => {
  test("a group that the criterion will not have pruned, with its reason", () => {
    const criterion = {
      ...byNumber(),
      prepare: () => (group) => ({
        scores: new Float64Array(group.choices.length),
        ...(group.name === "a:1" ? { whole: "nothing is known of it" } : {}),
      }),
    } as Criterion;
    const { plan, declined } = makePlan(mlp(), request({ criterion }));
    expect(plan.remove["b:1"]).toHaveLength(20);
    expect(plan.remove).not.toHaveProperty("a:1");
    expect(declined.map((d) => [d.group.name, d.why])).toEqual([["a:1", "nothing is known of it"]]);
  });

  // --exclude with a typing error left nothing whole, and said nothing.
  test("a name that no group and no node has is wrong usage, with the nearest that exists", () => {
    const ask = (exclude: string[], original?: Model) => () => makePlan(mlp(), request({ exclude, ...(original ? { original } : {}) }));
    expect(ask(["a:1"])().plan.remove).not.toHaveProperty("a:1");
    expect(ask(["a:11"])).toThrow(ConfigError);
    expect(ask(["a:11"])).toThrow('no group or node called "a:11"');
    const names = modelOf('g (float[N,10] x) => (float[N,10] y) { ["gone"] y = Identity (x) }');
    expect(ask(["gone"])).toThrow(ConfigError);
    expect(ask(["gone"], names)).not.toThrow();
  });
});
