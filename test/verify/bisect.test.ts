/** bisect: the node at which two graphs part, whatever their kept axes. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { cloneModel } from "../../src/graph/clone.js";
import { Kept } from "../../src/graph/coupling/choices.js";
import { findGroups } from "../../src/graph/coupling/groups.js";
import { oracleOf } from "../../src/graph/coupling/oracle.js";
import { removeSlices } from "../../src/graph/coupling/slice.js";
import { isFloat } from "../../src/graph/dtype.js";
import type { Model, Node, Value } from "../../src/graph/graph.js";
import { random } from "../../src/graph/random.js";
import { Tensor } from "../../src/graph/tensor.js";
import { openRunner } from "../../src/runtime/provider.js";
import type { Runner } from "../../src/runtime/runner.js";
import { bisect, compareValues, differenceText } from "../../src/verify/bisect.js";
import { randomFeeds } from "../../src/verify/feeds.js";
import { modelOf } from "../support/build.js";
import { randomRemoval } from "../support/oracle.js";
import { randomRecipe } from "../support/random-graph.js";
import { extentOf, modelOfRecipe } from "../support/recipe.js";

let runner: Runner;
beforeAll(async () => {
  runner = await openRunner("cpu", { threads: 1 });
});
afterAll(async () => runner.close());

function removal(model: Model, seed = 1) {
  const coupling = findGroups(model);
  const kept = new Kept(coupling.typing.system, coupling.choices, randomRemoval(coupling, seed, 0.5));
  return { coupling, kept, reference: oracleOf(coupling.typing, kept), candidate: removeSlices(coupling.typing, kept) };
}

/** Adds 1 to the first number of a constant. */
function touch(model: Model, name: string): void {
  const value = model.graph.value(name) as Value;
  const { dtype, dims } = value.constant as Tensor;
  const numbers = Float64Array.from((value.constant as Tensor).numbers(), (x, i) => (i === 0 ? x + 1 : x));
  model.graph.setConstant(value, Tensor.fromNumbers(dtype, dims, numbers));
}

const residual = (blocks: number) => {
  const each = Array.from({ length: blocks }, (_, i) => i);
  const weights = each.map((i) => `float[8,8,1,1] w${i} = {...}, float[8] b${i} = {...}`).join(", ");
  const body = each.map((i) => `c${i} = Conv (s${i}, w${i}, b${i}) r${i} = Sin (c${i}) s${i + 1} = Add (s${i}, r${i})`).join(" ");
  return modelOf(`g (float[1,3,4,4] x) => (float[1,2,4,4] y) <float[8,3,1,1] first = {...}, ${weights}, float[2,8,1,1] last = {...}> {
    s0 = Conv (x, first) ${body} y = Conv (s${blocks}, last) }`);
};

