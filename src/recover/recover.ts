/**
 * Recovery: corrections of a pruned model's weights from unlabelled samples. All are closed forms, but for `joint`, which goes on from one by the
 * gradient of a squared error within a few layers; none looks at labels, or at a loss of the whole network.
 */
import type { Samples } from "../calibrate/samples.js";
import { cloneModel } from "../graph/clone.js";
import type { Model } from "../graph/graph.js";
import type { Note } from "../graph/note.js";
import type { Recovery, RecoveryStep } from "../report.js";
import type { Runner } from "../runtime/runner.js";
import { Agreement } from "./agreement.js";
import { type Batches, batchesOf } from "./batches.js";
import { borders } from "./borders.js";
import { merge } from "./merge.js";
import { withMeans, withMeansAndVariances } from "./moments.js";
import type { Pairing } from "./pairing.js";
import { ridge } from "./ridge.js";
import { type Fit, type SweepOptions, type Swept, sweep } from "./sweep.js";
import { fitWindows } from "./windows/windows.js";

/**
 * - `mean`: each bias moves so that its layer gives the original's mean; then zone by zone where kernels reach into padding and it pays
 * - `normalise`: each channel gets the original's mean and variance: running statistics of a normalisation that is left are estimated
 *   anew, other layers are scaled and shifted
 * - `merge`: what left is written as a linear map of what stayed, folded into every layer that reads both
 * - `least-squares`: weights and biases are refitted to the original's values on what now comes in
 * - `least-squares+normalise`: one after the other; what does not help is undone
 * - `joint`: least squares, and then several layers together, window by window (windows/windows.ts)
 */
export const RECOVERY_METHODS = ["mean", "normalise", "merge", "least-squares", "least-squares+normalise", "joint"] as const;
export type RecoveryMethod = (typeof RECOVERY_METHODS)[number];

