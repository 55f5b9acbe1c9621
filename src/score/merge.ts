/** Merging: before channel `from` leaves, channel `into` takes over what its readers made of it. */
import { PlanError, UnsupportedError } from "../errors.js";
import { Copies, cloneModel } from "../graph/clone.js";
import type { ConstantSlot, Coupling, Group } from "../graph/coupling/groups.js";
import type { DType } from "../graph/dtype.js";
import type { Graph, Model, Use, Value } from "../graph/graph.js";
import { Tensor } from "../graph/tensor.js";
import { closest } from "../suggest.js";
import type { PlannedMerge } from "./plan.js";

/** Weight types that can take a sum: quantised integers stand for numbers on a grid and cannot. */
const SUMMABLE: ReadonlySet<DType> = new Set<DType>(["float32", "float64", "float16", "bfloat16"]);

/** Whether the weights of a consumer slot can be merged. */
export function isMergeable(slot: ConstantSlot): boolean {
  return SUMMABLE.has(slot.value.constant?.dtype ?? "undefined");
}

/**
 * A copy of `model` in which, for each merge in order, W[:, into] += scale·W[:, from] in every consumer of the group.
 *
 * A channel with several positions in a consumer (H·W columns behind a Flatten) is added position by position; in a grouped
 * weight only the rows that read the channel change. Sums are in float64, rounded to the weight's type once. A matrix
 * that other nodes read in another role is copied for the consumers.
 *
 * @param coupling that of `model`.
 * @throws PlanError when a group or channel does not exist, or two channels have different positions in a consumer.
 * @throws UnsupportedError when a consumer's weights are quantised.
 */
export function applyMerges(model: Model, merges: readonly PlannedMerge[], coupling: Coupling): Model {
  const copies = new Copies();
  const next = cloneModel(model, copies);
  const edits = new Map<Value, { readonly data: Float64Array; readonly readers: Use[] }>();
  for (const merge of merges) {
    const group = groupNamed(merge.group, coupling);
    for (const k of [merge.from, merge.into]) {
      if (k < group.choices.length) continue;
      throw new PlanError(
        "PLAN_OUT_OF_RANGE",
        `The plan merges channel ${k} of "${merge.group}", but it has channels 0 to ${group.choices.length - 1}.`,
      );
    }
    for (const slot of group.slots) {
      if (slot.role !== "consumer") continue;
      if (!isMergeable(slot)) throw quantised(merge, slot);
      if (isScrambled(slot, group, coupling)) {
        throw new PlanError(
          "PLAN_MERGE",
          `The plan merges channels of "${merge.group}", but their places in "${slot.value.name}" may come in any order.`,
          {
            at: { value: slot.value.name },
            hint: "Which place of one belongs to which of the other cannot be told: plan without merging.",
          },
        );
      }
      const edit = edits.get(slot.value) ?? {
        data: Float64Array.from((slot.value.constant as Tensor).numbers()),
        readers: readersOf(slot, coupling),
      };
      edits.set(slot.value, edit);
      addChannel(edit.data, slot, merge);
    }
  }
  for (const [value, { data, readers }] of edits) {
    const old = value.constant as Tensor;
    const tensor = Tensor.fromNumbers(old.dtype, old.dims, data);
    const mine = copies.value(value);
    const graph = mine.graph as Graph;
    if (readers.length === 0 || (readers.length === value.useCount && !value.isOutput)) graph.setConstant(mine, tensor);
    else {
      const copy = graph.addInitializer(`${value.name}_merged`, tensor);
      for (const { node, index } of readers) copies.node(node).setInput(index, copy);
    }
  }
  return next;
}

/** Reads at which a sum runs over the slot's axis; none where the weight is moved or converted first (then it has no other role). */
function readersOf(slot: ConstantSlot, coupling: Coupling): Use[] {
  return slot.uses.filter(({ node, index }) =>
    coupling.typing.contractions.some((c) => c.node === node && c.slots.some((s) => s.input === index && s.axis === slot.axis)),
  );
}

function addChannel(data: Float64Array, slot: ConstantSlot, { group, from, into, scale }: PlannedMerge): void {
  const { dims } = slot.value.constant as Tensor;
  const sources = slot.positions(from);
  const targets = slot.positions(into);
  if (sources.length !== targets.length) {
    throw new PlanError(
      "PLAN_MERGE",
      `The plan merges channel ${from} of "${group}" into ${into}, but they have ${sources.length} and ${targets.length} positions in "${slot.value.name}".`,
      { at: { value: slot.value.name }, hint: "Channels can only be merged where the same weights read them." },
    );
  }
  const n = dims[slot.axis] as number;
  const inner = dims.slice(slot.axis + 1).reduce((a, b) => a * b, 1);
  const outer = dims.slice(0, slot.axis).reduce((a, b) => a * b, 1);
  const perRow = slot.rows ? outer / (dims[0] as number) : 0;
  const [first, last] = slot.rows ? [slot.rows[0] * perRow, slot.rows[1] * perRow] : [0, outer];
  for (let o = first; o < last; o++) {
    for (let p = 0; p < sources.length; p++) {
      const a = (o * n + (sources[p] as number)) * inner;
      const b = (o * n + (targets[p] as number)) * inner;
      for (let i = 0; i < inner; i++) data[b + i] = (data[b + i] as number) + scale * (data[a + i] as number);
    }
  }
}

/**
 * Whether the places of a channel in a consumer may come in any order: several of them, on an axis that was followed index by
 * index (a Gather over flattened C·H·W). Position p of one channel then need not be position p of another.
 */
export function isScrambled(slot: ConstantSlot, group: Group, coupling: Coupling): boolean {
  if (!group.choices.some((_, k) => slot.positions(k).length > 1)) return false;
  const { system } = coupling.typing;
  const stack = [...slot.uses.slice(0, 1).flatMap(({ node, index }) => coupling.typing.axesOfInput(node, index)?.[slot.axis] ?? [])];
  for (let axis = stack.pop(); axis; axis = stack.pop()) {
    const { form } = system.find(axis);
    if (form?.kind === "units") {
      // A product seen index by index repeats its units.
      const roots = Array.from(form.ids, (id) => system.units.root(id)).filter((r) => !system.units.reason(r));
      if (new Set(roots).size < roots.length) return true;
    } else if (form) stack.push(...form.parts);
  }
  return false;
}

function groupNamed(name: string, coupling: Coupling): Group {
  const group = coupling.groups.find((g) => g.name === name);
  if (group) return group;
  const near = closest(
    name,
    coupling.groups.map((g) => g.name),
  );
  throw new PlanError("PLAN_UNKNOWN_GROUP", `The plan merges channels of "${name}", which is no group of this model.`, {
    hint: `${near ? `Did you mean "${near}"? ` : ""}\`onnx-prune inspect\` lists the groups.`,
  });
}

function quantised(merge: PlannedMerge, slot: ConstantSlot): UnsupportedError {
  return new UnsupportedError(
    "MERGE_QUANTISED",
    `The plan merges channels of "${merge.group}", but the weights "${slot.value.name}" that read them are ${slot.value.constant?.dtype}.`,
    { at: { value: slot.value.name }, hint: 'Prune the model before it is quantised, or plan without merging ({"merge": false}).' },
  );
}
