import { describe, expect, test } from "vitest";
import { int } from "../../src/graph/attribute.js";
import { assertValid, BrokenGraphError, check, interfaceOf } from "../../src/graph/check.js";
import { cloneModel } from "../../src/graph/clone.js";
import { Graph, type Model, Node, Value } from "../../src/graph/graph.js";
import { parse } from "../../src/graph/parse.js";
import { Tensor } from "../../src/graph/tensor.js";
import { findNode, findValue, modelOf } from "../support/build.js";

const CHAIN = "g (float[2] x) => (float[2] y) <float[2] w = {1, 2}> { h = Add (x, w) i = Relu (h) y = Neg (i) }";
const BRANCH = `g (bool c, float[2] x) => (float[2] y) {
  h = Relu (x)
  y = If <then_branch = a () => (float[2] t) { t = Neg (h) }, else_branch = b () => (float[2] e) { e = Abs (h) }> (c)
}`;
const branch = (model: Model, i: number) => findNode(model, "y").subgraphs()[i] as Graph;

/** Runs `damage` on a fresh model and returns what check says. */
function violations(text: string, damage: (model: Model) => void): string[] {
  const model = modelOf(text);
  expect(check(model)).toEqual([]);
  damage(model);
  return check(model);
}

describe("each invariant is told, with the node or value that breaks it:", () => {
  test("1: two nodes claim one value", () => {
    const found = violations(CHAIN, (m) => {
      m.graph.replaceUses(findValue(m, "i"), findValue(m, "h"));
      m.graph.replaceProducerOutput(findNode(m, "i"), 0, findValue(m, "h"));
    });
    expect(found).toMatchInlineSnapshot(`
      [
        "(1) "h", an output of node "h" (Add), is also defined elsewhere.",
        "(1) "h", an output of node "h" (Relu), is also defined elsewhere.",
      ]
    `);
  });

  test("1: a value the graph knows under this name is another one", () => {
    const found = violations(CHAIN, (m) => {
      const copy = new Value("h");
      m.graph.replaceProducerOutput(findNode(m, "h"), 0, copy);
      m.graph.replaceUses(findValue(m, "h"), copy);
    });
    expect(found).toMatchInlineSnapshot(`
      [
        "(1) "h", an output of node "h" (Add), is not the value that graph "g" knows by this name.",
        "(2) Node "i" (Relu) reads "h", which no graph defines.",
      ]
    `);
  });

  test("2: a node reads what comes later", () => {
    const found = violations(CHAIN, (m) => {
      findNode(m, "h").setInput(0, findValue(m, "i"));
    });
    expect(found).toEqual(['(2) Node "h" (Add) reads "i" before it is defined.']);
  });

  test("2: a subgraph reads what comes after its node", () => {
    const text = BRANCH.replace("y = If", "late = Relu (x) y = If");
    const found = violations(text, (m) => {
      const late = m.graph.insertNode("Abs", [findValue(m, "x")], { outputs: ["later"] });
      branch(m, 0).nodes[0]?.setInput(0, late.outputs[0]);
    });
    expect(found).toEqual(['(2) Node "t" (Neg) reads "later" before it is defined.']);
  });

  test("2: a node reads what was removed", () => {
    const found = violations(CHAIN, (m) => m.graph.removeNodes([findNode(m, "i")]));
    expect(found).toEqual(['(2) Node "y" (Neg) reads "i", which no graph defines.']);
  });

  test("3: uses are missing, or of nodes that are gone", () => {
    expect(violations(CHAIN, (m) => findValue(m, "h")._uses.clear())).toEqual([
      '(3) Node "i" (Relu) reads "h" as input 0, but "h" does not list that use.',
    ]);
    const stray = (m: Model) => {
      const node = new Node("Abs", { name: "stray" });
      node.setInput(0, findValue(m, "x"));
    };
    expect(violations(CHAIN, stray)).toEqual(['(3) "x" lists a use by node "stray" (Abs), which is in no graph of the model.']);
    expect(violations(CHAIN, (m) => findValue(m, "w")._uses.get(findNode(m, "h"))?.add(0))).toEqual([
      '(3) "w" lists a use as input 0 of node "h" (Add), which reads something else there.',
    ]);
  });

  test("3: a subgraph names another owner", () => {
    const found = violations(BRANCH, (m) => {
      branch(m, 0).owner = undefined;
    });
    expect(found[0]).toBe('(3) Graph "a" is held by node "y" (If), but names another owner.');
  });

  test("4: data of other dims or dtype than declared; lazy data is not read", () => {
    const found = violations(CHAIN, (m) => {
      findValue(m, "w").type = { kind: "tensor", dtype: "float32", shape: [3] };
    });
    expect(found).toEqual(['(4) "w" is declared as float[3], but its data is float[2].']);
    const lazy = Tensor.lazy("float32", [2], () => {
      throw new Error("read");
    });
    expect(violations(CHAIN, (m) => m.graph.setConstant(findValue(m, "w"), lazy))).toEqual([]);
    const constant = "g () => (int64[1] y) { y = Constant <value = int64[1] {1}> () }";
    expect(violations(constant, (m) => findNode(m, "y").setAttribute("value", { kind: "tensor", value: Tensor.floats([1], [1]) }))).toEqual(
      ['(4) "y" is declared as int64[1], but its data is float[1].'],
    );
  });

  test("5: what re-inference says, if the structure holds", () => {
    const model = modelOf(CHAIN);
    const reinfer = () => ['Node "h" gives float[3], but is declared as float[2].'];
    expect(check(model, { reinfer })).toEqual(['(5) Node "h" gives float[3], but is declared as float[2].']);
    findNode(model, "h").setInput(0, findValue(model, "i"));
    expect(check(model, { reinfer })).toHaveLength(1);
  });

  test("6: outputs that nothing defines, and a changed interface", () => {
    expect(violations(CHAIN, (m) => m.graph.addOutput(new Value("ghost")))).toEqual(['(6) Output "ghost" of graph "g" is not defined.']);
    expect(violations(BRANCH, (m) => branch(m, 0).setOutput(0, findValue(m, "h")))).toEqual([
      '(6) Output "h" of graph "a" is a value of graph "g".',
    ]);
    const model = modelOf(CHAIN);
    const before = interfaceOf(model);
    findValue(model, "y").type = { kind: "tensor", dtype: "float32", shape: [1] };
    model.graph.addInput(new Value("z"));
    expect(check(model, { interface: before })).toEqual([
      '(6) The model\'s inputs were "x", and are "x", "z".',
      '(6) The model\'s output "y" was float[2], and is float[1].',
    ]);
  });

  test("7: a domain without opset import, once per domain, also in functions", () => {
    const found = violations(CHAIN, (m) => {
      for (const name of ["p", "q"]) m.graph.insertNode("Op", [findValue(m, "x")], { domain: "d", name });
    });
    expect(found).toEqual(['(7) Node "p" (d.Op) is of domain "d", which no opset import covers.']);
    const text = '<ir_version: 8, opset_import: ["" : 13, "d" : 1]> g () => () {} <domain: "d"> f (a) => (b) { b = Relu (a) }';
    expect(check(parse(text))).toEqual(['(7) Node "b" (Relu) is of domain "", which no opset import covers.']);
  });

  test("8: a subgraph reads a value of a graph that is not around it, or one whose name is taken nearer", () => {
    const sibling = violations(BRANCH, (m) => branch(m, 1).nodes[0]?.setInput(0, branch(m, 0).value("t")));
    expect(sibling).toEqual(['(8) Node "e" (Abs) reads "t" of graph "a", which is not around graph "b".']);
    const shadowed = violations(BRANCH, (m) => branch(m, 0).declare(new Value("h")));
    expect(shadowed).toEqual(['(8) Node "t" (Neg) reads "h" of graph "g", but a nearer value has this name.']);
  });
});

