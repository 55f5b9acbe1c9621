/** Steps down the slopes of a window's error, of which only noisy samples are seen. */
import { Adam } from "../../gradient/adam.js";
import type { Weights } from "../../score/layers.js";
import type { Slopes } from "./window-session.js";

/** Length of a step, as a share of the root mean square of a layer's weights. */
const RATE = 0.025;
/** Share of all steps in which their length grows to that; then it falls to nothing along a half cosine. */
const WARM = 0.1;

/** Adam with steps that are a share of each layer's own weights, so that nothing is to be chosen for a model. */
export class Descent {
  readonly #adam: Adam;
  readonly #weights: readonly Weights[];
  readonly #sizes: readonly number[];
  readonly #frozen: readonly (Uint8Array | undefined)[];
  readonly #total: number;
  #step = 0;

  /** Moves `weights`, in place, in `total` steps. `frozen`: per layer, 1 for each weight that does not move. */
  constructor(weights: readonly Weights[], total: number, frozen: readonly (Uint8Array | undefined)[]) {
    this.#adam = new Adam(
      weights.flatMap(({ weight, bias }) => [weight, bias]),
      { rate: RATE },
    );
    this.#weights = weights;
    this.#sizes = weights.map(({ weight }) => Math.sqrt(weight.reduce((s, w) => s + w * w, 0) / Math.max(1, weight.length)));
    this.#frozen = frozen;
    this.#total = total;
  }

  move({ layers }: Slopes): void {
    const done = this.#step++ / this.#total;
    const length = Math.min(1, (done + 1 / this.#total) / WARM) * (0.5 + 0.5 * Math.cos(Math.PI * done));
    this.#adam.step(
      layers.flatMap(({ weight, bias }, i) => {
        // A layer that can have no bias moves none.
        const off = this.#frozen[i];
        return [
          off ? Float64Array.from(weight, (g, k) => (off[k] ? 0 : g)) : weight,
          bias ?? new Float64Array((this.#weights[i] as Weights).bias.length),
        ];
      }),
      this.#sizes.flatMap((size) => [size * length, size * length]),
    );
  }
}
