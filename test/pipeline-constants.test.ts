/** Weights in every place a file can have them: listed as inputs, in Constant nodes, shared, behind Identity, tied. */
import { describe, expect, test } from "vitest";
import { decode, encode, joinChunks } from "../src/graph/codec.js";
import { findGroups } from "../src/graph/coupling/groups.js";
import type { Model } from "../src/graph/graph.js";
import { findEntry } from "../src/passes/registry.js";
import { applyOnly, type PruneOptions, planOnly, prune } from "../src/pipeline.js";
import { modelOf } from "./support/build.js";

const quick = { ep: "cpu", latency: false, align: 1, threads: 1, scope: "local", target: { ratio: 0.5 } } as const;

async function pruned(text: string, options: Partial<PruneOptions> = {}) {
  const model = modelOf(text);
  const made = await prune(model, { ...quick, ...options, passes: [{ entry: await findEntry("l1"), options: {} }] });
  expect(made.report.equality.every((e) => e.ok)).toBe(true);
  // What comes out is a file that reads back, with the interface of the original.
  const back = decode(joinChunks(encode(made.model)));
  return { ...made, back };
}

const dims = (m: Model, name: string) => m.graph.value(name)?.constant?.dims;

test("initializers listed as inputs, as IR 3 demands: cut, in both lists", async () => {
  const { back } =
    await pruned(`<ir_version: 3, opset_import: ["" : 9]> g (float[2,3] x, float[3,8] a, float[8] b, float[8,2] z) => (float[2,2] y)
    < float[3,8] a = {...}, float[8] b = {...}, float[8,2] z = {...} > {
    h = MatMul (x, a)  i = Add (h, b)  r = Relu (i)  y = MatMul (r, z) }`);
  expect([dims(back, "a"), dims(back, "b"), dims(back, "z")]).toEqual([[3, 4], [4], [4, 2]]);
  expect(back.graph.inputs.map((v) => [v.name, v.shape])).toEqual([
    ["x", [2, 3]],
    ["a", [3, 4]],
    ["b", [4]],
    ["z", [4, 2]],
  ]);
});

test("a default that callers may override stays as it is, and what it meets; the rest is pruned", async () => {
  const { back, plans } =
    await pruned(`<ir_version: 8, opset_import: ["" : 13]> g (float[2,3] x, float[8] b = {0, 1, 2, 3, 4, 5, 6, 7}) => (float[2,2] y)
    < float[3,8] a = {...}, float[8,6] c = {...}, float[6,2] z = {...} > {
    h = MatMul (x, a)  i = Add (h, b)  j = MatMul (i, c)  r = Relu (j)  y = MatMul (r, z) }`);
  expect(Object.keys(plans[0]?.remove ?? {})).toEqual(["c:1"]);
  expect(back.graph.value("b")?.initializer?.dims).toEqual([8]);
});

test("weights in Constant nodes", async () => {
  const { back } = await pruned(`g (float[N,3] x) => (float[N,2] y) {
    a = Constant <value = float[3,8] {...}> ()  b = Constant <value_floats = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]> ()  z = Constant <value = float[8,2] {...}> ()
    h = MatMul (x, a)  i = Add (h, b)  r = Relu (i)  y = MatMul (r, z) }`);
  expect([dims(back, "a"), dims(back, "b"), dims(back, "z")]).toEqual([[3, 4], [4], [4, 2]]);
});

test("a bias shared by layers that keep different channels is cloned; behind Identity nodes too", async () => {
  const { back, plans } =
    await pruned(`g (float[N,3] x) => (float[N,2] y) < float[3,8] a = {...}, float[8] b = {...}, float[8,8] c = {...}, float[8,2] z = {...} > {
    b1 = Identity (b)  b2 = Identity (b)
    h = MatMul (x, a)  i = Add (h, b1)  r = Relu (i)  k = MatMul (r, c)  l = Add (k, b2)  m = Relu (l)  y = MatMul (m, z) }`);
  expect(Object.keys(plans[0]?.remove ?? {})).toEqual(["a:1", "c:1"]);
  expect(dims(back, "c")).toEqual([4, 4]);
});

test("a matrix behind an Identity is one with the matrix", async () => {
  const { back } = await pruned(`g (float[N,3] x) => (float[N,2] y) < float[3,8] a = {...}, float[8,2] z = {...} > {
    a2 = Identity (a)  h = MatMul (x, a2)  r = Relu (h)  z2 = Identity (z)  y = MatMul (r, z2) }`);
  expect([dims(back, "a"), dims(back, "z")]).toEqual([
    [3, 4],
    [4, 2],
  ]);
});

