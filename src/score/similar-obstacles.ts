/** What stands in the way of merging the channels of a group, or of merging multiples of each other. */
import { ALWAYS } from "../graph/coupling/choices.js";
import type { Slot } from "../graph/coupling/context.js";
import type { Coupling, Group } from "../graph/coupling/groups.js";
import type { Node, Value } from "../graph/graph.js";
import { isMergeable, isScrambled } from "./merge.js";

/**
 * Why adding outgoing weights would not make up for a channel; undefined when it does: every sum over the group's channels
 * must be one with a float constant, whose columns can be added.
 */
export function mergeObstacle(group: Group, coupling: Coupling): string | undefined {
  const { typing, choices } = coupling;
  for (const slot of group.slots) {
    if (slot.role === "consumer" && !isMergeable(slot))
      return `the weights "${slot.value.name}" that read them are ${slot.value.constant?.dtype}`;
  }
  const scrambled = group.slots.find((slot) => slot.role === "consumer" && isScrambled(slot, group, coupling));
  if (scrambled) return `their places in "${scrambled.value.name}" may come in any order`;
  const readers = weightReaders(group);
  const mine = new Set(group.choices);
  for (const { node, slots } of typing.contractions) {
    const reads = readers.has(node);
    if (reads && hasOneWeight(node, slots)) continue;
    for (const { input, axis, over } of slots) {
      const a = over ?? typing.axesOfInput(node, input)?.[axis];
      if (!a) continue;
      const parts = typing.system.members(a).map((m) => m.axis);
      const sumsOver = parts.some((p) => choices.layers(p).some((layer) => layer.some((c) => c !== ALWAYS && mine.has(c))));
      if (sumsOver)
        return `${node.opType} "${node.label}" ${reads ? "multiplies them by each other" : "sums over them without a weight of its own"}`;
    }
  }
  return undefined;
}

/** Whether a sum is linear in its one weight: no second weight, and no product of two inputs (Q and K of attention, each with a bias). */
function hasOneWeight(node: Node, slots: readonly Slot[]): boolean {
  const weights = slots.filter((s) => isMadeOfConstants(node.inputs[s.input])).length;
  return weights === 1 && slots.length - weights <= 1;
}

/** A constant, or what nodes make of constants alone. */
function isMadeOfConstants(value: Value | undefined): boolean {
  const stack = [value];
  const seen = new Set<Value>();
  while (stack.length > 0) {
    const v = stack.pop();
    if (!v || v.constant || seen.has(v)) continue;
    seen.add(v);
    if (!v.producer) return false;
    stack.push(...v.producer.inputs);
  }
  return value !== undefined;
}

/** Ops f with f(α·x) = α·f(x) for α > 0, channel by channel. */
const HOMOGENEOUS: ReadonlySet<string> = new Set([
  "Relu",
  "LeakyRelu",
  "PRelu",
  "MaxPool",
  "AveragePool",
  "GlobalAveragePool",
  "GlobalMaxPool",
  "Identity",
  "Dropout",
  "Flatten",
  "Reshape",
  "Squeeze",
  "Unsqueeze",
  "Transpose",
  "Concat",
]);

/**
 * Why α times a filter need not give α times the channel; undefined when it does: between the ends of the producers
 * and the weights that read the channels stand positively homogeneous ops alone.
 *
 * @param ends where each producer's foldable chain ends (FoldedWeights.producerEnds).
 */
export function scaleObstacle(group: Group, ends: readonly (Value | undefined)[]): string | undefined {
  if (ends.length === 0) return "no weight makes the channels";
  const readers = weightReaders(group);
  const seen = new Set<Node>();
  const stack: Value[] = [];
  for (const end of ends) {
    if (!end) return "a producer is no Conv, ConvTranspose, Gemm or MatMul";
    stack.push(end);
  }
  while (stack.length > 0) {
    for (const { node } of (stack.pop() as Value).uses()) {
      if (seen.has(node) || readers.has(node)) continue;
      seen.add(node);
      if (node.isStandard && (node.opType === "Shape" || node.opType === "Size")) continue;
      if (!node.isStandard || !HOMOGENEOUS.has(node.opType)) return `${node.qualifiedType} "${node.label}" does not scale with its input`;
      if (node.opType === "PRelu" && !hasOneSlope(node)) return `PRelu "${node.label}" has different slopes`;
      if (node.opType === "MaxPool" && node.outputs[1] && node.outputs[1].useCount > 0)
        return `the positions that MaxPool "${node.label}" finds are read`;
      for (const o of node.outputs) if (o) stack.push(o);
    }
  }
  return undefined;
}

function hasOneSlope(node: Node): boolean {
  const slopes = node.inputs[1]?.constant?.numbers();
  return slopes?.every((s) => s === slopes[0]) ?? false;
}

/** The nodes at which consumer weights meet the data, also after a Transpose or dequantisation of their own. */
function weightReaders(group: Group): Set<Node> {
  const readers = new Set<Node>();
  const stack = group.slots.flatMap((s) => (s.role === "consumer" ? [...s.uses] : []));
  const seen = new Set<Node>();
  while (stack.length > 0) {
    const { node, index } = stack.pop() as (typeof stack)[number];
    const isConversion = node.inputs.every((v, i) => i === index || !v || v.constant !== undefined);
    if (!isConversion) readers.add(node);
    else if (!seen.has(node)) {
      seen.add(node);
      for (const o of node.outputs) if (o) stack.push(...o.uses());
    }
  }
  return readers;
}
