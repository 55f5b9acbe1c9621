/**
 * Attention and RotaryEmbedding of ONNX 23 on: whole heads leave, dims of Q and K leave from each head, dims of V leave
 * on their own; all of it equal to the oracle in ONNX Runtime.
 */
import { describe, expect, test } from "vitest";
import { type Coupling, findGroups } from "../../../src/graph/coupling/groups.js";
import type { Model } from "../../../src/graph/graph.js";
import { findNode, modelOf } from "../../support/build.js";
import { prove, randomRemoval } from "../../support/oracle.js";

const groups = (c: Coupling) => c.groups.map((g) => `${g.name} ${g.choices.length}`);

/** The model of opset `opset`, its groups, and equality after three random removals. */
async function proved(text: string, opset = 23): Promise<{ groups: string[]; c: Coupling }> {
  const model: Model = modelOf(text, opset);
  model.irVersion = 10;
  const c = findGroups(model);
  for (const ratio of [0.5, 0.75, 0.3]) {
    const removed = randomRemoval(c, `${ratio}`, ratio);
    expect(removed.size).toBeGreaterThan(0);
    const proof = await prove(c, removed);
    expect(proof.maxRel).toBeLessThanOrEqual(1e-5);
    expect(proof.drift).toBeGreaterThan(1e-4);
  }
  return { groups: groups(c), c };
}

/** Choices `channels` of the group named `name`. */
function choices(c: Coupling, name: string, channels: readonly number[]): number[] {
  const group = c.groups.find((g) => g.name === name);
  if (!group) throw new Error(`No group "${name}" among ${groups(c)}.`);
  return channels.map((k) => group.choices[k] as number);
}

/** Projections of x [2, 5, 8] to q heads of 4, kv heads of 4 and of 6, and back. */
const projected = (q: number, kv: number, constants: string, body: string) => `g (float[2,5,8] x) => (float[] y) <
  float[8,${4 * q}] wq = {...}, float[8,${4 * kv}] wk = {...}, float[8,${6 * kv}] wv = {...}, float[${6 * q},8] wo = {...}${constants}> {
  q = MatMul (x, wq) k = MatMul (x, wk) v = MatMul (x, wv) ${body} y = MatMul (o, wo) }`;

/** The same heads on an axis of their own. */
const apart = (q: number, kv: number, body: string) =>
  projected(
    q,
    kv,
    `, int64[4] sq = {2, 5, ${q}, 4}, int64[4] sk = {2, 5, ${kv}, 4}, int64[4] sv = {2, 5, ${kv}, 6}, int64[3] so = {2, 5, ${6 * q}}`,
    `q0 = Reshape (q, sq) k0 = Reshape (k, sk) v0 = Reshape (v, sv) q1 = Transpose <perm = [0, 2, 1, 3]> (q0)
     k1 = Transpose <perm = [0, 2, 1, 3]> (k0) v1 = Transpose <perm = [0, 2, 1, 3]> (v0) ${body}
     o1 = Transpose <perm = [0, 2, 1, 3]> (o0) o = Reshape (o1, so)`,
  );

