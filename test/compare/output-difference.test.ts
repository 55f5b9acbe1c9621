import { describe, expect, it } from "vitest";
import { kl, OutputAccumulator, softmax } from "../../src/compare/output-difference.js";
import { Tensor } from "../../src/graph/tensor.js";
import { difference } from "../../src/verify/difference.js";
import { randomFloats } from "../support/build.js";

/** `a` and `b` added in rows of `width`, some rows at a time. */
function accumulated(a: readonly number[], b: readonly number[], width: number, rowsAtOnce: number): OutputAccumulator {
  const found = new OutputAccumulator();
  for (let i = 0; i < a.length; i += rowsAtOnce * width) {
    const [x, y] = [a, b].map((v) => v.slice(i, i + rowsAtOnce * width)) as [number[], number[]];
    found.add(Tensor.floats([x.length / width, width], x), Tensor.floats([y.length / width, width], y), x.length / width);
  }
  return found;
}

describe("numbers", () => {
  it("are those of closed forms: a = (3, 4), b = (3, 3)", () => {
    const n = accumulated([3, 4], [3, 3], 2, 1).numbers();
    expect(n).toMatchObject({ elements: 2, maxAbs: 1, maxRel: 1 / 4, meanAbs: 1 / 2, nonFinite: { equal: 0, different: 0 } });
    expect(n.cosine).toBeCloseTo(21 / (5 * Math.sqrt(18)), 14);
    // 10·log₁₀(25 / 1)
    expect(n.snr).toBeCloseTo(13.979400086720377, 12);
  });

  it("do not depend on how samples are batched, and are those of the whole at once", () => {
    const a = Array.from(randomFloats(1, 60 * 7));
    const b = Array.from(randomFloats(2, 60 * 7)).map((x, i) => (a[i] as number) + 0.01 * x);
    const one = accumulated(a, b, 7, 60);
    const want = difference(Tensor.floats([60, 7], b), Tensor.floats([60, 7], a));
    for (const rows of [1, 7, 60]) {
      const found = accumulated(a, b, 7, rows);
      expect(found.numbers().maxAbs).toBe(want.maxAbs);
      expect(found.numbers().maxRel).toBe(want.maxRel);
      expect(found.numbers().cosine).toBeCloseTo(want.cosine, 12);
      expect(found.numbers().snr).toBeCloseTo(one.numbers().snr, 9);
      expect(found.scores()?.agreement).toBe(want.argmax);
      expect(found.scores()?.kl).toBeCloseTo(one.scores()?.kl as number, 12);
    }
  });

  it("of equal outputs: no error, cosine 1, an infinite signal-to-noise ratio, KL 0", () => {
    const found = accumulated([1, 2, 3, 4], [1, 2, 3, 4], 2, 2);
    expect(found.numbers()).toMatchObject({ maxAbs: 0, maxRel: 0, meanAbs: 0, cosine: 1, snr: Number.POSITIVE_INFINITY });
    expect(found.scores()).toMatchObject({ agreement: 1, kl: 0, maxKl: 0 });
  });

  it("count what is not finite: the same in both, and not", () => {
    const [nan, inf] = [Number.NaN, Number.POSITIVE_INFINITY];
    const found = accumulated([nan, inf, -inf, 1], [nan, inf, inf, 1], 4, 1).numbers();
    expect(found.nonFinite).toEqual({ equal: 2, different: 1 });
    expect(found.maxAbs).toBe(inf);
    expect(found.meanAbs).toBe(0);
  });

  it("of int64 beyond 2^53 are exact", () => {
    const of = (x: bigint) => Tensor.ofBytes("int64", [1], new Uint8Array(BigInt64Array.of(x).buffer));
    const found = new OutputAccumulator();
    found.add(of(2n ** 60n), of(2n ** 60n + 1n), 1);
    expect(found.numbers().maxAbs).toBe(1);
  });
});

describe("class scores", () => {
  it("KL of two Bernoulli distributions is p·ln(p/q) + (1-p)·ln((1-p)/(1-q))", () => {
    const want = 0.25 * Math.log(0.25 / 0.5) + 0.75 * Math.log(0.75 / 0.5);
    expect(kl(Float64Array.of(0.25, 0.75), Float64Array.of(0.5, 0.5))).toBeCloseTo(want, 15);
    // As logits, shifted by a constant that softmax takes out again.
    const found = accumulated([Math.log(0.25) + 5, Math.log(0.75) + 5], [7, 7], 2, 1).scores();
    expect(found).toMatchObject({ kind: "logits", rows: 1, classes: 2 });
    expect(found?.kl).toBeCloseTo(want, 6);
  });

  it("rows that are probabilities already are taken as they are", () => {
    const want = 0.25 * Math.log(0.25 / 0.5) + 0.75 * Math.log(0.75 / 0.5);
    const found = accumulated([0.25, 0.75], [0.5, 0.5], 2, 1).scores();
    expect(found?.kind).toBe("probabilities");
    expect(found?.kl).toBeCloseTo(want, 7);
  });

  it("one row that is none makes them logits, all of them", () => {
    const found = accumulated([0.25, 0.75, -1, 2], [0.5, 0.5, -1, 2], 2, 1).scores();
    expect(found?.kind).toBe("logits");
    expect(found?.kl).toBeCloseTo(kl(softmax([0.25, 0.75]), softmax([0.5, 0.5])) / 2, 7);
  });

  it("a probability that underflowed to 0 is far off, not infinitely", () => {
    const { kl: found } = accumulated([0.5, 0.5], [1, 0], 2, 1).scores() ?? { kl: 0 };
    expect(found).toBeGreaterThan(40);
    expect(found).toBeLessThan(50);
  });

  it("do not overflow: softmax of (1000, 0) is (1, 0)", () => {
    expect(Array.from(softmax([1000, 0]))).toEqual([1, 0]);
  });

  it("agreement counts rows with the same best class", () => {
    expect(accumulated([1, 2, 2, 1, 1, 3], [1, 3, 1, 2, 0, 5], 2, 2).scores()?.agreement).toBe(2 / 3);
  });

  it("an output that is rows of scores in some runs only is none", () => {
    const found = accumulated([1, 2], [1, 2], 2, 1);
    found.add(Tensor.floats([3, 2], [1, 2, 3, 4, 5, 6]), Tensor.floats([3, 2], [1, 2, 3, 4, 5, 6]), 1);
    expect(found.scores()).toBeUndefined();
  });
});