test("several inputs and outputs: what leaves the model stays, what is between is pruned", async () => {
  const { back, plans } = await pruned(`g (float[N,3] x, float[N,5] u) => (float[N,4] p, float[N,2] q) <
      float[3,8] a = {...}, float[5,8] b = {...}, float[8,4] c = {...}, float[4,6] d = {...}, float[6,2] z = {...} > {
    h = MatMul (x, a)  i = MatMul (u, b)  s = Add (h, i)  p = MatMul (s, c)  k = MatMul (p, d)  r = Relu (k)  q = MatMul (r, z) }`);
  expect(Object.keys(plans[0]?.remove ?? {})).toEqual(["a:1", "d:1"]);
  expect(back.graph.outputs.map((v) => v.shape)).toEqual([
    ["N", 4],
    ["N", 2],
  ]);
});

describe("tied matrices", () => {
  // w makes channels of h, and is given away whole in t.
  const HELD = `g (float[N,4] x) => (float[N,2] y, float[4,8] t) < float[4,8] w = {...}, float[8,2] z = {...} > {
    h = MatMul (x, w)  r = Relu (h)  y = MatMul (r, z)  t = Neg (w) }`;
  // Both readers prune, and would keep different channels.
  const TWICE = `g (float[N,4] x) => (float[N,2] y) < float[4,4] p = {...}, float[4,8] w = {...}, float[8,4] v = {...}, float[8,2] z = {...} > {
    g = MatMul (x, p)  h = MatMul (g, w)  r = Relu (h)  k = MatMul (r, v)  l = Relu (k)  m = MatMul (l, w)  n = Tanh (m)  y = MatMul (n, z) }`;

  test("an axis that another reader keeps whole holds all readers back, unless untied: by default where it is cheap", async () => {
    expect(findGroups(modelOf(HELD)).groups).toEqual([]);
    const { back, plans, report, model } = await pruned(HELD);
    expect(plans[0]?.untied).toEqual(["w"]);
    expect(report.steps[0]?.notes.map((n) => n.code)).toEqual(["UNTIED"]);
    expect(report.steps[0]?.notes[0]?.why).toMatchInlineSnapshot(
      `"its 2 readers may keep different indices of it: together they could not lose any ("t" is a graph output); at most 128 bytes more before removal"`,
    );
    expect(Object.keys(plans[0]?.remove ?? {})).toEqual(["w:1"]);
    expect(dims(back, "z")).toEqual([4, 2]);
    // The file is told as it is: 16 + 8 of 48 weights left, and the whole matrix once more.
    expect(report.cost).toMatchObject({ before: { parameters: 48 }, after: { parameters: 4 * 4 + 4 * 2 + 4 * 8 } });
    const applied = await applyOnly(modelOf(HELD), plans[0] as NonNullable<(typeof plans)[0]>, quick);
    expect(joinChunks(encode(applied.model))).toEqual(joinChunks(encode(model)));
  });

  test("--untie none leaves them tied", async () => {
    await expect(pruned(HELD, { untie: "none" })).rejects.toMatchObject({ code: "BUDGET_NOTHING_TO_PRUNE" });
  });

  test("tied weights are meant: readers that can all prune stay tied, unless all are untied", async () => {
    const auto = await pruned(TWICE);
    expect(auto.plans[0]?.untied).toEqual([]);
    const all = await pruned(TWICE, { untie: "all" });
    expect(all.plans[0]?.untied).toEqual(["w"]);
    expect(Object.keys(all.plans[0]?.remove ?? {}).length).toBeGreaterThan(Object.keys(auto.plans[0]?.remove ?? {}).length);
  });

  test("reads that keep the same after all share one matrix again", async () => {
    const same = `g (float[N,4] x, float[N,4] u) => (float[N,2] y) < float[4,8] w = {...}, float[8,2] z = {...} > {
      h = MatMul (x, w)  i = MatMul (u, w)  r = Add (h, i)  y = MatMul (r, z) }`;
    const { back, plans } = await pruned(same, { untie: "all" });
    expect(plans[0]?.untied).toEqual(["w"]);
    expect(back.graph.initializers.map((v) => [v.name, v.initializer?.dims])).toEqual([
      ["w", [4, 4]],
      ["z", [4, 2]],
    ]);
  });

  test("a plan that unties what is not shared is refused", async () => {
    const entry = await findEntry("l1");
    const { plan } = await planOnly(modelOf(TWICE), { entry, options: {} }, { ...quick, passes: [] });
    await expect(applyOnly(modelOf(TWICE), { ...plan, untied: ["z"] }, quick)).rejects.toMatchObject({ code: "PLAN_UNTIED" });
  });
});
