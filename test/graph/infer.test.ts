import { describe, expect, it } from "vitest";
import { ConfigError, ModelError } from "../../src/errors.js";
import { encode, joinChunks } from "../../src/graph/codec.js";
import { evaluateConstants } from "../../src/graph/evaluate.js";
import { Node } from "../../src/graph/graph.js";
import { applyTypes, type InferOptions, infer } from "../../src/graph/infer.js";
import { specOf } from "../../src/graph/ops/index.js";
import { compareWithRun } from "../support/actual-shapes.js";
import { findNode, findValue, modelOf } from "../support/build.js";

/** Inferred shape of a value of the model in `text`, printed. */
function shapeOf(text: string, name: string, options: InferOptions = {}, opset = 13): string | undefined {
  const model = modelOf(text, opset);
  return infer(model, options).shape(findValue(model, name))?.join(", ");
}

describe("inference", () => {
  it("gives an undeclared extent of an input a symbol of its own", () => {
    expect(shapeOf("g (float[N, ?, ?] x) => (float[] y) { y = Transpose (x) }", "y")).toBe("?x_2, ?x_1, N");
  });

  it("keeps undeclared extents of two inputs apart, even when their names read alike in an expression", () => {
    const text = 'g (float[?] "a - b", float[?] "a") => (float[] y) { y = Concat <axis = 0> ("a - b", "a") }';
    expect(shapeOf(text, "y")).toBe("?a%20%2d%20b_0 + ?a_0");
  });

  it("follows the extents that Reshape is told through Shape, Gather and Mul", () => {
    const text = `g (float[N, C, H, W] x) => (float[] y)
      <int64 one = {1}, int64 two = {2}, int64[1] zero = {0}, int64[1] rest = {-1}> {
        s = Shape (x)
        c = Gather <axis = 0> (s, one)
        h = Gather <axis = 0> (s, two)
        ch = Mul (c, h)
        u = Unsqueeze (ch, zero)
        t = Concat <axis = 0> (u, rest)
        y = Reshape (x, t)
      }`;
    expect(shapeOf(text, "y")).toBe("C*H, N*W");
    expect(shapeOf(text, "y", { bind: { x: [2, 3, 4, 5] } })).toBe("12, 10");
  });

  it("moves symbolic contents through tensors of any rank", () => {
    const text = `g (float[N, C] x) => (int64[] y) <int64[2] square = {2, 2}, int64[1] flat = {-1}> {
      s = Shape (x)
      ss = Concat <axis = 0> (s, s)
      m = Reshape (ss, square)
      t = Transpose <perm = [1, 0]> (m)
      y = Reshape (t, flat)
    }`;
    const model = modelOf(text);
    expect(infer(model).content(findValue(model, "y"))).toEqual(["N", "N", "C", "C"]);
  });

  it("names an extent that depends on data, and takes a declared one instead", () => {
    expect(shapeOf("g (float[N] x) => (int64[1, M] z) { y = NonZero (x) z = Neg (y) }", "y")).toBe("1, ?y_1");
    expect(shapeOf("g (float[N] x) => (int64[1, M] y) { y = NonZero (x) }", "y")).toBe("1, M");
  });

  it("uses declared types behind an operator it does not know", () => {
    const text = `<ir_version: 8, opset_import: ["" : 13, "com.example" : 1]>
      g (float[N, 4] x) => (float[N, 4] y) <float[N, 4] h> { h = com.example.Mystery (x) y = Relu (h) }`;
    expect(shapeOf(text, "h")).toBe("N, 4");
    expect(shapeOf(text, "y")).toBe("N, 4");
  });

  it("does not take a call of a local function for the standard operator of that name", () => {
    const text = `<ir_version: 8, opset_import: ["" : 18, "local" : 1]>
      g (float[N, 4] x) => (float[] y) { y = local.Flatten (x) }
      <domain: "local", opset_import: ["" : 18]> Flatten (a) => (b) { b = Neg (a) }`;
    expect(shapeOf(text, "y")).toBeUndefined();
  });

  it("trusts itself over value_info that numbers contradict, and says so", () => {
    const model = modelOf("g (float[N, 8] x) => (float[N, 8] y) <float[N, 16] h> { h = Relu (x) y = Relu (h) }");
    const types = infer(model);
    expect(types.shape(findValue(model, "h"))).toEqual(["N", 8]);
    expect(types.conflicts.map((c) => c.value.name)).toEqual(["h"]);
    applyTypes(model, types);
    expect(findValue(model, "h").shape).toEqual(["N", 8]);
  });

  it("writes types where there are none and leaves the interface as declared", () => {
    const model = modelOf("g (float[N, 8] x) => (float[A, B] y) { h = Relu (x) y = Relu (h) }");
    applyTypes(model, infer(model));
    expect(findValue(model, "h").shape).toEqual(["N", 8]);
    expect(findValue(model, "y").shape).toEqual(["A", "B"]);
  });

  it("binds a symbol wherever it occurs", () => {
    const text = "g (float[N, 4] x, float[N, 2] z) => (float[] y) { y = Concat <axis = 1> (x, z) }";
    expect(shapeOf(text, "y", { bind: { x: [3, 4] } })).toBe("3, 6");
  });

  it("refuses shapes that do not fit the inputs", () => {
    const model = modelOf("g (float[N, 4] x, float[N, 2] z) => (float[] y) { y = Concat <axis = 1> (x, z) }");
    const bound = (bind: Record<string, number[]>) => () => infer(model, { bind });
    expect(bound({ q: [1] })).toThrow(ConfigError);
    expect(bound({ x: [1] })).toThrow(/is declared as \[N, 4\], but is given as \[1\]/);
    expect(bound({ x: [1, 5] })).toThrow(ConfigError);
    expect(bound({ x: [1, 4], z: [2, 2] })).toThrow(ConfigError);
  });

  it("names the node whose inputs contradict each other", () => {
    const model = modelOf("g (float[N, 6] x) => (float[] y) <int64[2] t = {-1, 4}> { y = Reshape (x, t) }");
    // N*6 may divide by 4; 6 does not.
    expect(infer(model).shape(findValue(model, "y"))).toEqual(["?y_0", 4]);
    expect(() => infer(model, { bind: { x: [1, 6] } })).toThrow(ModelError);
    expect(() => infer(model, { bind: { x: [1, 6] } })).toThrow(/Reshape "y"/);
  });

  it("tells constants that only constants made from sizes that were read off a tensor", () => {
    const model = modelOf(`g (float[N, 8] x) => (int64[] a, int64[] b) <int64[2] k = {3, 4}, int64 one = {1}> {
      kk = Mul (k, k)
      a = Neg (kk)
      s = Shape (x)
      c = Gather <axis = 0> (s, one)
      b = Neg (c)
    }`);
    const types = infer(model);
    const [fixed, read] = [types.context(findNode(model, "a")), types.context(findNode(model, "b"))];
    expect(fixed.constant(0)?.ints()).toEqual([9, 16]);
    expect(read.constant(0)).toBeUndefined();
    expect(read.content(0)).toEqual([8]);
  });
});

