/** Einsum: labels of the equation are bound to extents; the output is read off its labels. Ellipsis and implicit output included. */

import type { Axis } from "../coupling/axis.js";
import type { Slot } from "../coupling/context.js";
import { type Dim, mul, product } from "../dim.js";
import type { Node } from "../graph.js";
import { defineOp, type OpContext, type OpSpec } from "../op.js";
import { broadcast, mismatch, type Shape, sameExtent, tensorOf, unknownMacs } from "./shape-rules.js";

const ELLIPSIS = "...";

/** The terms of an equation as lists of labels; "..." is a label of its own. */
export interface Equation {
  readonly inputs: readonly (readonly string[])[];
  readonly output: readonly string[];
}

/** Parses "bij,bjk->bik"; without "->" the output has the labels that occur once, in alphabetical order, after the ellipsis. */
export function parseEquation(node: Node): Equation {
  const text = node.string("equation", "").replace(/\s+/g, "");
  const [left, right] = text.split("->") as [string, string | undefined];
  const inputs = left.split(",").map((term) => labelsOf(node, term));
  if (right !== undefined) return { inputs, output: labelsOf(node, right) };
  const all = inputs.flat().filter((l) => l !== ELLIPSIS);
  const once = all.filter((l) => all.indexOf(l) === all.lastIndexOf(l)).sort();
  return { inputs, output: inputs.some((t) => t.includes(ELLIPSIS)) ? [ELLIPSIS, ...once] : once };
}

function labelsOf(node: Node, term: string): string[] {
  const labels = term.match(/\.\.\.|[A-Za-z]/g) ?? [];
  if (labels.join("") !== term || labels.filter((l) => l === ELLIPSIS).length > 1) {
    throw mismatch(node, `"${term}" is not a term of an Einsum equation: letters and at most one "..." are.`);
  }
  return labels;
}

interface Binding {
  readonly equation: Equation;
  readonly extents: ReadonlyMap<string, Dim>;
  readonly ellipsis: Shape;
}

/** Extents of all labels; undefined when an input's rank is unknown. */
function bind(op: OpContext): Binding | undefined {
  const { node } = op;
  const equation = parseEquation(node);
  if (equation.inputs.length !== node.inputs.length) {
    throw mismatch(node, `the equation has ${equation.inputs.length} terms for ${node.inputs.length} inputs.`);
  }
  const extents = new Map<string, Dim>();
  const ellipses: Shape[] = [];
  for (const [i, labels] of equation.inputs.entries()) {
    const shape = op.shape(i);
    if (!shape) return undefined;
    const at = labels.indexOf(ELLIPSIS);
    const hidden = at < 0 ? 0 : shape.length - (labels.length - 1);
    if (hidden < 0 || (at < 0 && shape.length !== labels.length)) {
      throw mismatch(node, `term "${labels.join("")}" does not fit input ${i} of shape [${shape.join(", ")}].`);
    }
    if (at >= 0) ellipses.push(shape.slice(at, at + hidden));
    const named = at < 0 ? shape : [...shape.slice(0, at), ...shape.slice(at + hidden)];
    labels
      .filter((l) => l !== ELLIPSIS)
      .forEach((label, a) => {
        const d = named[a] as Dim;
        const have = extents.get(label);
        // The runtime broadcasts an extent of 1 under a shared label.
        if (have === undefined || have === 1) extents.set(label, d);
        else if (d !== 1) extents.set(label, sameExtent(node, have, d, `extents of label "${label}"`));
      });
  }
  return { equation, extents, ellipsis: broadcast(node, ellipses) as Dim[] };
}

export const specs: readonly OpSpec[] = [
  defineOp({
    type: "Einsum",
    since: [12],
    inputs: ["Inputs..."],
    outputs: ["Output"],
    remark: "Counted as the product of all labels' extents, once per operand after the first.",
    infer(op) {
      const dtype = op.node.inputs.map((_, i) => op.type(i)?.dtype).find((d) => d !== undefined);
      const b = bind(op);
      const shape = b?.equation.output.flatMap((label) => {
        if (label === ELLIPSIS) return b.ellipsis;
        const d = b.extents.get(label);
        if (d === undefined) throw mismatch(op.node, `output label "${label}" occurs in no input.`);
        return [d];
      });
      return [dtype && tensorOf(dtype, shape)];
    },
    axes(op) {
      const b = bind(op);
      if (!b) return op.barrier("the rank of an operand is unknown");
      if (b.equation.inputs.some((t) => t.includes(ELLIPSIS))) return op.barrier("the equation has an ellipsis");
      if (b.equation.inputs.some((t) => new Set(t).size < t.length)) return op.barrier("a label repeats within one operand (a diagonal)");
      const axes = new Map<string, Axis>();
      const places = new Map<string, Slot[]>();
      b.equation.inputs.forEach((labels, i) => {
        labels.forEach((label, k) => {
          const a = op.in(i)[k] as Axis;
          const have = axes.get(label);
          if (have && have.size !== a.size) {
            if (a.size !== 1) op.freeze(have, "it broadcasts");
            if (have.size !== 1) op.freeze(a, "it broadcasts");
            if (have.size === 1) axes.set(label, a);
          } else if (have) op.same(have, a);
          else axes.set(label, a);
          places.set(label, [...(places.get(label) ?? []), { input: i, axis: k }]);
        });
      });
      for (const [label, slots] of places) if (!b.equation.output.includes(label)) op.contract(...slots);
      op.out(
        0,
        b.equation.output.map((label) => axes.get(label) as Axis),
      );
    },
    macs(op) {
      const b = bind(op);
      return b ? mul(product([...b.extents.values(), ...b.ellipsis]), op.node.inputs.length - 1) : unknownMacs(op.node);
    },
  }),
];
