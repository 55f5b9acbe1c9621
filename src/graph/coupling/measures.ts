/** Shape arithmetic: nodes that compute with extents, which axes each element they give is computed from, and the reverse. */
import { type Dim, isKnown, terms } from "../dim.js";
import { evaluateNode } from "../evaluate.js";
import { everyGraph, type Graph, type Node, type Value } from "../graph.js";
import type { Types } from "../infer.js";
import { Tensor } from "../tensor.js";

/** An extent that shape arithmetic reads. */
export interface Measured {
  readonly value: Value;
  readonly axis: number;
}

/** A node that tells extents: of its input only the shape matters. */
export function isMeasure(node: Node): boolean {
  return node.isStandard && (node.opType === "Shape" || node.opType === "Size");
}

/** A node whose outputs are all small integer tensors with known (possibly symbolic) contents, made from shapes. */
export function isShapeArithmetic(node: Node, types: Types): boolean {
  if (node.outputs.length === 0) return false;
  return node.outputs.every((o) => !o || types.content(o) !== undefined);
}

/** Element k of the output depends on element k of each input, or on the only one. */
const ELEMENTWISE: ReadonlySet<string> = new Set(
  "Abs Add And Cast Ceil Div Equal Floor Greater GreaterOrEqual Identity Less LessOrEqual Max Min Mod Mul Neg Not Or Pow Relu Sub Sum Where Xor".split(
    " ",
  ),
);

/** Which extents the elements of small integer tensors are computed from. */
export class Measures {
  readonly #types: Types;
  readonly #known = new Map<Value, readonly (readonly Measured[])[]>();

  constructor(types: Types) {
    this.#types = types;
  }

