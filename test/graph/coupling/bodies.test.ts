/** Bodies of If, Loop and Scan are typed, sliced and proven as the graph around them is. */
import { describe, expect, test } from "vitest";
import { check } from "../../../src/graph/check.js";
import { cost } from "../../../src/graph/cost.js";
import { Kept } from "../../../src/graph/coupling/choices.js";
import { type Coupling, findGroups } from "../../../src/graph/coupling/groups.js";
import { everyNode } from "../../../src/graph/graph.js";
import { maskedOf } from "../../../src/verify/masked.js";
import { poison } from "../../../src/verify/poison.js";
import { modelOf } from "../../support/build.js";
import { prove, randomRemoval, relative } from "../../support/oracle.js";
import { run } from "../../support/run.js";

const groups = (c: Coupling) => c.groups.map((g) => `${g.name} ${g.choices.length}`);

/** Prunes half of every pool and a random share, and compares with both oracles and with poisoned weights. */
async function expectEqual(c: Coupling, feeds = 3) {
  for (let seed = 0; seed < feeds; seed++) {
    const removed = randomRemoval(c, seed, seed === 0 ? 0.5 : undefined);
    const proof = await prove(c, removed, { seed });
    // float32 sums of the same terms in another order.
    expect(proof.maxRel, `seed ${seed}`).toBeLessThanOrEqual(1e-5);
    if (seed === 0) expect(proof.drift).toBeGreaterThan(0);
    expect(check(proof.sliced)).toEqual([]);
    const kept = new Kept(c.typing.system, c.choices, removed);
    const masked = maskedOf(c.typing, kept);
    if (masked) expect(relative(await run(masked, { seed }), await run(proof.oracle, { seed }))).toBeLessThanOrEqual(1e-5);
  }
}

/** Elements of all weights after half of every pool left. */
async function halved(c: Coupling): Promise<number> {
  const { sliced } = await prove(c, randomRemoval(c, 0, 0.5));
  return cost(sliced).parameters;
}

function why(c: Coupling, value: string, axis: number): string | undefined {
  for (const node of everyNode(c.typing.model.graph)) {
    const index = node.inputs.findIndex((v) => v?.name === value);
    const axes = index >= 0 ? c.typing.axesOfInput(node, index) : undefined;
    if (axes) return c.typing.system.reason(axes[axis] as (typeof axes)[number])?.text;
  }
  throw new Error(`Nothing reads "${value}".`);
}

