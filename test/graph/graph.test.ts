import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { InternalError, ModelError } from "../../src/errors.js";
import { check } from "../../src/graph/check.js";
import { cloneModel } from "../../src/graph/clone.js";
import { captures, type Graph, type Model, type Value } from "../../src/graph/graph.js";
import { print } from "../../src/graph/print.js";
import { random } from "../../src/graph/random.js";
import { Tensor } from "../../src/graph/tensor.js";
import { findNode, findValue, modelOf } from "../support/build.js";

const body = (model: Model) => print(model).slice(print(model).indexOf("{"));
const BRANCH = `g (bool c, float x) => (float y) {
  h = Relu (x)
  y = If (c) <then_branch = a () => (float t) { t = Neg (h) }, else_branch = b () => (float e) { e = Abs (x) }>
}`;

describe("uses follow every change:", () => {
  test("setInput, truncateInputs and holes", () => {
    const model = modelOf("g (float x) => (float y) <float w = {1}> { h = Relu (x) y = Sum (h, x, w) }");
    const sum = findNode(model, "y");
    sum.setInput(1, findValue(model, "h"));
    sum.setInput(4, findValue(model, "x"));
    expect(body(model)).toContain('Sum (h, h, w, "", x)');
    expect(
      findValue(model, "h")
        .uses()
        .map((u) => u.index),
    ).toEqual([0, 1]);
    expect(check(model)).toEqual([]);
    sum.truncateInputs(1);
    expect(findValue(model, "w").useCount + findValue(model, "h").useCount).toBe(1);
    expect(check(model)).toEqual([]);
  });

  test("replaceUses reaches subgraphs and outputs", () => {
    const model = modelOf(BRANCH);
    model.graph.addOutput(findValue(model, "h"));
    model.graph.replaceUses(findValue(model, "h"), findValue(model, "x"));
    expect(model.graph.outputs.map((v) => v.name)).toEqual(["y", "x"]);
    expect(findValue(model, "h").useCount).toBe(0);
    expect(findValue(model, "h").isOutput).toBe(false);
    expect(check(model)).toEqual([]);
  });

  test("removeNodes gives back what subgraphs captured, and forgets its values", () => {
    const model = modelOf(BRANCH);
    model.graph.setOutput(0, findValue(model, "h"));
    const gone = findValue(model, "y");
    model.graph.removeNodes([findNode(model, "y")]);
    expect(findValue(model, "h").useCount).toBe(0);
    expect(gone.graph).toBeUndefined();
    expect(model.graph.value("y")).toBeUndefined();
    expect(check(model)).toEqual([]);
  });

  test("a node or initializer that is read cannot be removed", () => {
    const model = modelOf("g (float x) => (float y) <float w = {1}> { h = Add (x, w) y = Relu (h) }");
    expect(() => model.graph.removeNode(findNode(model, "h"))).toThrow(InternalError);
    expect(() => model.graph.removeNode(findNode(model, "y"))).toThrow(InternalError);
    expect(() => model.graph.removeInitializer(findValue(model, "w"))).toThrow(InternalError);
    findNode(model, "h").setInput(1, undefined);
    model.graph.removeInitializer(findValue(model, "w"));
    expect(model.graph.initializers).toEqual([]);
  });

  test("random edits never part uses from inputs", () => {
    const text =
      "g (float x) => (float z) <float w = {1}> { a = Add (x, w) b = Relu (a) c = Add (a, b) d = Neg (c) e = Sum (a, b, c, d) z = Abs (e) }";
    fc.assert(
      fc.property(fc.integer(), (seed) => {
        const model = modelOf(text);
        const uniform = random(seed);
        const pick = <T>(list: readonly T[]): T => list[Math.floor(uniform() * list.length)] as T;
        for (let step = 0; step < 20; step++) {
          const node = pick(model.graph.nodes);
          const earlier = [...model.graph.inputs, ...model.graph.nodes.slice(0, model.graph.nodes.indexOf(node)).flatMap((n) => n.outputs)];
          const value = pick(earlier);
          const kind = Math.floor(uniform() * 4);
          if (kind === 0) node.setInput(Math.floor(uniform() * 3), value);
          else if (kind === 1) node.truncateInputs(Math.floor(uniform() * 3));
          else if (kind === 2 && value) model.graph.insertNode("Identity", [value], { before: node });
          else if (node.outputs[0] && value) model.graph.bypass(node.outputs[0], value);
          for (const dead of [...model.graph.nodes].reverse()) {
            if (dead.outputs.every((o) => !o || (o.useCount === 0 && !o.isOutput))) model.graph.removeNode(dead);
          }
          model.graph.sort();
          expect(check(model)).toEqual([]);
          expect(model.graph.outputs.map((v) => v.name)).toEqual(["z"]);
        }
      }),
      { seed: 1, numRuns: 100 },
    );
  });
});

