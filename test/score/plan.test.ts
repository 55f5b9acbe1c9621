/** Plans as files: what is read, what is refused and with which code, and that reading back changes nothing. */
import { describe, expect, test } from "vitest";
import { PlanError } from "../../src/errors.js";
import { findGroups } from "../../src/graph/coupling/groups.js";
import { type PruningPlan, parsePlan, printPlan, resolvePlan } from "../../src/score/plan.js";
import { modelOf } from "../support/build.js";

const plan = (over: Partial<PruningPlan> = {}): PruningPlan => ({
  format: 1,
  model: "",
  blocks: [],
  remove: {},
  untied: [],
  merges: [],
  why: {},
  ...over,
});

/** A layer of 6, and heads × dims of 2 × 3 in one weight, and a grouped convolution would need balance: see `grouped`. */
const coupling = () =>
  findGroups(
    modelOf(`g (float[N,4] x) => (float[N,2] y) <
      float[4,6] a = {...}, float[6,6] b = {...}, float[6] bias = {...}, float[3] scale = {...}, float[6,2] c = {...},
      int64[3] apart = {0, 2, 3}, int64[2] flat = {0, 6} > {
      h = MatMul (x, a)
      i = Add (h, bias)
      q = MatMul (i, b)
      r = Reshape (q, apart)
      s = Mul (r, scale)
      t = Reshape (s, flat)
      y = MatMul (t, c)
    }`),
  );

const grouped = () =>
  findGroups(
    modelOf(`g (float[N,3,4,4] x) => (float[N,3,4,4] y) <
      float[8,3,1,1] a = {...}, float[6,4,1,1] b = {...}, float[3,6,1,1] c = {...} > {
      h = Conv (x, a)
      u = Conv <group = 2> (h, b)
      y = Conv (u, c)
    }`),
  );

/** Code and message of the PlanError that `f` throws. */
function refused(f: () => unknown): string {
  try {
    f();
  } catch (error) {
    if (error instanceof PlanError) return `${error.code}: ${error.message}${error.hint ? ` (${error.hint})` : ""}`;
    throw error;
  }
  return "accepted";
}

const resolving = (remove: PruningPlan["remove"], c = coupling()) => refused(() => resolvePlan(plan({ remove }), c, undefined));

test("a plan printed and parsed is the same plan", () => {
  const full = plan({
    model: "ab",
    remove: { "a:1": [0, 3], "b:1": [] },
    merges: [{ group: "a:1", from: 0, into: 1, scale: 0.5 }],
    why: { by: "hand" },
  });
  expect(parsePlan(printPlan(full), "p.json")).toEqual(full);
  expect(printPlan(parsePlan(printPlan(full), "p.json"))).toBe(printPlan(full));
});

test("blocks, merges and why may be left out", () => {
  expect(parsePlan('{"format": 1, "model": "", "remove": {}}', "p.json")).toEqual(plan());
});

describe("a plan removes", () => {
  test("channels of a group by number", () => {
    const c = coupling();
    const kept = resolvePlan(plan({ remove: { "a:1": [0, 5] } }), c, undefined);
    expect(c.groups[0]?.choices.map((x) => kept.isRemoved(x))).toEqual([true, false, false, false, false, true]);
  });

  test("indices of any axis of the group by value and axis", () => {
    const c = coupling();
    const kept = resolvePlan(plan({ remove: { "b:0": [2] } }), c, undefined);
    expect(c.groups[0]?.choices.map((x) => kept.isRemoved(x))).toEqual([false, false, true, false, false, false]);
  });
});

