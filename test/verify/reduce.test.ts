/** reduceModel and reduceRemoval: a model that fails, made small. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { check } from "../../src/graph/check.js";
import type { AxisContext } from "../../src/graph/coupling/context.js";
import { findGroups } from "../../src/graph/coupling/groups.js";
import type { Model } from "../../src/graph/graph.js";
import { allSpecs } from "../../src/graph/ops/index.js";
import { print } from "../../src/graph/print.js";
import { openRunner } from "../../src/runtime/provider.js";
import type { Runner } from "../../src/runtime/runner.js";
import type { PruningPlan } from "../../src/score/plan.js";
import { reduceModel } from "../../src/verify/reduce.js";
import { reduceRemoval } from "../../src/verify/reduce-removal.js";
import { modelOf } from "../support/build.js";

let runner: Runner;
beforeAll(async () => {
  runner = await openRunner("cpu", { threads: 1 });
});
afterAll(async () => runner.close());

/** Layers of 8 channels over tokens; `middle` stands after the sixth of twelve. */
const long = (middle: string, batch = "2") => {
  const each = Array.from({ length: 12 }, (_, i) => i);
  const weights = each.map((i) => `float[8,8] w${i} = {...}`).join(", ");
  const layer = (i: number, from: string) => `m${i} = MatMul (${from}, w${i}) r${i} = Relu (m${i})`;
  const body = each.map((i) => layer(i, i === 0 ? "a" : i === 6 ? "s" : `r${i - 1}`));
  body.splice(6, 0, middle);
  return modelOf(`g (float[${batch},5,3] x) => (float[${batch},5,3] y, float[${batch},5,8] q) <float[3,8] first = {...}, ${weights}, float[8,3] last = {...}> {
    a = MatMul (x, first) ${body.join(" ")} y = MatMul (r11, last) q = Neg (a) }`);
};

const ops = (m: Model) => m.graph.nodes.map((n) => n.opType);

describe("reduceModel", () => {
  it("leaves what a predicate on the graph asks for, as a valid model with numbered types", async () => {
    const seen: Model[] = [];
    const { model, tried } = await reduceModel(long("e = Erf (r5) s = Abs (e)"), async (m) => {
      seen.push(m);
      return ops(m).join().includes("Erf,Abs,MatMul");
    });
    expect(ops(model)).toEqual(["Erf", "Abs", "MatMul"]);
    expect(model.graph.inputs.map((v) => v.name)).toEqual(["r5"]);
    expect(print(model)).toContain("float[2,5,8] r5");
    for (const m of seen) expect(check(m)).toEqual([]);
    // By halves: a few tries where one node at a time would take dozens.
    expect(tried).toBeLessThan(40);
  });

  it("gives back the model itself when nothing smaller fails, and stops at the limit", async () => {
    const model = long("s = Abs (r5)");
    expect((await reduceModel(model, async (m) => m.graph.nodes.length >= model.graph.nodes.length)).model).toBe(model);
    expect((await reduceModel(model, async () => false, { attempts: 3 })).tried).toBe(3);
  });

  it("a predicate that is wrong itself is not taken for a model that passes", async () => {
    const broken = async () => {
      throw new TypeError("undefined is not a function");
    };
    await expect(reduceModel(long("s = Abs (r5)"), broken)).rejects.toThrow(TypeError);
  });

  it("values that a subgraph reads stay", async () => {
    const model = modelOf(`g (float[2] x, bool c) => (float[2] y) {
      a = Neg (x) b = Abs (a) d = If <then_branch = t () => (float[2] p) { p = Relu (a) }, else_branch = e () => (float[2] q) { q = Neg (b) }> (c)
      y = Tanh (d) }`);
    const { model: small } = await reduceModel(model, async (m) => ops(m).includes("If"));
    expect(check(small)).toEqual([]);
    expect(ops(small)).toEqual(["If"]);
    expect(small.graph.inputs.map((v) => v.name).sort()).toEqual(["a", "b", "c"]);
  });
});

describe("reduceRemoval", () => {
  const softmax = allSpecs.find((s) => s.type === "Softmax") as { axes?: (op: AxisContext) => void };
  const right = softmax.axes;
  afterEach(() => {
    if (right) softmax.axes = right;
  });

  const planOf = (model: Model): PruningPlan => ({
    format: 1,
    model: "",
    remove: Object.fromEntries(findGroups(model).groups.map((g) => [g.name, [1, 4]])),
    merges: [],
    blocks: [],
    untied: [],
    why: {},
  });

  it.each(["2", "N"])("finds the softmax that a wrong rule does not freeze, in a batch of %s", async (batch) => {
    // As if someone had forgotten that it normalises.
    softmax.axes = (op) => op.out(0, op.in(0));
    const model = long("s = Softmax <axis = -1> (r5)", batch);
    const found = await reduceRemoval(runner, model, planOf(model), "oracle");
    expect(ops(found?.model as Model)).toContain("Softmax");
    expect(found?.model.graph.nodes.length).toBeLessThanOrEqual(3);
    expect(Object.values(found?.plan.remove ?? {})).toEqual([[1, 4]]);
  });

  it("has nothing to reduce where the removal is right", async () => {
    const model = long("s = Abs (r5)");
    expect(await reduceRemoval(runner, model, planOf(model), "oracle")).toBeUndefined();
  });
});
