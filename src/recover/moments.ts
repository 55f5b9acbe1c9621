/** Second moments of what a linear layer reads and what it should give, and what a change of its weights does to the error. */
import type { Weights } from "../score/layers.js";

/**
 * Sums over rows of products of v = [x (columns), t (rows), 1]: V·Vᵀ, one matrix [D, D] per group, D = columns + rows + 1. `x` are the
 * inputs of a group of the layer (channels × taps), `t` the targets of its outputs.
 */
export interface Moments {
  readonly groups: number;
  readonly columns: number;
  readonly rows: number;
  readonly sums: Float64Array;
}

export function zeroMoments(groups: number, columns: number, rows: number): Moments {
  const d = columns + rows + 1;
  return { groups, columns, rows, sums: new Float64Array(groups * d * d) };
}

export function addMoments(to: Moments, sums: ArrayLike<number>): void {
  for (let i = 0; i < to.sums.length; i++) to.sums[i] = (to.sums[i] as number) + (sums[i] as number);
}

/** Means and covariances of one group. */
export interface Centred {
  readonly meanX: Float64Array;
  readonly meanT: Float64Array;
  /** [columns, columns] */
  readonly xx: Float64Array;
  /** [rows, columns] */
  readonly tx: Float64Array;
  /** Variance of each target. */
  readonly tt: Float64Array;
}

/** `about` 0 where no bias may take up the means: then "centred" is not, and means are 0. */
export function centred({ columns: K, rows: O, sums }: Moments, g: number, hasBias: boolean): Centred {
  const D = K + O + 1;
  const base = g * D * D;
  const n = sums[base + D * D - 1] as number;
  const at = (i: number, j: number) => (sums[base + i * D + j] as number) / n;
  const meanX = Float64Array.from({ length: K }, (_, k) => (hasBias ? at(k, D - 1) : 0));
  const meanT = Float64Array.from({ length: O }, (_, o) => (hasBias ? at(K + o, D - 1) : 0));
  const xx = new Float64Array(K * K);
  for (let i = 0; i < K; i++) for (let j = 0; j < K; j++) xx[i * K + j] = at(i, j) - (meanX[i] as number) * (meanX[j] as number);
  const tx = new Float64Array(O * K);
  for (let o = 0; o < O; o++) for (let k = 0; k < K; k++) tx[o * K + k] = at(K + o, k) - (meanT[o] as number) * (meanX[k] as number);
  const tt = Float64Array.from({ length: O }, (_, o) => Math.max(0, at(K + o, K + o) - (meanT[o] as number) ** 2));
  return { meanX, meanT, xx, tx, tt };
}

/** Of group `g`. */
export function weightsOf({ columns, rows }: Moments, weight: Float64Array, g: number): Float64Array {
  return weight.subarray(g * rows * columns, (g + 1) * rows * columns);
}

/** W·S, of W [rows, n] and S symmetric [n, n]. */
export function times(w: Float64Array, s: Float64Array, rows: number, n: number): Float64Array {
  const out = new Float64Array(rows * n);
  for (let o = 0; o < rows; o++) {
    for (let i = 0; i < n; i++) {
      const x = w[o * n + i] as number;
      if (x === 0) continue;
      for (let j = 0, a = o * n, b = i * n; j < n; j++, a++, b++) out[a] = (out[a] as number) + x * (s[b] as number);
    }
  }
  return out;
}

/** Mean squared (target − W·x − b) of each output of group `g`, of which `c` are the moments and `wxx` W·X·Xᵀ. Never negative. */
export function errorsOf(m: Moments, g: number, c: Centred, { weight, bias }: Weights, wxx: Float64Array): Float64Array {
  const { columns: K, rows: O } = m;
  const w = weightsOf(m, weight, g);
  return Float64Array.from({ length: O }, (_, o) => {
    let [quadratic, linear, mean] = [0, 0, bias[g * O + o] as number];
    for (let k = 0; k < K; k++) {
      const x = w[o * K + k] as number;
      quadratic += x * (wxx[o * K + k] as number);
      linear += x * (c.tx[o * K + k] as number);
      mean += x * (c.meanX[k] as number);
    }
    return Math.max(0, quadratic - 2 * linear + (c.tt[o] as number)) + (mean - (c.meanT[o] as number)) ** 2;
  });
}