describe("Attention", () => {
  for (const opset of [23, 24, 25])
    test(`with packed heads has heads, dims of Q and K, and dims of V (opset ${opset})`, async () => {
      const { groups } = await proved(projected(3, 3, "", "o = Attention <q_num_heads = 3, kv_num_heads = 3> (q, k, v)"), opset);
      expect(groups).toEqual(["wq:1 3", "wq:1/2 4", "wv:1 6"]);
    });

  test("with packed heads keeps the scale of the whole head, and counts the heads that are left", async () => {
    const model = modelOf(projected(3, 3, "", "o = Attention <q_num_heads = 3, kv_num_heads = 3> (q, k, v)"), 23);
    model.irVersion = 10;
    const c = findGroups(model);
    const { sliced } = await prove(c, [...choices(c, "wq:1", [1]), ...choices(c, "wq:1/2", [0, 2])]);
    const attention = findNode(sliced, "o");
    expect([attention.int("q_num_heads"), attention.int("kv_num_heads"), attention.float("scale")]).toEqual([2, 2, 0.5]);
    expect(findNode(sliced, "q").inputs[1]?.constant?.dims).toEqual([8, 4]);
  });

  test("with a scale of its own keeps that", async () => {
    const model = modelOf(projected(3, 3, "", "o = Attention <q_num_heads = 3, kv_num_heads = 3, scale = 0.25> (q, k, v)"), 23);
    model.irVersion = 10;
    const c = findGroups(model);
    const proof = await prove(c, choices(c, "wq:1/2", [3]));
    expect(proof.maxRel).toBeLessThanOrEqual(1e-5);
    expect(findNode(proof.sliced, "o").float("scale")).toBe(0.25);
  });

  test("with two queries for each head of K and V lets those heads leave, and queries from all of them", async () => {
    const { groups, c } = await proved(projected(4, 2, "", "o = Attention <q_num_heads = 4, kv_num_heads = 2, is_causal = 1> (q, k, v)"));
    expect(groups).toEqual(["wq:1 2", "wq:1/2 2", "wq:1/3 4", "wv:1 6"]);
    const { sliced, maxRel } = await prove(c, choices(c, "wq:1/2", [0]));
    expect(maxRel).toBeLessThanOrEqual(1e-5);
    const attention = findNode(sliced, "o");
    expect([attention.int("q_num_heads"), attention.int("kv_num_heads")]).toEqual([2, 2]);
  });

  test("with one head of K and V for all queries lets queries leave one by one", async () => {
    const { groups } = await proved(projected(4, 1, "", "o = Attention <q_num_heads = 4, kv_num_heads = 1> (q, k, v)"));
    expect(groups).toEqual(["wq:1 4", "wq:1/2 4", "wv:1 6"]);
  });

  test("with a mask for each head cuts the mask as well", async () => {
    const { groups, c } = await proved(
      projected(3, 3, ", float[1,3,5,5] m = {...}", "o = Attention <q_num_heads = 3, kv_num_heads = 3, softcap = 2.0> (q, k, v, m)"),
    );
    expect(groups).toEqual(["wq:1 3", "wq:1/2 4", "wv:1 6"]);
    const { sliced } = await prove(c, choices(c, "wq:1", [0]));
    expect(findNode(sliced, "o").inputs[3]?.constant?.dims).toEqual([1, 2, 5, 5]);
  });

  test("with a mask for all heads leaves it whole", async () => {
    const { groups } = await proved(
      projected(3, 3, ", float[5,5] m = {...}", "o = Attention <q_num_heads = 3, kv_num_heads = 3> (q, k, v, m)"),
    );
    expect(groups).toEqual(["wq:1 3", "wq:1/2 4", "wv:1 6"]);
  });

  test("with heads apart has them too, through Reshape and Transpose", async () => {
    const { groups } = await proved(apart(4, 2, "o0 = Attention (q1, k1, v1)"));
    expect(groups).toEqual(["wq:1 2", "wq:1/2 2", "wq:1/3 4", "wv:1 6"]);
  });

  test("whose cache the model takes and gives keeps what the cache holds, and lets queries leave", async () => {
    const cached = projected(4, 2, "", "o, pk2, pv2 = Attention <q_num_heads = 4, kv_num_heads = 2> (q, k, v, , pk, pv)").replace(
      "x) => (float[] y)",
      "x, float[2,2,3,4] pk, float[2,2,3,6] pv) => (float[] y, float[] pk2, float[] pv2)",
    );
    const { groups } = await proved(cached);
    expect(groups).toEqual(["wq:1 2"]);
  });

  test("that shows its scores keeps the heads of the scores", async () => {
    const shown = projected(3, 3, "", "o, , , s = Attention <q_num_heads = 3, kv_num_heads = 3> (q, k, v)").replace(
      "(float[] y)",
      "(float[] y, float[] s)",
    );
    const { groups } = await proved(shown);
    expect(groups).toEqual(["wq:1 4", "wv:1 6"]);
  });

  test("of a cache that is not full couples the lengths with the batch", async () => {
    const { groups } = await proved(
      projected(3, 3, ", int64[2] n = {3, 5}", "o = Attention <q_num_heads = 3, kv_num_heads = 3> (q, k, v, , , , n)"),
      24,
    );
    expect(groups).toEqual(["wq:1 3", "wq:1/2 4", "wv:1 6"]);
  });

  test("of heads that do not divide is told to be a contradiction", () => {
    const model = modelOf(projected(3, 3, "", "o = Attention <q_num_heads = 3, kv_num_heads = 4> (q, k, v)"), 23);
    expect(() => findGroups(model)).toThrow(/3 heads of Q|does not divide|do not divide/);
  });
});

