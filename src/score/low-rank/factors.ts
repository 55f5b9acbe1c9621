/**
 * Two thin layers in the place of one: of the partial outputs of a layer those combinations are kept that vary most.
 *
 * The taps of the kernel are divided: the first factor has those along some spatial axes, the second the others. For output o and a tap b of
 * the second, the partial output z(o, b) = Σ over channels i and taps a of W[o, i, a, b]·x(i, a) is what the first could give at most, and
 * W∗x is a sum of them. With their covariance Z = VΛVᵀ, W ≈ (W·V_r)·V_rᵀ loses the share Σ_{k>r} λ_k / Σ λ_k of their variance, the least
 * that rank r can.
 *
 * @see Jaderberg, Vedaldi, Zisserman, "Speeding up Convolutional Neural Networks with Low Rank Expansions", BMVC 2014, for kernels divided by
 *   axis; Zhang, Zou, He, Sun, "Accelerating Very Deep Convolutional Networks for Classification and Detection", TPAMI 2016, for principal
 *   components of what a layer gives. Components of what each tap of the second factor adds are ours: they take the covariance of the
 *   inputs into account for any division, and invert nothing.
 */
import { EigenvalueDecomposition, Matrix } from "ml-matrix";
import { sizeOf } from "../../graph/rearrange.js";

/** Per spatial axis of the kernel: whether the first factor has its taps. All of them, or none to divide: an ordinary layer, then one of 1 × 1. */
export type Split = readonly boolean[];

/** The ways to divide a kernel between two factors, that which leaves the second without taps last. Axes without extent go to the first. */
export function splitsOf(kernel: readonly number[]): readonly Split[] {
  const free = kernel.flatMap((k, a) => (k > 1 ? [a] : []));
  const some = Array.from({ length: Math.max(0, 2 ** free.length - 2) }, (_, i) => i + 1);
  const divided = some.map((bits) => kernel.map((_, a) => !free.includes(a) || ((bits >> free.indexOf(a)) & 1) === 1));
  return [...divided, kernel.map(() => true)];
}

/** Kernels of the two factors. */
export function kernelsOf(
  kernel: readonly number[],
  split: Split,
): { readonly first: readonly number[]; readonly second: readonly number[] } {
  return { first: kernel.map((k, a) => (split[a] ? k : 1)), second: kernel.map((k, a) => (split[a] ? 1 : k)) };
}

/** Sizes of a layer's weight [outputs, inputs, …kernel]. */
export interface Sizes {
  readonly outputs: number;
  readonly inputs: number;
  readonly kernel: readonly number[];
}

/** The weight as a matrix [inputs × taps of the first, outputs × taps of the second]. */
export function partialsOf(weight: Float64Array, { outputs, inputs, kernel }: Sizes, split: Split): Matrix {
  const { first, second } = kernelsOf(kernel, split);
  const out = Matrix.zeros(inputs * sizeOf(first), outputs * sizeOf(second));
  eachWeight({ outputs, inputs, kernel }, split, (at, row, column) => out.set(row, column, weight[at] as number));
  return out;
}

/** Undoes `partialsOf`. */
export function weightOf(partials: Matrix, sizes: Sizes, split: Split): Float64Array {
  const out = new Float64Array(partials.rows * partials.columns);
  eachWeight(sizes, split, (at, row, column) => {
    out[at] = partials.get(row, column);
  });
  return out;
}

/** The place of each weight, as it is stored, in the matrix of partial outputs. */
function eachWeight({ outputs, inputs, kernel }: Sizes, split: Split, visit: (at: number, row: number, column: number) => void): void {
  const places = placesOf(kernel, split);
  const { first, second } = kernelsOf(kernel, split);
  const [a, b] = [sizeOf(first), sizeOf(second)];
  let at = 0;
  for (let o = 0; o < outputs; o++) {
    for (let i = 0; i < inputs; i++) for (const p of places) visit(at++, i * a + p.first, o * b + p.second);
  }
}

/** The tap of each factor that each tap of the kernel is made of; all row-major. */
function placesOf(kernel: readonly number[], split: Split): { readonly first: number; readonly second: number }[] {
  let places = [{ first: 0, second: 0 }];
  for (const [axis, k] of kernel.entries()) {
    const isFirst = split[axis];
    places = places.flatMap((p) =>
      Array.from({ length: k }, (_, t) => (isFirst ? { ...p, first: p.first * k + t } : { ...p, second: p.second * k + t })),
    );
  }
  return places;
}

/** Mean and covariance of features. */
export interface Spread {
  readonly mean: Float64Array;
  /** Row-major, symmetric. */
  readonly covariance: Float64Array;
}

