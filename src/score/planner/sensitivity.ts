/**
 * Sensitivity of the outputs: how much they change when channels of one pool leave, or one residual block, all else being there. Measured
 * by running the model.
 */
import { hasClassScores } from "../../calibrate/output-change.js";
import type { Samples } from "../../calibrate/samples.js";
import type { Statistics } from "../../calibrate/statistics/request.js";
import { measureVariants, type Variant } from "../../calibrate/variants.js";
import { ConfigError } from "../../errors.js";
import type { Block } from "../../graph/blocks/find.js";
import { removeBlocks } from "../../graph/blocks/remove.js";
import { Kept } from "../../graph/coupling/choices.js";
import { findGroups } from "../../graph/coupling/groups.js";
import { removeSlices } from "../../graph/coupling/slice.js";
import type { Model } from "../../graph/graph.js";
import type { Runner } from "../../runtime/runner.js";
import { applyMerges } from "../merge.js";
import { leaving, type PoolState } from "../moves.js";
import { mergesOf } from "../pick.js";
import { takenOf } from "../pools.js";
import type { Stage } from "../stage.js";
import { type Correction, withoutBlock, withPredicted } from "./corrected.js";
import { curveOf, type Level } from "./curve.js";

export interface SensitivityOptions {
  /** Samples to run on, spread evenly over those of calibration. Default 128. */
  readonly samples?: number | undefined;
  /** Shares of a pool that are gone where it is measured, each in (0, 1]. Default 1/4, 1/2, 3/4. */
  readonly levels?: readonly number[] | undefined;
  /** What the layers that read what leaves are given in its place (corrected.ts). Default: as recovery will correct. */
  readonly correct?: Correction | undefined;
  /**
   * How a pool's loss grows between the measured levels. share: with the share of it that is gone; criterion: as the criterion's own loss does,
   * where it knows one (Ranking.losses; else as share). With one level, its curve scaled to what was measured. Default share.
   */
  readonly shape?: "share" | "criterion" | undefined;
  /** Whether residual blocks are measured too, and may leave. Default true. */
  readonly blocks?: boolean | undefined;
}

/** What was measured. */
export interface Sensitivity {
  /** KL divergence of class probabilities in nats; else 1 − cosine of the outputs. */
  readonly metric: "kl" | "cosine";
  readonly correct: Correction;
  /** Samples that were run. */
  readonly samples: number;
  /** By key of the pool (poolKeys): the loss after so many moves, never falling. */
  readonly pools: ReadonlyMap<string, (gone: number) => number>;
  /** The measured levels behind it. */
  readonly levels: ReadonlyMap<string, readonly Level[]>;
  /** By name of the block. */
  readonly blocks: ReadonlyMap<string, number>;
}

/** Names by which pools are known in a model with and without its blocks: their groups', and a number where that repeats. */
export function poolKeys(states: readonly PoolState[]): string[] {
  const seen = new Map<string, number>();
  return states.map(({ pool }) => {
    const base = `${pool.groups.map((g) => g.name).join("+")}/${pool.moves}`;
    const n = (seen.get(base) ?? 0) + 1;
    seen.set(base, n);
    return n === 1 ? base : `${base}#${n}`;
  });
}

const SAMPLES = 128;
const LEVELS: readonly number[] = [0.25, 0.5, 0.75];

/**
 * Measures every pool of `whole` at a few widths it may take, and each of `blocks`: one run of a changed model per figure. The criterion
 * says which channels are gone.
 * @throws ConfigError SENSITIVITY_LEVELS; what measureVariants throws
 */