describe("If", () => {
  const branches = (yes: string, no: string, weights: string) =>
    modelOf(`g (float[N,3] x, bool c) => (float[N,2] y) < float[3,8] a = {...}, float[8,2] z = {...}, ${weights} > {
      h = MatMul (x, a)
      t = If (c) <then_branch = yes () => (float[N,8] s) { ${yes} }, else_branch = no () => (float[N,8] s) { ${no} }>
      y = MatMul (t, z)
    }`);

  test("the branches' outputs are the node's, and both prune what they capture", async () => {
    const c = findGroups(branches("s = Relu (h)", "s = Mul (h, v)", "float[8] v = {...}"));
    expect(groups(c)).toEqual(["a:1 8"]);
    await expectEqual(c);
    expect(await halved(c)).toBe(3 * 4 + 4 * 2 + 4);
  });

  test("a contraction inside a branch is gathered there, weights inside and outside are slots alike", async () => {
    const c = findGroups(
      branches(
        "w = Constant <value = float[8,6] {...}> ()  u = MatMul (h, w)  r = Relu (u)  s = MatMul (r, outer)",
        "s = MatMul (h, own)",
        "float[6,8] outer = {...}, float[8,8] own = {...}",
      ),
    );
    expect(groups(c)).toEqual(["a:1 8", "w:1 6", "outer:1 8"]);
    await expectEqual(c);
    expect(await halved(c)).toBe(3 * 4 + 4 * 3 + 3 * 4 + 4 * 4 + 4 * 2);
  });

  test("a constant that a branch returns is sliced with what the other branch makes", async () => {
    const model = modelOf(`g (float[3] x, bool c) => (float[2] y) < float[3,8] a = {...}, float[8,2] z = {...} > {
      h = MatMul (x, a)
      t = If (c) <then_branch = yes () => (float[8] s) { s = Relu (h) }, else_branch = no () => (float[8] k) { k = Constant <value = float[8] {...}> () }>
      y = MatMul (t, z)
    }`);
    const c = findGroups(model);
    expect(groups(c)).toEqual(["a:1 8"]);
    await expectEqual(c);
    expect(await halved(c)).toBe(3 * 4 + 4 * 2 + 4);
  });

  test("branches of different extents freeze what they give, with the reason", async () => {
    const model = modelOf(`g (float[N,3] x, bool c) => (float[N,2] y) < float[3,8] a = {...}, float[2,2] z = {...} > {
      h = MatMul (x, a)
      t = If (c) <then_branch = yes () => (s) { s = Relu (h) }, else_branch = no () => (s) { s = Concat <axis = 1> (h, h) }>
      k = ReduceMean <axes = [1], keepdims = 1> (t)
      e = Concat <axis = 1> (k, k)
      y = MatMul (e, z)
    }`);
    const c = findGroups(model);
    expect(groups(c)).toEqual([]);
    expect(why(c, "h", 1)).toBe("the branches of If give different extents");
  });

  test("a branch that contradicts the shapes at hand freezes what it touches, the other goes on", async () => {
    const model = modelOf(
      `g (float[N,3] x, bool c) => (float[N,2] y) < float[3,8] a = {...}, float[3,8] b = {...}, float[8,2] z = {...} > {
      h = MatMul (x, a)  i = MatMul (x, b)
      t = If (c) <then_branch = yes () => (s) { s = Squeeze (i, ax)  ax = Constant <value = int64[1] {1}> () }, else_branch = no () => (s) { s = Relu (h) }>
      y = MatMul (t, z)
    }`.replace(
        "{ s = Squeeze (i, ax)  ax = Constant <value = int64[1] {1}> () }",
        "{ ax = Constant <value = int64[1] {1}> ()  s = Squeeze (i, ax) }",
      ),
    );
    const c = findGroups(model);
    expect(groups(c)).toEqual(["a:1 8"]);
    expect(why(c, "i", 1)).toContain("a body contradicts the shapes it is given");
  });

  test("sizes computed inside a branch follow", async () => {
    const model = modelOf(`g (float[N,3,4,4] x, bool c) => (float[N,2] y) < float[8,3,1,1] a = {...}, float[128,2] z = {...} > {
      h = Conv (x, a)
      t = If (c) <
        then_branch = yes () => (float[N,128] s) {
          d = Shape (h) i0 = Constant <value = int64[1] {0}> ()  n = Gather (d, i0)
          k = Constant <value = int64[1] {128}> ()  to = Concat <axis = 0> (n, k)  s = Reshape (h, to) },
        else_branch = no () => (float[N,128] s) { r = Sigmoid (h) s = Flatten (r) }>
      y = MatMul (t, z)
    }`);
    const c = findGroups(model);
    expect(groups(c)).toEqual(["a:0 8"]);
    await expectEqual(c);
  });

  test("an If within an If reads values two graphs out, and siblings may use one name twice", async () => {
    const inner = (w: string) => `If (c) <then_branch = p () => (float[N,8] s) { w = Constant <value = float[8,5] {...}> ()
      q = MatMul (h, w) s = MatMul (q, ${w}) }, else_branch = q () => (float[N,8] s) { s = Neg (h) }>`;
    const c = findGroups(
      branches(`s = ${inner("o")}`, `w = Constant <value = float[8,8] {...}> () r = MatMul (h, w) s = Relu (r)`, "float[5,8] o = {...}"),
    );
    expect(
      groups(c)
        .map((g) => g.split(" ")[1])
        .sort(),
    ).toEqual(["5", "8"]);
    expect(new Set(c.groups.map((g) => g.name)).size).toBe(2);
    await expectEqual(c);
  });
});

