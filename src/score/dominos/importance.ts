/** Importance of channels from uniqueness and domino influence, and what it means for blocks. */
import { fitCurves, fitLifetimes, type Lifetime, lifetimeOf, restrictedMean, shrunk, survivalOf, type Weibull } from "./weibull.js";

export interface SurvivalOptions {
  /** Whose scale λ: each filter's own, drawn to its layer's; the layer's; or one curve for the whole network. */
  readonly survival: "per-filter" | "per-layer" | "global";
  /** mle: censored maximum likelihood on lifetimes; curve: least squares on ln(−ln S). */
  readonly fit: "mle" | "curve";
}

/** I_k(1 … D) of each channel k of one layer; empty where nothing is known of it. */
export type Curves = readonly Float64Array[];

/** Deaths a layer needs for a fit of its own: fewer, and that of the whole network stands in. */
const LEAST_DEATHS = 5;

/**
 * Domino influence of each channel of each layer: D_k = I_k(1)·Σ_{t=0}^{D−1} exp(−(t/λ_k)^κ), the first influence times the
 * restricted mean survival, between I(1) (only the next layer counts) and I(1)·D (nothing decays).
 *
 * Layers with one layer after them have no curve: D = I(1). I(1) = 0 gives 0. Where nothing dies in the whole network S ≡ 1.
 * Influence that decays layer by layer under a Weibull model is in Chen 2020; curve, censoring, shrinkage and the mean are a
 * reconstruction.
 */
export function dominoInfluence(layers: readonly Curves[], { survival, fit }: SurvivalOptions): Float64Array[] {
  const studied = layers.map((curves) => curves.map((influence) => (influence.length < 2 ? undefined : survivalOf(influence))));
  const lifetimes = studied.map((of) => of.map((s) => s && lifetimeOf(s)));
  const fitOf = (at: readonly number[]): Weibull | undefined =>
    fit === "mle"
      ? fitLifetimes(at.flatMap((l) => (lifetimes[l] as (Lifetime | undefined)[]).filter((x) => x !== undefined)))
      : fitCurves(at.flatMap((l) => (studied[l] as (Float64Array | undefined)[]).filter((x) => x !== undefined)));
  const network = fitOf(layers.map((_, l) => l)) ?? { shape: 1, scale: Number.POSITIVE_INFINITY };

  return layers.map((curves, l) => {
    const mine = lifetimes[l] as readonly (Lifetime | undefined)[];
    const deaths = mine.filter((x) => x?.died).length;
    const layer = (survival !== "global" && deaths >= LEAST_DEATHS ? fitOf([l]) : undefined) ?? network;
    return Float64Array.from(curves, (influence, k) => {
      const first = influence[0] ?? 0;
      const life = mine[k];
      if (!life) return first;
      return first * restrictedMean(survival === "per-filter" ? shrunk(layer, life) : layer, influence.length);
    });
  });
}

/** D/mean D within a layer; all 0 where the whole layer has no influence. NaN, what is not known, stays, and counts for nothing. */
export function relativeInfluence(influence: Float64Array): Float64Array {
  const known = influence.filter((d) => !Number.isNaN(d));
  const mean = known.reduce((a, b) => a + b, 0) / known.length;
  return influence.map((d) => (mean > 0 || Number.isNaN(d) ? d / mean : 0));
}

/**
 * Uniqueness below which a map is no other than its twin: what float32 statistics and the ridge of an inverse leave of 0. A small
 * power would make much of it.
 */
const NONE = 1e-4;

/**
 * V = U^α·(D/mean D)^(1−α). A product, because full redundancy or no influence alone justifies removal; with α at an end the other
 * factor does not count.
 */
export function importance(uniqueness: number, relative: number, alpha: number): number {
  return (uniqueness < NONE ? 0 : uniqueness) ** alpha * relative ** (1 - alpha);
}

/**
 * The threshold at which a block leaves: the θ past which the share ω of the filters of its last layer with V < θ reaches
 * `omegaMin` (in (0, 1]). A block so stands in one row with channels, which leave when V < θ.
 *
 * @param values V of every filter of the linear layer that ends the branch, at least one.
 */
export function blockThreshold(values: ArrayLike<number>, omegaMin: number): number {
  const sorted = Float64Array.from(values).sort();
  // 0.3·10 is 3.0000000000000004 in some orders of arithmetic: a hair above a whole number is that number.
  const needed = Math.max(1, Math.ceil(omegaMin * sorted.length - 1e-9));
  return sorted[needed - 1] as number;
}
