/** Sensitivities of small models whose groups are known to matter or not, and what is planned by them. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openSamples, type Samples } from "../../../src/calibrate/samples.js";
import { measureVariants } from "../../../src/calibrate/variants.js";
import { cloneModel } from "../../../src/graph/clone.js";
import { encodedSize } from "../../../src/graph/codec.js";
import { cost } from "../../../src/graph/cost.js";
import type { Group } from "../../../src/graph/coupling/groups.js";
import type { Model } from "../../../src/graph/graph.js";
import { random } from "../../../src/graph/random.js";
import { Tensor } from "../../../src/graph/tensor.js";
import { findEntry } from "../../../src/passes/registry.js";
import { removeDead } from "../../../src/passes/remove-dead.js";
import { runPass } from "../../../src/passes/run-pass.js";
import { type PruneOptions, planOnly, prune } from "../../../src/pipeline.js";
import { openNodeRunner } from "../../../src/runtime/node.js";
import type { Runner } from "../../../src/runtime/runner.js";
import { makePlan, type PlanRequest, toMeasure } from "../../../src/score/budget.js";
import type { Criterion } from "../../../src/score/criterion.js";
import { l1 } from "../../../src/score/norm.js";
import { curveOf } from "../../../src/score/planner/curve.js";
import { measureSensitivity, poolKeys, type Sensitivity } from "../../../src/score/planner/sensitivity.js";
import { findValue, modelOf, randomFloats } from "../../support/build.js";

let runner: Runner;
let samples: Samples;
beforeAll(async () => {
  runner = await openNodeRunner({ threads: 1 });
  samples = await openSamples("random:40", { inputs: [{ name: "x", dtype: "float32", shape: ["N", 3, 6, 6] }], seed: 5 });
});
afterAll(() => runner.close());

/** A stem of 24 channels, two residual blocks of 96 inner channels, a layer of 32 and a classifier; the weights named in `dead` are 0. */
function net(dead: readonly string[] = []): Model {
  const model = modelOf(`g (float[N,3,6,6] x) => (float[N,5] scores) <
      float[24,3,3,3] stem = {...}, float[96,24,3,3] a1 = {...}, float[24,96,3,3] b1 = {...}, float[96,24,3,3] a2 = {...},
      float[24,96,3,3] b2 = {...}, float[32,24,3,3] wide = {...}, float[5,32] head = {...} > {
    s = Conv <pads = [1, 1, 1, 1]> (x, stem)
    s0 = Relu (s)
    p1 = Conv <pads = [1, 1, 1, 1]> (s0, a1)
    q1 = Relu (p1)
    r1 = Conv <pads = [1, 1, 1, 1]> (q1, b1)
    t1 = Add (s0, r1)
    s1 = Relu (t1)
    p2 = Conv <pads = [1, 1, 1, 1]> (s1, a2)
    q2 = Relu (p2)
    r2 = Conv <pads = [1, 1, 1, 1]> (q2, b2)
    t2 = Add (s1, r2)
    s2 = Relu (t2)
    w = Conv <pads = [1, 1, 1, 1]> (s2, wide)
    v = Relu (w)
    m = GlobalAveragePool (v)
    f = Flatten (m)
    scores = Gemm <transB = 1> (f, head)
  }`);
  for (const v of model.graph.initializers) {
    const t = v.constant as Tensor;
    const fanIn = t.size / (t.dims[0] as number);
    const scale = dead.includes(v.name) ? 0 : v.name === "head" ? 1 : 1 / Math.sqrt(fanIn);
    model.graph.setConstant(
      v,
      Tensor.floats(
        t.dims,
        randomFloats(v.name, t.size).map((x) => x * scale),
      ),
    );
  }
  return model;
}

/** Multiply-accumulates that are left of 648 + 2·41,472 + 6,912 per position when one block is gone. */
const WITHOUT_A_BLOCK = 1 - 41_472 / 90_504;

const request = (over: Partial<PlanRequest> = {}): PlanRequest => ({
  criterion: l1 as Criterion,
  options: l1.options.parse({}),
  target: { macs: 0.7 },
  scope: "sensitivity",
  align: 1,
  seed: 0,
  measure: (m, what) => {
    const clean = runPass(removeDead, m).model;
    return what === "bytes" ? encodedSize(clean) : what === "params" ? cost(clean).parameters : cost(clean).macs;
  },
  note: () => undefined,
  ...over,
});

