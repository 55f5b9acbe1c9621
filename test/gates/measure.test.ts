import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { modelInputs } from "../../src/calibrate/model-inputs.js";
import { openSamples, type Samples } from "../../src/calibrate/samples.js";
import type { Looks } from "../../src/gates/looks.js";
import { measureQuadratics } from "../../src/gates/measure.js";
import { lossOf } from "../../src/gates/quadratics.js";
import { cloneModel } from "../../src/graph/clone.js";
import { findGroups } from "../../src/graph/coupling/groups.js";
import type { Model, Value } from "../../src/graph/graph.js";
import { emitGate } from "../../src/passes/gates/emit.js";
import { type GateSite, gateSites } from "../../src/passes/gates/sites.js";
import { openNodeRunner } from "../../src/runtime/node.js";
import type { Runner } from "../../src/runtime/runner.js";
import { sourceOf } from "../../src/runtime/source.js";
import { edited } from "../score/scoring.js";
import { modelOf, randomFloats } from "../support/build.js";

let runner: Runner;
beforeAll(async () => {
  runner = await openNodeRunner({ threads: 1 });
});
afterAll(() => runner.close());

/** One sample after the other. */
const inOrder = (n: number): Looks => ({ size: 1, starts: Array.from({ length: n }, (_, x) => x), period: 5 });

const samplesFor = (model: Model, n: number): Promise<Samples> => openSamples(`random:${n}`, modelInputs(model));

/** What `names` are, sample by sample. */
async function valuesOf(model: Model, names: readonly string[], samples: Samples): Promise<Float64Array[][]> {
  const copy = cloneModel(model);
  copy.graph.setOutputs(names.map((n) => copy.graph.insertNode("Identity", [copy.graph.value(n) as Value]).outputs[0] as Value));
  const session = await runner.load(sourceOf(copy), { optimization: "disabled" });
  const found: Float64Array[][] = [];
  for (let x = 0; x < samples.count; x++) {
    const out = await session.run(await samples.batch(x, x + 1));
    found.push(Object.values(out).map((t) => t.numbers() as Float64Array));
  }
  await session.release();
  return found;
}

/** The loss by its definition: the student is run with the factors as a Mul, and its layers' results are compared with the teacher's. */
async function straight(teacher: Model, student: Model, site: GateSite, factor: Float64Array, layers: readonly string[], samples: Samples) {
  const gated = cloneModel(student);
  emitGate(gated, { ...site, value: gated.graph.value(site.value.name) as Value }, { kind: "static", factor });
  const got = await valuesOf(gated, layers, samples);
  const want = await valuesOf(teacher, layers, samples);
  return got.map((values, x) =>
    values.reduce((sum, v, l) => sum + v.reduce((s, y, i) => s + (y - (want[x]?.[l]?.[i] as number)) ** 2, 0), 0),
  );
}

