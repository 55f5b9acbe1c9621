/** Local swaps of obs: against the loss of every set of channels, by a formula that inverts what stays instead of what leaves. */
import { describe, expect, test } from "vitest";
import { random } from "../../src/graph/random.js";
import { eliminate, precisionOf, type ReadingLayer } from "../../src/score/obs/elimination.js";
import { lossWithout, swapped } from "../../src/score/obs/swaps.js";
import { randomFloats } from "../support/build.js";

interface Data {
  /** [size][size]. */
  readonly H: readonly (readonly number[])[];
  /** [rows][size]. */
  readonly W: readonly (readonly number[])[];
  readonly features: readonly (readonly number[])[];
  readonly importance: number;
}

function layerOf({ H, W, features, importance }: Data, ridge: number): ReadingLayer {
  const weights = features.map((f) => Float64Array.from(W.flatMap((row) => f.map((i) => row[i] as number))));
  return { precision: precisionOf(Float64Array.from(H.flat()), H.length, ridge), features, weights, importance };
}

/** X with AX = B, by Gauss–Jordan with pivots. */
function solved(A: readonly (readonly number[])[], B: readonly (readonly number[])[]): number[][] {
  const n = A.length;
  const rows = A.map((a, i) => [...a, ...(B[i] as number[])]);
  for (let c = 0; c < n; c++) {
    let best = c;
    for (let r = c; r < n; r++) if (Math.abs(rows[r]?.[c] as number) > Math.abs(rows[best]?.[c] as number)) best = r;
    [rows[c], rows[best]] = [rows[best] as number[], rows[c] as number[]];
    const pivot = rows[c] as number[];
    const by = pivot[c] as number;
    for (let j = 0; j < pivot.length; j++) pivot[j] = (pivot[j] as number) / by;
    rows.forEach((row, r) => {
      const times = row[c] as number;
      if (r !== c) for (let j = 0; j < row.length; j++) row[j] = (row[j] as number) - times * (pivot[j] as number);
    });
  }
  return rows.map((r) => r.slice(n));
}

/** Σ importance · tr(W_R (H_RR − H_RK (H_KK + λ·diag H_KK)⁻¹ H_KR) W_Rᵀ): K is everything else, features of no channel too. */
function lossOf(data: readonly Data[], gone: readonly number[], ridge: number): number {
  return data.reduce((sum, { H, W, features, importance }) => {
    const R = [...new Set(gone.flatMap((k) => features[k] as number[]))];
    const K = H.map((_, i) => i).filter((i) => !R.includes(i) && (H[i]?.[i] as number) > 0);
    const h = (i: number, j: number) => H[i]?.[j] as number;
    const X = solved(
      K.map((i) => K.map((j) => h(i, j) * (i === j ? 1 + ridge : 1))),
      K.map((i) => R.map((j) => h(i, j))),
    );
    const S = R.map((i) => R.map((j, c) => h(i, j) - K.reduce((s, q, a) => s + h(i, q) * (X[a]?.[c] as number), 0)));
    return (
      sum +
      importance *
        W.reduce(
          (s, row) =>
            s + R.reduce((t, i, a) => t + R.reduce((u, j, c) => u + (row[i] as number) * (S[a]?.[c] as number) * (row[j] as number), 0), 0),
          0,
        )
    );
  }, 0);
}

/** Covariances of few sources mixed, and noise; scales differ. */
function covariance(seed: string, size: number): number[][] {
  const mix = randomFloats(`${seed} mix`, 3 * size);
  const scale = randomFloats(`${seed} scale`, size).map((v) => Math.exp(v));
  const at = (s: number, i: number) => (mix[s * size + i] as number) * (scale[i] as number);
  return Array.from({ length: size }, (_, i) =>
    Array.from(
      { length: size },
      (_, j) => at(0, i) * at(0, j) + at(1, i) * at(1, j) + at(2, i) * at(2, j) + (i === j ? 0.1 * (scale[i] as number) ** 2 : 0),
    ),
  );
}