async function sensitivityOf(model: Model, correct: "none" | "mean" | "linear" = "none"): Promise<Sensitivity> {
  const { whole, blocks } = toMeasure(model, request());
  if (correct !== "none") throw new Error("Corrections need statistics: see the runs below.");
  return measureSensitivity(runner, samples, whole, blocks, undefined, { samples: 40 });
}

describe("measured levels", () => {
  test("are 0 for a group that nothing reads with weight, and for a block whose branch gives nothing; else they rise", async () => {
    const model = net(["b1"]);
    const { whole } = toMeasure(model, request());
    const found = await sensitivityOf(model);
    expect(found.metric).toBe("kl");
    const of = (name: string) => {
      const key = poolKeys(whole.states).find((k) => k.startsWith(name)) as string;
      return { levels: found.levels.get(key)?.map((l) => l.change) as number[], at: found.pools.get(key) as (gone: number) => number };
    };
    expect(Math.max(...of("a1:0").levels)).toBeLessThan(1e-12);
    const vital = of("wide:0");
    expect(vital.levels).toHaveLength(3);
    expect(Math.min(...vital.levels)).toBeGreaterThan(1e-3);
    for (let gone = 1; gone < 32; gone++) expect(vital.at(gone)).toBeGreaterThanOrEqual(vital.at(gone - 1));
    const [dead, living] = [...found.blocks.values()];
    expect(dead).toBeLessThan(1e-12);
    expect(living).toBeGreaterThan(1e-3);
  });

  test("of a model that stays as it is are 0, whatever the batch", async () => {
    const model = net();
    for (const batch of [1, 7, 32]) {
      const changes = await measureVariants(runner, model, [() => model], samples, { metric: "kl", samples: 40, batch });
      expect([...changes]).toEqual([0]);
    }
  });
});

test("a model of a fixed batch, without classes, is measured by cosine, its last batch filled up", async () => {
  const fixed = modelOf(`g (float[16,4] x) => (float[16,3,2] y) <int64[3] d = {16, 3, 2}, float[4,6] a = {...}> {
    h = MatMul (x, a)
    s = Tanh (h)
    y = Reshape (s, d)
  }`);
  const few = await openSamples("random:20", { inputs: [{ name: "x", dtype: "float32", shape: [16, 4] }], seed: 1 });
  const doubled = cloneModel(fixed);
  const a = findValue(doubled, "a");
  const t = a.constant as Tensor;
  doubled.graph.setConstant(
    a,
    Tensor.floats(
      t.dims,
      Float32Array.from(t.numbers(), (x) => -x),
    ),
  );
  const changes = await measureVariants(runner, fixed, [() => fixed, () => doubled], few, { metric: "cosine", samples: 20 });
  // Tanh is odd: the outputs point the other way.
  expect(changes[0]).toBe(0);
  expect(changes[1]).toBeCloseTo(2, 5);
});

describe("the curve between levels", () => {
  test("goes through them, its root in straight lines", () => {
    const at = curveOf([
      { gone: 4, change: 0.04 },
      { gone: 8, change: 0.36 },
    ]);
    expect([0, 2, 4, 6, 8].map(at).map((x) => Math.round(1e6 * x) / 1e6)).toEqual([0, 0.01, 0.04, 0.16, 0.36]);
    // Past the last level the slope of the last stretch goes on.
    expect(at(10)).toBeCloseTo(0.64, 12);
  });

  test("never falls, also where what was measured does or is no number", () => {
    for (let seed = 0; seed < 30; seed++) {
      const uniform = random(`curve ${seed}`);
      const levels = Array.from({ length: 4 }, (_, i) => ({
        gone: 3 * (i + 1),
        change: uniform() < 0.1 ? Number.POSITIVE_INFINITY : uniform(),
      }));
      const at = curveOf(levels);
      let last = 0;
      for (let gone = 0; gone <= 15; gone++) {
        const here = at(gone);
        expect(Number.isFinite(here), `seed ${seed}`).toBe(true);
        expect(here, `seed ${seed}`).toBeGreaterThanOrEqual(last);
        last = here;
      }
    }
  });

  test("takes the shape of what is missing where that is known", () => {
    const losses = [0, 0, 0, 1, 4, 9];
    const at = curveOf([{ gone: 4, change: 0.08 }], (gone) => Math.sqrt(losses[gone] as number));
    expect([1, 2, 3, 4, 5].map((gone) => Math.round(1e6 * at(gone)) / 1e6)).toEqual([0, 0, 0.02, 0.08, 0.18]);
  });

  test("of nothing measured is 0", () => {
    expect(curveOf([])(3)).toBe(0);
  });
});

