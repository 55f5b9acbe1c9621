/** Ranks for a budget, and the factors that they leave. */
import type { Statistics } from "../../calibrate/statistics/request.js";
import { BudgetError, internal } from "../../errors.js";
import { cloneModel } from "../../graph/clone.js";
import type { Cost } from "../../graph/cost.js";
import type { Model } from "../../graph/graph.js";
import type { Note } from "../../graph/note.js";
import {
  aboutZero,
  type Components,
  componentsOf,
  type Factors,
  factorsOf,
  kernelsOf,
  partialsOf,
  type Split,
  type Spread,
  spreadOfPartials,
} from "../../score/low-rank/factors.js";
import { type Choice, choicesOf, divide, mostOf, type Way } from "../../score/low-rank/ranks.js";
import { type Measure, measureOf, type Target } from "../../score/target.js";
import { blockOfConvs } from "../../score/widths.js";
import type { Asked } from "../pass.js";
import { type Candidate, candidatesOf, type Division } from "./candidates.js";
import { emit } from "./emit.js";

export interface LayerDecision extends Factors {
  /** Name of what the layer gives, by which copies of the model find it. */
  readonly output: string;
  readonly label: string;
  readonly op: string;
  readonly inputs: number;
  readonly outputs: number;
  readonly kernel: readonly number[];
  readonly split: Split;
  /** Share of the variance of its partial outputs that is kept. */
  readonly kept: number;
}

export interface Decision {
  readonly layers: readonly LayerDecision[];
  readonly budget: { readonly measure: Measure; readonly asked: number; readonly reached: number };
}

/** Share of what is asked that the result may miss it by. */
const TOLERANCE = 0.01;
/** The same, where ranks are multiples. */
const ALIGNED_TOLERANCE = 0.03;
/** Bytes of a file are known when it is made: so many times what it missed by is asked for in addition. */
const TRIES = 6;
/** Of a node more in the file, roughly: names and attributes. */
const NODE_BYTES = 200;

/** @throws BudgetError LOW_RANK_BUDGET where the budget is out of reach. */
export function decide(
  model: Model,
  { skip, data, own }: { readonly skip: readonly string[]; readonly data: boolean; readonly own: Target | undefined },
  asked: Asked,
  statistics: Statistics | undefined,
  note: (note: Note) => void,
): Decision {
  const { measure, keep } = targetOf(own ?? asked.target);
  const original = asked.measure(asked.original, measure);
  const now = asked.measure(model, measure);
  const missing = now - keep * original;
  const tolerance = (asked.align === 1 ? TOLERANCE : ALIGNED_TOLERANCE) * keep * original;
  if (missing <= tolerance) {
    note({ code: "BUDGET_MET", about: "low-rank", why: `${measure} are ${share(now / original)} of the original's already` });
    return { layers: [], budget: { measure, asked: keep, reached: now / original } };
  }
  const costs = asked.cost(model);
  const found = candidatesOf(model, { measures: data, skip: [...skip, ...asked.exclude] }, note).map((c) =>
    prepared(c, measure, costs, asked.align, statistics),
  );
  const choices = found.map((p) => choicesOf(p.ways.map((w) => w.way)));
  let needed = missing;
  for (let i = 0; i < TRIES; i++) {
    const chosen = divide(choices, needed, tolerance);
    if (!chosen) break;
    const layers = chosen.flatMap(({ way, rank }, l) => {
      const { candidate, ways } = found[l] as Prepared;
      return way === undefined ? [] : [decisionOf(candidate, ways[way] as Analysis, rank)];
    });
    const made = cloneModel(model);
    emit(made, layers);
    const reached = asked.measure(made, measure);
    if (Math.abs(reached - keep * original) <= tolerance) return { layers, budget: { measure, asked: keep, reached: reached / original } };
    needed += reached - keep * original;
  }
  throw outOfReach(measure, keep, choices, { now, missing, original, tolerance }, asked.align);
}

