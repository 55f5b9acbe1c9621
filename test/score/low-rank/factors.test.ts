import { Matrix } from "ml-matrix";
import { describe, expect, test } from "vitest";
import { normal, random } from "../../../src/graph/random.js";
import {
  aboutZero,
  componentsOf,
  factorsOf,
  kernelsOf,
  partialsOf,
  productOf,
  type Sizes,
  type Split,
  type Spread,
  splitsOf,
  spreadOfPartials,
  weightOf,
} from "../../../src/score/low-rank/factors.js";

const floats = (seed: string, n: number) => {
  const uniform = random(seed);
  return Float64Array.from({ length: n }, () => normal(uniform));
};
const extent = (kernel: readonly number[]) => kernel.reduce((a, b) => a * b, 1);
const sizeOf = ({ outputs, inputs, kernel }: Sizes) => outputs * inputs * extent(kernel);

/** A covariance of `n` features that span `rank` dimensions. */
function spreadOf(seed: string, n: number, rank = n): Spread {
  const A = new Matrix(Array.from({ length: n }, (_, i) => [...floats(`${seed}/${i}`, rank)]));
  return { mean: floats(`${seed}/mean`, n), covariance: Float64Array.from(A.mmul(A.transpose()).to1DArray()) };
}

/** Σ of the variances of the partial outputs that `approximation` gets wrong. */
function lossOf(partials: Matrix, approximation: Matrix, n: number, { covariance }: Spread): number {
  const D = Matrix.sub(partials, approximation);
  return D.transpose()
    .mmul(Matrix.from1DArray(n, n, covariance).mmul(D))
    .trace();
}

test("a kernel is divided in every way that leaves both factors taps, and in the one that leaves the second none", () => {
  expect(splitsOf([])).toEqual([[]]);
  expect(splitsOf([1, 1])).toEqual([[true, true]]);
  expect(splitsOf([5])).toEqual([[true]]);
  expect(splitsOf([1, 7])).toEqual([[true, true]]);
  expect(splitsOf([3, 3])).toEqual([
    [true, false],
    [false, true],
    [true, true],
  ]);
  expect(splitsOf([3, 1, 5])).toEqual([
    [true, true, false],
    [false, true, true],
    [true, true, true],
  ]);
  expect(splitsOf([2, 3, 4])).toHaveLength(7);
  expect(kernelsOf([2, 3, 4], [true, false, true])).toEqual({ first: [2, 1, 4], second: [1, 3, 1] });
});

const layers: readonly Sizes[] = [
  { outputs: 6, inputs: 5, kernel: [3, 3] },
  { outputs: 7, inputs: 4, kernel: [] },
  { outputs: 3, inputs: 2, kernel: [2, 3, 4] },
  { outputs: 4, inputs: 6, kernel: [1, 5] },
  { outputs: 5, inputs: 3, kernel: [3] },
];
const cases = layers.flatMap((sizes) => splitsOf(sizes.kernel).map((split) => [sizes, split] as const));

