import { describe, expect, it } from "vitest";
import { VerificationError } from "../../src/errors.js";
import { Tensor } from "../../src/graph/tensor.js";
import { argmax, difference } from "../../src/verify/difference.js";

const f = (values: readonly number[], dims: readonly number[] = [values.length]) => Tensor.floats(dims, values);

describe("difference", () => {
  it("of a tensor with itself is nothing", () => {
    expect(difference(f([1, -2, 3]), f([1, -2, 3]))).toEqual({
      maxAbs: 0,
      maxRel: 0,
      maxReference: 3,
      cosine: 1,
      argmax: 1,
      nonFinite: { equal: 0, different: 0 },
    });
  });

  it("is relative to the largest element of the reference, not to each element", () => {
    const d = difference(f([100, 0.5]), f([100, 0]));
    expect(d.maxAbs).toBe(0.5);
    expect(d.maxRel).toBe(0.005);
  });

  it("gives the cosine of the angle", () => {
    expect(difference(f([1, 1]), f([1, 0])).cosine).toBeCloseTo(Math.SQRT1_2, 12);
    expect(difference(f([1, 0]), f([-2, 0])).cosine).toBe(-1);
    expect(difference(f([0, 0]), f([0, 0])).cosine).toBe(1);
    expect(difference(f([0, 0]), f([1, 0])).cosine).toBe(0);
  });

  it("counts rows of the last axis that agree on the largest element", () => {
    expect(difference(f([1, 2, 4, 3], [2, 2]), f([1, 5, 3, 4], [2, 2])).argmax).toBe(0.5);
    expect(difference(f([7], []), f([9], [])).argmax).toBe(1);
    expect(difference(f([], [0, 3]), f([], [0, 3]))).toMatchObject({ argmax: 1, maxAbs: 0, maxRel: 0, cosine: 1 });
    expect(difference(f([], [3, 0]), f([], [3, 0])).argmax).toBe(1);
  });

  it("takes the same NaN and infinities as equal, and looks at the rest", () => {
    const d = difference(f([Number.NaN, Number.POSITIVE_INFINITY, 1, 4]), f([Number.NaN, Number.POSITIVE_INFINITY, 2, 4]));
    expect(d).toMatchObject({ maxAbs: 1, maxRel: 0.25, nonFinite: { equal: 2, different: 0 } });
    expect(d.cosine).toBeCloseTo(18 / Math.sqrt(17 * 20), 12);
  });

  it.each([
    [Number.NaN, 1],
    [1, Number.NaN],
    [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY],
    [Number.NaN, Number.POSITIVE_INFINITY],
    [1, Number.POSITIVE_INFINITY],
  ])("is infinite where one is %f and the other %f", (a, b) => {
    expect(difference(f([a, 3]), f([b, 3]))).toMatchObject({ maxAbs: Infinity, maxRel: Infinity, nonFinite: { equal: 0, different: 1 } });
  });

  it("is infinite relative to a reference of zeros", () => {
    expect(difference(f([1e-9]), f([0])).maxRel).toBe(Number.POSITIVE_INFINITY);
    expect(difference(f([0]), f([0])).maxRel).toBe(0);
  });

  it.each(["float16", "bfloat16", "float32", "float64", "int8", "uint8", "int32", "int64", "bool"] as const)("works on %s", (dtype) => {
    const a = Tensor.fromNumbers(dtype, [3], [1, 1, 0]);
    const b = Tensor.fromNumbers(dtype, [3], [1, 0, 1]);
    expect(difference(a, b)).toMatchObject({ maxAbs: 1, maxRel: 1 });
    expect(difference(a, b).cosine).toBeCloseTo(0.5, 12);
  });

  it("compares float16 with float32", () => {
    expect(difference(Tensor.fromNumbers("float16", [1], [0.1]), f([0.1])).maxAbs).toBeCloseTo(2.4e-5, 6);
  });

  it("sees one unit of difference between large int64", () => {
    const big = (v: bigint) => Tensor.ofBytes("int64", [1], new Uint8Array(BigInt64Array.of(v).buffer));
    expect(difference(big(2n ** 60n + 1n), big(2n ** 60n)).maxAbs).toBe(1);
  });

  it("does not overflow on large float64", () => {
    const d = difference(Tensor.fromNumbers("float64", [2], [1e300, 1e300]), Tensor.fromNumbers("float64", [2], [1e300, 0]));
    expect(d.cosine).toBeCloseTo(Math.SQRT1_2, 12);
  });

  it("refuses tensors of different dims", () => {
    expect(() => difference(f([1, 2], [1, 2]), f([1, 2], [2, 1]))).toThrow(VerificationError);
    expect(() => difference(f([1]), f([1, 2]))).toThrow("Tensors of different dims were compared: [1] with [2].");
  });
});

describe("argmax", () => {
  it("takes the lowest of equals, and never NaN", () => {
    expect(argmax([1, 3, 3])).toBe(1);
    expect(argmax([Number.NaN, -5, Number.NaN])).toBe(1);
    expect(argmax([Number.NaN, Number.NEGATIVE_INFINITY])).toBe(1);
    expect(argmax([Number.NaN, Number.NaN])).toBe(0);
    expect(argmax([1, 3, 9, 7, 8, 9], 3, 3)).toBe(2);
  });
});
