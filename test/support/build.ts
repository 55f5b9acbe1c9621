/** Small models and data for tests. */
import type { Model, Node, Value } from "../../src/graph/graph.js";
import { parse } from "../../src/graph/parse.js";
import { normal, random } from "../../src/graph/random.js";

/**
 * The model that ONNX text describes (src/graph/parse.ts; weights written `{...}` are pseudo-random, seeded by name).
 * Text without a header gets IR version 8 and `opset`.
 */
export function modelOf(text: string, opset = 13): Model {
  return parse(text.trimStart().startsWith("<") ? text : `<ir_version: 8, opset_import: ["" : ${opset}]> ${text}`);
}

/** `n` standard normal float32, the same for the same seed. */
export function randomFloats(seed: number | string, n: number): Float32Array {
  const uniform = random(seed);
  return Float32Array.from({ length: n }, () => normal(uniform));
}

/** The node of the main graph with this name or output. @throws when there is none. */
export function findNode(model: Model, name: string): Node {
  const node = model.graph.nodes.find((n) => n.name === name) ?? model.graph.value(name)?.producer;
  if (!node) throw new Error(`No node "${name}" in the test's graph.`);
  return node;
}

/** The value of the main graph with this name. @throws when there is none. */
export function findValue(model: Model, name: string): Value {
  const value = model.graph.value(name);
  if (!value) throw new Error(`No value "${name}" in the test's graph.`);
  return value;
}
