import { expect, test } from "vitest";
import { check } from "../../src/graph/check.js";
import type { Model } from "../../src/graph/graph.js";
import { inlineBranches } from "../../src/passes/inline-branches.js";
import { runPass } from "../../src/passes/run-pass.js";
import { modelOf } from "../support/build.js";
import { difference, run } from "../support/run.js";

async function inlined(model: Model): Promise<string[]> {
  const { model: after } = runPass(inlineBranches, model);
  expect(check(after)).toEqual([]);
  expect(difference(await run(model), await run(after))).toBe(0);
  return after.graph.nodes.map(
    (n) => `${n.outputs.map((o) => o?.name).join(", ")} = ${n.opType}(${n.inputs.map((i) => i?.name).join(", ")})`,
  );
}

test("the branch of a constant condition takes the node's place, its constants come along", async () => {
  const ops = await inlined(
    modelOf(`g (float[N,3] x) => (float[N,4] y) < bool c = {1}, float[3,4] a = {...} > {
      h = MatMul (x, a)
      y = If (c) <then_branch = t () => (r) <float[4] k = {...}> { s = Mul (h, k) r = Relu (s) }, else_branch = e () => (r) { r = Neg (h) }>
    }`),
  );
  expect(ops).toEqual(["h = MatMul(x, a)", "s = Mul(h, k)", "y = Relu(s)"]);
});

test("a condition on an extent that the model fixes, in a branch of another, is settled too", async () => {
  const ops = await inlined(
    modelOf(`g (float[N,3] x) => (y) < bool yes = {1}, int64 one = {1}, int64 three = {3}, int64[1] at = {0} > {
      y = If (yes) <
        then_branch = t () => (r) {
          d = Shape (x)  n = Gather (d, one)  is = Equal (n, three)
          r = If (is) <then_branch = p () => (q) { q = Relu (x) }, else_branch = o () => (q) { q = Squeeze (x, at) }> },
        else_branch = e () => (r) { r = Neg (x) }>
    }`),
  );
  expect(ops.slice(-1)).toEqual(["y = Relu(x)"]);
});

test("a condition that only a run knows stays", () => {
  const model = modelOf(`g (float[N,3] x, bool c) => (float[N,3] y) {
    y = If (c) <then_branch = t () => (r) { r = Relu (x) }, else_branch = e () => (r) { r = Neg (x) }> }`);
  expect(runPass(inlineBranches, model)).toMatchObject({ changed: false });
});

test("names that another body has are made unique, and a constant that a branch returns is handed on", async () => {
  const ops = await inlined(
    modelOf(`g (float[N,3] x, bool d) => (float[N,3] y, float[3] z, float[N,3] w) < bool c = {1}, float[3] k = {...} > {
      t = Add (x, k)
      y, z = If (c) <then_branch = t () => (r, o) <float[3] o = {...}> { s = Neg (t) r = Relu (s) }, else_branch = e () => (r, q) { r = Neg (x) q = Neg (k) }>
      w = If (d) <then_branch = u () => (s) { s = Abs (t) }, else_branch = v () => (s) { s = Neg (x) }>
    }`),
  );
  expect(ops).toEqual(["t = Add(x, k)", "s_1 = Neg(t)", "y = Relu(s_1)", "z = Identity(o)", "w = If(d)"]);
});