describe("bisect", () => {
  it("names node, operator, kept axes, the touched constant and the place of the largest difference", async () => {
    const made = removal(residual(4));
    touch(made.candidate, "b2");
    const found = await bisect(runner, { ...made, removal: made, feeds: randomFeeds(made.reference, 1), tolerance: 1e-5 });
    expect(found).toMatchObject({ value: "c2", node: "c2", op: "Conv", skipped: [] });
    expect(found?.axes).toEqual([1, 8, 4, 4].map((extent, a) => ({ extent, compared: a === 1 ? 4 : extent })));
    expect(found?.worst?.at[1]).toBe(0);
    expect((found?.worst?.got as number) - (found?.worst?.want as number)).toBeCloseTo(1, 5);
    const [read, weight, bias] = found?.inputs ?? [];
    expect(read).toMatchObject({ value: "s2", constant: false });
    expect(read?.maxRel).toBeLessThan(1e-6);
    expect(weight).toEqual({ value: "w2", constant: true, maxRel: 0 });
    expect(bias?.maxRel).toBeGreaterThan(0);
    expect(differenceText(found as NonNullable<typeof found>)).toMatch(
      /"c2", made by Conv "c2" \(relative error .* at \[0, 0, .*its constant "b2" is not what is kept of the original's/,
    );
  });

  it("finds nothing where nothing differs", async () => {
    const made = removal(residual(2));
    const request = { ...made, removal: made, feeds: randomFeeds(made.reference, 1), tolerance: 1e-5 };
    expect(await bisect(runner, request)).toBeUndefined();
    expect(await compareValues(runner, request)).toMatchObject({ first: undefined, count: 8 });
  });

  it("loads few and small parts of a long graph: the logarithm of its length, and what is read at a cut", async () => {
    const made = removal(residual(100));
    touch(made.candidate, "w61");
    const loads: number[] = [];
    const counting: Runner = {
      ...runner,
      provider: runner.provider,
      runtime: runner.runtime,
      close: () => runner.close(),
      load: async (model, options) => {
        const session = await runner.load(model, options);
        loads.push(session.outputs.length);
        return session;
      },
    };
    const found = await bisect(counting, { ...made, removal: made, feeds: randomFeeds(made.reference, 1), tolerance: 1e-5 });
    expect(found?.value).toBe("c61");
    // 302 nodes: 9 cuts and the outputs, each on both graphs, and once more for the report.
    expect(loads.length).toBeLessThanOrEqual(2 * (Math.ceil(Math.log2(302)) + 2));
    expect(Math.max(...loads)).toBeLessThanOrEqual(3);
  });

  it("steps over values that only one of the graphs has", async () => {
    const made = removal(residual(3));
    touch(made.candidate, "w1");
    const { graph } = made.candidate;
    // As a pass that fuses Conv and Sin would: the value between them is gone.
    const [conv, sin] = ["c1", "r1"].map((n) => graph.value(n)?.producer as Node) as [Node, Node];
    const alias = graph.insertNode("Identity", [conv.outputs[0]], { before: sin, outputs: ["renamed"] });
    sin.setInput(0, alias.outputs[0]);
    (conv.outputs[0] as { name: string }).name = "fused";
    const candidate = cloneModel(made.candidate);
    const found = await bisect(runner, {
      ...made,
      candidate,
      removal: made,
      feeds: randomFeeds(made.reference, 1),
      tolerance: 1e-5,
    });
    expect(found).toMatchObject({ value: "r1", op: "Sin", skipped: ["c1"] });
    expect(found?.inputs).toEqual([{ value: "c1", constant: false, maxRel: undefined }]);
  });

  it("a difference that vanishes before the outputs is found by comparing every value, not by bisecting", async () => {
    const text = (k: number) =>
      modelOf(`g (float[2,4] x) => (float[2,4] y) <float[4] k = {${k}.0, 0.0, 0.0, 0.0}, float[4] z = {0.0, 1.0, 1.0, 1.0}> {
        a = Add (x, k) b = Relu (a) y = Mul (b, z) }`);
    const request = { reference: text(1), candidate: text(2), feeds: randomFeeds(text(1), 1), tolerance: 1e-5 };
    expect(await bisect(runner, request)).toBeUndefined();
    expect((await compareValues(runner, request)).first?.value).toBe("a");
  });

  it("a weight touched anywhere in a random graph is traced to a node that reads it", { timeout: 120_000 }, async () => {
    let traced = 0;
    for (let seed = 1; seed <= 40; seed++) {
      const model = modelOfRecipe(randomRecipe(seed));
      const made = removal(model, seed);
      const shapes = Object.fromEntries(
        model.graph.inputs.map((v) => [v.name, (v.shape ?? []).map((d) => (typeof d === "number" ? d : (extentOf(d) ?? 2)))]),
      );
      const feeds = randomFeeds(model, seed, shapes);
      const weights = [...made.candidate.graph.initializers].filter(
        (v) =>
          v.constant && isFloat(v.constant.dtype) && v.constant.size > 1 && v.useCount === 1 && model.graph.value(v.name)?.useCount === 1,
      );
      const weight = weights[Math.floor(random(`touch ${seed}`)() * weights.length)];
      if (!weight) continue;
      touch(made.candidate, weight.name);
      const found = await bisect(runner, { ...made, removal: made, feeds, tolerance: 1e-4 });
      if (!found) continue;
      // What a weight passes through on its own (Transpose, Reshape, dequantisation) is no value that was compared, or is the very node.
      const readers = new Set<Value>([model.graph.value(weight.name) as Value]);
      for (const n of model.graph.nodes) if (n.inputs.some((v) => v && readers.has(v))) for (const o of n.outputs) if (o) readers.add(o);
      expect(
        readers.has(model.graph.value(found.value) as Value),
        `seed ${seed}: ${weight.name} was touched, ${found.value} was named`,
      ).toBe(true);
      const blamed = found.inputs.find((i) => i.value === weight.name);
      if (blamed) expect(blamed.maxRel, `seed ${seed}`).toBeGreaterThan(0);
      else
        expect(
          found.inputs.every((i) => i.constant || i.maxRel === undefined || i.maxRel <= 1e-4),
          `seed ${seed}`,
        ).toBe(true);
      traced++;
    }
    expect(traced).toBeGreaterThan(20);
  });
});