describe("assertValid", () => {
  const before = modelOf(CHAIN);

  test("accepts a pass that did its work", () => {
    const after = cloneModel(before);
    after.graph.bypass(findValue(after, "i"), findValue(after, "h"));
    after.graph.removeNode(findNode(after, "i"));
    expect(() => assertValid("skip", before, after)).not.toThrow();
  });

  test("names the pass and every violation, and shows both graphs", () => {
    const after = cloneModel(before);
    findNode(after, "h").setInput(0, findValue(after, "i"));
    findValue(after, "y").type = undefined;
    const error = catchError(() => assertValid("remove-blocks", before, after));
    expect(error).toBeInstanceOf(BrokenGraphError);
    expect(error).toMatchObject({
      code: "PASS_BROKE_GRAPH",
      exitCode: 70,
      at: { pass: "remove-blocks" },
      violations: ['(2) Node "h" (Add) reads "i" before it is defined.', '(6) The model\'s output "y" was float[2], and is ?.'],
    });
    expect((error as Error).message).toBe(
      'Pass "remove-blocks" broke the graph: (2) Node "h" (Add) reads "i" before it is defined. (6) The model\'s output "y" was float[2], and is ?.',
    );
    expect((error as BrokenGraphError).before).toContain("h = Add (x, w)");
    expect((error as BrokenGraphError).after).toContain("h = Add (i, w)");
  });

  test("does not blame a pass for what was wrong before", () => {
    const wrong = cloneModel(before);
    wrong.opsets.clear();
    expect(check(wrong)).toHaveLength(1);
    expect(() => assertValid("innocent", wrong, cloneModel(wrong))).not.toThrow();
  });

  test("inputs that repeat initializers may leave under IR version 3", () => {
    const old = parse('<ir_version: 3, opset_import: ["" : 8]> g (float x, float w) => (float y) <float w = {2}> { y = Mul (x, w) }');
    const after = cloneModel(old);
    after.graph.removeInput(findValue(after, "w"));
    expect(() => assertValid("tidy", old, after)).not.toThrow();
  });
});

test("attributes set later are seen: a graph becomes its node's", () => {
  const model = modelOf(CHAIN);
  const inner = new Graph("inner");
  const node = inner.insertNode("Relu", [findValue(model, "x")], { outputs: ["r"] });
  inner.addOutput(node.outputs[0] as Value);
  findNode(model, "y").setAttribute("body", { kind: "graph", value: inner });
  findNode(model, "y").setAttribute("n", int(1));
  expect(check(model)).toEqual([]);
});

function catchError(run: () => void): unknown {
  try {
    run();
  } catch (error) {
    return error;
  }
  throw new Error("nothing was thrown");
}