describe("RotaryEmbedding", () => {
  const turned = (attributes: string, columns: number, size = 8) => `g (float[2,5,6] x) => (float[] y) <
    float[6,${3 * size}] wq = {...}, float[6,${3 * size}] wk = {...}, float[6,12] wv = {...}, float[12,6] wo = {...},
    float[5,${columns}] cos = {...}, float[5,${columns}] sin = {...}, int64[2,5] at = {0, 1, 2, 3, 4, 4, 3, 2, 1, 0}> {
    q = MatMul (x, wq) k = MatMul (x, wk) v = MatMul (x, wv)
    q1 = RotaryEmbedding <num_heads = 3${attributes}> (q, cos, sin, at) k1 = RotaryEmbedding <num_heads = 3${attributes}> (k, cos, sin, at)
    o = Attention <q_num_heads = 3, kv_num_heads = 3> (q1, k1, v) y = MatMul (o, wo) }`;

  test("of halves couples a dim with its partner and their column of the tables", async () => {
    const { groups, c } = await proved(turned("", 4));
    expect(groups).toEqual(["wq:1 3", "wq:1/2 4", "wv:1 4"]);
    const { sliced } = await prove(c, choices(c, "wq:1/2", [1]));
    expect(findNode(sliced, "q1").inputs[1]?.constant?.dims).toEqual([5, 3]);
    expect(findNode(sliced, "q").inputs[1]?.constant?.dims).toEqual([6, 18]);
  });

  test("of neighbours couples those", async () => {
    const { groups } = await proved(turned(", interleaved = 1", 4));
    expect(groups).toEqual(["wq:1 3", "wq:1/2 4", "wv:1 4"]);
  });

  for (const interleaved of [0, 1])
    test(`of a part of each head leaves the other dims free (interleaved = ${interleaved})`, async () => {
      const { groups, c } = await proved(turned(`, rotary_embedding_dim = 4, interleaved = ${interleaved}`, 2));
      // Two pairs, and four dims that are not turned.
      expect(groups).toEqual(["wq:1 3", "wq:1/2 2", "wq:1/3 4", "wv:1 4"]);
      const { sliced } = await prove(c, [...choices(c, "wq:1", [2]), ...choices(c, "wq:1/2", [0]), ...choices(c, "wq:1/3", [1, 3])]);
      const rotary = findNode(sliced, "q1");
      expect([rotary.int("num_heads"), rotary.int("rotary_embedding_dim")]).toEqual([2, 2]);
    });

  test("with heads apart and a table per step", async () => {
    const text = apart(3, 3, "q2 = RotaryEmbedding (q1, cos, sin) k2 = RotaryEmbedding (k1, cos, sin) o0 = Attention (q2, k2, v1)").replace(
      "float[8,12] wq",
      "float[2,5,2] cos = {...}, float[2,5,2] sin = {...}, float[8,12] wq",
    );
    expect((await proved(text)).groups).toEqual(["wq:1 3", "wq:1/2 2", "wv:1 6"]);
  });

  test("by tables that the model takes keeps the dims, and lets heads leave", async () => {
    const text = turned("", 4)
      .replace("float[2,5,6] x", "float[2,5,6] x, float[5,4] cos, float[5,4] sin")
      .replace("float[5,4] cos = {...}, float[5,4] sin = {...}, ", "");
    expect((await proved(text)).groups).toEqual(["wq:1 3", "wv:1 4"]);
  });
});
