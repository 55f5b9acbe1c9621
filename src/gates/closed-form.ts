/** Gates whose fit is a linear system: constant factors, and factors affine in the channel's own mean. */
import type { DiagonalGate, StaticGate } from "../passes/gates/emit.js";
import { type Factors, type Quadratics, times } from "./quadratics.js";
import { solveRidge } from "./solve.js";

/**
 * The factors that do best whatever the input: s = 1 + (ΣG + λI)⁻¹(Σh − ΣG·1), λ = ridge·tr(ΣG)/C. Ridge draws s to 1.
 * They may be negative: they go into weights.
 */
export function staticGate(q: Quadratics, samples: readonly number[], ridge: number): StaticGate {
  const C = q.channels;
  const A = new Float64Array(C * C);
  const b = new Float64Array(C);
  for (const x of samples) {
    const G = q.G[x] as Float32Array;
    const h = q.h[x] as Float32Array;
    for (let i = 0; i < A.length; i++) A[i] = (A[i] as number) + (G[i] as number);
    for (let c = 0; c < C; c++) b[c] = (b[c] as number) + (h[c] as number);
  }
  for (let i = 0; i < C; i++) for (let j = 0; j < C; j++) b[i] = (b[i] as number) - (A[i * C + j] as number);
  return { kind: "static", factor: solveRidge(A, b, ridge).map((d) => 1 + d) };
}

/**
 * s_c = 1 + θ_c0 + θ_c1·ẑ_c, ẑ the mean of the channel standardised over `samples`: ΣDGDᵀθ = ΣD(h − G·1) with D = [I; diag ẑ], ridge
 * as for constant factors. Written in terms of z itself; used with factors clipped to [0, 2].
 */
export function diagonalGate(q: Quadratics, samples: readonly number[], ridge: number): DiagonalGate {
  const C = q.channels;
  const { mean, deviation } = spread(q, samples);
  const n = 2 * C;
  const A = new Float64Array(n * n);
  const b = new Float64Array(n);
  const residual = new Float64Array(C);
  const ones = new Float64Array(C).fill(1);
  const standard = new Float64Array(C);
  for (const x of samples) {
    const G = q.G[x] as Float32Array;
    const h = q.h[x] as Float32Array;
    const z = q.z[x] as Float32Array;
    times(G, ones, residual);
    for (let c = 0; c < C; c++) {
      standard[c] = deviation[c] === 0 ? 0 : ((z[c] as number) - (mean[c] as number)) / (deviation[c] as number);
      const r = (h[c] as number) - (residual[c] as number);
      b[c] = (b[c] as number) + r;
      b[C + c] = (b[C + c] as number) + (standard[c] as number) * r;
    }
    for (let i = 0; i < C; i++) {
      const zi = standard[i] as number;
      for (let j = 0; j < C; j++) {
        const g = G[i * C + j] as number;
        const gz = g * (standard[j] as number);
        A[i * n + j] = (A[i * n + j] as number) + g;
        A[i * n + C + j] = (A[i * n + C + j] as number) + gz;
        A[(C + i) * n + j] = (A[(C + i) * n + j] as number) + zi * g;
        A[(C + i) * n + C + j] = (A[(C + i) * n + C + j] as number) + zi * gz;
      }
    }
  }
  const theta = solveRidge(A, b, ridge);
  const scale = Float64Array.from({ length: C }, (_, c) => (deviation[c] === 0 ? 0 : (theta[C + c] as number) / (deviation[c] as number)));
  const shift = scale.map((a, c) => 1 + (theta[c] as number) - a * (mean[c] as number));
  return { kind: "diagonal", scale, shift };
}

/** The factors of a diagonal gate, as its graph computes them. */
export function diagonalFactors(q: Quadratics, { scale, shift }: DiagonalGate): Factors {
  return (x) => scale.map((a, c) => Math.min(2, Math.max(0, a * ((q.z[x] as Float32Array)[c] as number) + (shift[c] as number))));
}

/** Mean and standard deviation of each channel's z over `samples`; a deviation of rounding alone is 0. */
export function spread(q: Quadratics, samples: readonly number[]): { readonly mean: Float64Array; readonly deviation: Float64Array } {
  const C = q.channels;
  const mean = new Float64Array(C);
  const deviation = new Float64Array(C);
  for (let c = 0; c < C; c++) {
    const of = samples.map((x) => (q.z[x] as Float32Array)[c] as number);
    const m = of.reduce((a, v) => a + v, 0) / of.length;
    const d = Math.sqrt(of.reduce((a, v) => a + (v - m) ** 2, 0) / of.length);
    mean[c] = m;
    deviation[c] = d > 1e-6 * Math.abs(m) ? d : 0;
  }
  return { mean, deviation };
}