export interface RecoverOptions {
  readonly method: RecoveryMethod;
  readonly seed?: number | undefined;
  /** Bytes of activations held (default 1 GiB); between layers, what does not fit is computed again; of windows (`joint`), fewer samples are taken. */
  readonly memory?: number | undefined;
  /** Equations per unknown that are taken at least, where there are as many (default 150). */
  readonly equations?: number | undefined;
  /** Least squares: whether layers before a Relu are fitted a second time, to what gets through it (default true). */
  readonly rectify?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

export interface Recovered {
  /** The very model that was given where no correction was kept. */
  readonly model: Model;
  readonly recovery: Recovery;
}

const MEMORY = 2 ** 30;
const EQUATIONS = 150;
/** Strengths that are tried, of each layer the best on held-out samples is taken. */
const RIDGES: readonly number[] = [1, 0.3, 0.1, 0.03, 1e-2, 1e-3, 1e-5, 1e-10];

/** A correction of all layers, one after the other: of `pruned`, in place. */
interface Correction {
  readonly name: string;
  /** Share by which the held-out distance must fall, where what is added costs time; else any fall will do. */
  readonly pays?: number;
  run(runner: Runner, pruned: Model, pairing: Pairing, batches: Batches, options: SweepOptions): Promise<Swept>;
}

/** Layers are refitted in order, each on what the corrected ones before it give. */
function sweeping(
  name: string,
  fit: Fit,
  how: Pick<SweepOptions, "sums" | "unconditional" | "norms" | "wide" | "rectify"> = {},
): Correction {
  return { name, run: (runner, pruned, pairing, batches, options) => sweep(runner, pruned, pairing, batches, fit, { ...options, ...how }) };
}

const mean = sweeping("mean", (m, now, { hasBias }) => (hasBias ? [withMeans(m, now)] : []), { rectify: false, wide: [] });

const leastSquaresFit: Fit = async function* (m, now, { hasBias }, products) {
  if (hasBias) yield withMeans(m, now);
  for (const strength of RIDGES) yield await ridge(products, m, now, strength, hasBias);
};

const leastSquares = sweeping("least-squares", leastSquaresFit, { wide: RIDGES });

/** After `mean` and `merge`, and judged apart from them: a map per layer costs time, a bias does not. */
const zones: Correction = { name: "borders", pays: 0.02, run: borders };

/**
 * Normalisations that are left in the graph get other running statistics, other layers are scaled and shifted. Sums are left alone: what a
 * branch lacks would be blown up to the variance of what its skip got wrong.
 */
const normalise = sweeping("normalise", (m, now, { hasBias }) => (hasBias ? [withMeansAndVariances(m, now)] : []), {
  sums: false,
  norms: true,
  unconditional: true,
  rectify: false,
});

const merging: Correction = {
  name: "merge",
  run: (runner, pruned, pairing, batches, options) => merge(runner, pruned, pairing, batches, RIDGES, options),
};

/** What no window has is fitted once more to what the windows now give: the classifier, as a rule. */
const windows: Correction = {
  name: "windows",
  async run(runner, pruned, pairing, batches, options) {
    const together = await fitWindows(runner, pruned, pairing, batches, options);
    const fitted = new Set(together.layers.map((l) => l.node));
    if (fitted.size === 0) return together;
    const others = await sweep(runner, pruned, pairing, batches, leastSquaresFit, {
      ...options,
      wide: RIDGES,
      only: (label) => !fitted.has(label),
    });
    return { layers: [...together.layers, ...others.layers], left: [...together.left, ...others.left] };
  },
};

const CORRECTIONS: Readonly<Record<RecoveryMethod, readonly Correction[]>> = {
  mean: [mean, zones],
  normalise: [normalise],
  merge: [merging, zones],
  "least-squares": [leastSquares],
  "least-squares+normalise": [leastSquares, normalise],
  joint: [leastSquares, windows],
};

/**
 * Corrects the weights of `pruned`, so that it comes nearer to the original it was made from. `samples` fit, but for every fifth batch,
 * which is held out and decides: of each layer the strength of its correction, and of the whole whether a correction is kept. So the
 * held-out distance of the outputs never grows. The same samples and seed give the same weights on one machine.
 *
 * Shapes and nodes stay; a layer without a bias may get one, and under `mean` or `merge` an Add of a constant map.
 * @throws what the runner throws.
 */
export async function recover(
  runner: Runner,
  pruned: Model,
  pairing: Pairing,
  samples: Samples,
  options: RecoverOptions,
): Promise<Recovered> {
  const { seed = 0, memory = MEMORY, equations = EQUATIONS, rectify = true, signal, onProgress } = options;
  const batches = batchesOf(pruned, samples, seed);
  const corrections = batches.heldOut > 0 ? CORRECTIONS[options.method] : [];
  const agreement = await Agreement.with(runner, pairing.original, batches);
  const start = await agreement.distance(pruned);
  let model = pruned;
  let distance = start;
  const steps: RecoveryStep[] = [];
  let left: Swept["left"][number][] = [];
  for (const [i, { name, run, pays = 0 }] of corrections.entries()) {
    const next = cloneModel(model);
    const progress = (done: number, total: number) => onProgress?.(i * total + done, corrections.length * total);
    const biases = steps.at(-1)?.kept === true;
    const swept = await run(runner, next, pairing, batches, { seed, memory, equations, rectify, biases, signal, onProgress: progress });
    const after = await agreement.distance(next);
    const kept = after < distance * (1 - pays);
    steps.push({ method: name, before: distance, after, kept, layers: swept.layers });
    // What corrections before this one passed over, it may have reached.
    const reached = new Set(kept ? swept.layers.filter((l) => l.changed).map((l) => l.node) : []);
    left = left.filter((l) => !reached.has(l.node));
    left.push(...swept.left.filter((l) => !left.some((known) => known.node === l.node && known.why === l.why)));
    if (!kept) continue;
    next.sha256 = undefined;
    model = next;
    distance = after;
  }
  const { fitting: fitted, heldOut } = batches;
  return {
    model,
    recovery: { data: samples.source, fitted, heldOut, metric: agreement.metric, before: start, after: distance, steps, left },
  };
}

/** What a reader of the report should know. */
export function notesOf({ heldOut, fitted, data, left, steps }: Recovery): Note[] {
  const notes: Note[] = left.map(({ node, why }) => ({ code: "RECONSTRUCT_LEFT", about: node, why: `not corrected: ${why}` }));
  if (heldOut === 0) {
    const why = `${fitted} ${fitted === 1 ? "sample fits" : "samples fit"} one batch, and none can be held out to judge corrections: nothing was corrected`;
    notes.push({ code: "RECONSTRUCT_TOO_FEW", about: data, why });
  }
  for (const s of steps.filter((s) => !s.kept)) {
    notes.push({
      code: "RECONSTRUCT_UNDONE",
      about: s.method,
      why: `it brought the held-out outputs no nearer to the original's, or too little for what it costs (${s.before.toPrecision(4)} before, ${s.after.toPrecision(4)} after), and was undone`,
    });
  }
  return notes;
}