describe.each(cases)("%j divided %j", (sizes: Sizes, split: Split) => {
  const weight = floats(`w${sizes.kernel}`, sizeOf(sizes));
  const partials = partialsOf(weight, sizes, split);
  const read = spreadOf(`c${sizes.kernel}`, partials.rows);

  test("the matrix of partial outputs has each weight once", () => {
    expect(weightOf(partials, sizes, split)).toEqual(weight);
    const { first, second } = kernelsOf(sizes.kernel, split);
    expect([partials.rows, partials.columns]).toEqual([sizes.inputs * extent(first), sizes.outputs * extent(second)]);
  });

  test("all components together are the layer", () => {
    const spread = spreadOfPartials(partials, read);
    const components = componentsOf(spread);
    const factors = factorsOf(partials, sizes.outputs, spread, components, components.vectors.length);
    const made = weightOf(productOf(factors, sizes.outputs), sizes, split);
    made.forEach((w, i) => {
      expect(w).toBeCloseTo(weight[i] as number, 8);
    });
    for (const s of factors.shift) expect(s).toBeCloseTo(0, 7);
  });

  test("a rank loses the variances of the other components, and no other factors of that rank lose less", () => {
    const spread = spreadOfPartials(partials, read);
    const components = componentsOf(spread);
    const rank = Math.max(1, Math.floor(components.vectors.length / 2));
    const factors = factorsOf(partials, sizes.outputs, spread, components, rank);
    const product = productOf(factors, sizes.outputs);
    const loss = lossOf(partials, product, partials.rows, read);
    const rest = components.variances.subarray(rank).reduce((a, b) => a + b, 0);
    expect(Math.abs(loss - rest)).toBeLessThan(1e-8 * components.total);
    // Those of the weights alone, and those found turned a little, are of the same rank.
    const plain = spreadOfPartials(partials, undefined);
    const blind = productOf(factorsOf(partials, sizes.outputs, plain, componentsOf(plain), rank), sizes.outputs);
    expect(lossOf(partials, blind, partials.rows, read)).toBeGreaterThanOrEqual(loss - 1e-9 * components.total);
    for (let i = 0; i < 20; i++) {
      const first = factors.first.map((x, at) => x + 1e-3 * (floats(`turn${i}`, factors.first.length)[at] as number));
      const turned = productOf({ ...factors, first }, sizes.outputs);
      expect(lossOf(partials, turned, partials.rows, read)).toBeGreaterThan(loss);
    }
  });

  test("what is left out had a mean, and the outputs keep it", () => {
    const spread = spreadOfPartials(partials, read);
    const { shift, ...factors } = factorsOf(partials, sizes.outputs, spread, componentsOf(spread), 1);
    const taps = partials.columns / sizes.outputs;
    const mean = (M: Matrix) => M.transpose().mmul(Matrix.columnVector(read.mean)).to1DArray();
    const sums = (z: readonly number[]) =>
      Array.from({ length: sizes.outputs }, (_, o) => z.slice(o * taps, (o + 1) * taps).reduce((a, b) => a + b, 0));
    const [want, got] = [sums(mean(partials)), sums(mean(productOf({ ...factors, shift }, sizes.outputs)))];
    want.forEach((m, o) => {
      expect((got[o] as number) + (shift[o] as number)).toBeCloseTo(m, 8);
    });
    // Where no bias can be written, the mean counts as variance, and no bias is asked for.
    const raw = aboutZero(spread);
    expect([...factorsOf(partials, sizes.outputs, raw, componentsOf(raw), 1).shift].every((s) => s === 0)).toBe(true);
  });
});

describe("degenerate inputs", () => {
  const sizes = { outputs: 4, inputs: 3, kernel: [3, 3] };
  const split = [true, false];

  test("inputs that span few dimensions need few components", () => {
    const partials = partialsOf(floats("w", sizeOf(sizes)), sizes, split);
    const read = spreadOf("low", partials.rows, 2);
    const spread = spreadOfPartials(partials, read);
    const components = componentsOf(spread);
    expect(components.vectors).toHaveLength(2);
    const factors = factorsOf(partials, sizes.outputs, spread, components, 2);
    expect(lossOf(partials, productOf(factors, sizes.outputs), partials.rows, read)).toBeLessThan(1e-9 * components.total);
  });

  test("channels that are dead, twice there, or without weights give numbers, and no components of their own", () => {
    const weight = floats("w", sizeOf(sizes)).map((w, i) => (Math.floor(i / 27) === 1 ? 0 : w));
    const partials = partialsOf(weight, sizes, split);
    const read = spreadOf("twice", partials.rows);
    for (let j = 0; j < 9; j++) {
      for (let a = 0; a < 3; a++) {
        // Channel 2 is channel 1 again; channel 0 is dead.
        read.covariance[j * 9 + a] = 0;
        read.covariance[a * 9 + j] = 0;
      }
    }
    for (let i = 3; i < 6; i++) for (let j = 0; j < 9; j++) read.covariance[(i + 3) * 9 + j] = read.covariance[i * 9 + j] as number;
    for (let i = 3; i < 6; i++) for (let j = 0; j < 9; j++) read.covariance[j * 9 + i + 3] = read.covariance[j * 9 + i] as number;
    const spread = spreadOfPartials(partials, read);
    const components = componentsOf(spread);
    expect(components.vectors.length).toBeLessThanOrEqual(3);
    const { first, second, shift } = factorsOf(partials, sizes.outputs, spread, components, components.vectors.length);
    expect([...first, ...second, ...shift].every(Number.isFinite)).toBe(true);
  });

  test("a layer of zeros has no components", () => {
    const spread = spreadOfPartials(partialsOf(new Float64Array(sizeOf(sizes)), sizes, split), undefined);
    expect(componentsOf(spread)).toMatchObject({ vectors: [], total: 0 });
  });
});