const CASES: readonly [string, string, string, readonly string[]][] = [
  [
    "a 3×3 convolution with strides, pads, dilations and bias",
    "r",
    `g (float[N, 3, 9, 9] x) => (float[N, 5, 4, 4] y) <float[6, 3, 1, 1] w = {...}, float[5, 6, 3, 3] v = {...}, float[5] b = {...}> {
      a = Conv (x, w) r = Relu (a) y = Conv <strides = [2, 2], pads = [1, 1, 1, 1], dilations = [2, 2]> (r, v, b) }`,
    ["y"],
  ],
  [
    "a 1×1 convolution, by products of weights and of maps",
    "r",
    `g (float[N, 3, 5, 5] x) => (float[N, 5, 5, 5] y) <float[6, 3, 1, 1] w = {...}, float[5, 6, 1, 1] v = {...}, float[5] b = {...}> {
      a = Conv (x, w) r = Relu (a) y = Conv (r, v, b) }`,
    ["y"],
  ],
  [
    "a 2×2 convolution with more outputs than pairs of taps",
    "r",
    `g (float[N, 3, 5, 5] x) => (float[N, 20, 4, 4] y) <float[4, 3, 1, 1] w = {...}, float[20, 4, 2, 2] v = {...}> {
      a = Conv (x, w) r = Relu (a) y = Conv (r, v) }`,
    ["y"],
  ],
  [
    "a Gemm behind MaxPool and Flatten, with alpha and beta",
    "r",
    `g (float[N, 3, 6, 6] x) => (float[N, 5] y) <float[4, 3, 1, 1] w = {...}, float[36, 5] v = {...}, float[5] b = {...}> {
      a = Conv (x, w) r = Relu (a) m = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r) f = Flatten (m) y = Gemm <alpha = 0.5, beta = 2.0> (f, v, b) }`,
    ["y"],
  ],
  [
    "two readers of one map, of one and of several taps",
    "r",
    `g (float[N, 3, 6, 6] x) => (float[N, 5, 6, 6] y, float[N, 8, 6, 6] t)
      <float[4, 3, 1, 1] w = {...}, float[5, 4, 3, 3] v = {...}, float[8, 4, 1, 1] u = {...}, float[8] b = {...}> {
      a = Conv (x, w) r = Relu (a) y = Conv <auto_pad = "SAME_UPPER"> (r, v) t = Conv (r, u, b) }`,
    ["y", "t"],
  ],
  [
    "tokens read by a MatMul",
    "r",
    `g (float[N, 7, 3] x) => (float[N, 7, 5] y) <float[3, 6] w = {...}, float[6, 5] v = {...}> {
      a = MatMul (x, w) r = Relu (a) y = MatMul (r, v) }`,
    ["y"],
  ],
];

