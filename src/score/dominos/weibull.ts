/** Weibull models of how long the influence of a channel survives, layer by layer: S(t) = exp(−(t/λ)^κ). */

/** S(t) = exp(−(t/λ)^κ). `scale` is Infinity where nothing decays (S ≡ 1). */
export interface Weibull {
  /** κ. */
  readonly shape: number;
  /** λ: S(λ) = 1/e whatever κ is. */
  readonly scale: number;
}

/** When a survival curve fell to 1/e, or how long it was seen not to. */
export interface Lifetime {
  readonly time: number;
  /** false: right-censored, the curve was still above 1/e at `time`, where it ends. */
  readonly died: boolean;
}

/** Shapes searched: past either end a curve is a step or flat for all purposes. */
const [LEAST_SHAPE, MOST_SHAPE] = [0.05, 20];
/** What a survival of 0 counts as: its logarithm must be finite. */
const LEAST_SURVIVAL = 1e-6;

/**
 * S(t) = min(1, min_{d' ≤ t+1} I(d')/I(1)) for t = 0 … D−1, where influence[d−1] is I(d). The running minimum is needed because
 * influence can rise again (behind a residual sum, through a normalisation). Undefined where I(1) is not positive.
 */
export function survivalOf(influence: ArrayLike<number>): Float64Array | undefined {
  const first = influence[0] as number;
  if (!(first > 0)) return undefined;
  let least = 1;
  return Float64Array.from(influence, (i) => {
    least = Math.min(least, i / first);
    return least;
  });
}

/**
 * First time at which ln S, linear between layers, reaches −1; censored at the end of the curve. Because S(λ) = 1/e for every
 * shape, it is an observation of λ. `survival` starts with S(0) = 1 and has at least two entries.
 */
export function lifetimeOf(survival: Float64Array): Lifetime {
  for (let t = 1; t < survival.length; t++) {
    const here = Math.log(Math.max(LEAST_SURVIVAL, survival[t] as number));
    if (here > -1) continue;
    const before = Math.log(Math.max(LEAST_SURVIVAL, survival[t - 1] as number));
    return { time: t - 1 + (1 + before) / (before - here), died: true };
  }
  return { time: survival.length - 1, died: false };
}

/**
 * Maximum likelihood under right-censoring: κ is the root of Σ T^κ ln T / Σ T^κ − 1/κ − Σ δ ln T / Σ δ, which increases in κ,
 * and λ^κ = Σ T^κ / Σ δ; sums of T run over all lifetimes, those with δ over deaths. Undefined when nothing died.
 *
 * @see Cohen, "Maximum likelihood estimation in the Weibull distribution based on complete and on censored samples",
 *   Technometrics 7, 1965
 */
export function fitLifetimes(lifetimes: readonly Lifetime[]): Weibull | undefined {
  const deaths = lifetimes.filter((l) => l.died);
  if (deaths.length === 0) return undefined;
  // Times relative to the longest: T^κ stays within [0, 1].
  const longest = lifetimes.reduce((m, l) => Math.max(m, l.time), 0);
  const logs = Float64Array.from(lifetimes, (l) => Math.log(l.time / longest));
  const meanLog = deaths.reduce((s, l) => s + Math.log(l.time / longest), 0) / deaths.length;
  const score = (shape: number) => {
    let sum = 0;
    let weighted = 0;
    for (const x of logs) {
      const power = Math.exp(shape * x);
      sum += power;
      weighted += power * x;
    }
    return weighted / sum - 1 / shape - meanLog;
  };
  let [low, high] = [LEAST_SHAPE, MOST_SHAPE];
  for (let i = 0; i < 60; i++) {
    const middle = (low + high) / 2;
    if (score(middle) > 0) high = middle;
    else low = middle;
  }
  const shape = (low + high) / 2;
  const sum = logs.reduce((s, x) => s + Math.exp(shape * x), 0);
  return { shape, scale: longest * (sum / deaths.length) ** (1 / shape) };
}

/**
 * Least squares of ln(−ln S) on ln t: the slope is κ, the intercept −κ ln λ. S is clipped to [1e-6, 1 − 1e-6]; t = 0 has no
 * logarithm and is left out. Undefined when no curve decays.
 */
export function fitCurves(survivals: readonly Float64Array[]): Weibull | undefined {
  const points: (readonly [x: number, y: number])[] = [];
  let decays = false;
  for (const survival of survivals) {
    for (let t = 1; t < survival.length; t++) {
      const s = Math.min(1 - LEAST_SURVIVAL, Math.max(LEAST_SURVIVAL, survival[t] as number));
      decays ||= s < 1 - LEAST_SURVIVAL;
      points.push([Math.log(t), Math.log(-Math.log(s))]);
    }
  }
  if (!decays) return undefined;
  const meanX = points.reduce((a, [x]) => a + x, 0) / points.length;
  const meanY = points.reduce((a, [, y]) => a + y, 0) / points.length;
  const spread = points.reduce((a, [x]) => a + (x - meanX) ** 2, 0);
  const slope = spread > 0 ? points.reduce((a, [x, y]) => a + (x - meanX) * (y - meanY), 0) / spread : 1;
  const shape = Math.min(MOST_SHAPE, Math.max(LEAST_SHAPE, slope));
  return { shape, scale: Math.exp(meanX - meanY / shape) };
}

/**
 * The scale of one channel, drawn towards that of its layer: T^κ is exponential, whose conjugate prior with the weight of `weight`
 * lifetimes gives λ_k^κ = (T^κ + n₀ λ^κ)/(δ + n₀).
 */
export function shrunk(fit: Weibull, { time, died }: Lifetime, weight = 1): Weibull {
  if (!Number.isFinite(fit.scale)) return fit;
  const power = (time / fit.scale) ** fit.shape;
  return { shape: fit.shape, scale: fit.scale * ((power + weight) / (Number(died) + weight)) ** (1 / fit.shape) };
}

/** Σ S(t) over t = 0 … layers−1: how many layers the influence lasts, between 1 and `layers`. */
export function restrictedMean({ shape, scale }: Weibull, layers: number): number {
  let sum = 0;
  for (let t = 0; t < layers; t++) sum += Math.exp(-((t / scale) ** shape));
  return sum;
}
