/** Steps down a slope of which only noisy samples are seen. */
import type { Weights } from "../moments.js";
import type { Slopes } from "./window-session.js";

/** Length of a step, as a share of the root mean square of a layer's weights. */
const RATE = 0.025;
/** Share of all steps in which their length grows to that; then it falls to nothing along a half cosine. */
const WARM = 0.1;
const [MEAN, SQUARE] = [0.9, 0.999] as const;

/**
 * Adam with steps that are a share of each layer's own weights, so that nothing is to be chosen for a model.
 * @see Kingma, Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, algorithm 1.
 */
export class Descent {
  readonly #rates: readonly number[];
  readonly #frozen: readonly (Uint8Array | undefined)[];
  readonly #means: readonly Weights[];
  readonly #squares: readonly Weights[];
  readonly #total: number;
  #step = 0;

  /** `total`: steps that will be taken. `frozen`: per layer, 1 for each weight that does not move. */
  constructor(start: readonly Weights[], total: number, frozen: readonly (Uint8Array | undefined)[]) {
    const zeros = ({ weight, bias }: Weights): Weights => ({
      weight: new Float64Array(weight.length),
      bias: new Float64Array(bias.length),
    });
    this.#rates = start.map(({ weight }) => RATE * Math.sqrt(weight.reduce((s, w) => s + w * w, 0) / Math.max(1, weight.length)));
    this.#means = start.map(zeros);
    this.#squares = start.map(zeros);
    this.#frozen = frozen;
    this.#total = total;
  }

  /** Moves `weights`, in place. */
  move(weights: readonly Weights[], { layers }: Slopes): void {
    const done = this.#step / this.#total;
    const length = Math.min(1, (done + 1 / this.#total) / WARM) * (0.5 + 0.5 * Math.cos(Math.PI * done));
    this.#step++;
    const [c1, c2] = [1 - MEAN ** this.#step, 1 - SQUARE ** this.#step];
    for (const [i, slopes] of layers.entries()) {
      const [w, m, s] = [weights[i], this.#means[i], this.#squares[i]] as [Weights, Weights, Weights];
      const rate = (this.#rates[i] as number) * length;
      step(w.weight, m.weight, s.weight, slopes.weight, rate, c1, c2, this.#frozen[i]);
      if (slopes.bias) step(w.bias, m.bias, s.bias, slopes.bias, rate, c1, c2, undefined);
    }
  }
}

function step(
  w: Float64Array,
  mean: Float64Array,
  square: Float64Array,
  slope: ArrayLike<number>,
  rate: number,
  c1: number,
  c2: number,
  frozen: Uint8Array | undefined,
): void {
  for (let k = 0; k < w.length; k++) {
    if (frozen?.[k]) continue;
    const g = Number(slope[k]);
    const m = MEAN * (mean[k] as number) + (1 - MEAN) * g;
    const v = SQUARE * (square[k] as number) + (1 - SQUARE) * g * g;
    [mean[k], square[k]] = [m, v];
    if (v > 0) w[k] = (w[k] as number) - (rate * m) / c1 / (Math.sqrt(v / c2) + 1e-12 * rate);
  }
}
