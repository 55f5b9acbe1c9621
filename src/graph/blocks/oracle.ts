/**
 * What a model without blocks must equal, and what tells how much each block matters: copies of the whole original in which a
 * branch gives nothing to its sum, or a share of what it gives.
 */
import { float, int } from "../attribute.js";
import { Copies, cloneModel } from "../clone.js";
import { type DType, wireOfDtype } from "../dtype.js";
import { type Graph, type Model, type Node, Value } from "../graph.js";
import { Tensor } from "../tensor.js";
import type { Block } from "./find.js";

/**
 * The oracle of removeBlocks: `model` with zeros of the branch's own shape in the place of what each branch gives to its sum (of a
 * projection: in the place of both operands, and the entry added). Every node stays and runs, so that what a branch makes, Infinity
 * included, has no way in; nothing here knows what removal deletes.
 */
export function blockOracle(model: Model, blocks: Iterable<Block>): Model {
  return withOperands(model, new Set(blocks), { operand: zeros, entry: (_, value) => value });
}

/**
 * A model with a factor on what each branch gives (of a projection: on both operands, and the rest of 1 on the entry), as scalar
 * inputs in the order of `blocks`: with 1 it is the original, with 0 the oracle, as long as all values are finite.
 */
export interface Gated {
  readonly model: Model;
  readonly gates: readonly string[];
}

/** Opset 7 or newer, where Mul broadcasts. */
export function gateBlocks(model: Model, blocks: readonly Block[]): Gated {
  const gates = new Map<Block, Value>();
  const gateOf = ({ model: { graph }, dtype }: Place, block: Block): Value => {
    const known = gates.get(block);
    if (known) return known;
    const gate = graph.addInput(new Value(graph.freshName(`${block.name}_gate`), { kind: "tensor", dtype, shape: [] }));
    gates.set(block, gate);
    return gate;
  };
  const gated = withOperands(model, new Set(blocks), {
    operand: (place, value, block) => place.insert("Mul", [value, gateOf(place, block)], "gated"),
    entry(place, value, block) {
      const one = place.model.graph.addInitializer("one", Tensor.fromNumbers(place.dtype, [], [1]));
      return place.insert("Mul", [value, place.insert("Sub", [one, gateOf(place, block)], "rest")], "gated");
    },
  });
  return { model: gated, gates: blocks.map((b) => (gates.get(b) as Value).name) };
}

/** Where an operand of a sum is replaced. */
interface Place {
  readonly model: Model;
  readonly dtype: DType;
  /** Puts a node before the sum; returns its output, named after its first input. */
  insert(opType: string, inputs: readonly Value[], suffix: string, attributes?: Node["attributes"]): Value;
}

/** What stands for an operand that a branch gives, and what a projection's entry adds to its sum. */
interface Change {
  operand(place: Place, value: Value, block: Block): Value;
  entry(place: Place, value: Value, block: Block): Value;
}

function withOperands(model: Model, blocks: ReadonlySet<Block>, change: Change): Model {
  const copies = new Copies();
  const next = cloneModel(model, copies);
  for (const block of blocks) {
    const add = copies.node(block.add);
    const graph = add.graph as Graph;
    const place: Place = {
      model: next,
      dtype: block.type.dtype,
      insert(opType, inputs, suffix, attributes = new Map()) {
        const outputs = [`${inputs[0]?.name}_${suffix}`];
        return graph.insertNode(opType, inputs, { before: add, outputs, attributes: Object.fromEntries(attributes) }).outputs[0] as Value;
      },
    };
    const operand = (index: number) => change.operand(place, add.inputs[index] as Value, block);
    add.setInput(1 - block.skipIndex, operand(1 - block.skipIndex));
    if (block.kind === "projection") {
      const entry = change.entry(place, copies.value(block.entry), block);
      add.setInput(block.skipIndex, place.insert("Add", [entry, operand(block.skipIndex)], "alone"));
    }
    // The bias of a fused sum is added with the branch, and leaves with it.
    const bias = add.isStandard ? undefined : add.opType === "SkipLayerNormalization" ? 4 : 3;
    if (bias !== undefined && add.inputs[bias]) add.setInput(bias, operand(bias));
  }
  return next;
}

/** Zeros of the shape of `value`, whatever it holds. */
function zeros(place: Place, value: Value): Value {
  // Before ConstantOfShape there was Clip with bounds as attributes, and it takes floats only.
  if (place.model.opset < 9)
    return place.insert(
      "Clip",
      [value],
      "zero",
      new Map([
        ["min", float(0)],
        ["max", float(0)],
      ]),
    );
  const zero = place.insert("ConstantOfShape", [place.insert("Shape", [value], "shape")], "zero");
  return place.dtype === "float32" ? zero : place.insert("Cast", [zero], "cast", new Map([["to", int(wireOfDtype(place.dtype))]]));
}
