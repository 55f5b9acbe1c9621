import { describe, expect, it } from "vitest";
import { random } from "../../src/graph/random.js";
import { Tensor } from "../../src/graph/tensor.js";
import { openNodeRunner } from "../../src/runtime/node.js";
import type { Session } from "../../src/runtime/runner.js";
import { compareLatency, measureLatency, median, medianInterval } from "../../src/verify/latency.js";
import { slowModel } from "../runtime/tiny-models.js";

describe("medianInterval", () => {
  it("takes the ranks of the tables", () => {
    // Ranks k of the 95 % interval [x(k), x(n+1-k)] in the usual tables of the sign test.
    for (const [n, k] of [
      [6, 1],
      [8, 1],
      [9, 2],
      [12, 3],
      [15, 4],
      [20, 6],
      [25, 8],
      [50, 18],
      [100, 40],
    ] as const) {
      const values = Array.from({ length: n }, (_, i) => i + 1);
      expect([n, medianInterval(values).low, medianInterval(values).high]).toEqual([n, k, n + 1 - k]);
    }
  });

  it("covers the true median 95 times in 100, for a skewed distribution too", () => {
    const next = random(7);
    let covered = 0;
    for (let trial = 0; trial < 2000; trial++) {
      // Exponential: its median is ln 2.
      const { low, high } = medianInterval(Array.from({ length: 21 }, () => -Math.log(1 - next())));
      if (low <= Math.LN2 && Math.LN2 <= high) covered++;
    }
    // Exactly 0.973 for n = 21; three standard errors of 2000 trials are 0.011.
    expect(covered / 2000).toBeGreaterThan(0.962);
    expect(covered / 2000).toBeLessThan(0.984);
  });

  it("gives the whole range for few values, and works for very many", () => {
    expect(medianInterval([3, 1, 2])).toEqual({ median: 2, low: 1, high: 3 });
    expect(medianInterval([4])).toEqual({ median: 4, low: 4, high: 4 });
    const many = medianInterval(Array.from({ length: 5001 }, (_, i) => i));
    expect(many.median).toBe(2500);
    expect(many.low).toBeGreaterThan(2425);
    expect(many.high).toBeLessThan(2575);
  });

  it("knows the median of odd and even counts", () => {
    expect(median([5, 1, 3])).toBe(3);
    expect(median([4, 1, 3, 2])).toBe(2.5);
  });
});

/** A session whose runs take `ms` each, as it says; nothing is waited for. */
function sayTime(ms: () => number, log: string[] = [], name = ""): Session {
  return {
    inputs: [],
    outputs: [],
    run: async () => ({}),
    release: async () => {},
    time: async (_, runs) => {
      log.push(name);
      return Float64Array.from({ length: runs }, ms);
    },
  };
}

describe("compareLatency", () => {
  it("turns the order each round and makes as many rounds as asked", async () => {
    const log: string[] = [];
    const c = await compareLatency(
      sayTime(() => 10, log, "A"),
      sayTime(() => 5, log, "B"),
      {},
      { rounds: 7 },
    );
    expect(log.join("")).toBe("ABABBAABBAABBAAB");
    expect(c).toEqual({
      reference: { median: 10, low: 10, high: 10 },
      candidate: { median: 5, low: 5, high: 5 },
      ratio: { median: 0.5, low: 0.5, high: 0.5 },
      rounds: 7,
      runsPerRound: 2,
    });
  });

  it("finds the ratio under load that comes and goes, where single times are useless", async () => {
    const next = random(3);
    let load = 1;
    let calls = 0;
    const loaded = (base: number) => () => {
      // A new load for every four blocks of both sessions.
      if (calls++ % 8 === 0) load = 1 + 4 * next();
      return base * load * (1 + 0.01 * next());
    };
    const c = await compareLatency(sayTime(loaded(30)), sayTime(loaded(24)), {}, { rounds: 51 });
    expect(c.reference.high / c.reference.low).toBeGreaterThan(1.1);
    expect(c.ratio.median).toBeCloseTo(0.8, 1);
    expect(c.ratio.high).toBeLessThan(0.83);
    expect(c.ratio.low).toBeGreaterThan(0.77);
  });

  it("makes six rounds even without any budget", async () => {
    const c = await compareLatency(
      sayTime(() => 500),
      sayTime(() => 500),
      {},
      { budget: 0 },
    );
    expect([c.rounds, c.runsPerRound]).toEqual([6, 1]);
  });

  it("sees that a model of half the depth takes about half the time", async () => {
    const runner = await openNodeRunner({ threads: 1 });
    const whole = await runner.load({ bytes: slowModel(192, 8) });
    const half = await runner.load({ bytes: slowModel(192, 4) });
    const feeds = { X: Tensor.floats([64, 192], new Float32Array(64 * 192).fill(0.5)) };
    const c = await compareLatency(whole, half, feeds, { budget: 1500 });
    expect(c.ratio.low).toBeLessThanOrEqual(c.ratio.median);
    expect(c.ratio.median).toBeLessThanOrEqual(c.ratio.high);
    // Wide, because tests run beside each other; the point is that it is neither 1 nor 0.
    expect(c.ratio.median).toBeGreaterThan(0.3);
    expect(c.ratio.median).toBeLessThan(0.8);
    const alone = await measureLatency(whole, feeds, { budget: 200 });
    expect(alone.time.median).toBeGreaterThan(0);
    await runner.close();
  });
});