describe("Loop", () => {
  const loop = (body: string, more = "") =>
    modelOf(
      `g (float[N,3] x) => (float[N,2] y) < float[3,8] a = {...}, float[8,2] z = {...}, int64 five = {5} ${more} > {
      h = MatMul (x, a)
      ${body}
    }`,
    );

  test("state in, state out, body input and final state are one axis; scan outputs get the iterations in front", async () => {
    const c = findGroups(
      loop(
        `last, all = Loop <body = b (int64 i, bool k, float[N,8] s) => (bool k2, float[N,8] s2, float[N,8] o) {
           k2 = Identity (k)  u = MatMul (s, w)  s2 = Tanh (u)  o = Relu (s2) }> (five, go1, h)
         t = ReduceSum <keepdims = 0> (all, zero)
         q = Add (t, last)
         y = MatMul (q, z)`,
        ", float[8,8] w = {...}, int64[1] zero = {0}, bool go1 = {1}",
      ),
    );
    expect(groups(c)).toEqual(["a:1 8"]);
    await expectEqual(c);
    expect(await halved(c)).toBe(3 * 4 + 4 * 4 + 4 * 2);
  });

  test("channels made and read inside one iteration are a group of the body", async () => {
    const c = findGroups(
      loop(
        `last = Loop <body = b (int64 i, bool k, float[N,3] s) => (bool k2, float[N,3] s2) {
           k2 = Identity (k)  u = MatMul (s, w)  r = Relu (u)  s2 = MatMul (r, w2) }> (five, go1, x)
         f = MatMul (last, a)
         y = MatMul (f, z)`,
        ", float[3,6] w = {...}, float[6,3] w2 = {...}, bool go1 = {1}",
      ),
    );
    expect(groups(c)).toEqual(["a:1 8", "w:1 6"]);
    await expectEqual(c);
  });

  test("a state that grows is kept whole along the axis that grows, and free along the other", async () => {
    const c = findGroups(
      loop(
        `last = Loop <body = b (int64 i, bool k, float[M,8] s) => (bool k2, float[P,8] s2) {
           k2 = Identity (k)  s2 = Concat <axis = 0> (s, h) }> (five, go1, h)
         t = ReduceSum <keepdims = 1> (last, zero)
         e = Add (t, h)
         y = MatMul (e, z)`,
        ", int64[1] zero = {0}, bool go1 = {1}",
      ),
    );
    expect(groups(c)).toEqual(["a:1 8"]);
    await expectEqual(c);
  });

  test("a trip count taken from a pruned extent keeps its value", async () => {
    const c = findGroups(
      loop(
        `d = Shape (h)  one = Constant <value = int64 {1}> ()  n = Gather (d, one)
         last = Loop <body = b (int64 i, bool k, float[N,8] s) => (bool k2, float[N,8] s2) { k2 = Identity (k)  s2 = Add (s, h) }> (n, go1, h)
         y = MatMul (last, z)`,
        ", bool go1 = {1}",
      ),
    );
    expect(groups(c)).toEqual(["a:1 8"]);
    await expectEqual(c);
  });

  test("an extent that a body returns pins the axis it measures", () => {
    const c = findGroups(
      loop(
        `last, n = Loop <body = b (int64 i, bool k, float[N,8] s) => (bool k2, float[N,8] s2, int64[2] d) { k2 = Identity (k) d = Shape (s) s2 = Add (s, h) }> (five, go1, h)
         y = MatMul (last, z)`,
        ", bool go1 = {1}",
      ),
    );
    expect(groups(c)).toEqual([]);
    expect(why(c, "h", 1)).toBe('a body returns its extent as "d"');
  });
});

