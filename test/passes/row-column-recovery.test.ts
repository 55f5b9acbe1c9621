/** Recovery after rows and columns have left: towards the model before, and nothing that left comes back. */
import { describe, expect, test } from "vitest";
import { modelInputs } from "../../src/calibrate/model-inputs.js";
import { openSamples } from "../../src/calibrate/samples.js";
import { readModel } from "../../src/export/read.js";
import type { Model } from "../../src/graph/graph.js";
import type { Pass } from "../../src/passes/pass.js";
import { type RowColumnOptions, rowColumn } from "../../src/passes/row-column.js";
import { type PruneOptions, prune } from "../../src/pipeline.js";
import { normalSamples } from "../recover/support.js";
import { modelOf } from "../support/build.js";

const entry = { kind: "pass", pass: rowColumn as unknown as Pass } as const;
const quick = { ep: "cpu", latency: false, threads: 1 } as const;
type Options = Partial<RowColumnOptions> & { readonly sparsity: number };

async function both(model: Model, options: Options, more: Partial<PruneOptions> = {}) {
  const calibration = more.calibration ?? (await normalSamples(model, 60));
  const request = { ...quick, passes: [{ entry, options }], calibration, ...more };
  return { plain: await prune(model, request), better: await prune(model, { reconstruct: "least-squares", ...request }) };
}

const recoveryOf = ({ report }: Awaited<ReturnType<typeof prune>>) => report.steps[1]?.recovery;

const chain = modelOf(`g (float[N,3,8,8] x) => (float[N,5] y)
  <float[16,3,3,3] w1 = {...}, float[16] b1 = {...}, float[12,16,3,3] w2 = {...}, float[12] b2 = {...},
   float[5,12] w3 = {...}, float[5] b3 = {...}> {
  a = Conv <pads = [1, 1, 1, 1]> (x, w1, b1) r = Relu (a)
  c = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (r, w2, b2) s = Relu (c)
  p = GlobalAveragePool (s) f = Flatten (p) y = Gemm <transB = 1> (f, w3, b3) }`);

const residual = modelOf(`g (float[N,4,8,8] x) => (float[N,3,8,8] y)
  <float[8,4,3,3] w1 = {...}, float[8] b1 = {...}, float[8,8,3,3] w2 = {...}, float[8] b2 = {...}, float[3,8,1,1] w3 = {...}, float[3] b3 = {...}> {
  a = Conv <pads = [1, 1, 1, 1]> (x, w1, b1) r = Relu (a)
  c = Conv <pads = [1, 1, 1, 1]> (r, w2, b2) s = Add (c, r) t = Relu (s)
  y = Conv (t, w3, b3) }`);

/** Of each layer, by name of what it gives: per column of its weight (filters first) whether all rows are zero. */
function gapsOf({ graph }: Model): Map<string | undefined, string> {
  const layers = graph.nodes.filter((n) => ["Conv", "Gemm", "MatMul"].includes(n.opType));
  return new Map(
    layers.map((node) => {
      const weight = node.inputs[1]?.constant;
      const numbers = weight?.numbers() ?? [];
      const rows = weight?.dims[0] ?? 1;
      const columns = numbers.length / rows;
      const isZero = (k: number) => Array.from({ length: rows }, (_, o) => numbers[o * columns + k]).every((w) => w === 0);
      return [node.outputs[0]?.name, Array.from({ length: columns }, (_, k) => (isZero(k) ? "0" : "w")).join("")];
    }),
  );
}

test("LeNet without half of its weights gains back most of what it lost, and the removal is proven by itself", {
  timeout: 60_000,
}, async () => {
  const model = await readModel("models/mnist_lenet5.onnx");
  const open = (where: string) => openSamples(where, { ...modelInputs(model) });
  const calibration = await open("models/data/mnist-2000#train[:400]");
  const data = await open("models/data/mnist-2000#test[:500]");
  const { plain, better } = await both(model, { sparsity: 0.8, method: "sr" }, { calibration, data });
  const lost = (r: typeof plain) => 100 * ((r.report.accuracy?.before.top1 as number) - (r.report.accuracy?.after.top1 as number));
  expect(lost(plain)).toBeGreaterThan(30);
  expect(lost(better)).toBeLessThan(0.25 * lost(plain));
  expect(better.report.steps.map((s) => s.pass)).toEqual(["row-column", "reconstruct"]);
  expect(better.report.equality.map((e) => e.ok)).toEqual([true]);
  expect(better.report.cost.after).toEqual(plain.report.cost.after);
});

describe("what left stays away", () => {
  test.each(["mask", "channels", "trim", "lowered"] as const)(
    "form %s: every layer is refitted, and columns of zeros stay",
    async (form) => {
      for (const model of [chain, residual]) {
        const { plain, better } = await both(model, { sparsity: 0.6, method: "sr", form });
        const recovery = recoveryOf(better);
        expect(recovery?.left).toEqual([]);
        expect(recovery?.after).toBeLessThan(0.8 * (recovery?.before as number));
        expect(gapsOf(better.model)).toEqual(gapsOf(plain.model));
        if (form === "mask") expect([...gapsOf(plain.model).values()].join("")).toContain("0");
        expect(better.report.cost.after.parameters).toBe(plain.report.cost.after.parameters);
      }
    },
  );

  test("so they do in the joint fit, and where what left is merged into what stayed", async () => {
    for (const reconstruct of ["joint", "merge"] as const) {
      const { plain, better } = await both(chain, { sparsity: 0.6, method: "sr", form: "mask" }, { reconstruct });
      const made = await prune(chain, { ...quick, passes: [{ entry, options: { sparsity: 0.6, method: "sr", form: "mask" } }] });
      // A map for padded borders after a layer (merge) gives what the layer makes another name.
      expect([...gapsOf(better.model).values()]).toEqual([...gapsOf(made.model).values()]);
      expect(recoveryOf(plain)?.after).toBeLessThanOrEqual(recoveryOf(plain)?.before as number);
    }
  });
});

describe("what cannot be compared is left, and says why", () => {
  test("the parts of a layer that became several convolutions", async () => {
    const { better } = await both(chain, { sparsity: 0.6, method: "sr", form: "boxes" });
    const left = recoveryOf(better)?.left ?? [];
    expect(left.length).toBeGreaterThan(0);
    for (const { why } of left) expect(why).toMatch(/^the original has no "/);
    expect(recoveryOf(better)?.after).toBeLessThanOrEqual(recoveryOf(better)?.before as number);
  });

  test("a layer whose rows are put back as zeros", async () => {
    const { better } = await both(residual, { sparsity: 0.6, method: "sr", rows: "expand" });
    const left = recoveryOf(better)?.left ?? [];
    expect(left.length).toBeGreaterThan(0);
    for (const { why } of left) expect(why).toMatch(/channels of ".*" are left, and it is not known which/);
    expect(recoveryOf(better)?.after).toBeLessThanOrEqual(recoveryOf(better)?.before as number);
  });
});