describe("quadratics measured by the runtime", () => {
  test.each(CASES)("%s: the loss is that of the net run with the factors", async (_, at, text, layers) => {
    const teacher = modelOf(text, 13);
    const student = edited(teacher, "w", (w) => {
      for (let i = 0; i < w.length; i++) w[i] = (w[i] as number) * (1 + 0.3 * Math.sin(i));
    });
    const site = gateSites(findGroups(student), "inner").sites.find((s) => s.value.name === at) as GateSite;
    const samples = await samplesFor(student, 5);
    const pair = { teacher, student, kept: () => undefined };
    const q = await measureQuadratics(runner, pair, site, samples, { looks: inOrder(5), memory: 1e9 });
    if (typeof q === "string") throw new Error(q);
    expect(q.k.length).toBe(5);
    const factor = Float64Array.from(randomFloats("factors", site.channels), (v) => Math.abs(1 + 0.5 * v));
    const want = await straight(teacher, student, site, factor, layers, samples);
    for (const [x, direct] of want.entries()) {
      // Products in float32; the loss is a difference of numbers of the size of k.
      expect(Math.abs(lossOf(q, [x], () => factor) - direct)).toBeLessThan(2e-5 * (q.k[x] as number) + 1e-5 * direct);
    }
    const means = await valuesOf(student, [at], samples);
    const perMap = (means[0]?.[0]?.length as number) / site.channels;
    const first = means[0]?.[0]?.filter((_v, i) => (site.rank === 4 ? i < perMap : i % site.channels === 0)) as Float64Array;
    expect(q.z[0]?.[0]).toBeCloseTo(first.reduce((a, b) => a + b, 0) / perMap, 5);
  });

  test("rows that the student lost are left out of what the teacher wants", async () => {
    const net = (rows: number, weights: string) =>
      modelOf(`g (float[N, 3, 5, 5] x) => (float[N, ${rows}, 5, 5] y) <float[6, 3, 1, 1] w = {...}, float[${rows}, 6, 1, 1] v = ${weights}> {
      a = Conv (x, w) r = Relu (a) y = Conv (r, v) }`);
    const teacher = net(3, "{1,2,3,4,5,6, 7,8,9,10,11,12, 6,5,4,3,2,1}");
    const student = net(2, "{1,2,3,4,5,6, 6,5,4,3,2,1}");
    const site = gateSites(findGroups(student), "inner").sites[0] as GateSite;
    const samples = await samplesFor(student, 3);
    const kept = (value: string, axis: number) => (value === "y" && axis === 1 ? [0, 2] : undefined);
    const q = await measureQuadratics(runner, { teacher, student, kept }, site, samples, { looks: inOrder(3), memory: 1e9 });
    if (typeof q === "string") throw new Error(q);
    const ones = new Float64Array(6).fill(1);
    for (const x of [0, 1, 2]) expect(Math.abs(lossOf(q, [x], () => ones))).toBeLessThan(1e-5 * (q.k[x] as number));
  });

  test("what goes into a residual sum should make the sum right, with the skip as the student has it", async () => {
    const text = `g (float[N, 6, 5, 5] x) => (float[N, 6, 5, 5] y) <float[6, 6, 1, 1] w = {...}, float[6, 6, 1, 1] v = {...}> {
      a = Conv (x, w) r = Relu (a) c = Conv (r, v) k = Mul (x, scale) y = Add (c, k) }`;
    const withSkip = (scale: number) => modelOf(text.replace("{...}> {", `{...}, float[1] scale = {${scale}}> {`));
    const [teacher, student] = [withSkip(1), withSkip(0.5)];
    const site = gateSites(findGroups(student), "inner").sites.find((s) => s.value.name === "r") as GateSite;
    const samples = await samplesFor(student, 3);
    const q = await measureQuadratics(runner, { teacher, student, kept: () => undefined }, site, samples, {
      looks: inOrder(3),
      memory: 1e9,
    });
    if (typeof q === "string") throw new Error(q);
    const factor = Float64Array.from(randomFloats("sum", 6));
    const want = await straight(teacher, student, site, factor, ["y"], samples);
    for (const [x, direct] of want.entries())
      expect(Math.abs(lossOf(q, [x], () => factor) - direct)).toBeLessThan(2e-5 * (q.k[x] as number));
  });

  test("readers that are no linear layers, and layers the teacher lacks, are named", async () => {
    const text = (y: string, op: string) => `g (float[N, 3, 5, 5] x) => (float[N, 5, 5, 5] out)
      <float[4, 3, 1, 1] w = {...}, float[5, 4, 1, 1] v = {...}, float[5, 4, 1, 1] u = {...}> {
      a = Conv (x, w) r = Relu (a) ${y} = Conv (r, v) t = ${op} (r) o = Conv (t, u) out = Add (${y}, o) }`;
    const measured = async (teacher: Model, student: Model) => {
      const site = gateSites(findGroups(student), "inner").sites.find((s) => s.value.name === "r") as GateSite;
      const pair = { teacher, student, kept: () => undefined };
      return measureQuadratics(runner, pair, site, await samplesFor(student, 2), { looks: inOrder(2), memory: 1e9 });
    };
    expect(await measured(modelOf(text("y", "Tanh")), modelOf(text("y", "Tanh")))).toBe('Tanh "t" reads it');
    expect(
      await measured(modelOf(text("other", "MaxPool <kernel_shape = [1, 1]>")), modelOf(text("y", "MaxPool <kernel_shape = [1, 1]>"))),
    ).toBe('the model before removal has no Conv "y"');
  });

  test("as many samples as fit into memory, spread over the source", async () => {
    const model = modelOf(CASES[1]?.[2] as string);
    const site = gateSites(findGroups(model), "inner").sites[0] as GateSite;
    const samples = await samplesFor(model, 50);
    const q = await measureQuadratics(runner, { teacher: model, student: model, kept: () => undefined }, site, samples, {
      looks: inOrder(50),
      memory: 4 * 36 * 12,
    });
    if (typeof q === "string") throw new Error(q);
    expect(q.k.length).toBe(12);
  });
});