test("indices of a small constant are those of its reader, and ambiguous where it has several", () => {
  // They once named an axis of nothing: the plan was accepted and removed nothing.
  const c = coupling();
  const kept = resolvePlan(plan({ remove: { "bias:0": [4] } }), c, undefined);
  expect(c.groups[0]?.choices.map((x) => kept.isRemoved(x))).toEqual([false, false, false, false, true, false]);
  const shared = findGroups(
    modelOf(`g (float[N,4] x) => (float[N,2] y) < float[4,6] a = {...}, float[6,6] b = {...}, float[6] bias = {...}, float[6,2] c = {...} > {
      h = MatMul (x, a)  i = Add (h, bias)  j = MatMul (i, b)  k = Add (j, bias)  y = MatMul (k, c)
    }`),
  );
  expect(resolving({ "bias:0": [4] }, shared)).toMatchInlineSnapshot(
    `"PLAN_AMBIGUOUS: "bias:0" is read by 2 nodes, which may keep different indices: name the group instead."`,
  );
});

describe("a plan is refused that", () => {
  test("is not JSON, or not a plan", () => {
    expect(refused(() => parsePlan("{", "p.json"))).toMatch(/^PLAN_JSON: "p.json" is not JSON/);
    expect(refused(() => parsePlan('{"format": 2}', "p.json"))).toMatch(/^PLAN_SCHEMA: "p.json" is not a pruning plan: format/);
    expect(refused(() => parsePlan('{"format": 1, "model": "", "remove": {"a": [-1]}}', "p.json"))).toMatch(/^PLAN_SCHEMA: .*remove\.a\.0/);
    expect(refused(() => parsePlan('{"format": 1, "model": "", "remove": {}, "removed": {}}', "p.json"))).toMatch(/^PLAN_SCHEMA/);
  });

  test("was made for another model, unless it names none", () => {
    expect(refused(() => resolvePlan(plan({ model: "aa" }), coupling(), "bb"))).toMatchInlineSnapshot(
      `"PLAN_OTHER_MODEL: The plan was made for a model with sha256 aa, but this one has bb. (Make the plan again from this file. To use it on purpose, set "model" in the plan to "".)"`,
    );
    expect(refused(() => resolvePlan(plan({ model: "" }), coupling(), "bb"))).toBe("accepted");
    expect(refused(() => resolvePlan(plan({ model: "bb" }), coupling(), "bb"))).toBe("accepted");
  });

  test("names no group and no axis", () => {
    expect(resolving({ "a:2": [0] })).toMatchInlineSnapshot(
      `"PLAN_UNKNOWN_GROUP: The plan removes from "a:2", which is neither a group nor an axis of this model. (Did you mean "a:1"? \`onnx-prune inspect\` lists the groups.)"`,
    );
    expect(resolving({ conv9: [0] })).toMatch(/^PLAN_UNKNOWN_GROUP/);
  });

  test("counts past the end", () => {
    expect(resolving({ "a:1": [6] })).toMatchInlineSnapshot(`"PLAN_OUT_OF_RANGE: The plan removes "a:1"[6], but it has indices 0 to 5."`);
    expect(resolving({ "b:0": [6] })).toMatch(/^PLAN_OUT_OF_RANGE/);
  });

  test("removes what is frozen", () => {
    expect(resolving({ "c:1": [0] })).toMatchInlineSnapshot(
      `"PLAN_FROZEN: The plan removes "c:1"[0], but that axis is frozen: "y" is a graph output."`,
    );
  });

  test("removes an index of a product without saying which factor", () => {
    expect(resolving({ "t:1": [0] })).toMatchInlineSnapshot(
      `"PLAN_AMBIGUOUS: "t:1"[0] belongs to several groups at once (b:1/2, b:1): name the group instead."`,
    );
  });

  test("empties an axis", () => {
    expect(resolving({ "a:1": [0, 1, 2, 3, 4, 5] })).toMatchInlineSnapshot(
      `"PLAN_EMPTIES_AXIS: The plan removes every index of axis a:1(6); a layer must keep at least one."`,
    );
  });

  test("breaks a balance", () => {
    expect(resolving({ "a:0": [0] }, grouped())).toMatchInlineSnapshot(
      `"PLAN_UNBALANCED: The plan cannot be carried out: the 2 groups of a convolution read equally many channels, but they would keep 3, 4 (node "u")."`,
    );
    expect(resolving({ "a:0": [0, 5] }, grouped())).toBe("accepted");
  });
});
