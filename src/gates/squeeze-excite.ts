/** Squeeze-and-excitation gates fitted to stored quadratics: no layer is run again. */

import { Adam } from "../gradient/adam.js";
import { identityGate, type SqueezeExcite } from "../passes/gates/emit.js";
import { spread } from "./closed-form.js";
import { type Factors, lossOf, type Quadratics, times } from "./quadratics.js";

export interface SqueezeExciteOptions {
  /** Width of the hidden layer. */
  readonly hidden: number;
  /** Seed of the first layer's start. */
  readonly seed: string;
  /** Most steps; fewer where samples × C² is large (`work`). */
  readonly steps: number;
  readonly rate: number;
}

/** Products of one number with another that a fit may cost; some seconds. */
const WORK = 1e9;
/** Steps between looks at the samples that end the fit, and how many looks without gain end it. */
const LOOK = 20;
const PATIENCE = 8;

/**
 * Adam on Σ L(x)/Σ L(x)|₁ over `fit`, from the exact identity; the parameters at which the loss over `stop` was least are returned, so that
 * few samples are not learnt by heart. z is standardised during the fit, which is then put into W1 and b1.
 */
export function squeezeExciteGate(
  q: Quadratics,
  fit: readonly number[],
  stop: readonly number[],
  options: SqueezeExciteOptions,
): SqueezeExcite {
  const C = q.channels;
  const { mean, deviation } = spread(q, fit);
  const standard: Quadratics = {
    ...q,
    z: q.z.map((z) => z.map((v, c) => (deviation[c] === 0 ? 0 : (v - (mean[c] as number)) / (deviation[c] as number)))),
  };
  const gate = identityGate(C, options.hidden, options.seed);
  const parameters = [gate.W1, gate.b1, gate.W2, gate.b2];
  const adam = new Adam(parameters, { rate: options.rate });
  const steps = Math.min(options.steps, Math.max(LOOK, Math.floor(WORK / (fit.length * C * C))));
  const copy = (): SqueezeExcite => ({ kind: "se", W1: gate.W1.slice(), b1: gate.b1.slice(), W2: gate.W2.slice(), b2: gate.b2.slice() });
  let best = copy();
  let least = lossOf(standard, stop, squeezeExciteFactors(standard, gate));
  for (let t = 1, since = 0; t <= steps && since < PATIENCE; t++) {
    adam.step(squeezeExciteObjective(standard, fit, gate).gradients);
    if (t % LOOK !== 0 && t !== steps) continue;
    const loss = lossOf(standard, stop, squeezeExciteFactors(standard, gate));
    since = loss < least ? 0 : since + 1;
    if (since > 0) continue;
    least = loss;
    best = copy();
  }
  for (let r = 0; r < options.hidden; r++) {
    for (let c = 0; c < C; c++) {
      const d = deviation[c] as number;
      const w = d === 0 ? 0 : (best.W1[r * C + c] as number) / d;
      best.W1[r * C + c] = w;
      best.b1[r] = (best.b1[r] as number) - w * (mean[c] as number);
    }
  }
  return best;
}

/** The factors of a gate, as its graph computes them. */
export function squeezeExciteFactors(q: Quadratics, gate: SqueezeExcite): Factors {
  return (x) => forward(q.z[x] as Float32Array, gate).s;
}

function forward(z: Float32Array, { W1, b1, W2, b2 }: SqueezeExcite) {
  const R = b1.length;
  const C = b2.length;
  const hidden = new Float64Array(R);
  for (let r = 0; r < R; r++) {
    let a = b1[r] as number;
    for (let c = 0; c < C; c++) a += (W1[r * C + c] as number) * (z[c] as number);
    hidden[r] = Math.max(0, a);
  }
  const s = new Float64Array(C);
  for (let c = 0; c < C; c++) {
    let u = b2[c] as number;
    for (let r = 0; r < R; r++) u += (W2[c * R + r] as number) * (hidden[r] as number);
    s[c] = 2 / (1 + Math.exp(-u));
  }
  return { hidden, s };
}

/**
 * Σ L(x)/Σ L(x)|₁ and its gradients by W1, b1, W2, b2: dL/ds = 2(G s − h), ds/du = s(1 − s/2), and two small matrices back. Where nothing
 * was lost to begin with, the loss is taken as it is.
 */
export function squeezeExciteObjective(
  q: Quadratics,
  samples: readonly number[],
  gate: SqueezeExcite,
): { readonly loss: number; readonly gradients: readonly [Float64Array, Float64Array, Float64Array, Float64Array] } {
  const C = q.channels;
  const R = gate.b1.length;
  const ones = new Float64Array(C).fill(1);
  const base = lossOf(q, samples, () => ones);
  const unit = base > 0 ? base : 1;
  const dW1 = new Float64Array(R * C);
  const db1 = new Float64Array(R);
  const dW2 = new Float64Array(C * R);
  const db2 = new Float64Array(C);
  const Gs = new Float64Array(C);
  const dHidden = new Float64Array(R);
  let loss = 0;
  for (const x of samples) {
    const z = q.z[x] as Float32Array;
    const h = q.h[x] as Float32Array;
    const { hidden, s } = forward(z, gate);
    times(q.G[x] as Float32Array, s, Gs);
    loss += q.k[x] as number;
    dHidden.fill(0);
    for (let c = 0; c < C; c++) {
      const sc = s[c] as number;
      loss += sc * ((Gs[c] as number) - 2 * (h[c] as number));
      const du = ((2 * ((Gs[c] as number) - (h[c] as number))) / unit) * sc * (1 - sc / 2);
      db2[c] = (db2[c] as number) + du;
      for (let r = 0; r < R; r++) {
        dW2[c * R + r] = (dW2[c * R + r] as number) + du * (hidden[r] as number);
        dHidden[r] = (dHidden[r] as number) + du * (gate.W2[c * R + r] as number);
      }
    }
    for (let r = 0; r < R; r++) {
      if (hidden[r] === 0) continue;
      const da = dHidden[r] as number;
      db1[r] = (db1[r] as number) + da;
      for (let c = 0; c < C; c++) dW1[r * C + c] = (dW1[r * C + c] as number) + da * (z[c] as number);
    }
  }
  return { loss: loss / unit, gradients: [dW1, db1, dW2, db2] };
}
