/** What the leaving of a channel saves. */
import { cost } from "../../graph/cost.js";
import type { ConstantSlot, Coupling, Group } from "../../graph/coupling/groups.js";
import type { Node } from "../../graph/graph.js";

export type Unit = "macs" | "parameters";

/** Nodes that hand weights on to the node that multiplies. */
const MOVES: ReadonlySet<string> = new Set(["Reshape", "Squeeze", "Unsqueeze", "Transpose", "Identity", "Cast", "DequantizeLinear"]);

/**
 * Share of the whole model's cost that each channel of a group saves, all others being there; an estimate, for layers that lose inputs and
 * outputs save the product of both. 0 where nothing is known.
 */
export function savingsOf(coupling: Coupling, unit: Unit): (group: Group) => Float64Array {
  const total = cost(coupling.typing.model, coupling.typing.types);
  const macs = new Map(total.byNode.map((n) => [n.node, n.macs]));
  const whole = unit === "macs" ? total.macs : total.parameters;
  return (group) => {
    const saved = new Float64Array(group.choices.length);
    for (const slot of group.slots) {
      const perPosition = unit === "parameters" ? parametersOf(slot) : macsOf(slot, macs);
      saved.forEach((s, k) => {
        saved[k] = s + perPosition * slot.positions(k).length;
      });
    }
    return saved.map((s) => (whole > 0 ? s / whole : 0));
  };
}

function shareOf({ value, axis, rows }: ConstantSlot): number {
  const dims = value.constant?.dims ?? [];
  return (rows ? (rows[1] - rows[0]) / (dims[0] as number) : 1) / (dims[axis] as number);
}

function parametersOf(slot: ConstantSlot): number {
  return (slot.value.constant?.size ?? 0) * shareOf(slot);
}

/** Multiply-accumulates of the nodes that multiply by the slot's weights, per position. Biases and slopes are none. */
function macsOf(slot: ConstantSlot, macs: ReadonlyMap<Node, number>): number {
  let sum = 0;
  for (const use of slot.uses) {
    let { node, index } = use;
    while (node.isStandard && index === 0 && MOVES.has(node.opType) && node.outputs[0]?.useCount === 1)
      ({ node, index } = node.outputs[0].uses()[0] as typeof use);
    if (index === 1 || node.opType === "Einsum") sum += (macs.get(node) ?? 0) * shareOf(slot);
  }
  return sum;
}
