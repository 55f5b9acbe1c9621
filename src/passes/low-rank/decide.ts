/** Ranks for a budget, and the factors that they leave. */
import type { Statistics } from "../../calibrate/statistics/request.js";
import { BudgetError, internal } from "../../errors.js";
import { cloneModel } from "../../graph/clone.js";
import type { Model } from "../../graph/graph.js";
import type { Note } from "../../graph/note.js";
import {
  aboutZero,
  type Components,
  componentsOf,
  type Factors,
  factorsOf,
  partialsOf,
  type Sizes,
  type Split,
  type Spread,
  spreadOfPartials,
} from "../../score/low-rank/factors.js";
import { type Choice, choicesOf, divide, mostOf } from "../../score/low-rank/ranks.js";
import { type Budget, type Measure, measureOf, type Target } from "../../score/target.js";
import { blockOfConvs } from "../../score/widths.js";
import type { Asked, Timing } from "../pass.js";
import { type Candidate, candidatesOf, type Division } from "./candidates.js";
import { emit } from "./emit.js";
import { savings, Timings } from "./savings.js";

export interface LayerDecision extends Factors, Sizes {
  /** Name of what the layer gives, by which copies of the model find it. */
  readonly output: string;
  readonly label: string;
  readonly op: string;
  readonly split: Split;
  /** Share of the variance of its partial outputs that is kept. */
  readonly kept: number;
}

export interface Decision {
  readonly layers: readonly LayerDecision[];
  readonly budget: Budget;
}

/** Share of what is asked that the result may miss it by. */
const TOLERANCE = 0.01;
/** The same, where costs come in steps: ranks are multiples, or time is what counts. */
const COARSE_TOLERANCE = 0.03;
/** What a file costs is known when it is made: so many times what it missed by is asked for in addition. */
const TRIES = 6;

export interface DecideOptions {
  /** Layers left whole, by name of the node. */
  readonly skip: readonly string[];
  /** Whether statistics tell what varies. */
  readonly data: boolean;
  /** A budget that goes before that of the run. */
  readonly own: Target | undefined;
}

/** Components once; then ranks for each budget. The function that is returned throws BudgetError LOW_RANK_BUDGET where one is out of reach. */
export function decider(
  model: Model,
  { skip, data, own }: DecideOptions,
  { exclude, align }: Pick<Asked, "exclude" | "align">,
  statistics: Statistics | undefined,
  note: (note: Note) => void,
): (asked: Asked) => Decision {
  const prepared = candidatesOf(model, { measures: data, skip: [...skip, ...exclude] }, note).map((candidate): Prepared => {
    const unseen = data && candidate.divisions.some((d) => !d.request || statistics?.has(d.request) !== true);
    if (unseen)
      note({
        code: "INPUT_NOT_SEEN",
        about: candidate.layer.node.label,
        why: "not all it reads and gives was measured: there its weights alone decide",
      });
    const ways = candidate.divisions.map((d) => analysisOf(candidate, d, statistics));
    return { candidate, ways, block: candidate.layer.node.opType === "Conv" || align !== "auto" ? blockOfConvs(align) : 1 };
  });
  const timings = new Timings(model);
  return (asked) => decide(model, prepared, timings, { ...asked, target: own ?? asked.target }, note);
}

function decide(model: Model, prepared: readonly Prepared[], timings: Timings, asked: Asked, note: (note: Note) => void): Decision {
  const { measure, keep } = measureOf(asked.target);
  if (measure === "ratio") throw internal("low-rank was asked for a ratio of channels.");
  const original = asked.measure(asked.original, measure);
  const now = asked.measure(model, measure);
  const missing = now - keep * original;
  const tolerance = (asked.align === 1 && measure !== "latency" ? TOLERANCE : COARSE_TOLERANCE) * keep * original;
  if (missing <= tolerance) {
    note({ code: "BUDGET_MET", about: "low-rank", why: `${measure} are ${share(now / original)} of the original's already` });
    return { layers: [], budget: { measure, asked: keep, reached: now / original } };
  }
  const savingsOf = measure === "latency" ? timings.savings(asked.timing as Timing) : savings(measure, asked.cost(model));
  const choices = prepared.map(({ candidate, ways, block }) =>
    choicesOf(ways.map(({ division, components }) => ({ ...components, block, saved: savingsOf(candidate, division) }))),
  );
  let needed = missing;
  for (let i = 0; i < TRIES; i++) {
    const chosen = divide(choices, needed, tolerance);
    if (!chosen) break;
    const layers = chosen.flatMap(({ way, rank }, l) => {
      const { candidate, ways } = prepared[l] as Prepared;
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

/** A division of a layer, and what is known of its partial outputs. */
interface Analysis {
  readonly division: Division;
  readonly spread: Spread;
  readonly components: Components;
}

interface Prepared {
  readonly candidate: Candidate;
  readonly ways: readonly Analysis[];
  /** Ranks go to multiples of it. */
  readonly block: number;
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

function share(x: number): string {
  return `${(100 * x).toFixed(1)} %`;
}
