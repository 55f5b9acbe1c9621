import { expect, test } from "vitest";
import { PlanError, UnsupportedError } from "../../src/errors.js";
import { findGroups } from "../../src/graph/coupling/groups.js";
import type { Model } from "../../src/graph/graph.js";
import { print } from "../../src/graph/print.js";
import { applyMerges } from "../../src/score/merge.js";
import { mergeObstacle } from "../../src/score/similar-obstacles.js";
import { modelOf } from "../support/build.js";
import { fusedModel } from "../support/proven.js";

const merged = (model: Model, ...merges: { group: string; from: number; into: number; scale: number }[]) =>
  applyMerges(model, merges, findGroups(model));
const numbers = (model: Model, name: string) => Array.from(model.graph.value(name)?.constant?.numbers() ?? []);

const chain =
  modelOf(`g (float[1, 1, 2, 2] x) => (float[] y, float[] z) <float[3, 1, 1, 1] w = {1, 2, 3}, float[2, 3, 1, 1] u = {1, 2, 3, 4, 5, 6}, float[12, 1] f = {1, 2, 3, 4, 10, 20, 30, 40, 100, 200, 300, 400}> {
  c = Conv (x, w) y = Conv (c, u) k = Flatten (c) z = MatMul (k, f) }`);

test("every consumer's slice of one channel is added to that of the other, block by block behind a Flatten", () => {
  const before = print(chain);
  const next = merged(chain, { group: "w:0", from: 2, into: 0, scale: 0.5 });
  expect(numbers(next, "u")).toEqual([2.5, 2, 3, 7, 5, 6]);
  expect(numbers(next, "f")).toEqual([51, 102, 153, 204, 10, 20, 30, 40, 100, 200, 300, 400]);
  expect(numbers(next, "w")).toEqual([1, 2, 3]);
  expect(print(chain)).toBe(before);
});

test("merges are made in order: what a channel took over goes on with it", () => {
  const next = merged(chain, { group: "w:0", from: 2, into: 1, scale: 1 }, { group: "w:0", from: 1, into: 0, scale: 1 });
  expect(numbers(next, "u")).toEqual([6, 5, 3, 15, 11, 6]);
});

test("in a grouped convolution only the rows that read the channel change", () => {
  const model =
    modelOf(`g (float[1, 1, 2, 2] x) => (float[] y) <float[4, 1, 1, 1] w = {1, 2, 3, 4}, float[4, 2, 1, 1] u = {1, 2, 3, 4, 5, 6, 7, 8}> {
    c = Conv (x, w) y = Conv <group = 2> (c, u) }`);
  const [group] = findGroups(model).groups;
  const next = merged(model, { group: group?.name ?? "", from: 3, into: 2, scale: 1 });
  expect(numbers(next, "u")).toEqual([1, 2, 3, 4, 11, 6, 15, 8]);
});

test("a tied matrix is copied for the node that sums over the channels; where it makes them it stays", () => {
  const model = modelOf(`g (float[N, 2] x) => (float[N, 2] y) <float[2, 3] w = {1, 2, 3, 4, 5, 6}> {
    h = Gemm (x, w) r = Relu (h) y = Gemm <transB = 1> (r, w) }`);
  const next = merged(model, { group: "w:1", from: 2, into: 0, scale: 1 });
  expect(next.graph.nodes.map((n) => n.inputs[1]?.name)).toEqual(["w", undefined, "w_merged"]);
  expect(numbers(next, "w")).toEqual([1, 2, 3, 4, 5, 6]);
  expect(numbers(next, "w_merged")).toEqual([4, 2, 3, 10, 5, 6]);
});

test("float16 weights are summed in double precision and rounded once", () => {
  const model =
    modelOf(`g (float16[1, 1] x) => (float16[] y) <float16[1, 3] w = {1.0, 1.0, 1.0}, float16[3, 1] u = {1.0, 0.00048828125, 0.00048828125}> {
    c = MatMul (x, w) y = MatMul (c, u) }`);
  // Half a unit in the last place each: one by one both would round away.
  const next = merged(model, { group: "w:1", from: 1, into: 0, scale: 1 }, { group: "w:1", from: 2, into: 0, scale: 1 });
  expect(numbers(next, "u")[0]).toBe(1 + 2 ** -10);
});

