/** Adam (Kingma and Ba, ICLR 2015, algorithm 1) on vectors of parameters. */

export interface AdamOptions {
  /** α. */
  readonly rate: number;
  readonly beta1?: number;
  readonly beta2?: number;
  readonly epsilon?: number;
}

/** Moves parameters in place, one step per call. */
export class Adam {
  readonly #parameters: readonly Float64Array[];
  readonly #first: readonly Float64Array[];
  readonly #second: readonly Float64Array[];
  readonly #options: Required<AdamOptions>;
  #t = 0;

  constructor(parameters: readonly Float64Array[], options: AdamOptions) {
    this.#parameters = parameters;
    this.#first = parameters.map((p) => new Float64Array(p.length));
    this.#second = parameters.map((p) => new Float64Array(p.length));
    this.#options = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, ...options };
  }

  /**
   * @param gradients one vector per vector of parameters.
   * @param shares of the rate, one per vector; default 1.
   */
  step(gradients: readonly ArrayLike<number>[], shares?: readonly number[]): void {
    const { beta1, beta2, epsilon } = this.#options;
    this.#t++;
    const unbias1 = 1 - beta1 ** this.#t;
    const unbias2 = 1 - beta2 ** this.#t;
    for (const [v, p] of this.#parameters.entries()) {
      const g = gradients[v] as ArrayLike<number>;
      const rate = this.#options.rate * (shares?.[v] ?? 1);
      const m = this.#first[v] as Float64Array;
      const u = this.#second[v] as Float64Array;
      for (let i = 0; i < p.length; i++) {
        m[i] = beta1 * (m[i] as number) + (1 - beta1) * (g[i] as number);
        u[i] = beta2 * (u[i] as number) + (1 - beta2) * (g[i] as number) ** 2;
        p[i] = (p[i] as number) - (rate * ((m[i] as number) / unbias1)) / (Math.sqrt((u[i] as number) / unbias2) + epsilon);
      }
    }
  }
}
