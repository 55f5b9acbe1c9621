/** remove-blocks, and plans with blocks: what leaves, what is proven, what is refused. */
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { PlanError, VerificationError } from "../../src/errors.js";
import { findBlocks } from "../../src/graph/blocks/find.js";
import { blocksNamed } from "../../src/graph/blocks/named.js";
import { blockOracle } from "../../src/graph/blocks/oracle.js";
import { removeBlocks } from "../../src/graph/blocks/remove.js";
import { findGroups } from "../../src/graph/coupling/groups.js";
import type { Model } from "../../src/graph/graph.js";
import { print } from "../../src/graph/print.js";
import { bypassBlocks } from "../../src/passes/bypass-blocks.js";
import { definePass } from "../../src/passes/pass.js";
import { applyPlan } from "../../src/passes/remove-filters.js";
import { runPass } from "../../src/passes/run-pass.js";
import { applyOnly, prune } from "../../src/pipeline.js";
import { type PruningPlan, parsePlan, printPlan } from "../../src/score/plan.js";
import { modelOf } from "../support/build.js";

/**
 * A pass with an oracle of its own.
 *
 * Where a block stood, its entry goes on alone: skip + branch(entry) becomes the entry, nodes and weights of the branch go, and so does
 * a Relu after the sum whose input then has no negative element. A block inside the branch of another goes with it.
 *
 * @throws PlanError when a name is no block of the model, or one of a block that stays.
 */
const removeBlocksPass = definePass({
  name: "remove-blocks",
  summary: "bypass residual blocks: the skip goes on alone, and what only the branch needed goes",
  options: z.strictObject({
    blocks: z.array(z.string()).default([]).describe("the blocks, as `onnx-prune inspect` names them"),
    projections: z
      .boolean()
      .default(false)
      .describe("also take blocks whose skip is a projection, where what enters and the sum are of one type: both ways then go"),
  }),
  effect: "weights",

  run(model, { options }) {
    if (options.blocks.length === 0) return false;
    model.graph = bypassBlocks(model, options.blocks, options).model.graph;
    return true;
  },
  oracle: (before, options) => blockOracle(before, blocksNamed(before, options.blocks, options)),
});

const TEXT = `g (float[N, 3, 6, 6] x) => (float[N, 5] y) <
  float[8, 3, 3, 3] w0 = {...}, float[6, 8, 3, 3] w1 = {...}, float[8, 6, 3, 3] w2 = {...}, float[6, 8, 3, 3] w3 = {...},
  float[8, 6, 3, 3] w4 = {...}, float[8, 8, 1, 1] ws = {...}, float[8, 8, 1, 1] w5 = {...}, float[8, 5] wf = {...}> {
  c0 = Conv <pads = [1, 1, 1, 1]> (x, w0)
  r0 = Relu (c0)
  c1 = Conv <pads = [1, 1, 1, 1]> (r0, w1) r1 = Relu (c1) c2 = Conv <pads = [1, 1, 1, 1]> (r1, w2)
  first = Add (r0, c2)
  o1 = Relu (first)
  c3 = Conv <pads = [1, 1, 1, 1]> (o1, w3) r3 = Relu (c3) c4 = Conv <pads = [1, 1, 1, 1]> (r3, w4)
  second = Add (o1, c4)
  o2 = Relu (second)
  short = Conv (o2, ws) c5 = Conv (o2, w5)
  projected = Add (short, c5)
  o3 = Relu (projected)
  gap = GlobalAveragePool (o3)
  flat = Flatten (gap)
  y = MatMul (flat, wf)
}`;
const model = () => modelOf(TEXT);
const quick = { ep: "cpu", latency: false, threads: 1 } as const;
const planOf = (over: Partial<PruningPlan>): PruningPlan => ({
  format: 1,
  model: "",
  blocks: [],
  remove: {},
  untied: [],
  merges: [],
  why: {},
  ...over,
});
const ops = (m: Model) => m.graph.nodes.map((n) => n.opType).join(" ");
const passOf = (options: unknown) => ({ entry: { kind: "pass", pass: removeBlocksPass } as never, options });

