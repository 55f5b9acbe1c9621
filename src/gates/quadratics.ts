/** The loss of re-weighting the channels of a map before fixed layers, as one quadratic per sample. */

/**
 * Of sample x with Z_c(x) = W[:, c] * X_c, what channel c of the map adds to the layers that read it, and their wanted result Y (bias
 * taken off): L(x) = ‖Σ_c s_c·Z_c − Y‖² = sᵀG_x s − 2h_xᵀs + k_x with G_x[c, c'] = ⟨Z_c, Z_c'⟩, h_x[c] = ⟨Z_c, Y⟩ and k_x = ‖Y‖².
 */
export interface Quadratics {
  readonly channels: number;
  /** One per sample, row-major C×C. */
  readonly G: readonly Float32Array[];
  /** One per sample, C numbers. */
  readonly h: readonly Float32Array[];
  /** The mean of each channel of the map over positions: what a gate sees. */
  readonly z: readonly Float32Array[];
  /** One per sample. */
  readonly k: Float64Array;
}

/** Factors for a sample. */
export type Factors = (sample: number) => Float64Array;

/** Σ L(x) over `samples`, in float64. */
export function lossOf(q: Quadratics, samples: readonly number[], factors: Factors): number {
  let loss = 0;
  const Gs = new Float64Array(q.channels);
  for (const x of samples) {
    const s = factors(x);
    times(q.G[x] as Float32Array, s, Gs);
    const h = q.h[x] as Float32Array;
    loss += q.k[x] as number;
    for (let c = 0; c < q.channels; c++) loss += (s[c] as number) * ((Gs[c] as number) - 2 * (h[c] as number));
  }
  return loss;
}

/** out = G·s. */
export function times(G: Float32Array, s: Float64Array, out: Float64Array): void {
  const C = s.length;
  for (let i = 0, at = 0; i < C; i++) {
    let sum = 0;
    for (let j = 0; j < C; j++) sum += (G[at++] as number) * (s[j] as number);
    out[i] = sum;
  }
}

/** The quadratics after channel c of every Z was multiplied by factor[c]: those of what remains to be gained. */
export function rescaled(q: Quadratics, factor: Float64Array): Quadratics {
  const C = q.channels;
  return {
    ...q,
    G: q.G.map((G) => Float32Array.from(G, (g, at) => g * (factor[Math.floor(at / C)] as number) * (factor[at % C] as number))),
    h: q.h.map((h) => h.map((v, c) => v * (factor[c] as number))),
  };
}
