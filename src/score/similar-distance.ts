/** Distances between two channels' numbers, where one of them may stand for a multiple of the other. */

export const DISTANCES = ["l1", "l2", "l2²", "cosine", "linf"] as const;
export type Distance = (typeof DISTANCES)[number];

/** Rows of equal length, end to end. */
export interface Matrix {
  readonly rows: Float64Array;
  readonly length: number;
}

/** `vectors` as a matrix; each row is the concatenation of one channel's pieces. */
export function matrixOf(count: number, pieces: (channel: number) => readonly Float64Array[]): Matrix {
  const length = pieces(0).reduce((n, v) => n + v.length, 0);
  const rows = new Float64Array(count * length);
  for (let k = 0; k < count; k++) {
    let at = k * length;
    for (const v of pieces(k)) {
      rows.set(v, at);
      at += v.length;
    }
  }
  return { rows, length };
}

/** The distance of row `i`, times `alpha`, from row `j`. The cosine distance is 1 − cos, 0 for two zero rows and 1 for one. */
export function distance(kind: Distance, m: Matrix, i: number, j: number, alpha: number): number {
  switch (kind) {
    case "l1":
      return alpha === 1 ? sumOfDifferences(m, i, j) : sumOfScaledDifferences(m, i, j, alpha);
    case "l2":
      return Math.sqrt(sumOfSquares(m, i, j, alpha));
    case "l2²":
      return sumOfSquares(m, i, j, alpha);
    case "linf":
      return largestDifference(m, i, j, alpha);
    case "cosine":
      return cosineDistance(m, i, j);
  }
}

/** What makes distances of rows of different lengths comparable: a mean over elements. The cosine and the maximum need nothing. */
export function meanFactor(kind: Distance, length: number): number {
  if (length === 0) return 1;
  if (kind === "l1" || kind === "l2²") return 1 / length;
  return kind === "l2" ? 1 / Math.sqrt(length) : 1;
}

export function dot(m: Matrix, i: number, j: number): number {
  const { rows, length } = m;
  const [a, b] = [i * length, j * length];
  let total = 0;
  for (let k = 0; k < length; k++) total += (rows[a + k] as number) * (rows[b + k] as number);
  return total;
}

export function l1Norm(m: Matrix, i: number): number {
  const { rows, length } = m;
  let total = 0;
  for (let k = i * length; k < (i + 1) * length; k++) total += Math.abs(rows[k] as number);
  return total;
}

/** Four running sums: a single one waits for each addition to finish, which halves the speed of the whole method. */
function sumOfDifferences({ rows, length }: Matrix, i: number, j: number): number {
  const [a, b] = [i * length, j * length];
  const whole = length - (length % 4);
  let s0 = 0;
  let s1 = 0;
  let s2 = 0;
  let s3 = 0;
  let k = 0;
  for (; k < whole; k += 4) {
    s0 += Math.abs((rows[a + k] as number) - (rows[b + k] as number));
    s1 += Math.abs((rows[a + k + 1] as number) - (rows[b + k + 1] as number));
    s2 += Math.abs((rows[a + k + 2] as number) - (rows[b + k + 2] as number));
    s3 += Math.abs((rows[a + k + 3] as number) - (rows[b + k + 3] as number));
  }
  for (; k < length; k++) s0 += Math.abs((rows[a + k] as number) - (rows[b + k] as number));
  return s0 + s1 + (s2 + s3);
}

function sumOfScaledDifferences({ rows, length }: Matrix, i: number, j: number, alpha: number): number {
  const [a, b] = [i * length, j * length];
  let total = 0;
  for (let k = 0; k < length; k++) total += Math.abs(alpha * (rows[a + k] as number) - (rows[b + k] as number));
  return total;
}

function sumOfSquares({ rows, length }: Matrix, i: number, j: number, alpha: number): number {
  const [a, b] = [i * length, j * length];
  let s0 = 0;
  let s1 = 0;
  let k = 0;
  for (; k + 1 < length; k += 2) {
    const d0 = alpha * (rows[a + k] as number) - (rows[b + k] as number);
    const d1 = alpha * (rows[a + k + 1] as number) - (rows[b + k + 1] as number);
    s0 += d0 * d0;
    s1 += d1 * d1;
  }
  if (k < length) s0 += (alpha * (rows[a + k] as number) - (rows[b + k] as number)) ** 2;
  return s0 + s1;
}

function largestDifference({ rows, length }: Matrix, i: number, j: number, alpha: number): number {
  const [a, b] = [i * length, j * length];
  let most = 0;
  for (let k = 0; k < length; k++) most = Math.max(most, Math.abs(alpha * (rows[a + k] as number) - (rows[b + k] as number)));
  return most;
}

function cosineDistance(m: Matrix, i: number, j: number): number {
  const size = Math.sqrt(dot(m, i, i) * dot(m, j, j));
  if (size > 0) return Math.max(0, 1 - dot(m, i, j) / size);
  return dot(m, i, i) === dot(m, j, j) ? 0 : 1;
}
