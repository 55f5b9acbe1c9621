/** The second stage of a removal step: gates on what is left of the model, as a weight edit of its own. */

import type { Samples } from "../calibrate/samples.js";
import { encodedSize } from "../graph/codec.js";
import { cost } from "../graph/cost.js";
import type { Model } from "../graph/graph.js";
import type { Removal } from "../passes/remove-filters.js";
import { checkPassed } from "../passes/run-pass.js";
import type { StepReport } from "../report.js";
import { openRunner } from "../runtime/provider.js";
import { type Claim, costOptions, type ProofOptions } from "../verify/prove.js";
import { type AttendOptions, attend } from "./attend.js";
import type { GateKinds } from "./choose.js";

export interface GatesRequest {
  /** For the report: the pass that asked. */
  readonly pass: string;
  readonly kinds: GateKinds;
  readonly removal: Removal;
  /** What is left after removal, and after what else was done to it. */
  readonly student: Model;
  /** Of the removal: the share asked and reached, of what `original` costs. */
  readonly budget: StepReport["budget"];
  readonly original: Model;
}

export interface GatesStep {
  readonly model: Model;
  readonly report: Omit<StepReport, "milliseconds">;
  readonly claims: readonly Claim[];
}

/** Share by which gates may go beyond what was asked for: that within which budgets are met anyway. */
const TOLERANCE = 0.01;

/** Fits gates where calibration samples are at hand, and says in the report what was kept and what it costs. */
export async function gatesStep(
  { pass, kinds, removal, student, budget, original }: GatesRequest,
  options: ProofOptions & { readonly calibration?: Samples | undefined },
): Promise<GatesStep> {
  const name = `${pass} (gates)`;
  const report = { pass: name, options: { gates: kinds } };
  const { calibration, ep, device, threads, signal, seed, onProgress } = options;
  if (!calibration) {
    const why = "the statistics came from a file: give --calibrate samples, or gates are not fitted";
    return { model: student, report: { ...report, changed: false, notes: [{ code: "GATES_NO_SAMPLES", about: pass, why }] }, claims: [] };
  }
  const room = roomOf(budget, original, options);
  const runner = await openRunner(ep ?? "auto", { threads, device });
  try {
    const pair = { teacher: removal.prepared.model, student, kept: keptOf(removal) };
    const { model, reference, gates, outputs, notes } = await attend(runner, pair, calibration, {
      kinds,
      signal,
      ...(seed === undefined ? {} : { seed }),
      ...(room ? { room } : {}),
      onProgress: (done, total) => onProgress?.({ phase: name, done, total }),
    });
    const changed = gates.length > 0;
    if (changed) checkPassed(name, student, model);
    const claim: Claim = {
      what: `${name}: constant factors in the weights against the same as nodes of their own`,
      candidate: model,
      original: student,
      changes: true,
      reference: () => reference,
    };
    return { model, report: { ...report, changed, notes, gates, ...(outputs ? { outputs } : {}) }, claims: changed ? [claim] : [] };
  } finally {
    await runner.close();
  }
}

/** Rows of the teacher's values that removal left. */
function keptOf({ coupling, kept }: Removal): (value: string, axis: number) => readonly number[] | undefined | string {
  return (name, axis) => {
    const value = coupling.typing.model.graph.value(name);
    const of = value && coupling.typing.axesOf(value)?.[axis];
    if (!of) return `"${name}" is not a value of the model before removal`;
    return kept.isFamily(of) ? `"${name}" keeps other channels in other rows` : kept.indices(of);
  };
}

/** What gates may cost in the unit of the budget; a ratio of channels says nothing about gates. */
function roomOf(budget: StepReport["budget"], original: Model, options: ProofOptions): AttendOptions["room"] {
  if (!budget || budget.measure === "ratio") return undefined;
  const share = Math.max(0, budget.asked * (1 + TOLERANCE) - budget.reached);
  // A parameter is four bytes at most (but for doubles), and names cost as much again in small gates.
  if (budget.measure === "bytes") return { of: "parameters", most: (share * encodedSize(original)) / 8 };
  const whole = cost(original, undefined, costOptions(options));
  return budget.measure === "macs" ? { of: "macs", most: share * whole.macs } : { of: "parameters", most: share * whole.parameters };
}