test("groups and channels that do not exist are refused", () => {
  const refused = [
    { group: "w:1", from: 0, into: 1, scale: 1 },
    { group: "w:0", from: 0, into: 3, scale: 1 },
  ].map((merge) => {
    try {
      merged(chain, merge);
    } catch (e) {
      expect(e).toBeInstanceOf(PlanError);
      return `${(e as PlanError).code}: ${(e as PlanError).message} ${(e as PlanError).hint ?? ""}`;
    }
    return "accepted";
  });
  expect(refused).toMatchInlineSnapshot(`
    [
      "PLAN_UNKNOWN_GROUP: The plan merges channels of "w:1", which is no group of this model. Did you mean "w:0"? \`onnx-prune inspect\` lists the groups.",
      "PLAN_OUT_OF_RANGE: The plan merges channel 3 of "w:0", but it has channels 0 to 2. ",
    ]
  `);
});

test("quantised weights are refused", () => {
  const model = modelOf(`g (float[N, 2] x) => (float[] y) <float[2, 3] w = {...}, int8[3, 2] q = {1, 2, 3, 4, 5, 6}, float s = {0.5}> {
    c = MatMul (x, w) r = Relu (c) u = DequantizeLinear (q, s) y = MatMul (r, u) }`);
  expect(() => merged(model, { group: "w:1", from: 0, into: 1, scale: 1 })).toThrow(UnsupportedError);
});

test("channels whose places are permuted behind a Flatten are not merged, and a plan that does is refused", () => {
  // Channel 0 has its four places in order, channel 1 back to front.
  const model = modelOf(`g (float[N,3,2,2] x) => (float[N,2] y) <
      float[2,3,1,1] w = {...}, float[2,8] v = {...}, int64[8] at = {0,1,2,3,7,6,5,4}, int64[2] last = {1,2}> {
      h = Conv (x, w)
      f = Flatten (h)
      p = Gather <axis = 1> (f, at)
      y = Gemm <transB = 1> (p, v)
    }`);
  const coupling = findGroups(model);
  const group = coupling.groups[0] as (typeof coupling.groups)[number];
  expect(mergeObstacle(group, coupling)).toBe('their places in "v" may come in any order');
  expect(() => merged(model, { group: group.name, from: 0, into: 1, scale: 1 })).toThrow(PlanError);
  // Without the permutation the places of both run alike.
  const plain = modelOf(`g (float[N,3,2,2] x) => (float[N,2] y) < float[2,3,1,1] w = {...}, float[2,8] v = {...}> {
      h = Conv (x, w)
      f = Flatten (h)
      y = Gemm <transB = 1> (f, v)
    }`);
  const found = findGroups(plain);
  expect(mergeObstacle(found.groups[0] as (typeof found.groups)[number], found)).toBeUndefined();
});

test("dims of Q and K are multiplied by each other: no outgoing weight makes up for one, bias or not", () => {
  const attention = (bias: string) =>
    fusedModel(`g (float[N,5,6] x) => (float[N,5,3] y) < float[6,8] wq = {...}, float[6,8] wk = {...}, float[6,8] wv = {...}, float[24] b = {...}, float[8,3] o = {...} > {
      q = MatMul (x, wq) k = MatMul (x, wk) v = MatMul (x, wv)
      a = com.microsoft.MultiHeadAttention <num_heads = 2> (q, k, v${bias})
      y = MatMul (a, o) }`);
  for (const bias of ["", ", b"]) {
    const coupling = findGroups(attention(bias));
    const obstacles = coupling.groups.map((g) => [g.name, mergeObstacle(g, coupling)]);
    expect(obstacles).toEqual([
      ["wq:1", undefined],
      ["wq:1/2", expect.stringContaining("MultiHeadAttention")],
      ["wv:1", undefined],
    ]);
  }
});
