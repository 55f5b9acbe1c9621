/** Bypasses residual blocks: each sum becomes its entry, and what only the branches needed goes. */
import { float, int } from "../attribute.js";
import { capturedOutputs } from "../captured-outputs.js";
import { Copies, cloneModel } from "../clone.js";
import { removeDeadFrom } from "../dead.js";
import { everyNode, type Graph, type Model, type Node, type Value } from "../graph.js";
import { type Block, redundantActivations } from "./find.js";

export interface RemoveBlocksOptions {
  /** Keep activations that change nothing without the block (Block.removesActivation). Default false. */
  readonly keepActivations?: boolean;
}

/**
 * A copy of `model` without `blocks`, which were found in it. A block inside the branch of another goes with it; the order of `blocks` does
 * not matter. Names and types of inputs and outputs stay, as does everything that was not needed by a branch alone.
 */
export function removeBlocks(model: Model, blocks: Iterable<Block>, options: RemoveBlocksOptions = {}): Model {
  const chosen = new Set(blocks);
  const copies = new Copies();
  const next = cloneModel(model, copies);
  // First everything stands as an Identity, so that each edit finds the values it was told of.
  const bypasses = new Set<Node>();
  for (const block of chosen) for (const node of bypassSum(block, copies)) bypasses.add(node);
  for (const block of options.keepActivations ? [] : chosen) {
    if (!block.removesActivation) continue;
    for (const node of redundantActivations(block.add)) {
      const twin = copies.node(node);
      if (twin.graph) bypasses.add(handOn(twin, 0, twin.inputs[0] as Value));
    }
  }
  removeDeadFrom(next.graph);
  const captured = capturedOutputs(next.graph);
  // In graph order: of two outputs that now are one value, the first is made by its node.
  for (const node of [...everyNode(next.graph)]) if (bypasses.has(node)) takeOut(node, captured);
  return next;
}

/** Puts Identity, or the normalisation alone, in the place of the sum. Returns the Identity nodes. */
function bypassSum(block: Block, copies: Copies): Node[] {
  const add = copies.node(block.add);
  const entry = copies.value(block.entry);
  if (add.isStandard) return [handOn(add, 0, entry)];
  const graph = add.graph as Graph;
  const [, , gamma, second] = add.inputs;
  const isSimplified = add.opType === "SkipSimplifiedLayerNormalization";
  const inputs = isSimplified ? [entry, gamma] : second ? [entry, gamma, second] : [entry, gamma];
  const Y = add.releaseOutput(0) as Value;
  const norm = graph.insertNode(isSimplified ? "RMSNormalization" : "LayerNormalization", inputs, {
    before: add,
    outputs: [],
    name: add.name,
    attributes: { axis: int(-1), epsilon: float(add.float("epsilon", 1e-5)) },
  });
  norm.addOutput(Y);
  const bypasses = add.outputs[3] ? [handOn(add, 3, entry)] : [];
  if (add.graph) graph.removeNodes([add]);
  return bypasses;
}

/** An Identity of `value` that makes output `index` of `node`, which goes. */
function handOn(node: Node, index: number, value: Value): Node {
  const graph = node.graph as Graph;
  const out = node.releaseOutput(index) as Value;
  const identity = graph.insertNode("Identity", [value], { before: node, outputs: [], name: node.name });
  identity.addOutput(out);
  graph.removeNodes([node]);
  return identity;
}

/** Readers of an Identity read what it reads, where no name is lost that others rely on. */
function takeOut(node: Node, captured: ReadonlySet<Value>): void {
  const { graph } = node;
  const [input] = node.inputs;
  const [out] = node.outputs;
  if (!graph || !input || !out || captured.has(out) || (out.isOutput && captured.has(input))) return;
  if (graph.bypass(out, input)) graph.removeNode(node);
}