test("a state that is cut outside and regrouped on its way round comes round to itself: told in finite time", async () => {
  const regrouped =
    "sum = Add (s, v) u = Shape (sum) m = Constant <value = int64[1] {-1}> () t = Reshape (sum, m) r = Neg (t) raw = Reshape (r, u) s2 = Tanh (raw)";
  const model = modelOf(`g (float[2,3,4,4] x, float[2,4,4] i) => (float[2,3,4,2] y, float[2,4,3] z) <
      float[2,2] c = {...}, float[4,3] d = {...}, int64[1] at0 = {0}, int64[1] at2 = {2}, int64[1] at3 = {3}, int64 zero = {0} > {
    l1, o = Scan <num_scan_inputs = 1, scan_input_axes = [1], scan_output_axes = [1],
      body = one (float[A,B,C] s, float[D,E,F] v) => (float[G,H,I] s2, float[J,K,L] e) { ${regrouped} w = Constant <value = float[4,4] {...}> () e = MatMul (s2, w) }> (i, x)
    p = Slice (o, at0, at2, at3)  y = MatMul (p, c)
    g0 = Gather <axis = 1> (o, zero)
    l2, q = Scan <num_scan_inputs = 1, scan_input_axes = [1], scan_output_axes = [1],
      body = two (float[M,N,O] s, float[P,Q,R] v) => (float[S,T,U] s2, float[V,W,X] e) { ${regrouped} e = Relu (s2) }> (g0, x)
    z = MatMul (l2, d)
  }`);
  const proof = await prove(findGroups(model), randomRemoval(findGroups(model), 1, 0.5));
  expect(proof.maxRel).toBeLessThanOrEqual(1e-5);
});

describe("Scan", () => {
  test("a recurrence by hand: states, scanned inputs and outputs along other axes, backwards", async () => {
    const model =
      modelOf(`g (float[5,N,3] x) => (float[N,2] y, float[N,2] e) < float[3,8] a = {...}, float[8,6] w = {...}, float[6,6] u = {...},
        float[6] b = {...}, float[2,6] init = {...}, float[6,2] z = {...}, int64[1] one = {1}> {
      h = MatMul (x, a)
      xt = Transpose <perm = [1, 0, 2]> (h)
      last, all = Scan <num_scan_inputs = 1, scan_input_axes = [1], scan_input_directions = [1], scan_output_axes = [1], body = c (float[2,6] s, float[N,8] v) => (float[2,6] s2, float[N,6] o) {
        p = MatMul (v, w)  q = MatMul (s, u)  r = Add (p, q)  t = Add (r, b)  s2 = Tanh (t)  o = Identity (s2) }> (init, xt)
      m = ReduceSum <keepdims = 0> (all, one)
      y = MatMul (m, z)
      e = MatMul (last, z)
    }`);
    const c = findGroups(model);
    expect(groups(c)).toEqual(["a:1 8", "init:1 6"]);
    await expectEqual(c);
    expect(await halved(c)).toBe(3 * 4 + 4 * 3 + 3 * 3 + 3 + 2 * 3 + 3 * 2);
  });

  test("the axis it runs along is kept, and says so", () => {
    const model = modelOf(
      `g (float[N,3] x) => (float[N,2] y) < float[3,8] a = {...}, float[N,2] z, float[2,2] zz = {...} > {
      h = MatMul (x, a)
      s = Scan <num_scan_inputs = 1, scan_input_axes = [-1], body = c (float[N] v) => (float[N] o) { o = Relu (v) }> (h)
      t = Transpose (s)
      r = ReduceMean <axes = [1], keepdims = 1> (t)
      e = Concat <axis = 1> (r, r)
      y = MatMul (e, zz)
    }`.replace("float[N,2] z, ", ""),
    );
    const c = findGroups(model);
    expect(groups(c)).toEqual([]);
    expect(why(c, "h", 1)).toBe("Scan runs along it");
  });
});

test("removed weights inside bodies reach no output: made huge, they change nothing the kept ones make", async () => {
  const model = modelOf(`g (float[N,3] x, bool c) => (float[N,2] y) < float[3,8] a = {...}, float[8,2] z = {...} > {
    h = MatMul (x, a)
    t = If (c) <then_branch = yes () => (float[N,8] s) { w = Constant <value = float[8,8] {...}> () s = MatMul (h, w) }, else_branch = no () => (float[N,8] s) { s = Relu (h) }>
    y = MatMul (t, z)
  }`);
  const c = findGroups(model);
  const removed = randomRemoval(c, 1, 0.5);
  const kept = new Kept(c.typing.system, c.choices, removed);
  const { model: poisoned, count } = poison(c, kept);
  expect(count).toBeGreaterThan(3 * 4 + 4 * 2);
  const { oracle } = await prove(findGroups(poisoned), removed);
  expect(relative(await run(oracle), await run((await prove(c, removed)).sliced))).toBeLessThanOrEqual(1e-5);
});