describe("pools and blocks in one choice", () => {
  test("a block that gives nothing leaves before any channel", async () => {
    const model = net(["b2"]);
    const { plan, budget } = makePlan(model, request({ target: { macs: WITHOUT_A_BLOCK }, sensitivity: await sensitivityOf(model) }));
    expect([plan.blocks, plan.remove]).toEqual([["t2"], {}]);
    expect(budget?.reached).toBeCloseTo(WITHOUT_A_BLOCK, 3);
  });

  test("channels that nothing reads leave, and no block", async () => {
    const model = net();
    // Half of what each block reads inside gives nothing: its blocks matter, these channels do not.
    for (const name of ["a1", "a2"]) {
      const value = findValue(model, name);
      const t = value.constant as Tensor;
      model.graph.setConstant(
        value,
        Tensor.floats(
          t.dims,
          Float32Array.from(t.numbers(), (x, i) => (i < t.size / 2 ? 0 : x)),
        ),
      );
    }
    const target = { macs: 0.735 };
    const { plan } = makePlan(model, request({ target, sensitivity: await sensitivityOf(model) }));
    expect(plan.blocks).toEqual([]);
    const gone = Object.entries(plan.remove);
    const fromInside = gone.filter(([g]) => g.startsWith("a")).reduce((n, [, k]) => n + k.length, 0);
    expect(fromInside).toBeGreaterThanOrEqual(50);
    for (const [g, k] of gone) if (g.startsWith("a")) expect(k.every((i) => i < 48)).toBe(true);
  });

  test("each measure is met by the file that comes out", async () => {
    const model = net();
    const sensitivity = await sensitivityOf(model);
    for (const what of ["macs", "params", "bytes", "latency", "ratio"] as const) {
      for (const keep of [0.8, 0.5, 0.3]) {
        const { budget } = makePlan(model, request({ target: { [what]: keep }, sensitivity }));
        const tolerance = what === "latency" ? 0.05 : what === "ratio" ? 0.02 : 0.01;
        expect(Math.abs((budget?.reached ?? 0) / keep - 1), `${what} ${keep}`).toBeLessThanOrEqual(tolerance);
      }
    }
  });

  test("loses no more, by what was measured, than one threshold over scores does", async () => {
    const model = net(["b1"]);
    const sensitivity = await sensitivityOf(model);
    const { whole } = toMeasure(model, request());
    const keys = poolKeys(whole.states);
    const lossOf = (plan: { remove: Record<string, number[]>; blocks: string[] }) =>
      whole.states.reduce((n, s, i) => {
        const [g] = s.pool.groups;
        return n + (sensitivity.pools.get(keys[i] as string)?.(plan.remove[g?.name ?? ""]?.length ?? 0) ?? 0);
      }, 0) + plan.blocks.reduce((n, b) => n + (sensitivity.blocks.get(b) ?? 0), 0);
    for (const macs of [0.8, 0.6, 0.4]) {
      const byThreshold = makePlan(model, request({ scope: "global", target: { macs } })).plan;
      const bySensitivity = makePlan(model, request({ target: { macs }, sensitivity })).plan;
      expect(lossOf(bySensitivity)).toBeLessThanOrEqual(lossOf(byThreshold) * 1.05);
    }
  });

  test("what is excluded stays, widths are aligned, and what cannot be met is refused", async () => {
    const model = net(["b2"]);
    const sensitivity = await sensitivityOf(model);
    const kept = makePlan(model, request({ exclude: ["t2"], target: { macs: WITHOUT_A_BLOCK }, sensitivity })).plan;
    expect(kept.blocks).not.toContain("t2");
    const aligned = makePlan(model, request({ align: 4, exclude: ["t1", "t2"], target: { macs: 0.5 }, sensitivity }));
    for (const [g, k] of Object.entries(aligned.plan.remove)) {
      const width = (aligned.coupling.groups.find((x) => x.name === g)?.choices.length ?? 0) - k.length;
      expect(width % 4 === 0 || width <= 2, `${g} ${width}`).toBe(true);
    }
    expect(() => makePlan(model, request({ target: { macs: 0.0001 }, sensitivity }))).toThrow(/asks for 0.0 % of the original|not met/);
  });
});

