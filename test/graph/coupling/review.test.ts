/** Rules that once let a slice go although something still depended on it, or left a size behind that no longer held. */
import { describe, expect, test } from "vitest";
import { Kept } from "../../../src/graph/coupling/choices.js";
import { type Coupling, findGroups } from "../../../src/graph/coupling/groups.js";
import type { Model } from "../../../src/graph/graph.js";
import { parse } from "../../../src/graph/parse.js";
import { maskedOf } from "../../../src/verify/masked.js";
import { findValue, modelOf } from "../../support/build.js";
import { prove, randomRemoval, relative } from "../../support/oracle.js";
import { run } from "../../support/run.js";

const groups = (c: Coupling) => c.groups.map((g) => `${g.name} ${g.choices.length}`);

/** Why axis `axis` of `value` is kept whole. */
function why(c: Coupling, value: string, axis: number): string | undefined {
  const a = c.typing.axesOf(findValue(c.typing.model, value))?.[axis];
  return a && c.typing.system.reason(a)?.text;
}

/** Several random removals compute what both oracles compute; at least one of them changes something. */
async function expectSound(model: Model, batch = 2): Promise<Coupling> {
  const c = findGroups(model);
  let drift = 0;
  for (const seed of [1, 2, 3, 4, 5]) {
    const removed = randomRemoval(c, seed, seed % 2 === 0 ? 0.5 : undefined);
    if (removed.size === 0) continue;
    const proof = await prove(c, removed, { seed, batch });
    expect(proof.maxRel).toBeLessThanOrEqual(1e-5);
    drift = Math.max(drift, proof.drift);
    const kept = new Kept(c.typing.system, c.choices, removed);
    for (const operand of ["first", "last"] as const) {
      const masked = maskedOf(c.typing, kept, operand);
      // float32 sums with zeros in between: measured up to 4e-7.
      if (masked) expect(relative(await run(masked, { seed, batch }), await run(proof.oracle, { seed, batch }))).toBeLessThanOrEqual(1e-5);
    }
  }
  expect(drift).toBeGreaterThan(0);
  return c;
}

const MLP = "float[3,6] a = {...}, float[6,2] b = {...}";
const CNN = "float[4,3,1,1] a = {...}, float[2,4,1,1] b = {...}";

describe("a small constant", () => {
  test("that is a graph output stays whole there", async () => {
    const c = await expectSound(
      modelOf(`g (float[N,3] x) => (float[N,2] y, float[6] k) < ${MLP}, float[6] k = {...} > {
        h = MatMul (x, a)  u = Add (h, k)  y = MatMul (u, b)
      }`),
    );
    expect(groups(c)).toEqual(["a:1 6"]);
  });

  test("that a subgraph reads stays whole there", async () => {
    await expectSound(
      modelOf(`g (float[N,3] x, bool c) => (float[N,2] y, float[6] z) < ${MLP}, float[6] k = {...} > {
        h = MatMul (x, a)  u = Add (h, k)  y = MatMul (u, b)
        z = If <then_branch = t () => (float[6] p) { p = Relu (k) }, else_branch = e () => (float[6] q) { q = Neg (k) }> (c)
      }`),
    );
  });
});

describe("sizes and positions that follow a pruned extent", () => {
  test("keep their values where they cut another axis: Split", async () => {
    await expectSound(
      modelOf(`g (float[N,3] x) => (float[N,2] y) < ${MLP}, float[3,9] d = {...}, float[6,2] e = {...}, float[3,2] f = {...},
        int64[1] one = {1}, int64[1] nine = {9} > {
        h = MatMul (x, a)  y0 = MatMul (h, b)
        s = Shape (h)  c = Gather (s, one)  r = Sub (nine, c)  sizes = Concat <axis = 0> (c, r)
        m = MatMul (x, d)  n = Softmax <axis = 1> (m)
        p, q = Split <axis = 1> (n, sizes)
        y1 = MatMul (p, e)  y2 = MatMul (q, f)  y3 = Add (y0, y1)  y = Add (y3, y2)
      }`),
    );
  });

  test("keep their values where the end of the cut is computed by the run: Slice", async () => {
    await expectSound(
      modelOf(`g (float[N,3] x, float[9,2] z) => (float[M,2] w, float[N,2] y) < ${MLP}, int64[1] one = {1}, int64[1] nine = {9}, int64[1] zero = {0} > {
        h = MatMul (x, a)  y = MatMul (h, b)
        s = Shape (h)  start = Gather (s, one)
        m = ReduceMax <keepdims = 0> (z)  i = Cast <to = 7> (m)  j = Mul (i, i)  k = Unsqueeze (j, zero)  end = Max (k, nine)
        w = Slice (z, start, end, zero)
      }`),
    );
  });

  test("keep their values where they pick a row: Gather", async () => {
    await expectSound(
      modelOf(`g (float[N,3] x) => (float[N,2] y, float[6,2] z) < ${MLP}, float[6,2] table = {...}, int64 one = {1} > {
        h = MatMul (x, a)  u = MatMul (h, b)
        s = Shape (h)  c = Gather (s, one)  last = Sub (c, one)
        row = Gather (table, last)  y = Add (u, row)
        z = Softmax <axis = 0> (table)
      }`),
    );
  });

  test("a table they are looked up in is no weight", () => {
    const c = findGroups(
      modelOf(`g (float[N,3] x) => (float[N,2] y) < ${MLP}, int8[6,6] w = {...}, float scale = {0.1}, int64 two = {2} > {
        h = MatMul (x, a)  wf = DequantizeLinear (w, scale)  u = MatMul (h, wf)
        row = Gather (w, two)  f = Cast <to = 1> (row)  m = ReduceMax <keepdims = 0> (f)
        v = Mul (u, m)  y = MatMul (v, b)
      }`),
    );
    expect(why(c, "w", 1)).toBe("shape arithmetic looks it up");
  });
});