describe("bypass", () => {
  test("of an inner value moves its readers", () => {
    const model = modelOf("g (float x) => (float y) { i = Identity (x) y = Relu (i) }");
    expect(model.graph.bypass(findValue(model, "i"), findValue(model, "x"))).toBe(true);
    model.graph.removeNode(findNode(model, "i"));
    expect(body(model)).toBe("{\n  y = Relu (x)\n}\n");
  });

  test("of a graph output keeps its name: the producer before takes it over", () => {
    const model = modelOf("g (float x) => (float y, float z) { h = Relu (x) y = Identity (h) z = Neg (h) }");
    const identity = findNode(model, "y");
    expect(model.graph.bypass(findValue(model, "y"), findValue(model, "h"))).toBe(true);
    model.graph.removeNode(identity);
    expect(body(model)).toBe("{\n  y = Relu (x)\n  z = Neg (y)\n}\n");
    expect(model.graph.value("h")).toBeUndefined();
    expect(check(model)).toEqual([]);
  });

  test("is refused, changing nothing, when the output would lose its name", () => {
    const refused = (text: string, of: string, by: string) => {
      const model = modelOf(text);
      const before = print(model);
      expect(model.graph.bypass(findValue(model, of), findValue(model, by))).toBe(false);
      expect(print(model)).toBe(before);
      expect(check(model)).toEqual([]);
    };
    refused("g (float x) => (float y) { y = Identity (x) }", "y", "x");
    refused("g (float x) => (float h, float y) { h = Relu (x) y = Identity (h) }", "y", "h");
    refused("g () => (float y) <float w = {1}> { y = Identity (w) }", "y", "w");
    refused("g () => (float y) { w = Constant <value = float {1}> () y = Identity (w) }", "y", "w");
  });
});

describe("sort", () => {
  const shuffled = (text: string, order: readonly string[]) => {
    const model = modelOf(text);
    // The parser refuses disorder, so wire the nodes to later ones afterwards.
    for (const edit of order) {
      const [node, value] = edit.split(" <- ") as [string, string];
      findNode(model, node).setInput(0, findValue(model, value));
    }
    return model;
  };

  test("keeps a valid order as it is", () => {
    const model = modelOf("g (float x) => (float d) { b = Relu (x) a = Neg (x) c = Abs (x) d = Sum (a, b, c) }");
    const before = print(model);
    model.graph.sort();
    expect(print(model)).toBe(before);
  });

  test("puts producers first, also those whose value only a subgraph reads", () => {
    const model = shuffled(BRANCH.replace("}\n}", "}\n}"), []);
    const late = model.graph.insertNode("Exp", [findValue(model, "x")], { outputs: ["late"] });
    findNode(model, "y").subgraphs()[1]?.nodes[0]?.setInput(0, late.outputs[0]);
    findNode(model, "h").setInput(0, late.outputs[0]);
    expect(check(model)).not.toEqual([]);
    model.graph.sort();
    expect(model.graph.nodes.map((n) => n.opType)).toEqual(["Exp", "Relu", "If"]);
    expect(check(model)).toEqual([]);
  });

  test("finds cycles, long and short, and names a node of them", () => {
    const text = "g (float x) => (float c) { a = Relu (x) b = Relu (a) c = Relu (b) }";
    const cycle = shuffled(text, ["a <- c"]);
    expect(() => cycle.graph.sort()).toThrow(expect.objectContaining({ code: "MODEL_CYCLE" }));
    expect(() => shuffled(text, ["b <- b"]).graph.sort()).toThrow('The graph has a cycle through node "b".');
  });

  test("does not bring removed nodes back", () => {
    const model = modelOf("g (float x) => (float c) { a = Relu (x) b = Neg (a) c = Add (a, b) }");
    const b = findNode(model, "b");
    model.graph.removeNodes([b]);
    model.graph.sort();
    expect(model.graph.nodes).not.toContain(b);
  });
});

