/** A toy with a true dynamic gate: 12 channels read by a 1×1 layer of 8 filters at 25 positions. */

import type { Quadratics } from "../../src/gates/quadratics.js";
import { normal, random } from "../../src/graph/random.js";

export interface Toy {
  readonly C: number;
  readonly O: number;
  readonly P: number;
  /** W[o][c], X[n][c][p], Y[n][o][p]. */
  readonly W: readonly Float64Array[];
  readonly X: readonly (readonly Float64Array[])[];
  readonly Y: readonly (readonly Float64Array[])[];
}

/** `truth` gives the teacher's factors from the means of the channels; undefined: the teacher is noise. */
export function toy(seed: string, N: number, truth: "dynamic" | "static" | "noise"): Toy {
  const [C, O, P] = [12, 8, 25];
  const uniform = random(seed);
  const draw = (n: number) => Float64Array.from({ length: n }, () => normal(uniform));
  const W = Array.from({ length: O }, () => draw(C));
  const M = Array.from({ length: C }, () => draw(C));
  const fixed = draw(C).map((v) => 1 + 0.3 * v);
  const X = Array.from({ length: N }, () => Array.from({ length: C }, () => draw(P).map((v) => Math.max(0, v))));
  const Y = X.map((x) => {
    const z = x.map(mean);
    const s = M.map((row, c) =>
      truth === "dynamic" ? 1 + 0.4 * Math.tanh(0.3 * row.reduce((a, m, k) => a + m * (z[k] as number), 0)) : (fixed[c] as number),
    );
    return W.map((row) =>
      Float64Array.from({ length: P }, (_, p) =>
        truth === "noise"
          ? 10 * normal(uniform)
          : row.reduce((a, w, c) => a + w * (s[c] as number) * ((x[c] as Float64Array)[p] as number), 0),
      ),
    );
  });
  return { C, O, P, W, X, Y };
}

const mean = (v: Float64Array) => v.reduce((a, b) => a + b, 0) / v.length;

/** The quadratics of a toy by their definition, Z by Z. */
export function quadraticsOf({ C, O, P, W, X, Y }: Toy): Quadratics {
  const Z = X.map((x) =>
    Array.from({ length: C }, (_, c) =>
      Float64Array.from(
        { length: O * P },
        (_, i) => ((W[Math.floor(i / P)] as Float64Array)[c] as number) * ((x[c] as Float64Array)[i % P] as number),
      ),
    ),
  );
  const flat = Y.map((y) => Float64Array.from({ length: O * P }, (_, i) => (y[Math.floor(i / P)] as Float64Array)[i % P] as number));
  const dot = (a: Float64Array, b: Float64Array) => a.reduce((s, v, i) => s + v * (b[i] as number), 0);
  return {
    channels: C,
    G: Z.map((z) => Float32Array.from({ length: C * C }, (_, i) => dot(z[Math.floor(i / C)] as Float64Array, z[i % C] as Float64Array))),
    h: Z.map((z, n) => Float32Array.from(z, (zc) => dot(zc, flat[n] as Float64Array))),
    z: X.map((x) => Float32Array.from(x, mean)),
    k: Float64Array.from(flat, (y) => dot(y, y)),
  };
}

/** ‖Σ_c s_c·W[:, c]·X_c − Y‖² of sample n, straight. */
export function directLoss({ C, O, P, W, X, Y }: Toy, n: number, s: ArrayLike<number>): number {
  let loss = 0;
  for (let o = 0; o < O; o++) {
    for (let p = 0; p < P; p++) {
      let sum = -((Y[n] as readonly Float64Array[])[o]?.[p] as number);
      for (let c = 0; c < C; c++) sum += (s[c] as number) * (W[o]?.[c] as number) * (X[n]?.[c]?.[p] as number);
      loss += sum * sum;
    }
  }
  return loss;
}
