/** Which node of one graph is which of another. */
import { diffArrays } from "diff";
import type { Attribute } from "../graph/attribute.js";
import type { Node } from "../graph/graph.js";

/**
 * How two nodes were found to be the same, from the surest to the least: equal node names; equal names of the first output; equal
 * names of their constants; the same place in a longest common subsequence of (operator, attributes); the same place in
 * one of operators alone. Operators are equal in all of them.
 */
export type Match = "name" | "output" | "constants" | "position" | "operator";

export interface Matching {
  /** Partners of nodes of the first graph. */
  readonly pairs: ReadonlyMap<Node, { readonly node: Node; readonly by: Match }>;
  readonly removed: readonly Node[];
  readonly added: readonly Node[];
}

/** Pairs the nodes of two main graphs, in topological order. Constant nodes are data of those that read them, and left out. */
export function matchLayers(a: readonly Node[], b: readonly Node[]): Matching {
  const [mine, theirs] = [a.filter(isLayer), b.filter(isLayer)];
  const pairs = new Map<Node, { node: Node; by: Match }>();
  const taken = new Map<Node, Node>();
  const pair = (x: Node, y: Node, by: Match) => {
    pairs.set(x, { node: y, by });
    taken.set(y, x);
  };
  for (const [by, keyOf] of KEYS) {
    const left = unique(
      theirs.filter((n) => !taken.has(n)),
      keyOf,
    );
    for (const [key, x] of unique(
      mine.filter((n) => !pairs.has(n)),
      keyOf,
    )) {
      const y = left.get(key);
      if (y) pair(x, y, by);
    }
  }
  for (const [by, wordOf] of WORDS) {
    // Pairs found so far are words of their own: what is left is matched between them, in their order.
    const found = new Map([...pairs.keys()].map((x, i) => [x, `pair ${i}`]));
    const wordsA = mine.map((x) => found.get(x) ?? wordOf(x));
    const wordsB = theirs.map((y) => found.get(taken.get(y) as Node) ?? wordOf(y));
    let [i, j] = [0, 0];
    for (const { added, removed, value } of diffArrays(wordsA, wordsB)) {
      for (let k = 0; k < value.length; k++) {
        if (!added && !removed) {
          const [x, y] = [mine[i] as Node, theirs[j] as Node];
          if (!pairs.has(x)) pair(x, y, by);
        }
        if (!added) i++;
        if (!removed) j++;
      }
    }
  }
  return { pairs, removed: mine.filter((n) => !pairs.has(n)), added: theirs.filter((n) => !taken.has(n)) };
}

function isLayer(node: Node): boolean {
  return node.qualifiedType !== "Constant";
}

const KEYS: readonly (readonly [Match, (node: Node) => string | undefined])[] = [
  ["name", (n) => named(n.name)],
  ["output", (n) => named(n.outputs[0]?.name)],
  ["constants", (n) => named(constantNames(n).join(" "))],
];

const WORDS: readonly (readonly [Match, (node: Node) => string])[] = [
  ["position", (n) => `${n.qualifiedType} ${attributesText(n)}`],
  ["operator", (n) => n.qualifiedType],
];

/** Names of numbers alone are counters of an exporter: they shift as soon as a node comes or goes. */
function named(name: string | undefined): string | undefined {
  return name === undefined || /^[\d\s]*$/.test(name) ? undefined : name;
}

/** Nodes by operator and key, without keys that occur twice. */
function unique(nodes: readonly Node[], keyOf: (node: Node) => string | undefined): Map<string, Node> {
  const found = new Map<string, Node | undefined>();
  for (const node of nodes) {
    const key = keyOf(node);
    if (key === undefined) continue;
    const full = `${node.qualifiedType} ${key}`;
    found.set(full, found.has(full) ? undefined : node);
  }
  return new Map([...found].flatMap(([key, node]) => (node ? [[key, node] as const] : [])));
}

function constantNames(node: Node): string[] {
  return node.inputs.flatMap((v) => (v && (v.constant || v.initializer) ? [v.name] : []));
}

function attributesText(node: Node): string {
  return [...node.attributes]
    .map(([name, a]) => `${name}=${attributeText(a)}`)
    .sort()
    .join(" ");
}

function attributeText(a: Attribute): string {
  switch (a.kind) {
    case "tensor":
      return `${a.value.dtype}[${a.value.dims}]`;
    case "tensors":
    case "graphs":
      return `${a.kind} ${a.value.length}`;
    case "graph":
      return "graph";
    default:
      return JSON.stringify(a.value);
  }
}