describe("computed sizes of which one stays a symbol", () => {
  const CHANNELS =
    "float[10,3,1,1] a = {...}, float[3,160] b = {...}, int64[1] i0 = {0}, int64[1] i1 = {1}, int64[1] i2 = {2}, int64[1] i10 = {10}, int64[1] i16 = {16}";

  test("keep the symbol where -1 could not be told to be it", async () => {
    // The batch became -1 of [N, C, H, W] in 10 and 16: another size computed from it could then not be rewritten.
    await expectSound(
      modelOf(`g (float[N,3,H,W] x) => (float[N,3] y) < ${CHANNELS}, float[3] c = {...}, int64[2] flat = {0, 320}, float[3,320] e = {...} > {
        h = Conv (x, a)
        s = Shape (h)  n = Gather (s, i0)  target = Concat <axis = 0> (n, i10, i16)
        r = Reshape (h, target)
        t = Shape (r)  m = Gather (t, i0)  again = Concat <axis = 0> (m, i10, i16)
        z = ConstantOfShape <value = float[1] {0.25}> (again)
        u = Concat <axis = 2> (z, r)
        f = Reshape (u, flat)
        y = Gemm <transB = 1> (f, e, c)
      }`),
      4,
    );
  });

  test("leave to Reshape what follows a pruned extent and should not", async () => {
    // 10·H where H·W was meant: right at W = 10 only, and 10 must not become what is left of it.
    await expectSound(
      modelOf(`g (float[N,3,H,W] x) => (float[N,P,2] y) < ${CHANNELS}, float[10,2] d = {...} > {
        h = Conv (x, a)
        s = Shape (h)  n = Gather (s, i0)  c = Gather (s, i1)  k = Gather (s, i2)  p = Mul (c, k)
        target = Concat <axis = 0> (n, i10, p)
        r = Reshape (h, target)  t = Transpose <perm = [0, 2, 1]> (r)
        y = MatMul (t, d)
      }`),
      10,
    );
  });
});

test("a flip with 32-bit operands still goes to the front", async () => {
  // The end past the front was written as a number of 53 bits, which is 1 in 32.
  await expectSound(
    modelOf(`g (float[N,3] x) => (float[N,2] y) < ${MLP},
      int32[1] start = {-1}, int32[1] end = {-2147483648}, int32[1] axis = {1}, int32[1] step = {-1} > {
      h = MatMul (x, a)  f = Slice (h, start, end, axis, step)  y = MatMul (f, b)
    }`),
  );
});

describe("resampled channels are mixed", () => {
  test.each([
    ['f = Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"> (h, "", s)', 13],
    ['f = Upsample <mode = "nearest"> (h, s)', 9],
  ])("also where a scale of 1.2 leaves 4 of 4: %s", (resize, opset) => {
    const text = `g (float[N,3,4,4] x) => (float[N,2,8,8] y) < ${CNN}, float[4] s = {1.0, 1.2, 2.0, 2.0} > { h = Conv (x, a)  ${resize}  y = Conv (f, b) }`;
    expect(why(findGroups(modelOf(text, opset)), "a", 0)).toMatch(/resamples it/);
  });

  test("and bounds that keep the aspect ratio stay as they are", async () => {
    // A bound of 100 once became the 9 it led to: then the other axis, not this one, sets the scale.
    await expectSound(
      modelOf(
        `g (float[N,3,3,7] x) => (float[N,2,4,9] y) < ${CNN}, int64[2] s = {4, 100} > {
          h = Conv (x, a)  f = Resize <mode = "linear", keep_aspect_ratio_policy = "not_larger", axes = [2, 3]> (h, "", "", s)  y = Conv (f, b)
        }`,
        18,
      ),
    );
  });
});

