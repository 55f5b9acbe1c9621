/** Whole runs on models with local functions and subgraphs: what plan names, apply and verify find. */
import { expect, test } from "vitest";
import { decode, encode, joinChunks } from "../src/graph/codec.js";
import { inlineFunctions } from "../src/passes/inline-functions.js";
import { findEntry } from "../src/passes/registry.js";
import { applyPlan } from "../src/passes/remove-filters.js";
import { runPass } from "../src/passes/run-pass.js";
import { applyOnly, planOnly, prune } from "../src/pipeline.js";
import { modelOf as bytesOfGraph, floatValue } from "./graph/onnx-messages.js";
import { modelOf } from "./support/build.js";
import { difference, run } from "./support/run.js";

const quick = { ep: "cpu", latency: false, align: 1, threads: 1, scope: "local", target: { params: 0.6 } } as const;
const request = async (name: string) => [{ entry: await findEntry(name), options: {} }];

const FUNCTIONS = `<ir_version: 10, opset_import: ["" : 17, "f" : 1]> g (float[N,3] x) => (float[N,2] y) < float[3,16] a = {...}, float[16,12] b = {...}, float[12,2] z = {...} > {
  h = f.Block (x, a)  k = f.Block (h, b)  y = MatMul (k, z) }
  <domain: "f", opset_import: ["" : 17]> Block (p, w) => (q) { t = MatMul (p, w)  q = Relu (t) }`;

const GUARDED = `<ir_version: 8, opset_import: ["" : 13]> g (float[N,3] x, bool c) => (float[N,2] y) < float[3,16] a = {...}, float[16,2] z = {...}, int64[1] one = {1}, int64[1] three = {3}, float[16,12] u = {...}, float[12,16] v = {...} > {
  d = Shape (x)  n = Gather (d, one)  is = Equal (n, three)
  h = MatMul (x, a)
  k = If (is) <then_branch = t () => (r) { r = Relu (h) }, else_branch = e () => (r) { r = Unsqueeze (h, one) }>
  m = If (c) <then_branch = t () => (s) { q = MatMul (k, u)  w = Relu (q)  s = MatMul (w, v) }, else_branch = e () => (s) { s = Tanh (k) }>
  y = MatMul (m, z)
}`;

for (const [what, text, code, groups] of [
  ["local functions", FUNCTIONS, "FUNCTIONS_INLINED", ["a:1", "b:1"]],
  ["a guard whose other branch gives another rank, and a real If", GUARDED, "BRANCHES_INLINED", ["a:1", "u:1"]],
] as const) {
  test(`a model with ${what}: pruned, planned and applied alike, proven against the file as it was`, async () => {
    const model = modelOf(text);
    const { model: pruned, plans, report } = await prune(model, { ...quick, passes: await request("l1") });
    // The step that put bodies in place; the removal; and the removal with every If sent either way, whatever the inputs chose.
    expect(report.equality.map((e) => /every If taking its (\w+)_branch/.exec(e.what)?.[1] ?? "as it is")).toEqual(
      code === "BRANCHES_INLINED" ? ["as it is", "as it is", "then", "else"] : ["as it is", "as it is"],
    );
    expect(report.equality.every((e) => e.ok)).toBe(true);
    expect(report.steps[0]?.notes.map((n) => n.code)).toContain(code);
    expect(report.cost.after.parameters / report.cost.before.parameters).toBeLessThan(0.65);

    const [entry] = await request("l1");
    const { plan } = await planOnly(model, entry as NonNullable<typeof entry>, { ...quick, passes: [] });
    expect(plan.remove).toEqual(plans[0]?.remove);
    expect(Object.keys(plan.remove)).toEqual(groups);
    const applied = await applyOnly(model, plan, { ...quick });
    expect(joinChunks(encode(applied.model))).toEqual(joinChunks(encode(pruned)));
    expect(applied.report.steps[0]?.notes.map((n) => n.code)).toContain(code);
    // What `onnx-prune verify` does.
    expect(difference(await run(applyPlan(model, plan).oracle()), await run(pruned))).toBeLessThanOrEqual(1e-5);
  });
}

test("a function's attribute takes its default where a call gives none", async () => {
  const call = (output: string, input: string, attribute: readonly unknown[]) => ({
    opType: "Act",
    domain: "f",
    input: [input],
    output: [output],
    attribute,
  });
  const bytes = bytesOfGraph(
    {
      name: "g",
      input: [floatValue("x", "N", 4)],
      output: [floatValue("y", "N", 4)],
      node: [call("h", "x", []), call("y", "h", [{ name: "slope", type: 1, f: 0.75 }])],
    },
    {
      irVersion: 9,
      opsetImport: [
        { domain: "", version: 17 },
        { domain: "f", version: 1 },
      ],
      functions: [
        {
          name: "Act",
          domain: "f",
          input: ["p"],
          output: ["q"],
          attributeProto: [{ name: "slope", type: 1, f: 0.25 }],
          opsetImport: [{ domain: "", version: 17 }],
          node: [{ opType: "LeakyRelu", input: ["p"], output: ["q"], attribute: [{ name: "alpha", type: 1, refAttrName: "slope" }] }],
        },
      ],
    },
  );
  const model = decode(bytes);
  const { model: after } = runPass(inlineFunctions, model);
  expect(after.graph.nodes.map((n) => n.float("alpha"))).toEqual([0.25, 0.75]);
  expect(difference(await run(model), await run(decode(joinChunks(encode(after)))))).toBe(0);
});