  /** One list per element of `value`; none for what no shape arithmetic makes. */
  of(value: Value): readonly (readonly Measured[])[] {
    const have = this.#known.get(value);
    if (have) return have;
    // Producers first, without recursion: chains may be long.
    const stack: Value[] = [value];
    while (stack.length > 0) {
      const top = stack[stack.length - 1] as Value;
      const missing = this.#sources(top).filter((v) => !this.#known.has(v));
      if (missing.length > 0) stack.push(...missing);
      else {
        stack.pop();
        if (!this.#known.has(top)) this.#known.set(top, this.#make(top));
      }
    }
    return this.#known.get(value) ?? [];
  }

  #sources(value: Value): Value[] {
    const node = value.producer;
    if (!node || value.constant || isMeasure(node) || !isShapeArithmetic(node, this.#types)) return [];
    return node.inputs.filter((v) => v !== undefined);
  }

  #make(value: Value): readonly (readonly Measured[])[] {
    const node = value.producer;
    if (!node || value.constant || !isShapeArithmetic(node, this.#types)) return [];
    const count = this.#types.content(value)?.length ?? 0;
    if (isMeasure(node)) return this.#measured(node, count);
    const inputs = node.inputs.filter((v) => v !== undefined).map((v) => this.#known.get(v) ?? []);
    if (inputs.every((of) => of.every((list) => list.length === 0))) return Array.from({ length: count }, () => []);
    return this.#moved(node, value, count) ?? this.#elementwise(node, count) ?? Array.from({ length: count }, () => union(inputs.flat()));
  }

  #measured(node: Node, count: number): readonly (readonly Measured[])[] {
    const [value] = node.inputs;
    const rank = value && this.#types.shape(value)?.length;
    if (!value || rank === undefined) return [];
    const all = Array.from({ length: rank }, (_, axis) => ({ value, axis }));
    if (node.opType === "Size") return [all];
    const start = node.int("start", 0);
    const first = Math.min(Math.max(start < 0 ? start + rank : start, 0), rank);
    return Array.from({ length: count }, (_, k) => all.slice(first + k, first + k + 1));
  }

  /** Sends the elements' numbers through an op that only moves them, as inference does with symbolic contents. */
  #moved(node: Node, value: Value, count: number): readonly (readonly Measured[])[] | undefined {
    const spec = this.#types.spec(node);
    const op = this.#types.context(node);
    if (!spec || spec.moves === undefined) return undefined;
    const elements: (readonly Measured[])[] = [[]];
    const inputs: (Tensor | undefined)[] = [];
    for (const [i, v] of node.inputs.entries()) {
      const shape = v && this.#types.shape(v);
      const content = v && this.#types.content(v);
      if (!v) inputs.push(undefined);
      else if (!shape?.every(isKnown) || !content) return undefined;
      else if (spec.moves === "all" || spec.moves.includes(i)) {
        const of = this.#known.get(v) ?? [];
        const from = elements.length;
        inputs.push(
          Tensor.ints(
            content.map((_, k) => from + k),
            shape as number[],
          ),
        );
        content.forEach((_, k) => {
          elements.push(of[k] ?? []);
        });
      } else if (!content.every(isKnown) || union(this.#known.get(v) ?? []).length > 0) return undefined;
      else inputs.push(Tensor.ints(content as number[], shape as number[]));
    }
    const landed = evaluateNode(spec, op, inputs, [], Number.POSITIVE_INFINITY)?.[node.outputs.indexOf(value)]?.ints();
    return landed?.length === count ? landed.map((id) => elements[id] ?? []) : undefined;
  }

  #elementwise(node: Node, count: number): readonly (readonly Measured[])[] | undefined {
    if (!node.isStandard || !ELEMENTWISE.has(node.opType)) return undefined;
    const inputs = node.inputs.filter((v) => v !== undefined).map((v) => this.#known.get(v) ?? []);
    if (inputs.some((of) => of.length > 1 && of.length !== count)) return undefined;
    return Array.from({ length: count }, (_, k) => union(inputs.map((of) => (of.length === 1 ? of[0] : of[k]) ?? [])));
  }
}

function union(lists: readonly (readonly Measured[])[]): readonly Measured[] {
  const out: Measured[] = [];
  for (const m of lists.flat()) if (!out.some((x) => x.value === m.value && x.axis === m.axis)) out.push(m);
  return out;
}

/** Where a run can read the extents that symbols stand for. */
export class Rulers {
  /** An extent as text -> the places that have it, outer graphs and earlier nodes first. */
  readonly #places = new Map<string, Measured[]>();
  /** Values of node outputs -> their place in the order of their graph. */
  readonly #order = new Map<Node, number>();

  constructor(graph: Graph, types: Types) {
    for (const g of everyGraph(graph)) {
      for (const [at, node] of g.nodes.entries()) this.#order.set(node, at);
      for (const value of [...g.inputs, ...g.nodes.flatMap((n) => n.outputs)]) {
        if (!value || value.constant) continue;
        types.shape(value)?.forEach((d, axis) => {
          if (isKnown(d)) return;
          const of = this.#places.get(d);
          if (!of) this.#places.set(d, [{ value, axis }]);
          else of.push({ value, axis });
        });
      }
    }
  }

  /** A place with the extent `text` that `reader` may read and `isWhole` accepts. */
  find(text: string, reader: Node, isWhole: (place: Measured) => boolean): Measured | undefined {
    return this.#places.get(text)?.find((place) => this.#isBefore(place.value, reader) && isWhole(place));
  }

  /** Whether `d` can be computed before `reader` from extents that stay. */
  canTell(d: Dim, reader: Node, isWhole: (place: Measured) => boolean): boolean {
    if (isKnown(d) || this.find(d, reader, isWhole)) return true;
    return terms(d).every((t) => t.factors.every((f) => this.find(f, reader, isWhole)));
  }

  /** Whether `value` is defined above `reader`, in its graph or one around it. */
  #isBefore(value: Value, reader: Node): boolean {
    for (let node: Node | undefined = reader; node; node = node.graph?.owner) {
      if (node.graph !== value.graph) continue;
      return !value.producer || (this.#order.get(value.producer) ?? 0) < (this.#order.get(node) ?? 0);
    }
    return false;
  }
}