describe("a run", () => {
  const options = (more: Partial<PruneOptions>): PruneOptions => ({
    passes: ["l1"],
    target: { macs: 0.7 },
    scope: "sensitivity",
    sensitivity: { samples: 24 },
    align: 1,
    ep: "cpu",
    threads: 1,
    latency: false,
    calibration: samples,
    ...more,
  });

  test("with each correction measures less than without: what can be made good is no loss", async () => {
    const model = net();
    const entry = await findEntry("l1");
    const lost = new Map<string, number>();
    for (const correct of ["none", "mean", "linear"] as const) {
      const { plan } = await planOnly(model, { entry, options: {} }, options({ sensitivity: { samples: 24, correct } }));
      expect(plan.why["sensitivity"]).toMatchObject({ metric: "kl", correct });
      const measured = (plan.why["sensitivity"] as { levels: Record<string, readonly (readonly number[])[]> }).levels;
      lost.set(
        correct,
        Object.values(measured).reduce((n, of) => n + (of.at(-1)?.[1] ?? 0), 0),
      );
    }
    expect(lost.get("mean")).toBeLessThan(lost.get("none") as number);
    expect(lost.get("linear")).toBeLessThan(lost.get("mean") as number);
  });

  test("with linear correction finds no loss in channels that others repeat", async () => {
    const model = net();
    const value = findValue(model, "a1");
    const t = value.constant as Tensor;
    const rows = Float32Array.from(t.numbers());
    rows.copyWithin(rows.length / 2, 0, rows.length / 2);
    model.graph.setConstant(value, Tensor.floats(t.dims, rows));
    const firstFirst = { ...l1, comparable: true, prepare: () => (g: Group) => ({ scores: Float64Array.from(g.choices, (_, k) => k) }) };
    const entry = { kind: "criterion", criterion: firstFirst as Criterion } as const;
    const changes = new Map<string, number>();
    for (const correct of ["none", "linear"] as const) {
      const { plan } = await planOnly(model, { entry, options: {} }, options({ sensitivity: { samples: 24, levels: [0.5], correct } }));
      const { levels } = plan.why["sensitivity"] as { levels: Record<string, readonly (readonly number[])[]> };
      changes.set(correct, levels["a1:0/96"]?.[0]?.[1] as number);
    }
    expect(changes.get("none")).toBeGreaterThan(1e-3);
    expect(changes.get("linear")).toBeLessThan(1e-3 * (changes.get("none") as number));
  });

  test("by obs may take the shape of its own loss, scaled to one level", async () => {
    const entry = await findEntry("obs");
    const sensitivity = { samples: 24, levels: [0.5], shape: "criterion", correct: "linear" } as const;
    const { budget, plan } = await planOnly(net(), { entry, options: { features: 64 } }, options({ passes: ["obs"], sensitivity }));
    expect(Math.abs((budget?.reached ?? 0) / 0.7 - 1)).toBeLessThanOrEqual(0.01);
    expect(Object.values((plan.why["sensitivity"] as { levels: Record<string, unknown[]> }).levels).every((l) => l.length === 1)).toBe(
      true,
    );
  });

  test("plans, removes, proves and recovers, blocks and channels alike", async () => {
    const { plans, report } = await prune(net(["b2"]), options({ reconstruct: "merge", target: { macs: WITHOUT_A_BLOCK } }));
    expect(plans[0]?.blocks).toEqual(["t2"]);
    expect(report.equality.length).toBeGreaterThan(0);
    expect(report.equality.every((e) => e.ok)).toBe(true);
  });

  test("of levels that are no shares is refused", async () => {
    for (const sensitivity of [{ levels: [0.5, 1.5] }, { levels: [] }, { levels: [Number.NaN] }, { samples: 0 }])
      await expect(prune(net(), options({ sensitivity }))).rejects.toMatchObject({ code: "SENSITIVITY_LEVELS", exitCode: 2 });
  });

  test("without samples is refused", async () => {
    await expect(prune(net(), options({ calibration: undefined }))).rejects.toMatchObject({ code: "CALIBRATION_MISSING", exitCode: 2 });
  });
});
