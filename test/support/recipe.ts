/** A graph as data that can be written as ONNX text, cut down, and grown: what the random generator makes and the shrinker eats. */
import type { Model } from "../../src/graph/graph.js";
import { parse } from "../../src/graph/parse.js";

export interface RecipeNode {
  readonly op: string;
  /** "" leaves an input out. */
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  /** As in ONNX text, without the angle brackets: "axis = 1". */
  readonly attributes: string;
  /** Values that its bodies read from around it. */
  readonly captures?: readonly string[];
}

/** All values a node reads. */
function readsOf(n: RecipeNode): readonly string[] {
  return [...n.inputs, ...(n.captures ?? [])];
}

export interface Recipe {
  readonly opset: number;
  /** Whether the batch (axis 0 of every value, 2 in `shapes`) is the symbol N. */
  readonly dynamicBatch: boolean;
  /** Whether height and width of image inputs are symbols, named for the extents they have in a run: H6, W8. */
  readonly dynamicSpace: boolean;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly nodes: readonly RecipeNode[];
  /** Initializer name -> declaration without its name: type and data, e.g. ["float[4,3]", "{...}"]. */
  readonly constants: ReadonlyMap<string, readonly [string, string]>;
  /** Shapes of inputs and node outputs. */
  readonly shapes: ReadonlyMap<string, readonly number[]>;
}

/** The recipe as ONNX text. */
export function textOf(r: Recipe): string {
  const used = new Set(r.nodes.flatMap(readsOf));
  const type = (v: string) => {
    const shape = r.shapes.get(v) as readonly number[];
    const isImage = r.dynamicSpace && shape.length === 4 && r.inputs.includes(v);
    const isOpen = r.dynamicSpace && !r.inputs.includes(v);
    const s = shape.map((d, a) => {
      if (a === 0 && r.dynamicBatch) return "N";
      if (isImage && a > 1) return `${"HW"[a - 2]}${d}`;
      // What an output's extents are named is for inference to find.
      return isOpen && a > 0 ? `${v}_${a}` : d;
    });
    return `float[${s.join(",")}] ${v}`;
  };
  const constants = [...r.constants].filter(([name]) => used.has(name)).map(([name, [t, data]]) => `    ${t} ${name} = ${data}`);
  const nodes = r.nodes.map(
    (n) => `  ${n.outputs.join(", ")} = ${n.op}${n.attributes ? ` <${n.attributes}>` : ""} (${n.inputs.map((i) => i || '""').join(", ")})`,
  );
  const weights = constants.length > 0 ? ` <\n${constants.join(",\n")}\n  >` : "";
  return `<ir_version: 8, opset_import: ["" : ${r.opset}]>\ng (${r.inputs.map(type).join(", ")}) => (${r.outputs.map(type).join(", ")})${weights} {\n${nodes.join("\n")}\n}\n`;
}

/** The extent of a symbol of `textOf`, other than the batch. */
export function extentOf(symbol: string): number | undefined {
  const found = /^[HW](\d+)$/.exec(symbol);
  return found ? Number(found[1]) : undefined;
}

export function modelOfRecipe(r: Recipe): Model {
  return parse(textOf(r));
}

/** The recipe with only the nodes its outputs need. */
function pruned(r: Recipe): Recipe {
  const need = new Set(r.outputs);
  const nodes: RecipeNode[] = [];
  for (const n of [...r.nodes].reverse()) {
    if (!n.outputs.some((o) => need.has(o))) continue;
    nodes.unshift(n);
    for (const i of readsOf(n)) need.add(i);
  }
  return { ...r, nodes, inputs: r.inputs.filter((i) => need.has(i)) };
}

/** `r` without node `at`: its outputs are replaced by an input of the node, an older value, or a new graph input of the same shape. */
function* withoutNode(r: Recipe, at: number): Iterable<Recipe> {
  const node = r.nodes[at] as RecipeNode;
  const later = r.nodes.slice(at + 1);
  const read = new Set([...later.flatMap(readsOf), ...r.outputs]);
  const wanted = node.outputs.filter((o) => read.has(o));
  const key = (v: string) => r.shapes.get(v)?.join(",");
  // Shape arithmetic has no shape in a recipe and is only dropped with its readers.
  if (wanted.some((o) => !r.shapes.has(o) || r.outputs.includes(o))) return;
  // The text of a body has the name of what it captures.
  if (wanted.some((o) => later.some((n) => n.captures?.includes(o)))) return;
  const older = [...r.inputs, ...r.nodes.slice(0, at).flatMap((n) => n.outputs)];
  const renamed = (by: ReadonlyMap<string, string>, inputs: readonly string[]): Recipe =>
    pruned({
      ...r,
      inputs,
      nodes: [...r.nodes.slice(0, at), ...later.map((n) => ({ ...n, inputs: n.inputs.map((i) => by.get(i) ?? i) }))],
      shapes: new Map([...r.shapes, ...[...by].map(([from, to]) => [to, r.shapes.get(from) as readonly number[]] as const)]),
    });
  const candidates = (o: string) => [...new Set([...node.inputs, ...older])].filter((v) => r.shapes.has(v) && key(v) === key(o));
  const [first] = wanted;
  if (first !== undefined && wanted.length === 1)
    for (const v of candidates(first).slice(0, 4)) yield renamed(new Map([[first, v]]), r.inputs);
  const fresh = new Map(wanted.map((o) => [o, `in_${o}`]));
  yield renamed(fresh, [...r.inputs, ...fresh.values()]);
}

/** The smallest recipe found that still fails, by dropping outputs and nodes one at a time. */
export async function shrink(recipe: Recipe, fails: (r: Recipe) => Promise<boolean>, attempts = 400): Promise<Recipe> {
  let best = recipe;
  let left = attempts;
  const better = async (candidates: Iterable<Recipe>): Promise<boolean> => {
    for (const c of candidates) {
      if (left-- <= 0) return false;
      if (await fails(c)) {
        best = c;
        return true;
      }
    }
    return false;
  };
  const smaller = function* (): Iterable<Recipe> {
    if (best.outputs.length > 1) for (const o of best.outputs) yield pruned({ ...best, outputs: [o] });
    for (let at = best.nodes.length - 1; at >= 0; at--) yield* withoutNode(best, at);
  };
  while (left > 0 && (await better(smaller())));
  return best;
}
