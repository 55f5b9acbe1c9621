/** Sizes computed by a run: a size that changes with a pruned axis and a symbol is written anew, or the axis says why it stays. */
import { describe, expect, test } from "vitest";
import { type Coupling, findGroups } from "../../../src/graph/coupling/groups.js";
import { modelOf } from "../../support/build.js";
import { prove, randomRemoval } from "../../support/oracle.js";

const groups = (c: Coupling) => c.groups.map((g) => `${g.name} ${g.choices.length}`);

async function expectEqual(c: Coupling, extent: Readonly<Record<string, number>> = {}) {
  for (const seed of [1, 2]) {
    const proof = await prove(c, randomRemoval(c, seed, 0.5), { seed, extent: (s) => extent[s] });
    expect(proof.maxRel).toBeLessThanOrEqual(1e-5);
    expect(proof.drift).toBeGreaterThan(0);
  }
}

/** Rows of a dynamic sequence and 8 pruned channels: h is [N, 8], L·8 elements once flattened. */
const model = (body: string, weights = "", outputs = "float[N,2] y") =>
  modelOf(`g (float[N,3] x) => (${outputs}) < float[3,8] a = {...}, float[8,2] z = {...}, int64[1] at0 = {0}, int64[1] at1 = {1}, int64[1] minus = {-1}, int64[1] eight = {8} ${weights} > {
    h = MatMul (x, a)
    s = Shape (h)  n = Gather (s, at0)  c = Gather (s, at1)
    ${body}
  }`);

describe("a size that is a product of a symbol and a pruned extent", () => {
  test("in Expand and ConstantOfShape", async () => {
    const c = findGroups(
      model(`nc = Mul (n, c)  flat = Reshape (h, minus)  full = ConstantOfShape <value = float[1] {0.5}> (nc)  sum = Add (flat, full)
        to = Concat <axis = 0> (n, c)  back = Reshape (sum, to)  y = MatMul (back, z)`),
    );
    // Zeros of an extent that is no product yet hold what is added to them.
    expect(groups(c)).toEqual([]);
    const d = findGroups(
      model(`n8 = Mul (n, eight)  flat = Reshape (h, minus)  one = Constant <value = float[1] {0.5}> ()  full = Expand (one, n8)  sum = Mul (flat, flat)
        to = Concat <axis = 0> (n, c)  back = Reshape (sum, to)  y = MatMul (back, z)`),
    );
    expect(groups(d)).toEqual(["a:1 8"]);
    await expectEqual(d);
  });

  test("in a Slice of everything, whose end is that product", async () => {
    const c = findGroups(
      model(`n8 = Mul (n, eight)  flat = Reshape (h, minus)  all = Slice (flat, at0, n8, at0)  sum = Tanh (all)
        to = Concat <axis = 0> (n, c)  back = Reshape (sum, to)  y = MatMul (back, z)`),
    );
    if (c.groups.length > 0) await expectEqual(c);
  });

  test("in Reshape with two symbols", async () => {
    const c = findGroups(
      modelOf(`g (float[N,L,3] x) => (float[N,L,2] y) < float[3,8] a = {...}, float[8,2] z = {...}, int64[1] at0 = {0}, int64[1] at1 = {1}, int64[1] eight = {8}, int64[1] four = {4}, int64[1] two = {2}> {
        h = MatMul (x, a)
        s = Shape (x)  n = Gather (s, at0)  l = Gather (s, at1)
        l8 = Mul (l, eight)
        to = Concat <axis = 0> (n, l8)  flat = Reshape (h, to)
        r = Relu (flat)
        back = Concat <axis = 0> (n, l, eight)
        h2 = Reshape (r, back)
        y = MatMul (h2, z)
      }`),
    );
    expect(groups(c)).toEqual(["a:1 8"]);
    await expectEqual(c, { N: 2, L: 3 });
  });

  test("in Expand over two symbols, of the shape of another", async () => {
    const c = findGroups(
      modelOf(`g (float[N,L,3] x, float[N,L,3] u) => (float[N,L,2] y) < float[3,8] a = {...}, float[8,2] z = {...}, float[1,1,8] e = {...}, int64[1] at0 = {0}, int64[1] at1 = {1}, int64[1] eight = {8}> {
        h = MatMul (x, a)
        s = Shape (x)  n = Gather (s, at0)  l = Gather (s, at1)
        to = Concat <axis = 0> (n, l, eight)  w = Expand (e, to)
        g = Add (h, w)
        y = MatMul (g, z)
      }`),
    );
    expect(groups(c)).toEqual(["a:1 8"]);
    await expectEqual(c, { N: 2, L: 3 });
  });
});

describe("a size that moves with a pruned extent, but must stay", () => {
  for (const [op, text] of [
    ["ConstantOfShape", "full = ConstantOfShape <value = float[1] {0.5}> (nc)"],
    ["Expand", "half = Constant <value = float[1] {0.5}> ()  full = Expand (half, nc)"],
    ["Tile", "n2 = Concat <axis = 0> (at1)  half = Constant <value = float[1] {0.5}> ()  full = Tile (half, nc)"],
    ["Slice", "big = Constant <value = float[40] {...}> ()  full = Slice (big, at0, nc, at0)"],
    [
      "Slice of int32",
      "big = Constant <value = float[40] {...}> ()  e = Cast <to = 6> (nc)  from = Cast <to = 6> (at0)  full = Slice (big, from, e, from)",
    ],
  ] as const) {
    test(op, async () => {
      const c = findGroups(model(`nc = Mul (n, c)  ${text}  t = ReduceSum <keepdims = 1> (full)  y0 = MatMul (h, z)  y = Add (y0, t)`));
      expect(groups(c)).toEqual(["a:1 8"]);
      await expectEqual(c);
    });
  }
});

describe("only what an element is computed from counts", () => {
  test("sizes of dynamic space pass through float arithmetic, and channels stay free", async () => {
    const c = findGroups(
      modelOf(`g (float[N,3,H,W] x) => (float[N,2,P,Q] y) < float[8,3,1,1] a = {...}, float[2,8,1,1] z = {...}, int64[1] two = {2}, int64[1] four = {4}, int64[1] zero = {0}, float[1] up = {2} > {
        h = Conv (x, a)
        s = Shape (h)
        hw = Slice (s, two, four, zero)  f = Cast <to = 1> (hw)  g = Mul (f, up)  t = Cast <to = 7> (g)
        nc = Slice (s, zero, two, zero)
        sizes = Concat <axis = 0> (nc, t)
        r = Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"> (h, "", "", sizes)
        y = Conv (r, z)
      }`),
    );
    expect(groups(c)).toEqual(["a:0 8"]);
    await expectEqual(c, { N: 2, H: 3, W: 4 });
  });

  test("a model output that tells the batch leaves the channels free, one that tells all does not", () => {
    const told = (out: string) => findGroups(model(`y = MatMul (h, z)  told = Identity (${out})`, "", "float[N,2] y, told"));
    expect(groups(told("n"))).toEqual(["a:1 8"]);
    expect(groups(told("s"))).toEqual([]);
  });

  test("a mean over the batch as a sum divided by its extent", async () => {
    const c = findGroups(
      model(`sum = ReduceSum <keepdims = 1> (h, at0)  f = Cast <to = 1> (n)  mean = Div (sum, f)  d = Sub (h, mean)  y = MatMul (d, z)`),
    );
    expect(groups(c)).toEqual(["a:1 8"]);
    await expectEqual(c);
  });
});