describe("names", () => {
  test("fresh ones differ from all around and inside", () => {
    const model = modelOf(BRANCH);
    const inner = findNode(model, "y").subgraphs()[0] as Graph;
    expect(model.graph.freshName("new")).toBe("new");
    expect(model.graph.freshName("h")).not.toBe("h");
    expect(inner.freshName("h")).not.toBe("h");
    expect(model.graph.freshName("t")).not.toBe("t");
    expect(cloneModel(model).graph.freshName("e")).not.toBe("e");
    model.graph.setOutput(0, findValue(model, "h"));
    model.graph.removeNodes([findNode(model, "y")]);
    expect(model.graph.freshName("t")).toBe("t");
  });

  test("of two values of a graph are never equal", () => {
    const model = modelOf(BRANCH);
    expect(model.graph.addInitializer("h", Tensor.ints([1])).name).toBe("h_1");
    expect(() => model.graph.addInput(modelOf("g (float h) => () {}").graph.inputs[0] as Value)).toThrow(ModelError);
  });

  test("an inserted node may leave outputs out", () => {
    const model = modelOf("g (float x) => () {}");
    const node = model.graph.insertNode("Dropout", [findValue(model, "x")], { outputs: ["", "mask"] });
    expect(node.outputs.map((v) => v?.name)).toEqual([undefined, "mask"]);
  });

  test("inserting before a node of another graph changes nothing", () => {
    const model = modelOf(BRANCH);
    const before = print(model);
    const foreign = findNode(modelOf(BRANCH), "h");
    expect(() => model.graph.insertNode("Abs", [findValue(model, "x")], { before: foreign })).toThrow(InternalError);
    expect(print(model)).toBe(before);
    expect(check(model)).toEqual([]);
  });
});

test("captures lists outer values once, from any depth, not the subgraph's own", () => {
  const model = modelOf(`g (bool c, float x) => (float y) {
    h = Relu (x)
    y = If (c) <then_branch = a () => (float t) { s = Add (h, h) t = If (c) <then_branch = b () => (float u) { u = Add (s, x) }> }>
  }`);
  expect(captures(findNode(model, "y")).map((v) => v.name)).toEqual(["h", "c", "x"]);
});

test("constants are initializers and Constant nodes in all their forms, and can be replaced in place", () => {
  const model = modelOf(`g () => (float y) <float[1] w = {1}> {
    a = Constant <value_float = 2.0> ()
    b = Constant <value_ints = [3, 4]> ()
    y = Sum (w, a, b)
  }`);
  expect(findValue(model, "a").constant?.scalar()).toBe(2);
  expect(findValue(model, "b").constant?.ints()).toEqual([3, 4]);
  model.graph.setConstant(findValue(model, "a"), Tensor.floats([1], [5]));
  model.graph.setConstant(findValue(model, "w"), Tensor.floats([2], [6, 7]));
  expect(print(model)).toContain("a = Constant <value = float[1] {5}> ()");
  expect(findValue(model, "w").type).toEqual({ kind: "tensor", dtype: "float32", shape: [2] });
  const b = findNode(model, "b");
  b.setAttribute("value_ints", { kind: "ints", value: [8] });
  expect(findValue(model, "b").constant?.ints()).toEqual([8]);
  expect(() => model.graph.setConstant(findValue(model, "y"), Tensor.ints([1]))).toThrow(InternalError);
});

test("an attribute of another kind than asked for is a typed error", () => {
  const node = findNode(modelOf("g () => (float y) { y = F <a = 1> () }"), "y");
  expect(node.int("a")).toBe(1);
  expect(node.int("b", 7)).toBe(7);
  expect(() => node.ints("a")).toThrow(expect.objectContaining({ code: "MODEL_ATTRIBUTE_TYPE" }));
});
