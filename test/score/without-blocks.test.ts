import { beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { readModel } from "../../src/export/read.js";
import { type Block, findBlocks } from "../../src/graph/blocks/find.js";
import { cost } from "../../src/graph/cost.js";
import { findGroups, type Group } from "../../src/graph/coupling/groups.js";
import type { Model } from "../../src/graph/graph.js";
import { applyPlan } from "../../src/passes/remove-filters.js";
import { makePlan, type PlanRequest } from "../../src/score/budget.js";
import { defineCriterion } from "../../src/score/criterion.js";

let model: Model;
let blocks: readonly Block[];
beforeAll(async () => {
  model = await readModel("models/cifar10_resnet20.onnx");
  blocks = findBlocks(model).blocks;
});

/** Channels inside blocks score (k + 1)/n; the residual streams stay. Blocks leave past `thresholds[i]`, in graph order. */
const judge = (thresholds: readonly (number | undefined)[], { channels = true, exactly }: { channels?: boolean; exactly?: number } = {}) =>
  defineCriterion({
    name: "by-number",
    summary: "their number",
    source: "a test",
    options: z.strictObject({}),
    needs: ["weights"],
    comparable: true,
    prepare: () => ({
      rank: (group: Group) => ({
        scores: Float64Array.from(group.choices, (_, k) => (k + 1) / group.choices.length),
        ...(channels && group.slots.length <= 4 ? {} : { whole: "it is a residual stream" }),
      }),
      block: (block: Block) => thresholds[blocks.findIndex((b) => b.name === block.name)],
      ...(exactly === undefined ? {} : { exactly }),
    }),
  });
const request = (criterion: PlanRequest["criterion"], more: Partial<PlanRequest> = {}): PlanRequest => ({
  criterion,
  options: {},
  target: { macs: 0.6 },
  scope: "global",
  align: 1,
  seed: 0,
  measure: (m, what) => (what === "macs" ? cost(m).macs : cost(m).parameters),
  note: () => undefined,
  ...more,
});
const never = [undefined];

describe("a threshold over blocks and channels", () => {
  test("takes no block whose threshold lies above what channels alone need", () => {
    const plan = makePlan(model, request(judge(blocks.map(() => 2)))).plan;
    expect(plan.blocks).toEqual([]);
    expect(Object.keys(plan.remove).length).toBeGreaterThan(0);
  });

  test("takes the blocks below it, and meets the budget with channels below it", () => {
    const thresholds = blocks.map((_, i) => (i === 2 || i === 4 ? 0.01 : 2));
    const { plan, budget, coupling } = makePlan(model, request(judge(thresholds)));
    expect(plan.blocks).toEqual([blocks[2]?.name, blocks[4]?.name]);
    expect(Math.abs(budget.reached / 0.6 - 1)).toBeLessThanOrEqual(0.01);
    const { result } = applyPlan(model, plan);
    expect(cost(result).macs / cost(model).macs).toBe(budget.reached);
    // Nothing of a block that is gone is still named.
    const gone = new Set([2, 4].flatMap((i) => blocks[i]?.nodes.map((n) => n.label) ?? []));
    expect(coupling.groups.flatMap((g) => g.nodes).some((n) => gone.has(n.label))).toBe(false);
    // One threshold: every channel inside a block that stays leaves at about the same score.
    const highest = Object.values(plan.remove).map((indices) => Math.max(...indices));
    expect(
      Math.max(
        ...highest.map((k, i) => (k + 1) / (coupling.groups.find((g) => g.name === Object.keys(plan.remove)[i])?.choices.length as number)),
      ),
    ).toBeLessThan(1);
  });

  test("keeps the block that alone would go past the budget, and takes more channels", () => {
    const { plan, budget } = makePlan(model, request(judge(blocks.map((_, i) => (i === 0 ? 0 : 2))), { target: { macs: 0.95 } }));
    expect(plan.blocks).toEqual([]);
    expect(Math.abs(budget.reached / 0.95 - 1)).toBeLessThanOrEqual(0.01);
  });

  test("with blocks alone takes as many as it needs, least first", () => {
    const thresholds = blocks.map((_, i) => 10 - i);
    const { plan, budget } = makePlan(model, request(judge(thresholds, { channels: false }), { target: { macs: 0.7 } }));
    expect(plan.blocks).toEqual(
      [...plan.blocks].sort((a, b) => blocks.findIndex((x) => x.name === b) - blocks.findIndex((x) => x.name === a)),
    );
    expect(plan.blocks[0]).toBe(blocks.at(-1)?.name);
    expect(plan.remove).toEqual({});
    expect(budget.reached).toBeLessThanOrEqual(0.7);
    expect(budget.reached).toBeGreaterThan(0.7 - 0.12);
  });

  test("refuses what blocks alone cannot reach", () => {
    const all = request(
      judge(
        blocks.map(() => 1),
        { channels: false },
      ),
      { target: { macs: 0.05 } },
    );
    expect(() => makePlan(model, all)).toThrow(expect.objectContaining({ code: "BUDGET_UNREACHABLE", exitCode: 3 }));
  });

  test("takes an exact number of blocks whatever the budget, and leaves what is excluded", () => {
    const criterion = judge(
      blocks.map((_, i) => i),
      { channels: false, exactly: 2 },
    );
    expect(makePlan(model, request(criterion, { target: {} })).plan.blocks).toEqual([blocks[0]?.name, blocks[1]?.name]);
    const without = makePlan(model, request(criterion, { target: {}, exclude: [blocks[0]?.name as string] }));
    expect(without.plan.blocks).toEqual([blocks[1]?.name, blocks[2]?.name]);
  });

  test("refuses more blocks than there are, and a model without any", async () => {
    const nothing = expect.objectContaining({ code: "BUDGET_NOTHING_TO_PRUNE", exitCode: 3 });
    expect(() => makePlan(model, request(judge([0, 1], { channels: false, exactly: 3 }), { target: {} }))).toThrow(nothing);
    const lenet = await readModel("models/mnist_lenet5.onnx");
    expect(() => makePlan(lenet, request(judge([], { channels: false })))).toThrow(nothing);
  });

  test("counts a share of channels from the whole model", () => {
    const thresholds = blocks.map((_, i) => (i < 3 ? 0 : undefined));
    const { plan, budget } = makePlan(model, request(judge([...thresholds, ...never]), { target: { ratio: 0.5 } }));
    const inside = findGroups(model).groups.filter((g) => g.slots.length <= 4);
    const before = inside.reduce((n, g) => n + g.choices.length, 0);
    const { result } = applyPlan(model, plan);
    const after = findGroups(result)
      .groups.filter((g) => g.slots.length <= 4)
      .reduce((n, g) => n + g.choices.length, 0);
    expect(plan.blocks).toHaveLength(3);
    expect(after / before).toBeCloseTo(budget.reached, 6);
    expect(budget.reached).toBeCloseTo(0.5, 1);
  });
});