export async function measureSensitivity(
  runner: Runner,
  samples: Samples,
  whole: Stage,
  blocks: readonly Block[],
  statistics: Statistics | undefined,
  options: SensitivityOptions & {
    readonly batch?: number | undefined;
    readonly signal?: AbortSignal | undefined;
    readonly onProgress?: ((done: number, total: number) => void) | undefined;
  } = {},
): Promise<Sensitivity> {
  const { correct = "none", signal, onProgress, batch } = options;
  requireLevels(options.levels ?? LEVELS, options.samples ?? SAMPLES);
  const keys = poolKeys(whole.states);
  const probes = whole.states.flatMap((state, i) =>
    widthsAt(state, options.levels ?? LEVELS).map((keep) => ({ key: keys[i] as string, state, keep, gone: state.scores.length - keep })),
  );
  const variants: Variant[] = [
    ...probes.map(
      ({ state, keep }) =>
        () =>
          withoutChannels(whole, state, keep, statistics, correct),
    ),
    ...blocks.map((b) => () => withoutBlock(whole.model, b, statistics, correct) ?? removeBlocks(whole.model, [b])),
  ];
  const metric = hasClassScores(whole.model) ? "kl" : "cosine";
  const run = { metric, samples: options.samples ?? SAMPLES, signal, onProgress, batch } as const;
  const changes = variants.length > 0 ? await measureVariants(runner, whole.model, variants, samples, run) : new Float64Array(0);
  const levels = new Map<string, Level[]>(keys.map((k) => [k, []]));
  probes.forEach(({ key, gone }, i) => {
    levels.get(key)?.push({ gone, change: changes[i] as number });
  });
  return {
    metric,
    correct,
    samples: Math.min(run.samples, samples.count),
    levels,
    pools: new Map(
      keys.map((key, i) => {
        const known = options.shape === "criterion" ? missingBy(whole.states[i] as PoolState, whole) : undefined;
        return [key, curveOf(levels.get(key) as Level[], known)];
      }),
    ),
    blocks: new Map(blocks.map((b, i) => [b.name, changes[probes.length + i] as number])),
  };
}

function requireLevels(levels: readonly number[], samples: number): void {
  const bad = levels.find((l) => !(l > 0 && l <= 1));
  if (levels.length > 0 && bad === undefined && Number.isInteger(samples) && samples > 0) return;
  const came = bad === undefined ? `${levels.length} levels on ${samples} samples` : `the level ${bad}`;
  throw new ConfigError(
    "SENSITIVITY_LEVELS",
    `Sensitivities are measured at one level or more, shares in (0, 1], on one sample or more, but ${came} came.`,
    {
      hint: "For example { levels: [0.25, 0.5, 0.75], samples: 128 }, the default.",
    },
  );
}

/** Root of the criterion's own loss after so many moves; undefined where it knows none of a group. */
function missingBy({ pool, order, scores: moves }: PoolState, { scores }: Stage): ((gone: number) => number) | undefined {
  const lossOf = new Map<number, number>();
  for (const g of pool.groups) {
    const { order: first, losses } = scores.get(g) ?? {};
    if (!first || !losses) return undefined;
    first.forEach((k, i) => {
      lossOf.set(g.choices[k] as number, losses[i] as number);
    });
  }
  const sums = [0];
  for (let m = 0; m < moves.length; m++) {
    const taken = pool.cells.flatMap((cell, i) => (order[i] as readonly number[]).slice(takenOf(cell, m), takenOf(cell, m + 1)));
    sums.push((sums[m] as number) + taken.reduce((n, c) => n + (lossOf.get(c) ?? 0), 0));
  }
  return (gone) => Math.sqrt(sums[Math.min(gone, moves.length)] as number);
}

/** Widths nearest to these shares gone, each once, widest first; never the whole. */
function widthsAt({ widths, scores }: PoolState, shares: readonly number[]): number[] {
  const n = scores.length;
  const able = widths.map((w) => w.keep).filter((keep) => keep < n);
  if (able.length === 0) return [];
  const nearest = (gone: number) => able.reduce((a, b) => (Math.abs(n - b - gone * n) < Math.abs(n - a - gone * n) ? b : a));
  return [...new Set(shares.map(nearest))].sort((a, b) => b - a);
}

/** The model with one pool at a width: its channels predicted from the others, or (also where they are seen nowhere) taken out. */
function withoutChannels(
  { model, coupling, settle, scores }: Stage,
  state: PoolState,
  keep: number,
  statistics: Statistics | undefined,
  correct: Correction,
): Model {
  const removed = settle.settle(new Set(leaving(state, keep)));
  const predicted = correct === "none" ? undefined : withPredicted(model, coupling, state.pool.groups, removed, statistics, correct);
  if (predicted) return predicted;
  const merges = state.pool.groups.flatMap((g) => {
    const ranking = scores.get(g);
    return ranking ? mergesOf(g, ranking, removed) : [];
  });
  const merged = merges.length > 0 ? findGroups(applyMerges(model, merges, coupling)) : coupling;
  return removeSlices(merged.typing, new Kept(merged.typing.system, merged.choices, removed));
}