/** Weights whose outputs have the means of the targets: `weight` as it is, with other biases. */
export function withMeans(m: Moments, { weight }: Weights): Weights {
  const { groups, columns: K, rows: O } = m;
  const bias = new Float64Array(groups * O);
  for (let g = 0; g < groups; g++) {
    const { meanX, meanT } = centred(m, g, true);
    for (let o = 0; o < O; o++) {
      let b = meanT[o] as number;
      for (let k = 0; k < K; k++) b -= (weight[(g * O + o) * K + k] as number) * (meanX[k] as number);
      bias[g * O + o] = b;
    }
  }
  return { weight, bias };
}

/** Largest factor by which a channel's spread is restored: beyond it, what is scaled up is mostly error. */
const LARGEST_GAIN = 4;

/** Weights whose outputs have mean and variance of the targets: each channel scaled and shifted. */
export function withMeansAndVariances(m: Moments, { weight, bias }: Weights): Weights {
  const { groups, columns: K, rows: O } = m;
  const scaled = Float64Array.from(weight);
  for (let g = 0; g < groups; g++) {
    const { xx, tt } = centred(m, g, true);
    const w = weight.subarray(g * O * K, (g + 1) * O * K);
    const wxx = times(w, xx, O, K);
    for (let o = 0; o < O; o++) {
      let variance = 0;
      for (let k = 0; k < K; k++) variance += (w[o * K + k] as number) * (wxx[o * K + k] as number);
      const gain = Math.sqrt((tt[o] as number) / variance);
      if (!Number.isFinite(gain) || gain === 0) continue;
      const factor = Math.min(LARGEST_GAIN, Math.max(1 / LARGEST_GAIN, gain));
      for (let k = 0; k < K; k++) scaled[(g * O + o) * K + k] = factor * (w[o * K + k] as number);
    }
  }
  return withMeans(m, { weight: scaled, bias });
}

/**
 * Columns of `w` [rows, columns], the weights of one group, that are not zeros throughout. A column of zeros has been pruned where it
 * stands (`row-column` leaves a layer dense where no other form is smaller), and must not come back.
 */
export function columnsInUse(w: Float64Array, rows: number, columns: number): number[] {
  const isUsed = new Uint8Array(columns);
  for (let o = 0; o < rows; o++) for (let k = 0; k < columns; k++) if (w[o * columns + k] !== 0) isUsed[k] = 1;
  return [...isUsed.keys()].filter((k) => isUsed[k] === 1);
}

/** Whether some column of a layer's weights has been pruned where it stands. */
export function hasGaps({ weight }: Weights, { groups, rows, columns }: Pick<Moments, "groups" | "rows" | "columns">): boolean {
  const per = rows * columns;
  return Array.from({ length: groups }, (_, g) => weight.subarray(g * per, (g + 1) * per)).some(
    (w) => columnsInUse(w, rows, columns).length < columns,
  );
}

/** (T − W·X)·Xᵀ of group `g`, of which `c` are the moments and `wxx` W·X·Xᵀ, which it overwrites. */
export function residualOf(m: Moments, g: number, c: Centred, bias: Float64Array, wxx: Float64Array, hasBias: boolean): Float64Array {
  const { columns: K, rows: O } = m;
  const D = K + O + 1;
  for (let i = 0; i < wxx.length; i++) wxx[i] = (c.tx[i] as number) - (wxx[i] as number);
  if (hasBias) return wxx;
  for (let o = 0; o < O; o++) {
    for (let k = 0; k < K; k++) {
      const mean = (m.sums[g * D * D + k * D + D - 1] as number) / (m.sums[(g + 1) * D * D - 1] as number);
      wxx[o * K + k] = (wxx[o * K + k] as number) - (bias[g * O + o] as number) * mean;
    }
  }
  return wxx;
}
