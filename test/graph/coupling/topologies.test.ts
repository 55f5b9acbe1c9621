/**
 * The 34 topologies of published pruning bug reports and test suites: what is coupled (golden file), how many channels
 * are free (over-coupling is invisible to the oracle), and that any removal computes what the oracle computes.
 */
import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { BudgetError } from "../../../src/errors.js";
import { decode } from "../../../src/graph/codec.js";
import { Kept } from "../../../src/graph/coupling/choices.js";
import { findGroups } from "../../../src/graph/coupling/groups.js";
import { oracleOf } from "../../../src/graph/coupling/oracle.js";
import type { Model } from "../../../src/graph/graph.js";
import { makePlan } from "../../../src/score/budget.js";
import { type PruningPlan, resolvePlan } from "../../../src/score/plan.js";
import { findPools } from "../../../src/score/pools.js";
import { random } from "../../../src/score/random.js";
import { poison } from "../../../src/verify/poison.js";
import { groupsText } from "../../support/groups-text.js";
import { prove, randomRemoval } from "../../support/oracle.js";
import { run } from "../../support/run.js";

const folder = new URL("../../fixtures/topologies/", import.meta.url);

/**
 * Free channels: the larger count of two independent prototypes, or more where each row keeps its own: heads, repeats and
 * multipliers whose indices differ (attn_qkv_packed: 8 + 4 heads + 16 dims of q with k + 16 of v). Fewer would be over-coupling.
 */
const FREE: Readonly<Record<string, number>> = {
  add_bcast_c11: 8,
  attn_qkv_packed: 44,
  c2f_chunk: 12,
  cat_same_twice: 8,
  channel_shuffle: 8,
  chunk_swap: 8,
  dw_multiplier2: 24,
  einsum_bilinear: 14,
  fc_view_convT: 12,
  flip_channels: 8,
  glu: 4,
  glu_chunk_mul: 4,
  gram_matmul: 8,
  group_sum: 6,
  grouped_after_concat: 36,
  grouped_diff_groups: 36,
  groupnorm: 2,
  index_select: 8,
  lstm: 14,
  maxout: 4,
  nchw_flatten_fc: 8,
  nhwc_flatten_fc: 8,
  pad_channels_shortcut: 12,
  pixel_shuffle: 4,
  repeat_interleave: 24,
  roll_channels: 8,
  se_block: 12,
  shared_module: 8,
  shuffle_into_dw: 8,
  slice_first_half: 8,
  space_to_depth: 8,
  stack_sum: 8,
  strided_slice_ch: 8,
  tile_channels: 10,
};

/** The plan for a share of channels; where so small a net has none within a few channels, the nearest below. */
function planned(model: Model, ratio: number, scope: "local" | "global"): PruningPlan {
  for (let target = ratio; ; target += 0.02) {
    try {
      return makePlan(model, {
        criterion: random,
        options: {},
        target: { ratio: target },
        scope,
        align: 1,
        seed: 1,
        measure: () => 1,
        note: () => undefined,
      }).plan;
    } catch (error) {
      // A net of 2 channels has no half but one.
      if (!(error instanceof BudgetError) || target > ratio + 0.12) throw error;
    }
  }
}

const names = readdirSync(folder)
  .filter((f) => f.endsWith(".onnx"))
  .map((f) => f.slice(0, -".onnx".length));

describe("topologies", () => {
  it("have an expected number of free channels each", () => {
    expect(names.sort()).toEqual(Object.keys(FREE).sort());
  });

  for (const name of names) {
    const coupling = () => findGroups(decode(readFileSync(new URL(`${name}.onnx`, folder))));

    it(`${name}: groups and their slices are as recorded`, async () => {
      const c = coupling();
      const free = findPools(c).pools.reduce((n, p) => n + p.cells.reduce((m, cell) => m + cell.choices.length, 0), 0);
      expect(free).toBeGreaterThanOrEqual(FREE[name] as number);
      await expect(groupsText(c)).toMatchFileSnapshot(`../../fixtures/golden/${name}.txt`);
    });

    it(`${name}: sliced equals the oracle at half and at three quarters kept`, async () => {
      let drift = 0;
      for (const [ratio, seed] of [
        [0.5, 1],
        [0.5, 2],
        [0.75, 3],
        [0.25, 4],
      ] as const) {
        const c = coupling();
        const removed = randomRemoval(c, seed, ratio);
        if (ratio === 0.5) expect(removed.size).toBeGreaterThan(0);
        if (removed.size === 0) continue;
        const proof = await prove(c, removed, { seed });
        // float32 sums of the same terms in another order (measured: at most 4e-7).
        expect(proof.maxRel).toBeLessThanOrEqual(1e-5);
        drift = Math.max(drift, proof.drift);
      }
      // One removal may hit only channels that nothing reads (slice_first_half has such); not all of them.
      expect(drift).toBeGreaterThan(0);
    });

    for (const scope of ["local", "global"] as const) {
      for (const ratio of [0.5, 0.75]) {
        it(`${name}: planned at ${ratio}, ${scope}, it equals the oracle`, async () => {
          const plan = planned(decode(readFileSync(new URL(`${name}.onnx`, folder))), ratio, scope);
          const c = coupling();
          const kept = resolvePlan(plan, c, undefined);
          const removed = Array.from({ length: c.choices.count }, (_, i) => i).filter((i) => kept.isRemoved(i));
          // Of 2 channels none is a quarter.
          if ((FREE[name] as number) * (1 - ratio) >= 1) expect(removed.length).toBeGreaterThan(0);
          expect((await prove(c, removed, { seed: 6 })).maxRel).toBeLessThanOrEqual(1e-5);
        });
      }
    }

    it(`${name}: removed parameters reach no output, however large they are`, async () => {
      const c = coupling();
      const removed = randomRemoval(c, 5, 0.5);
      const kept = new Kept(c.typing.system, c.choices, removed);
      const poisoned = poison(c, kept);
      expect(poisoned.count).toBeGreaterThan(0);
      const sick = findGroups(poisoned.model);
      const want = await run(oracleOf(c.typing, kept));
      expect(await run(oracleOf(sick.typing, new Kept(sick.typing.system, sick.choices, removed)))).toEqual(want);
    });
  }
});