/** Of the partial outputs, from what is known of what the first factor reads. Without it each input counts alike. */
export function spreadOfPartials(partials: Matrix, read: Spread | undefined): Spread {
  const transposed = partials.transpose();
  if (!read) return { mean: new Float64Array(partials.columns), covariance: flat(transposed.mmul(partials)) };
  const covariance = matrixOf(read.covariance, partials.rows);
  const mean = Float64Array.from(transposed.mmul(Matrix.columnVector(read.mean)).to1DArray());
  return { mean, covariance: flat(transposed.mmul(covariance.mmul(partials))) };
}

/** The same about zero: where nothing can make up for a mean that is lost, it counts, too. */
export function aboutZero({ mean, covariance }: Spread): Spread {
  const n = mean.length;
  const raw = covariance.map((c, at) => c + (mean[Math.floor(at / n)] as number) * (mean[at % n] as number));
  return { mean: new Float64Array(n), covariance: raw };
}

/** Principal components, those of most variance first. */
export interface Components {
  /** Variances, descending, above rounding. */
  readonly variances: Float64Array;
  /** vectors[k]: of unit length. */
  readonly vectors: readonly Float64Array[];
  /** Σ of all variances. */
  readonly total: number;
}

/** Share of the greatest variance that rounding errors are below. */
const ROUNDING = 1e-12;

export function componentsOf({ covariance, mean }: Spread): Components {
  const n = mean.length;
  const found = new EigenvalueDecomposition(matrixOf(covariance, n), { assumeSymmetric: true });
  const values = found.realEigenvalues;
  const vectors = found.eigenvectorMatrix;
  const order = [...values.keys()].sort((i, j) => (values[j] as number) - (values[i] as number));
  const most = Math.max(0, values[order[0] as number] ?? 0);
  const kept = order.filter((k) => (values[k] as number) > ROUNDING * most);
  return {
    variances: Float64Array.from(kept, (k) => values[k] as number),
    vectors: kept.map((k) => withSign(Float64Array.from({ length: n }, (_, i) => vectors.get(i, k)))),
    total: kept.reduce((s, k) => s + (values[k] as number), 0),
  };
}

/** A vector and its opposite are one component: the entry of most weight is positive. */
function withSign(vector: Float64Array): Float64Array {
  let most = 0;
  for (const x of vector) if (Math.abs(x) > Math.abs(most)) most = x;
  return most < 0 ? vector.map((x) => -x) : vector;
}

export interface Factors {
  readonly rank: number;
  /** [rank, inputs, …first kernel], row-major. */
  readonly first: Float64Array;
  /** [outputs, rank, …second kernel], row-major. */
  readonly second: Float64Array;
  /** What is to be added to each output, since the components that were left out had a mean. */
  readonly shift: Float64Array;
}

/** The factors that keep the first `rank` components. What lies between them has the standard deviation of each component, as variance. */
export function factorsOf(partials: Matrix, outputs: number, { mean }: Spread, { variances, vectors }: Components, rank: number): Factors {
  const q = partials.columns;
  const taps = q / outputs;
  const first = new Float64Array(rank * partials.rows);
  const second = new Float64Array(outputs * rank * taps);
  const lost = Float64Array.from(mean);
  for (let k = 0; k < rank; k++) {
    const v = vectors[k] as Float64Array;
    const scale = Math.sqrt(Math.sqrt(variances[k] as number));
    const along = partials.mmul(Matrix.columnVector(v));
    for (let i = 0; i < partials.rows; i++) first[k * partials.rows + i] = along.get(i, 0) / scale;
    let part = 0;
    for (let j = 0; j < q; j++) part += (v[j] as number) * (mean[j] as number);
    for (let j = 0; j < q; j++) {
      lost[j] = (lost[j] as number) - part * (v[j] as number);
      second[(Math.floor(j / taps) * rank + k) * taps + (j % taps)] = (v[j] as number) * scale;
    }
  }
  const shift = new Float64Array(outputs);
  for (let j = 0; j < q; j++) shift[Math.floor(j / taps)] = (shift[Math.floor(j / taps)] as number) + (lost[j] as number);
  return { rank, first, second, shift };
}

/** The matrix of partial outputs that factors give together. */
export function productOf({ rank, first, second }: Factors, outputs: number): Matrix {
  const taps = second.length / outputs / rank;
  const A = matrixOf(first, first.length / rank).transpose();
  const B = Matrix.zeros(rank, outputs * taps);
  for (let o = 0; o < outputs; o++) {
    for (let k = 0; k < rank; k++) for (let b = 0; b < taps; b++) B.set(k, o * taps + b, second[(o * rank + k) * taps + b] as number);
  }
  return A.mmul(B);
}

function matrixOf(values: Float64Array, columns: number): Matrix {
  return Matrix.from1DArray(values.length / columns, columns, values);
}

function flat(m: Matrix): Float64Array {
  return Float64Array.from(m.to1DArray());
}