const numbers = (seed: string, rows: number, columns: number) =>
  Array.from({ length: rows }, (_, o) => [...randomFloats(`${seed} ${o}`, columns)]);

/** Up to 3 layers that read up to 8 channels with up to 3 taps; some features are of no channel, some never vary, some channels are not read. */
function randomCase(seed: number) {
  const uniform = random(`swaps ${seed}`);
  const upTo = (n: number) => 1 + Math.floor(uniform() * n);
  const channels = 3 + upTo(5);
  const data = Array.from({ length: upTo(3) }, (_, l): Data => {
    const taps = upTo(3);
    const size = channels * taps + 2;
    const H = covariance(`H ${seed} ${l}`, size);
    const dead = upTo(size) - 1;
    if (l === 1) for (const row of H) row[dead] = 0;
    if (l === 1) H[dead]?.fill(0);
    const features = Array.from({ length: channels }, (_, k) =>
      l === 2 && k === 1 ? [] : Array.from({ length: taps }, (_, t) => size - 1 - (k * taps + t)),
    );
    return { H, W: numbers(`W ${seed} ${l}`, 2, size), features, importance: 1 / upTo(4) };
  });
  return { channels, data, ridge: [1e-6, 0.01, 0.2][seed % 3] as number };
}

const setsOf = (channels: number, size: number) =>
  Array.from({ length: 2 ** channels }, (_, set) => Array.from({ length: channels }, (_, k) => k).filter((k) => set & (1 << k))).filter(
    (s) => s.length === size,
  );

const LONG = 100;
const oneKind = (channels: number) => new Array<number>(channels).fill(0);

describe("random layers", () => {
  test("lose at most what the greedy choice loses, never less than the best of all sets, and no exchange of two channels would lower it", () => {
    let [cases, better, best] = [0, 0, 0];
    for (let seed = 0; seed < 40; seed++) {
      const { channels, data, ridge } = randomCase(seed);
      const layers = data.map((d) => layerOf(d, ridge));
      const { order } = eliminate(channels, layers);
      const all = lossOf(data, [...order.keys()], ridge);
      for (let size = 1; size < channels; size++) {
        const greedy = order.slice(0, size);
        const { gone, loss } = swapped(layers, greedy, oneKind(channels), LONG);
        const [before, after] = [lossOf(data, greedy, ridge), lossOf(data, gone, ridge)];
        expect(Math.abs(loss[0] - before), `case ${seed}, ${size} gone`).toBeLessThan(1e-7 * all);
        expect(Math.abs(loss[1] - after), `case ${seed}, ${size} gone`).toBeLessThan(1e-7 * all);
        expect(new Set(gone).size).toBe(size);
        expect(after).toBeLessThanOrEqual(before + 1e-9 * all);
        const least = Math.min(...setsOf(channels, size).map((s) => lossOf(data, s, ridge)));
        expect(after).toBeGreaterThanOrEqual(least - 1e-9 * all);
        for (const back of gone)
          for (let k = 0; k < channels; k++)
            if (!gone.includes(k)) expect(lossOf(data, [...gone.filter((g) => g !== back), k], ridge)).toBeGreaterThan(after - 1e-7 * all);
        cases++;
        if (after < before - 1e-6 * all) better++;
        if (after < least + 1e-6 * all) best++;
      }
    }
    // The greedy choice is the best of all in nine cases of ten; exchanges make up for most of the rest.
    expect(better).toBeGreaterThan(0.03 * cases);
    expect(best).toBeGreaterThan(0.97 * cases);
  });

  test("end in the same channels again, after as many passes as it takes; none change nothing", () => {
    for (let seed = 0; seed < 10; seed++) {
      const { channels, data, ridge } = randomCase(seed);
      const layers = data.map((d) => layerOf(d, ridge));
      // Far from any good choice, so that there is much to exchange.
      const worst = [...eliminate(channels, layers).order].reverse().slice(0, 3);
      const once = swapped(layers, worst, oneKind(channels), LONG);
      expect(swapped(layers, worst, oneKind(channels), LONG)).toEqual(once);
      expect(once.loss[1]).toBeLessThan(once.loss[0]);
      expect(swapped(layers, once.gone, oneKind(channels), LONG)).toEqual({ gone: once.gone, loss: [once.loss[1], once.loss[1]] });
      expect(swapped(layers, worst, oneKind(channels), 0)).toEqual({ gone: worst, loss: [once.loss[0], once.loss[0]] });
    }
  });

  test("exchange channels of one kind only, and none of kind -1", () => {
    for (let seed = 0; seed < 20; seed++) {
      const { channels, data, ridge } = randomCase(seed);
      const layers = data.map((d) => layerOf(d, ridge));
      const worst = [...eliminate(channels, layers).order].reverse().slice(0, 3);
      const kinds = Array.from({ length: channels }, (_, k) => (k === 0 ? -1 : k % 2));
      const { gone } = swapped(layers, worst, kinds, LONG);
      expect(gone.map((k) => kinds[k])).toEqual(worst.map((k) => kinds[k]));
      expect(gone.includes(0)).toBe(worst.includes(0));
    }
  });
});

