/** Recovery: closed-form corrections of a pruned model's weights, from unlabelled samples and without gradients. */
import type { Samples } from "../calibrate/samples.js";
import { cloneModel } from "../graph/clone.js";
import type { Model } from "../graph/graph.js";
import type { Runner } from "../runtime/runner.js";
import { Agreement } from "./agreement.js";
import { batchesOf } from "./batches.js";
import { ridge, withMeans, withMeansAndVariances } from "./moments.js";
import type { Pairing } from "./pairing.js";
import { type Fit, type Swept, sweep } from "./sweep.js";

/**
 * - `mean`: each bias is moved so that the layer gives the original's mean
 * - `least-squares`: weights and biases are refitted to the original's values, then means and variances are matched
 */
export type RecoveryMethod = "mean" | "normalise" | "least-squares";

export interface RecoverOptions {
  readonly method: RecoveryMethod;
  readonly seed?: number;
  readonly memory?: number;
  readonly equations?: number;
  readonly ridges?: readonly number[];
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

export interface RecoveryStep {
  readonly step: string;
  readonly before: number;
  readonly after: number;
  readonly kept: boolean;
  readonly swept: Swept;
}

export interface Recovered {
  readonly model: Model;
  readonly metric: "kl" | "cosine";
  readonly steps: readonly RecoveryStep[];
}

const MEMORY = 2 ** 30;
const EQUATIONS = 40;
const RIDGES: readonly number[] = [1e-2, 1e-3, 1e-4, 1e-6];

export async function recover(
  runner: Runner,
  pruned: Model,
  pairing: Pairing,
  samples: Samples,
  options: RecoverOptions,
): Promise<Recovered> {
  const batches = batchesOf(pruned, samples);
  const agreement = await Agreement.with(runner, pairing.original, batches);
  const { seed = 0, memory = MEMORY, equations = EQUATIONS, signal, onProgress, ridges = RIDGES } = options;
  let model = pruned;
  let distance = await agreement.distance(model);
  const steps: RecoveryStep[] = [];
  for (const step of options.method === "least-squares" ? ["least-squares", "normalise"] : [options.method]) {
    const fit: Fit =
      step === "least-squares"
        ? (m, now, layer) => [...(layer.hasBias ? [withMeans(m, now)] : []), ...ridges.map((r) => ridge(m, now, r, layer.hasBias))]
        : step === "normalise"
          ? (m, now, layer) => (layer.hasBias ? [withMeansAndVariances(m, now)] : [])
          : (m, now, layer) => (layer.hasBias ? [withMeans(m, now)] : []);
    const next = cloneModel(model);
    const swept = await sweep(runner, next, pairing, batches, fit, {
      seed,
      memory,
      equations,
      unconditional: step === "normalise",
      signal,
      onProgress,
    });
    next.sha256 = undefined;
    const after = await agreement.distance(next);
    const kept = after < distance;
    steps.push({ step, before: distance, after, kept, swept });
    if (!kept) continue;
    model = next;
    distance = after;
  }
  return { model, metric: agreement.metric, steps };
}
