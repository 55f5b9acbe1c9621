import { expect, test } from "vitest";
import { Conditional, type UniquenessKind, uniqueness } from "../../../src/score/dominos/representativeness.js";
import { randomFloats } from "../../support/build.js";

/** Covariance of `count` maps of `n` positions, and the centred maps. */
function maps(count: number, n: number, seed: string, edit: (rows: Float64Array[]) => void = () => {}) {
  const rows = Array.from({ length: count }, (_, k) => Float64Array.from(randomFloats(`${seed}/${k}`, n)));
  edit(rows);
  for (const row of rows) {
    const mean = row.reduce((a, b) => a + b, 0) / n;
    row.forEach((x, i) => {
      row[i] = x - mean;
    });
  }
  const covariance = new Float64Array(count * count);
  rows.forEach((a, k) => {
    rows.forEach((b, j) => {
      covariance[k * count + j] = a.reduce((s, x, i) => s + x * (b[i] as number), 0) / n;
    });
  });
  return { rows, covariance };
}

/** |ρ| computed from the maps. */
const correlation = (a: Float64Array, b: Float64Array) => {
  const dot = (p: Float64Array, q: Float64Array) => p.reduce((s, x, i) => s + x * (q[i] as number), 0);
  const both = Math.sqrt(dot(a, a) * dot(b, b));
  return both > 0 ? Math.abs(dot(a, b)) / both : 0;
};

/** Removes `order` one by one and gives the values seen by the channels left each time. */
function walk(kind: UniquenessKind, covariance: Float64Array, count: number, order: readonly number[]): number[][] {
  const u = uniqueness(kind, covariance, count);
  const left = new Set(Array.from({ length: count }, (_, k) => k));
  return order.map((gone) => {
    const values = [...left].map((k) => u.values[k] as number);
    u.remove(gone);
    left.delete(gone);
    return values;
  });
}

const ORDER = [3, 0, 7, 5, 1, 2, 6, 4];

test.each(["nearest", "mean"] as const)("%s: values after each removal are those computed anew from the maps left", (kind) => {
  const { rows, covariance } = maps(8, 12, "u");
  const left = new Set(rows.keys());
  walk(kind, covariance, 8, ORDER).forEach((values, step) => {
    const expected = [...left].map((k) => {
      const others = [...left].filter((j) => j !== k).map((j) => correlation(rows[k] as Float64Array, rows[j] as Float64Array));
      if (others.length === 0) return 1;
      return 1 - (kind === "nearest" ? Math.max(...others) : others.reduce((a, b) => a + b, 0) / others.length);
    });
    values.forEach((v, i) => {
      expect(v).toBeCloseTo(expected[i] as number, 12);
    });
    left.delete(ORDER[step] as number);
  });
});

/** Least squares of `target` on `basis`, by Gram–Schmidt: the share of the target's energy that is left. */
function unexplained(target: Float64Array, basis: readonly Float64Array[]): number {
  const dot = (p: Float64Array, q: Float64Array) => p.reduce((s, x, i) => s + x * (q[i] as number), 0);
  const less = (v: Float64Array, q: Float64Array) => {
    const c = dot(v, q) / dot(q, q);
    return v.map((x, i) => x - c * (q[i] as number));
  };
  const orthogonal: Float64Array[] = [];
  for (const b of basis) orthogonal.push(orthogonal.reduce(less, b));
  const rest = orthogonal.reduce(less, target);
  return dot(rest, rest) / dot(target, target);
}

test("conditional: what no combination of the others explains, after each removal", () => {
  const { rows, covariance } = maps(8, 40, "c");
  const left = new Set(rows.keys());
  walk("conditional", covariance, 8, ORDER).forEach((values, step) => {
    [...left].forEach((k, i) => {
      const others = [...left].filter((j) => j !== k).map((j) => rows[j] as Float64Array);
      // The ridge of 1e-6 shows in the sixth digit.
      expect(values[i]).toBeCloseTo(unexplained(rows[k] as Float64Array, others), 4);
    });
    left.delete(ORDER[step] as number);
  });
});

test("conditional: a channel that others make up exactly is explained, and the weights that make it up are found", () => {
  const { covariance } = maps(5, 50, "b", (rows) => {
    rows[2] = (rows[0] as Float64Array).map((x, i) => 2 * x - 0.5 * ((rows[4] as Float64Array)[i] as number));
  });
  const u = new Conditional(covariance, 5);
  expect(u.values[2]).toBeLessThan(1e-4);
  const beta = u.compensation(2);
  [2, 0, 0, 0, -0.5].forEach((b, j) => {
    expect(beta[j]).toBeCloseTo(b, 4);
  });
  u.remove(2);
  // Without it, the others are as they were drawn.
  expect(Math.min(...[0, 1, 3, 4].map((k) => u.values[k] as number))).toBeGreaterThan(0.8);
});

test.each(["nearest", "conditional"] as const)("%s: both twins are at 0, and the one that stays is on its own", (kind) => {
  const { covariance } = maps(6, 30, "t", (rows) => {
    rows[4] = (rows[1] as Float64Array).map((x) => -3 * x);
  });
  const u = uniqueness(kind, covariance, 6);
  expect(u.values[1]).toBeLessThan(1e-5);
  expect(u.values[4]).toBeLessThan(1e-5);
  u.remove(1);
  expect(u.values[4]).toBeGreaterThan(0.3);
});

test.each(["nearest", "mean", "conditional"] as const)(
  "%s: a channel without variance is like no other, and divides nothing by 0",
  (kind) => {
    const { covariance } = maps(4, 20, "z", (rows) => {
      rows[2] = new Float64Array(20);
    });
    const u = uniqueness(kind, covariance, 4);
    expect(u.values[2]).toBeCloseTo(1, 9);
    const before = u.values[0] as number;
    u.remove(2);
    expect(Number.isFinite(u.values[0])).toBe(true);
    if (kind !== "mean") expect(u.values[0]).toBeCloseTo(before, 6);
    const nothing = uniqueness(kind, new Float64Array(9), 3);
    expect([...nothing.values]).toEqual([1, 1, 1]);
  },
);

test("2048 channels are taken one by one in the time of one look at the matrix", () => {
  const count = 2048;
  const noise = randomFloats("wide", count * count);
  const covariance = new Float64Array(count * count);
  for (let k = 0; k < count; k++) {
    for (let j = 0; j < k; j++) {
      const c = Math.tanh((noise[k * count + j] as number) / 4);
      covariance[k * count + j] = c;
      covariance[j * count + k] = c;
    }
    covariance[k * count + k] = 1;
  }
  const started = performance.now();
  const u = uniqueness("nearest", covariance, count);
  const left = new Set(Array.from({ length: count }, (_, k) => k));
  let last = 0;
  while (left.size > 1) {
    let next = -1;
    for (const k of left) if (next < 0 || (u.values[k] as number) < (u.values[next] as number)) next = k;
    // Fewer others: uniqueness never falls.
    expect(u.values[next]).toBeGreaterThanOrEqual(last);
    last = u.values[next] as number;
    left.delete(next);
    u.remove(next);
  }
  // 0.2 s on one busy core; cubic work would be 8.6e9 steps.
  expect(performance.now() - started).toBeLessThan(5000);
});