describe("remove-blocks", () => {
  it("takes the named blocks out, and proves the rest against the original in which they give nothing", async () => {
    const { model: after, report } = await prune(model(), { ...quick, passes: [passOf({ blocks: ["second"] })] });
    expect(ops(after)).toBe("Conv Relu Conv Relu Conv Add Relu Conv Conv Add Relu GlobalAveragePool Flatten MatMul");
    expect(report.steps).toMatchObject([{ pass: "remove-blocks", changed: true, options: { blocks: ["second"] } }]);
    expect(report.equality).toHaveLength(1);
    expect(report.equality[0]?.maxRel).toBe(0);
    expect(report.equality[0]?.drift).toBeGreaterThan(1e-3);
    expect(report.cost.before.macs - report.cost.after.macs).toBe(2 * 36 * 48 * 9);
  });

  it("takes projections on request only", async () => {
    const asked = (projections: boolean) => prune(model(), { ...quick, passes: [passOf({ blocks: ["projected"], projections })] });
    await expect(asked(false)).rejects.toMatchObject({ code: "PLAN_BLOCK_DECLINED" });
    const { model: after, report } = await asked(true);
    expect(ops(after)).toMatch(/Add Relu GlobalAveragePool Flatten MatMul$/);
    expect(report.equality[0]?.maxRel).toBe(0);
  });

  it("changes nothing without names", () => {
    const before = model();
    expect(runPass(removeBlocksPass, before).model).toBe(before);
  });

  it("refuses a name that is no block, with the nearest, and a sum that stays, with the reason", () => {
    const named = (name: string) => () => runPass(removeBlocksPass, model(), { blocks: [name] });
    expect(named("secnd")).toThrow(
      expect.objectContaining({ code: "PLAN_UNKNOWN_BLOCK", hint: expect.stringContaining('Did you mean "second"?') }),
    );
    expect(named("projected")).toThrow(
      'The block "projected" stays: a projection: from "o2" even the shorter way to the sum leads through Conv "short".',
    );
    expect(named("projected")).toThrow(PlanError);
  });

  it("is stopped by its oracle when what is left is wrong", async () => {
    // As if the activation after the sum had been dropped where it matters.
    const wrong = {
      ...removeBlocksPass,
      run: (m: Model) => {
        const after = removeBlocks(m, findBlocks(m).blocks.slice(0, 1));
        after.graph.bypass(after.graph.value("o3") as never, after.graph.value("projected") as never);
        m.graph = after.graph;
        return true;
      },
    };
    const run = prune(model(), { ...quick, passes: [{ entry: { kind: "pass", pass: wrong } as never, options: { blocks: ["first"] } }] });
    await expect(run).rejects.toThrow(VerificationError);
  });
});

describe("a plan with blocks", () => {
  it("bypasses them first; its channels are those of the model without them", async () => {
    const whole = model();
    const without = removeBlocks(whole, findBlocks(whole).blocks.slice(0, 1));
    const groupsWithoutFirst = findGroups(without).groups.map((g) => g.name);
    const plan = planOf({ blocks: ["first"], remove: { "w3:0": [1, 4], "w0:0": [2] } });
    const { bypass, result, source, coupling } = applyPlan(model(), plan);
    expect(bypass?.blocks.map((b) => b.name)).toEqual(["first"]);
    expect(ops(source)).toBe(ops(result));
    expect(coupling.groups.map((g) => g.name)).toEqual(groupsWithoutFirst);
    const { model: after, report } = await applyOnly(model(), plan, quick);
    expect(after.graph.value("w3")?.shape).toEqual([4, 7, 3, 3]);
    expect(report.equality.map((e) => [e.what, e.maxRel <= 1e-5, (e.drift ?? 0) > 1e-3])).toEqual([
      ["remove-filters: the original without blocks against the original in which their branches give nothing", true, true],
      ["remove-filters: pruned against the original without the blocks, with the removed slices made ineffective", true, true],
    ]);
    expect(report.steps).toMatchObject([{ changed: true, blocks: [{ name: "first", nodes: 3 }] }]);
  });

  it("may name blocks alone", async () => {
    const { report, model: after } = await applyOnly(model(), planOf({ blocks: ["first", "second"] }), quick);
    expect(ops(after)).toBe("Conv Relu Conv Conv Add Relu GlobalAveragePool Flatten MatMul");
    expect(report.equality.map((e) => e.maxRel)).toEqual([0, 0]);
    expect(report.notes.map((n) => n.code)).toEqual(["NO_DATA"]);
  });

  it("may merge channels of what is left", async () => {
    const plan = planOf({ blocks: ["first"], remove: { "w3:0": [1] }, merges: [{ group: "w3:0", from: 1, into: 0, scale: 0.5 }] });
    const { report } = await applyOnly(model(), plan, quick);
    expect(report.equality.every((e) => e.ok)).toBe(true);
  });

  it("is refused for blocks the model has not, for those that stay, and for channels that left with a block", () => {
    const applying = (over: Partial<PruningPlan>) => () => applyPlan(model(), planOf(over));
    expect(applying({ blocks: ["frist"] })).toThrow(expect.objectContaining({ code: "PLAN_UNKNOWN_BLOCK" }));
    const wider = TEXT.replace("float[8, 8, 1, 1] ws", "float[9, 8, 1, 1] ws").replace("float[8, 8, 1, 1] w5", "float[9, 8, 1, 1] w5");
    const gated = () => applyPlan(modelOf(wider.replace("float[8, 5] wf", "float[9, 5] wf")), planOf({ blocks: ["projected"] }));
    expect(gated).toThrow(expect.objectContaining({ code: "PLAN_BLOCK_DECLINED" }));
    expect(applying({ blocks: ["first"], remove: { "w1:0": [0] } })).toThrow(expect.objectContaining({ code: "PLAN_UNKNOWN_GROUP" }));
  });

  it("may name a block whose skip is a projection, which nothing else takes", () => {
    const { source } = applyPlan(model(), planOf({ blocks: ["projected"] }));
    expect(ops(source)).toBe("Conv Relu Conv Relu Conv Add Relu Conv Relu Conv Add Relu GlobalAveragePool Flatten MatMul");
  });

  it("is read and written, and may leave them out", () => {
    const plan = planOf({ blocks: ["first"], remove: { "w3:0": [1] } });
    expect(parsePlan(printPlan(plan), "p.json")).toEqual(plan);
    expect(parsePlan('{"format": 1, "model": "", "remove": {}}', "p.json").blocks).toEqual([]);
    expect(print(applyPlan(model(), planOf({})).result)).toBe(print(model()));
  });
});
