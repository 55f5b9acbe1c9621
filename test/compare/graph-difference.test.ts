import { describe, expect, it } from "vitest";
import { graphDifference, interfaceDifference } from "../../src/compare/graph-difference.js";
import { matchLayers } from "../../src/compare/match-layers.js";
import { modelOf } from "../support/build.js";

/** "x1 = x2 by name" for each pair of nodes, then what has no partner. */
function matched(a: string, b: string): string[] {
  const [x, y] = [modelOf(a), modelOf(b)];
  const { pairs, removed, added } = matchLayers(x.graph.nodes, y.graph.nodes);
  return [
    ...[...pairs].map(([n, p]) => `${n.label} = ${p.node.label} by ${p.by}`).sort(),
    ...removed.map((n) => `- ${n.label}`),
    ...added.map((n) => `+ ${n.label}`),
  ];
}

describe("layers are matched", () => {
  it("by node name, then output, then names of constants, whatever their order", () => {
    expect(
      matched(
        `g (float[1,4] x) => (float[1,4] y) <float[4,4] w = {...}, float[4,4] v = {...}>
         { ["first"] a = MatMul (x, w) b = Relu (a) c = MatMul (b, v) y = Neg (c) }`,
        `g (float[1,4] x) => (float[1,4] y) <float[4,4] w1 = {...}, float[4,4] v = {...}>
         { ["first"] p = MatMul (x, w1) b = Relu (p) r = MatMul (b, v) y = Neg (r) }`,
      ),
    ).toEqual(["b = b by output", "c = r by constants", "first = first by name", "y = y by output"]);
  });

  it("by position where names tell nothing, and what was inserted is told apart", () => {
    expect(
      matched(
        'g (float[1,4] x) => (float[1,4] y) { "1" = Relu (x) "2" = Softmax <axis = 1> ("1") "3" = Relu ("2") y = Neg ("3") }',
        'g (float[1,4] x) => (float[1,4] y) { "1" = Tanh (x) "2" = Relu ("1") "3" = Softmax <axis = 1> ("2") "4" = Relu ("3") y = Neg ("4") }',
      ),
    ).toEqual(["1 = 2 by position", "2 = 3 by position", "3 = 4 by position", "y = y by output", "+ 1"]);
  });

  it("by operator alone where attributes changed, as the groups of a depthwise convolution that was pruned", () => {
    expect(
      matched(
        `g (float[1,4,5,5] x) => (float[1,4,5,5] y) <float[4,1,1,1] w = {...}> { a = Conv <group = 4> (x, w) y = Relu (a) }`,
        `g (float[1,4,5,5] x) => (float[1,2,5,5] z) <float[2,1,1,1] u = {...}> { b = Conv <group = 2> (x, u) z = Relu (b) }`,
      ),
    ).toEqual(["a = b by operator", "y = z by position"]);
  });

  it("never across operators, nor by a name that occurs twice", () => {
    expect(
      matched(
        'g (float[4] x) => (float[4] y) { ["n"] a = Relu (x) ["n"] b = Relu (a) ["m"] y = Neg (b) }',
        'g (float[4] x) => (float[4] z) { ["n"] p = Relu (x) ["m"] z = Abs (p) }',
      ),
    ).toEqual(["n = n by position", "- n", "- m", "+ m"]);
  });
});

describe("the graph difference", () => {
  const net = (channels: number, text = "") => `
    g (float[N,3,8,8] x) => (float[N,2] y) <float[${channels},3,3,3] w = {...}, float[2,${channels}] v = {...}> {
      ["conv"] c = Conv (x, w) r = Relu (c) ${text} p = GlobalAveragePool (r) f = Flatten (p) ["fc"] y = Gemm <transB = 1> (f, v) }`;

  it("has dims, parameters and multiply-accumulates of each layer, before and after", () => {
    const { layers, cost, operators } = graphDifference(modelOf(net(8)), modelOf(net(6)));
    const rows = layers.filter((l) => l.dims.a).map((l) => [l.a?.name, l.matched, l.dims.a, l.dims.b, l.parameters, l.macs]);
    // 6×6 positions; the other layers have neither weights nor, but for the mean, products.
    expect(rows).toEqual([
      ["conv", "name", [8, 3, 3, 3], [6, 3, 3, 3], { a: 216, b: 162 }, { a: 7776, b: 5832 }],
      ["fc", "name", [2, 8], [2, 6], { a: 16, b: 12 }, { a: 16, b: 12 }],
    ]);
    expect([cost.a.parameters, cost.b.parameters]).toEqual([232, 174]);
    expect(operators.every((o) => o.a === o.b)).toBe(true);
  });

  it("lists what only one graph has, in its place, and the operators that come with it", () => {
    const more = graphDifference(
      modelOf(net(8)),
      modelOf(
        net(8, "s = PRelu (r, w2)")
          .replaceAll("GlobalAveragePool (r)", "GlobalAveragePool (s)")
          .replace("> {", ", float[8,1,1] w2 = {...}> {"),
      ),
    );
    expect(more.added).toEqual([{ name: "s", op: "PRelu" }]);
    expect(more.operators[0]).toEqual({ op: "PRelu", a: 0, b: 1 });
    const names = more.layers.map((l) => l.b?.name);
    expect(names.indexOf("s")).toBe(names.indexOf("conv") + 1);
    expect(more.layers.find((l) => l.b?.name === "s")).toMatchObject({ a: undefined, matched: undefined, parameters: { a: 0, b: 8 } });
  });

  it("of a graph with itself has no change", () => {
    const { layers, added, removed, opsets, interface: ports } = graphDifference(modelOf(net(8)), modelOf(net(8)));
    expect(layers.filter((l) => l.changed)).toEqual([]);
    expect([added, removed, opsets]).toEqual([[], [], []]);
    expect(ports.every((p) => p.ok)).toBe(true);
  });
});

describe("the interface", () => {
  const ports = (a: string, b: string) =>
    interfaceDifference(modelOf(`g ${a} { y = Neg (x) }`), modelOf(`g ${b} { y = Neg (x) }`)).filter((p) => !p.ok);

  it("is the same where symbols have other names, and where b takes more", () => {
    expect(ports("(float[N,3] x) => (float[N,3] y)", "(float[batch,3] x) => (float[batch,3] y)")).toEqual([]);
    expect(ports("(float[1,3] x) => (float[1,3] y)", "(float[N,3] x) => (float[N,3] y)")).toEqual([]);
  });

  it("differs where b takes less, another type or rank, and where names are missing or new", () => {
    expect(ports("(float[N,3] x) => (float[N,3] y)", "(float[1,3] x) => (float[N,3] y)")).toEqual([
      { kind: "input", name: "x", a: "float[N,3]", b: "float[1,3]", ok: false },
    ]);
    expect(ports("(float[N,3] x) => (float[N,3] y)", "(double[N,3] x) => (double[N,3] y)")).toHaveLength(2);
    expect(ports("(float[N,3] x) => (float[N,3] y)", "(float[N,3,1] x) => (float[N,3,1] y)")).toHaveLength(2);
    const renamed = interfaceDifference(
      modelOf("g (float[2] x) => (float[2] y) { y = Neg (x) }"),
      modelOf("g (float[2] x) => (float[2] z) { z = Neg (x) }"),
    );
    expect(renamed.filter((p) => !p.ok)).toEqual([
      { kind: "output", name: "y", a: "float[2]", b: undefined, ok: false },
      { kind: "output", name: "z", a: undefined, b: "float[2]", ok: false },
    ]);
  });
});
