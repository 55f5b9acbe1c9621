/** Which gate a map gets: decided on samples that no fit has seen. */
import { type Gate, hiddenWidth } from "../passes/gates/emit.js";
import { diagonalFactors, diagonalGate, staticGate } from "./closed-form.js";
import type { Division } from "./looks.js";
import { type Factors, lossOf, type Quadratics, rescaled } from "./quadratics.js";
import { squeezeExciteFactors, squeezeExciteGate } from "./squeeze-excite.js";

/** auto: constant factors, then the cheaper of the others that pays. */
export type GateKinds = "static" | "diagonal" | "se" | "auto";

export interface ChoiceOptions {
  readonly kinds: GateKinds;
  /** r of squeeze-and-excitation gates. */
  readonly reduction: number;
  /** A gate is kept if it lowers the held-out loss by more than this share. */
  readonly gain: number;
  /** λ in units of the mean diagonal. */
  readonly ridge: number;
  readonly steps: number;
  readonly rate: number;
  readonly seed: string;
}

/** What was decided; losses are of the held-out samples, as shares of ‖Y‖². */
export interface Choice {
  /** Goes into the weights of the readers. */
  readonly factor: Float64Array | undefined;
  /** Stays in the graph, fitted after `factor`. */
  readonly gate: Gate | undefined;
  readonly before: number;
  /** With `factor` alone. */
  readonly folded: number;
  /** With both. */
  readonly after: number;
}

/** Losses below this share of ‖Y‖² are differences of rounded float32 numbers: there is nothing to gain. */
const ROUNDING = 1e-5;

/**
 * Fits on part of the samples, and keeps what lowers the loss of the rest by more than `gain`: constant factors first, which cost nothing;
 * then, as far as `kinds` says, gates that look at their input, each against the best before it.
 */
export function chooseGate(q: Quadratics, { fit, held }: Division, options: ChoiceOptions): Choice {
  const energy = held.reduce((sum, x) => sum + (q.k[x] as number), 0);
  const share = (loss: number) => (energy > 0 ? Math.max(0, loss) / energy : 0);
  const ones = new Float64Array(q.channels).fill(1);
  const before = lossOf(q, held, () => ones);
  const pays = (loss: number, against: number) =>
    against > ROUNDING * energy && Number.isFinite(loss) && loss < against * (1 - options.gain);

  const constant = staticGate(q, fit, options.ridge);
  const withConstant = lossOf(q, held, () => constant.factor);
  const factor = pays(withConstant, before) ? constant.factor : undefined;
  const folded = factor ? withConstant : before;
  const rest = factor ? rescaled(q, factor) : q;

  let best: Gate | undefined;
  let after = folded;
  const consider = (gate: Gate, factors: Factors) => {
    const loss = lossOf(rest, held, factors);
    if (!pays(loss, after)) return;
    best = gate;
    after = loss;
  };
  if (options.kinds === "diagonal" || options.kinds === "auto") {
    const gate = diagonalGate(rest, fit, options.ridge);
    consider(gate, diagonalFactors(rest, gate));
  }
  if (options.kinds === "se" || options.kinds === "auto") {
    // A quarter of what may be fitted says when to stop.
    const stop = fit.filter((_, i) => i % 4 === 3);
    const learn = fit.filter((_, i) => i % 4 !== 3);
    const { steps, rate, seed, reduction } = options;
    const gate = squeezeExciteGate(rest, learn, stop, { hidden: hiddenWidth(q.channels, reduction), seed, steps, rate });
    consider(gate, squeezeExciteFactors(rest, gate));
  }
  return { factor, gate: best, before: share(before), folded: share(folded), after: share(after) };
}