function outOfReach(
  measure: Measure,
  keep: number,
  choices: readonly (readonly Choice[])[],
  { now, missing, original, tolerance }: Readonly<Record<"now" | "missing" | "original" | "tolerance", number>>,
  align: number | "auto",
): BudgetError {
  const message = `low-rank cannot bring ${measure} to ${share(keep)} of the original's`;
  const most = mostOf(choices);
  if (most < missing) {
    return new BudgetError("LOW_RANK_BUDGET", `${message}: at rank 1 in every layer ${share((now - most) / original)} would be left.`, {
      hint: "Remove channels as well, e.g. --pass obs before it, or ask for less.",
    });
  }
  let nearest: readonly Choice[] | undefined;
  for (let slack = 2 * tolerance; !nearest && slack < 2 * now; slack *= 1.5) nearest = divide(choices, missing, slack);
  const saved = nearest?.reduce((n, c) => n + c.saved, 0) ?? most;
  return new BudgetError(
    "LOW_RANK_BUDGET",
    `${message} within ${share(tolerance / keep / original)}: ${share((now - saved) / original)} is the nearest below it.`,
    {
      hint: `Ranks are coarse where layers are few or small${align === 1 ? "" : "; --align 1 allows every rank"}. Ask for that fraction, or one above.`,
    },
  );
}

function targetOf(target: Target): { readonly measure: "macs" | "params" | "bytes"; readonly keep: number } {
  const { measure, keep } = measureOf(target);
  if (measure === "latency" || measure === "ratio") throw internal(`low-rank was asked for ${measure}.`);
  return { measure, keep };
}

/** A division of a layer, and what is known of its partial outputs. */
interface Analysis {
  readonly division: Division;
  readonly spread: Spread;
  readonly components: Components;
}

interface Prepared {
  readonly candidate: Candidate;
  readonly ways: readonly (Analysis & { readonly way: Way })[];
}

function prepared(
  candidate: Candidate,
  measure: "macs" | "params" | "bytes",
  costs: Cost,
  align: number | "auto",
  statistics: Statistics | undefined,
): Prepared {
  const { layer, outputs, inputs, kernel } = candidate;
  const { node } = layer;
  const weights = outputs * inputs * size(kernel);
  const element = (node.inputs[1]?.constant?.byteLength ?? 0) / weights;
  // Multiply-accumulates of one weight: the positions of what the layer gives.
  const positions = (costs.byNode.find((c) => c.node === node)?.macs ?? 0) / weights;
  const unit = measure === "macs" ? positions : measure === "bytes" ? element : 1;
  const ways = candidate.divisions.map((division) => {
    const { first, second } = kernelsOf(kernel, division.split);
    const found = analysisOf(candidate, division, statistics);
    const way = {
      variances: found.components.variances,
      total: found.components.total,
      whole: unit * weights,
      perRank: unit * (inputs * size(first) * (measure === "macs" ? division.spread : 1) + outputs * size(second)),
      fixed: measure === "bytes" ? NODE_BYTES : 0,
      block: node.opType === "Conv" || align !== "auto" ? blockOfConvs(align) : 1,
    };
    return { ...found, way };
  });
  return { candidate, ways };
}

/** The components of what a layer's partial outputs are. Where the first factor has all taps those are what the layer gives, bias apart. */
export function analysisOf({ layer, ...sizes }: Candidate, division: Division, statistics: Statistics | undefined): Analysis {
  const { weight, bias } = layer.read();
  const { split, request } = division;
  const seen: Spread | undefined = request && statistics?.has(request) ? statistics.of(request) : undefined;
  const isWhole = split.every((isFirst) => isFirst);
  const whole =
    seen && isWhole
      ? { mean: seen.mean.map((m, o) => m - (bias[o] as number)), covariance: seen.covariance }
      : spreadOfPartials(partialsOf(weight, sizes, split), seen);
  const spread = layer.hasBias ? whole : aboutZero(whole);
  return { division, spread, components: componentsOf(spread) };
}

/** Two layers with the first `rank` components between them. */
export function decisionOf(candidate: Candidate, { division: { split }, spread, components }: Analysis, rank: number): LayerDecision {
  const { layer, outputs, inputs, kernel } = candidate;
  return {
    ...factorsOf(partialsOf(layer.read().weight, candidate, split), outputs, spread, components, rank),
    output: layer.node.outputs[0]?.name as string,
    label: layer.node.label,
    op: layer.node.opType,
    inputs,
    outputs,
    kernel,
    split,
    kept: components.variances.subarray(0, rank).reduce((a, b) => a + b, 0) / (components.total || 1),
  };
}

function size(kernel: readonly number[]): number {
  return kernel.reduce((a, b) => a * b, 1);
}

function share(x: number): string {
  return `${(100 * x).toFixed(1)} %`;
}
