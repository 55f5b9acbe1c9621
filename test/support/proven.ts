/** The whole proof of an axis rule on one small model: its groups are those expected, and whatever leaves of them, the sliced graph computes what the oracle does. */
import { expect } from "vitest";
import { Kept } from "../../src/graph/coupling/choices.js";
import { type Coupling, findGroups } from "../../src/graph/coupling/groups.js";
import { oracleOf } from "../../src/graph/coupling/oracle.js";
import type { Model } from "../../src/graph/graph.js";
import { parse } from "../../src/graph/parse.js";
import { findPools } from "../../src/score/pools.js";
import { poison } from "../../src/verify/poison.js";
import { type Proof, prove, randomRemoval } from "./oracle.js";
import { type RunOptions, run } from "./run.js";

export interface Expected extends Omit<RunOptions, "jitter"> {
  /** `name channels` of every group, in graph order. */
  readonly groups: readonly string[];
  /** Largest relative error; default 1e-5 (float32 sums of the same terms in another order). 0 for sums of integers. */
  readonly tolerance?: number;
}

/** Opset 21 with the operators of com.microsoft. */
export function fusedModel(text: string, opset = 21): Model {
  return parse(`<ir_version: 10, opset_import: ["" : ${opset}, "com.microsoft" : 1]> ${text}`);
}

/** Names and widths of the groups. */
export const groupNames = (c: Coupling): string[] => c.groups.map((g) => `${g.name} ${g.choices.length}`);

/** Removes a quarter, a half and three quarters of every pool at random. Returns the last proof, for what is special to a model. */
export async function expectProven(model: Model, { groups, tolerance = 1e-5, ...options }: Expected): Promise<Proof> {
  const coupling = findGroups(model);
  expect(groupNames(coupling)).toEqual(groups);
  expect(findPools(coupling).declined).toEqual([]);
  let last: Proof | undefined;
  let drift = 0;
  for (const [ratio, seed] of [
    [0.75, 1],
    [0.25, 2],
    [0.5, 3],
  ] as const) {
    const removed = randomRemoval(coupling, seed, ratio);
    const proof = await prove(coupling, removed, { seed, ...options });
    expect(proof.maxRel, `ratio ${ratio}, seed ${seed}`).toBeLessThanOrEqual(tolerance);
    drift = Math.max(drift, proof.drift);
    last = proof;
    await expectUnpoisoned(coupling, removed, { seed, ...options });
  }
  // An oracle that changes nothing would prove nothing.
  expect(drift).toBeGreaterThan(1e-3);
  return last as Proof;
}

/** Removed parameters reach no output of the oracle, however large they are. */
async function expectUnpoisoned(coupling: Coupling, removed: ReadonlySet<number>, options: Omit<RunOptions, "jitter">): Promise<void> {
  const keptOf = ({ typing, choices }: Coupling) => new Kept(typing.system, choices, removed);
  const { model, count } = poison(coupling, keptOf(coupling));
  // Quantised weights have no huge values.
  if (count === 0) return;
  const sick = findGroups(model);
  const [got, want] = [
    await run(oracleOf(sick.typing, keptOf(sick)), options),
    await run(oracleOf(coupling.typing, keptOf(coupling)), options),
  ];
  expect(got).toEqual(want);
}