describe("planted", () => {
  /** Channel 0 is 1 + 2 and a little of its own: it seems the one to spare, but stands for both. */
  const small = 0.01;
  const H = [
    [2 + small, 1, 1, 0, 0],
    [1, 1, 0, 0, 0],
    [1, 0, 1, 0, 0],
    [0, 0, 0, 1, 0],
    [0, 0, 0, 0, 1],
  ];
  const planted: Data = {
    H,
    W: [
      [0.5, 1, 1, 0, 0],
      [0, 0, 0, 3, 4],
    ],
    features: [[0], [1], [2], [3], [4]],
    importance: 1,
  };

  test("a first step that is regretted is taken back by one exchange", () => {
    const layers = [layerOf(planted, 1e-6)];
    const { order } = eliminate(5, layers);
    expect(order[0]).toBe(0);
    const greedy = order.slice(0, 2);
    const { gone, loss } = swapped(layers, greedy, oneKind(5), 1);
    expect([...gone].sort()).toEqual([1, 2]);
    expect(loss[0]).toBeGreaterThan(1);
    expect(loss[1]).toBeLessThan(2 * small);
    expect(gone.filter((k) => !greedy.includes(k))).toHaveLength(1);
  });

  test("duplicates, dead channels and channels that share features end as well", () => {
    const twice = [0, 1, 2, 3, 4, 0, 1];
    const doubled = twice.map((i) => twice.map((j) => H[i]?.[j] as number));
    const dead = [...doubled.map((r) => [...r, 0]), new Array<number>(8).fill(0)];
    const data: Data = { H: dead, W: numbers("doubled", 3, 8), features: dead.map((_, i) => [i]), importance: 1 };
    for (const ridge of [1e-12, 0.01]) {
      const layers = [layerOf(data, ridge)];
      const { gone, loss } = swapped(layers, [0, 5, 7], oneKind(8), LONG);
      expect(loss[1]).toBeLessThan(loss[0]);
      expect(gone.filter((k) => k === 0 || k === 5).length).toBeLessThan(2);
      expect(swapped(layers, gone, oneKind(8), LONG).gone).toEqual(gone);
    }
    const shared = [{ ...layerOf(data, 0.01), features: [[0, 1], [1, 2], [3], [4], [5], [6], [7], []] }];
    shared.forEach((l) => {
      Object.assign(l, { weights: l.features.map((f) => new Float64Array(3 * f.length).fill(1)) });
    });
    expect(swapped(shared, [0, 2], oneKind(8), LONG).gone).toEqual([0, 2]);
    expect(lossWithout(shared, [0, 2])).toBeGreaterThan(0);
  });
});