describe("evaluateConstants", () => {
  it("computes a node of constants, and no other", () => {
    const model = modelOf(`g (float[2] x) => (float[] y) <int64[2] t = {2, 1}, float[2] w = {3, 4}> {
      v = Reshape (w, t)
      r = RandomNormalLike (w)
      y = Reshape (x, t)
    }`);
    const types = infer(model);
    expect(evaluateConstants(findNode(model, "v"), types)?.[0]?.dims).toEqual([2, 1]);
    expect(evaluateConstants(findNode(model, "v"), types, { maxElements: 1 })).toBeUndefined();
    expect(evaluateConstants(findNode(model, "r"), types)).toBeUndefined();
    expect(evaluateConstants(findNode(model, "y"), types)).toBeUndefined();
  });
});

describe("what ONNX Runtime 1.30 has no kernel for", () => {
  it("ImageDecoder gives height, width and the channels of its pixel format", () => {
    const decoded = (attributes: string) => shapeOf(`g (uint8[N] x) => (uint8[] y) { y = ImageDecoder ${attributes} (x) }`, "y", {}, 20);
    expect(decoded("")).toBe("?y_0, ?y_1, 3");
    expect(decoded('<pixel_format = "Grayscale">')).toBe("?y_0, ?y_1, 1");
  });

  it("MaxRoiPool of opset 22 is what it was", () => {
    const text = `g (float[N,6,H,W] x, float[R,5] rois) => (float[] y) { y = MaxRoiPool <pooled_shape = [2, 3]> (x, rois) }`;
    expect(shapeOf(text, "y", {}, 22)).toBe("R, 6, 2, 3");
  });
});

