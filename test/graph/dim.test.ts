import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { add, ceilDiv, type Dim, evaluate, exactDiv, floorDiv, isKnown, mul, opaque, product, sub } from "../../src/graph/dim.js";

const SYMBOLS = ["N", "H", "W", "batch_size", "?x[0]"];

/** A random extent with what it should be worth under any assignment. */
interface Term {
  readonly dim: Dim;
  readonly value: (symbols: ReadonlyMap<string, number>) => number;
}
const { term } = fc.letrec<{ term: Term }>((tie) => ({
  term: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    fc.integer({ min: -6, max: 9 }).map((n): Term => ({ dim: n, value: () => n })),
    fc.constantFrom(...SYMBOLS).map((s): Term => ({ dim: s, value: (m) => m.get(s) as number })),
    fc.tuple(tie("term"), tie("term")).map(([a, b]): Term => ({ dim: add(a.dim, b.dim), value: (m) => a.value(m) + b.value(m) })),
    fc.tuple(tie("term"), tie("term")).map(([a, b]): Term => ({ dim: sub(a.dim, b.dim), value: (m) => a.value(m) - b.value(m) })),
    fc.tuple(tie("term"), tie("term")).map(([a, b]): Term => ({ dim: mul(a.dim, b.dim), value: (m) => a.value(m) * b.value(m) })),
    fc
      .tuple(tie("term"), fc.integer({ min: 1, max: 5 }))
      .map(([a, k]): Term => ({ dim: floorDiv(a.dim, k), value: (m) => Math.floor(a.value(m) / k) })),
    fc
      .tuple(tie("term"), fc.integer({ min: 1, max: 5 }))
      .map(([a, k]): Term => ({ dim: ceilDiv(a.dim, k), value: (m) => Math.ceil(a.value(m) / k) })),
  ),
}));
const assignment = fc
  .tuple(...SYMBOLS.map(() => fc.integer({ min: 1, max: 12 })))
  .map((values) => new Map(SYMBOLS.map((s, i) => [s, values[i] as number])));
const RUNS = { seed: 1, numRuns: 500 };

describe("for every assignment of symbols", () => {
  test("an extent built by the algebra is worth what its construction says", () => {
    fc.assert(
      fc.property(term, assignment, (t, symbols) => {
        const want = t.value(symbols);
        fc.pre(Number.isSafeInteger(want));
        expect(evaluate(t.dim, symbols)).toBe(want + 0);
      }),
      RUNS,
    );
  });

  test("a quotient that exactDiv gives times the divisor is the dividend, as text and in value", () => {
    fc.assert(
      fc.property(term, term, (a, b) => {
        fc.pre(b.dim !== 0);
        const q = exactDiv(a.dim, b.dim);
        if (q !== undefined) expect(mul(q, b.dim)).toBe(a.dim);
      }),
      RUNS,
    );
  });

  test("exactDiv finds the quotient by every single term", () => {
    const monomial = fc.tuple(fc.integer({ min: 1, max: 9 }), fc.subarray(SYMBOLS)).map(([k, symbols]) => product([k, ...symbols]));
    fc.assert(
      fc.property(term, monomial, (a, m) => {
        expect(exactDiv(mul(a.dim, m), m)).toBe(a.dim);
      }),
      RUNS,
    );
  });
});

describe("texts are canonical:", () => {
  test("sums and products do not depend on order", () => {
    fc.assert(
      fc.property(term, term, term, (a, b, c) => {
        expect(add(a.dim, b.dim)).toBe(add(b.dim, a.dim));
        expect(mul(a.dim, b.dim)).toBe(mul(b.dim, a.dim));
        expect(add(add(a.dim, b.dim), c.dim)).toBe(add(a.dim, add(b.dim, c.dim)));
        expect(mul(a.dim, add(b.dim, c.dim))).toBe(add(mul(a.dim, b.dim), mul(a.dim, c.dim)));
        expect(sub(a.dim, a.dim)).toBe(0);
      }),
      RUNS,
    );
  });

  test.each<[Dim, Dim]>([
    [add(mul(2, "N"), 1), "2*N + 1"],
    [sub(1, "N"), "-N + 1"],
    [mul("N", "C"), "C*N"],
    [mul(add("N", 1), add("N", -1)), "N*N - 1"],
    [floorDiv(add("H", 1), 2), "floor((H + 1)/2)"],
    [floorDiv(add(mul(4, "H"), 3), 2), "2*H + 1"],
    [floorDiv(add("H", -1), 2), "floor((H + 1)/2) - 1"],
    [ceilDiv("H", 2), "floor((H + 1)/2)"],
    [mul("N", floorDiv(add("H", 1), 2)), "N*floor((H + 1)/2)"],
    [exactDiv(mul(48, "N"), 48), "N"],
    [exactDiv(mul("N", add("H", 2)), add("H", 2)), "N"],
    [opaque("max", ["N", add("H", 1)]), "max(N, H + 1)"],
  ] as [Dim, Dim][])("%s", (got, want) => {
    expect(got).toBe(want);
  });
});

test("exactDiv gives up rather than rounding", () => {
  expect(exactDiv(7, 2)).toBeUndefined();
  expect(exactDiv("N", 2)).toBeUndefined();
  expect(exactDiv(add("N", 1), "N")).toBeUndefined();
  expect(exactDiv(4, 0)).toBeUndefined();
  expect(exactDiv("N", 0)).toBeUndefined();
});

test("a missing symbol, or an opaque term, has no value", () => {
  expect(evaluate(add("N", 1), new Map())).toBeUndefined();
  expect(evaluate(opaque("content", ["N", 2]), new Map([["N", 1]]))).toBeUndefined();
  expect(evaluate(opaque("content", ["N", 2]), new Map([["content(N, 2)", 3]]))).toBe(3);
  expect([isKnown(3), isKnown("N")]).toEqual([true, false]);
});
