/** Recovery within a run: after each removal, towards the model before the first of them. */
import type { Samples } from "../calibrate/samples.js";
import { ConfigError } from "../errors.js";
import type { Model } from "../graph/graph.js";
import type { Slices } from "../passes/pass.js";
import type { Removal } from "../passes/remove-filters.js";
import { checkPassed } from "../passes/run-pass.js";
import type { Recovery, StepReport } from "../report.js";
import { openRunner } from "../runtime/provider.js";
import type { Provider } from "../runtime/runner.js";
import { composed, type Pairing, pairingOf } from "./pairing.js";
import { notesOf, type RecoveryMethod, recover } from "./recover.js";

export interface RecoveriesOptions {
  readonly reconstruct?: RecoveryMethod | "none" | undefined;
  readonly calibration?: Samples | undefined;
  readonly seed?: number;
  readonly ep?: Provider | "auto";
  readonly device?: number;
  readonly threads?: number;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: (event: { readonly phase: string; readonly done: number; readonly total: number }) => void;
}

/**
 * A model, and what made it, if channels left: a plan that was carried out, or a pass that tells what it left. A pass that approximates
 * weights tells nothing: all values that have a name in both are whole.
 */
export interface Removed {
  readonly model: Model;
  readonly removal?: Removal;
  readonly sliced?: { readonly before: Model; readonly slices?: Slices | undefined } | undefined;
}

export interface RecoveredStep {
  readonly model: Model;
  readonly report: StepReport & { readonly recovery: Recovery };
}

/** A step of its own: what removal did is claimed of the graph as it left it, and recovery answers to held-out samples. */
export class Recoveries {
  readonly #options: RecoveriesOptions;
  #pairing: Pairing | undefined;

  /** @throws ConfigError RECONSTRUCT_NO_DATA where corrections are asked for and no samples came. */
  constructor(options: RecoveriesOptions) {
    this.#options = options;
    const { reconstruct = "none", calibration } = options;
    if (reconstruct === "none" || calibration) return;
    throw new ConfigError("RECONSTRUCT_NO_DATA", `Weights are corrected (${reconstruct}) by what samples show, but none came.`, {
      hint: "Give --calibrate samples (or --data, of which a part is then set aside); they need no labels.",
    });
  }

  /** `model` after its removal, corrected; undefined where nothing was removed, or nothing is to be corrected. */
  async after({ model, removal, sliced }: Removed): Promise<RecoveredStep | undefined> {
    const from = removal ? { before: removal.prepared.model, slices: removal } : sliced;
    if ((this.#options.reconstruct ?? "none") === "none" || !from) return undefined;
    const step = pairingOf(from.before, model, from.slices);
    this.#pairing = this.#pairing ? composed(this.#pairing, step) : step;
    return this.towards(this.#pairing, model);
  }

  async towards(pairing: Pairing, model: Model): Promise<RecoveredStep> {
    const { reconstruct: method, calibration, onProgress, seed, signal, ep, threads, device } = this.#options;
    const started = performance.now();
    const runner = await openRunner(ep ?? "auto", { threads, device });
    try {
      const { model: better, recovery } = await recover(runner, model, pairing, calibration as Samples, {
        method: method as RecoveryMethod,
        seed,
        signal,
        onProgress: (done, total) => onProgress?.({ phase: "reconstruct", done, total }),
      });
      const changed = better !== model;
      if (changed) checkPassed("reconstruct", model, better);
      const milliseconds = Math.round(performance.now() - started);
      return {
        model: better,
        report: { pass: "reconstruct", options: { method }, changed, milliseconds, notes: notesOf(recovery), recovery },
      };
    } finally {
      await runner.close();
    }
  }
}
