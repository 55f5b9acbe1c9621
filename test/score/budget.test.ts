import { describe, expect, test } from "vitest";
import { BudgetError } from "../../src/errors.js";
import type { Model } from "../../src/graph/graph.js";
import { makePlan, type PlanRequest } from "../../src/score/budget.js";
import { type Criterion, defineCriterion } from "../../src/score/criterion.js";
import { resolvePlan } from "../../src/score/plan.js";
import { z } from "zod";
import { modelOf } from "../support/build.js";

/** Scores are the channel's number: channel 0 leaves first. */
const byNumber = defineCriterion({
  name: "by-number",
  summary: "their number",
  source: "test",
  options: z.strictObject({}),
  needs: ["weights"],
  comparable: true,
  prepare: () => (group) => ({ scores: Float64Array.from(group.choices, (_, k) => k) }),
}) as Criterion;

function request(over: Partial<PlanRequest>): PlanRequest {
  return { criterion: byNumber, options: {}, target: { ratio: 0.5 }, scope: "local", align: 1, seed: 0, measure: parameters, note: () => undefined, ...over };
}

function parameters(model: Model): number {
  return model.graph.initializers.reduce((n, v) => n + (v.initializer?.dims.reduce((a, b) => a * b, 1) ?? 0), 0);
}

test("what repair gives back to an emptied axis keeps the balance of a grouped convolution", () => {
  const model = modelOf(`g (float[N,3,4,4] x) => (float[N,3,4,4] y, float[N,3,4,4] z) <
    float[12,3,1,1] a = {...}, float[6,6,1,1] b = {...}, float[3,6,1,1] c = {...}, float[3,2,1,1] d = {...},
    int64[1] from = {0}, int64[1] to = {2}, int64[1] axis = {1}> {
    h = Conv (x, a)
    u = Conv <group = 2> (h, b)
    y = Conv (u, c)
    s = Slice (h, from, to, axis)
    z = Conv (s, d)
  }`);
  const { plan, coupling } = makePlan(model, request({}));
  expect(() => resolvePlan(plan, coupling, undefined)).not.toThrow();
});
