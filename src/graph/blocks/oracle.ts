/**
 * What a model without blocks must equal, and what tells how much each block matters: copies of the whole original in which a
 * branch gives nothing to its sum, or a share of what it gives.
 */
import { float, int } from "../attribute.js";
import { Copies, cloneModel } from "../clone.js";
import { type DType, wireOfDtype } from "../dtype.js";
import { type Graph, type Model, type Node, Value } from "../graph.js";
import type { Block } from "./find.js";

/**
 * The oracle of removeBlocks: `model` with zeros of the branch's own shape in the place of what each branch gives to its sum (of a
 * projection: in the place of both operands, and the entry added). Every node stays and runs, so that what a branch makes, Infinity
 * included, has no way in; nothing here knows what removal deletes.
 */
export function blockOracle(model: Model, blocks: Iterable<Block>): Model {
  return withOperands(model, new Set(blocks), (place, value) => zeros(place, value));
}

/** A model with a factor on what each branch gives, as scalar inputs in the order of `blocks`: 1 is the original, 0 is the oracle. */
export interface Gated {
  readonly model: Model;
  readonly gates: readonly string[];
}

/** Opset 7 or newer, where Mul broadcasts. Not for projections: these have no gate. */
export function gateBlocks(model: Model, blocks: readonly Block[]): Gated {
  const gates = new Map<Block, Value>();
  const gated = withOperands(model, new Set(blocks), (place, value, block) => {
    let gate = gates.get(block);
    if (!gate) {
      const main = place.model.graph;
      gate = new Value(main.freshName(`${block.name}_gate`), { kind: "tensor", dtype: block.type.dtype, shape: [] });
      main.addInput(gate);
      gates.set(block, gate);
    }
    return place.insert("Mul", [value, gate], "gated");
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

/** A copy of `model` in which `change` makes new operands of those that the branches give. */
function withOperands(model: Model, blocks: ReadonlySet<Block>, change: (place: Place, value: Value, block: Block) => Value): Model {
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
    const operand = (index: number) => change(place, add.inputs[index] as Value, block);
    const skip =
      block.kind === "identity" ? undefined : place.insert("Add", [copies.value(block.entry), operand(block.skipIndex)], "alone");
    add.setInput(1 - block.skipIndex, operand(1 - block.skipIndex));
    if (skip) add.setInput(block.skipIndex, skip);
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