describe("outputs beside the first", () => {
  test("LayerNormalization's mean lies on the axes it did not average", async () => {
    const c = await expectSound(
      modelOf(
        `g (float[N,3,5] x) => (float[N,2,1] y, float[N,2,5] z) < float[6,3] a = {...}, float[2,6] b = {...}, float[5] s = {...} > {
          h = MatMul (a, x)  n, m, d = LayerNormalization <axis = -1> (h, s)  y = MatMul (b, m)  z = MatMul (b, n)
        }`,
        17,
      ),
    );
    expect(groups(c)).toEqual(["a:0 6"]);
  });

  test("statistics that an old BatchNormalization lists lie on its channels", async () => {
    await expectSound(
      modelOf(
        `g (float[N,3,4,4] x) => (float[N,2,4,4] y) < ${CNN}, float[4] s = {...}, float[4] t = {...}, float[4] m = {...}, float[4] v = {1.0, 2.0, 3.0, 4.0} > {
          h = Conv (x, a)  u, o1, o2, o3, o4 = BatchNormalization (h, s, t, m, v)  y = Conv (u, b)
        }`,
        9,
      ),
    );
  });

  test("positions that MaxPool gives count across batch and channels", () => {
    const c = findGroups(
      modelOf(`g (float[2,3,4,4] x) => (float[6,4] y) < float[6,3,1,1] a = {...}, float[6,12] w = {...},
        int64[4] s = {12, 1, 4, 4}, int64[2] t = {12, 4} > {
        h = Conv (x, a)  r = Reshape (h, s)  p, i = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r)
        f = Cast <to = 1> (i)  q = Reshape (f, t)  y = MatMul (w, q)
      }`),
    );
    expect(why(c, "a", 0)).toBe("the Indices output counts across it");
  });
});

describe("a symbol may turn out to be as long as what it meets", () => {
  test("in a broadcast", async () => {
    const model = modelOf(
      "g (float[N,3] x, float[N] z) => (float[K,2] y) < float[3,6] a = {...}, float[6,2] b = {...} > { h = MatMul (x, a)  u = Add (h, z)  y = MatMul (u, b) }",
    );
    expect((await run(model, { batch: 6 }))["y"]).toHaveLength(12);
    expect(why(findGroups(model), "a", 1)).toBe("it meets an extent of N that cannot be shown to be equal");
  });

  test("in an Expand", async () => {
    const model = modelOf(
      "g (float[N] z) => (float[2] y) < float[6,2] b = {...}, int64[1] six = {6} > { u = Expand (z, six)  y = MatMul (u, b) }",
    );
    expect((await run(model, { batch: 6 }))["y"]).toHaveLength(2);
    expect(findGroups(model).groups).toEqual([]);
  });
});

test("a local function is not the standard op of its name, whatever type its output declares", () => {
  const c = findGroups(
    parse(`<ir_version: 8, opset_import: ["" : 13]> g (float[N,3] x) => (float[N,2] y) < ${MLP}, float[N,6] u > {
      h = MatMul (x, a)  u = Relu (h)  y = MatMul (u, b) }
      <domain: "", opset_import: ["" : 13]> Relu (p) => (q) { q = Softmax <axis = -1> (p) }`),
  );
  expect(c.groups).toEqual([]);
});

test("rows of a grouped ConvTranspose make channels where the sum runs over the others", () => {
  // W.0 is the groups × what lies in each: only the latter is summed, and merging must not touch the filters of the groups.
  const c = findGroups(
    modelOf(`g (float[N,3,4,4] x) => (float[N,2,4,4] y) < float[8,3,1,1] a = {...}, float[8,1,3,3] w = {...}, float[2,4,1,1] b = {...} > {
      h = Conv (x, a)  u = ConvTranspose <group = 4, pads = [1, 1, 1, 1]> (h, w)  y = Conv (u, b)
    }`),
  );
  const roles = c.groups.map((g) => [g.choices.length, g.slots.filter((s) => s.value.name === "w").map((s) => s.role)]);
  expect(roles).toEqual([
    [8, ["consumer"]],
    [4, ["producer"]],
  ]);
});