describe("specOf", () => {
  it("knows no operator of an opset older than its first definition or newer than this project", () => {
    expect(specOf(new Node("GridSample"), 15)).toBeUndefined();
    expect(specOf(new Node("GridSample"), 16)?.type).toBe("GridSample");
    expect(specOf(new Node("GridSample"), 27)).toBeUndefined();
    expect(specOf(new Node("GridSample", { domain: "com.example" }), 16)).toBeUndefined();
  });
});

describe("inferred control flow", () => {
  const judge = async (text: string, inputs: Record<string, readonly number[]>) => {
    const report = await compareWithRun(joinChunks(encode(modelOf(text))), inputs);
    expect(report.wrong).toEqual([]);
    return report;
  };

  it("keeps what both branches of an If agree on, and finds what they capture", async () => {
    const text = `g (bool c, float[N, 4] x) => (float[] y) {
      h = Relu (x)
      y = If <then_branch = a () => (float[] t) { t = Concat <axis = 0> (h, h) }, else_branch = b () => (float[] e) { e = Neg (h) }> (c)
    }`;
    expect(shapeOf(text, "y")).toBe("?y_0, 4");
    await judge(text, { c: [], x: [3, 4] });
  });

  it("takes the other branch of an If when one cannot work with the shapes at hand", async () => {
    // onnx's own expansion of AffineGrid splits 4 numbers in one branch and 5 in the other; the first draft refused the model.
    const branch = (name: string, parts: string) =>
      `${name} () => (float[] ${name}1) { ${parts} = Split <axis = 0> (x) ${name}1 = Neg (${name}0) }`;
    const text = `g (bool c, float[6] x) => (float[] y) { y = If <then_branch = ${branch("t", "t0, t2")}, else_branch = ${branch("e", "e0, e2, e3, e4")}> (c) }`;
    expect(shapeOf(text, "y")).toBe("3");
    expect(() => shapeOf(text.replaceAll("e0, e2, e3, e4", "e0, e2").replaceAll("float[6]", "float[5]"), "y")).toThrow(ModelError);
  });

  it("stacks what a Loop of known length gives, and widens a state that grows", async () => {
    const text = `g (float[N, 4] x) => (float[] last, float[] grown, float[] all) <int64 m = {3}, bool go = {1}> {
      last, grown, all = Loop <body = b (int64 i, bool c, float[] s, float[] w) => (bool c2, float[] s2, float[] w2, float[] o) {
        c2 = Identity (c)
        s2 = Neg (s)
        w2 = Concat <axis = 0> (w, x)
        o = Transpose (s)
      }> (m, go, x, x)
    }`;
    expect(shapeOf(text, "last")).toBe("N, 4");
    expect(shapeOf(text, "grown")).toBe("?grown_0, 4");
    expect(shapeOf(text, "all")).toBe("3, 4, N");
    const report = await judge(text, { x: [2, 4] });
    expect(report.unknown).toEqual(["grown"]);
  });

  it("scans along the axes it is told", async () => {
    const text = `g (float[4] s, float[4, T] x) => (float[] last, float[] all) {
      last, all = Scan <num_scan_inputs = 1, scan_input_axes = [1], scan_output_axes = [-1], body = b (float[] a, float[] e) => (float[] a2, float[] o) {
        a2 = Add (a, e)
        o = Relu (a2)
      }> (s, x)
    }`;
    expect(shapeOf(text, "all")).toBe("4, T");
    const report = await judge(text, { s: [4], x: [4, 5] });
    expect(report.unknown).toEqual([]);
  });

  it("keeps values of sibling bodies that share a name apart", () => {
    const branch = (v: string) => `${v} () => (int64[] n) { n = NonZero (x) }`;
    const text = `g (bool c, float[N] x) => (int64[] y) { y = If <then_branch = ${branch("a")}, else_branch = ${branch("b")}> (c) }`;
    expect(shapeOf(text, "y")).toBe("1, ?y_1");
  });
});
