import { describe, expect, test } from "vitest";
import { print } from "../../src/graph/print.js";
import { removeDead } from "../../src/passes/remove-dead.js";
import { removeIdentity } from "../../src/passes/remove-identity.js";
import { runPass } from "../../src/passes/run-pass.js";
import { modelOf } from "../support/build.js";
import { difference, run } from "../support/run.js";

const constants = `int64[4] same4 = {0, 4, -1, 3}, int64[3] rows = {0, 4, 9}, int64[8] none = {0, 0, 0, 0, 0, 0, 0, 0}, int64[8] some = {0, 0, 1, 0, 0, 0, -1, 0},
  int64[1] zero = {0}, int64[1] all = {9223372036854775807}, int64[1] two = {2}, int64[4] ones = {1, 1, 1, 1},
  int64[1] last = {-1}, int64[1] least = {-9223372036854775807}, int64[1] minus = {-1}, float ratio = {0.5}, bool yes = {1}`;

/** A Relu, what `body` does from h to y, a Neg: whatever stands between has to be a no-op, or not. */
const between = (body: string, shape = "N, 4, 2, 3") =>
  modelOf(`g (float[${shape}] x) => (float[] z) <${constants}> { h = Relu (x) ${body} z = Neg (y) }`);

describe("remove-identity", () => {
  test.each([
    ["Identity", "y = Identity (h)"],
    ["Dropout", "y, mask = Dropout (h)"],
    ["Cast to the same type", "y = Cast <to = 1> (h)"],
    ["Transpose that moves nothing", "y = Transpose <perm = [0, 1, 2, 3]> (h)"],
    ["two Transposes that undo each other", "t = Transpose <perm = [0, 2, 3, 1]> (h) y = Transpose <perm = [0, 3, 1, 2]> (t)"],
    ["Reshape to the same shape", "y = Reshape (h, same4)"],
    ["Flatten and Reshape back", "f = Flatten (h) y = Reshape (f, same4)"],
    ["Unsqueeze and Squeeze", "u = Unsqueeze (h, two) y = Squeeze (u, two)"],
    ["Pad by nothing", "y = Pad (h, none)"],
    ["Slice of everything", "y = Slice (h, zero, all, two)"],
    ["Concat of one", "y = Concat <axis = 1> (h)"],
    ["Sum of one", "y = Sum (h)"],
    ["Expand to the same shape", "y = Expand (h, ones)"],
    ["Tile by one", "y = Tile (h, ones)"],
  ])("%s goes", async (_, body) => {
    const model = between(body);
    const { model: left, changed } = runPass(removeIdentity, model);
    expect(changed).toBe(true);
    const clean = runPass(removeDead, left).model;
    expect(clean.graph.nodes.map((n) => n.opType)).toEqual(["Relu", "Neg"]);
    expect(difference(await run(model), await run(clean))).toBe(0);
  });

  test.each([
    ["Dropout whose mask is read", "y0, mask = Dropout (h) k = Cast <to = 1> (mask) y = Mul (y0, k)"],
    ["Dropout in training", "y = Dropout (h, ratio, yes)"],
    ["a Transpose of axes of the same extent", "y = Transpose <perm = [0, 1, 3, 2]> (h)"],
    ["a Slice backwards", "y = Slice (h, last, least, two, minus)"],
    ["a Pad by something", "y = Pad (h, some)"],
    [
      "a Reshape back to the old shape with a Transpose on the way",
      "f = Reshape (h, rows) t = Transpose <perm = [0, 2, 1]> (f) y = Reshape (t, same4)",
    ],
  ])("%s stays", (_, body) => {
    expect(runPass(removeIdentity, between(body, "N, 4, 3, 3")).changed).toBe(false);
  });

  test("graph outputs keep their names; a node between an input and an output stays, and is told", async () => {
    const model = modelOf(`g (float[2] x) => (float[2] y, float[2] same, float[2] also) {
      h = Relu (x)
      y = Identity (h)
      same = Identity (x)
      also = Identity (h)
    }`);
    const { model: left, notes } = runPass(removeIdentity, model);
    expect(print(left)).toMatchInlineSnapshot(`
      "<ir_version: 8, opset_import: ["" : 13]>
      g (float[2] x) => (float[2] y, float[2] same, float[2] also) {
        y = Relu (x)
        same = Identity (x)
        also = Identity (y)
      }
      "
    `);
    expect(notes).toMatchInlineSnapshot(`
      [
        {
          "about": "same",
          "code": "IDENTITY_KEPT",
          "why": "its output "same" is a graph output, and "x" is an input, a constant or another output, which keeps its own name",
        },
        {
          "about": "also",
          "code": "IDENTITY_KEPT",
          "why": "its output "also" is a graph output, and "y" is an input, a constant or another output, which keeps its own name",
        },
      ]
    `);
    expect(difference(await run(model), await run(left))).toBe(0);
  });

  test("what a subgraph returns as it is stays", () => {
    const { changed, notes } = runPass(
      removeIdentity,
      modelOf(`g (bool c, float[2] x) => (float[2] y) {
      h = Relu (x)
      i = Identity (h)
      y = If <then_branch = a () => (float[2] i) { }, else_branch = b () => (float[2] e) { e = Neg (i) }> (c)
    }`),
    );
    expect(changed).toBe(false);
    expect(notes.map((n) => n.code)).toEqual(["IDENTITY_KEPT"]);
  });

  test("a Reshape whose result is only declared to have the shape of its input is not believed", () => {
    expect(
      runPass(
        removeIdentity,
        modelOf(`g (float[2, 3] x, int64[2] s) => (float[2, 3] y) <float[2, 3] r> {
      h = Relu (x)
      r = Reshape (h, s)
      y = Neg (r)
    }`),
      ).changed,
    ).toBe(false);
  });
});
