/** Groups: choices that came from one axis, and every slice of a constant that leaves with each of them. */
import { everyNode, type Node, type Value } from "../graph.js";
import type { Axis } from "./axis.js";
import { ALWAYS, Choices } from "./choices.js";
import { type Contraction, couple, isTypedPerUse, type Typing } from "./couple.js";

/** What the constant does on this axis: makes the channels, sums over them, or acts on each (bias, scale). */
export type Role = "producer" | "consumer" | "vector";

/** One axis of one constant on which channels of a group lie. */
export interface ConstantSlot {
  readonly value: Value;
  readonly axis: number;
  readonly role: Role;
  /** The reads of the constant this slot stands for (several only for a shared matrix). */
  readonly uses: readonly { readonly node: Node; readonly index: number }[];
  /**
   * For an axis that depends on axis 0, like the input axis of a grouped convolution's weight: the rows [from, to) of
   * axis 0 in which these positions are. Other rows belong to other channels.
   */
  readonly rows?: readonly [number, number];
  /** Positions along `axis` of channel k of the group (k counts the group's choices); empty when k has none here. */
  positions(k: number): readonly number[];
}

/** Channels that can be removed one by one. Index k of `choices` is channel k. */
export interface Group {
  /** Unique and stable for a given model: the first constant axis it is made by, e.g. "conv1.weight:0". */
  readonly name: string;
  /** Choice numbers (coupling/choices.ts). */
  readonly choices: readonly number[];
  readonly slots: readonly ConstantSlot[];
  /** Nodes that read or make its channels as parameters, in graph order, for reports. */
  readonly nodes: readonly Node[];
}

/** The coupling of a model: its typing, the choices, and the groups worth offering. */
export interface Coupling {
  readonly typing: Typing;
  readonly choices: Choices;
  readonly groups: readonly Group[];
  groupOf(choice: number): Group | undefined;
}

/** Couples `model` and lists its prunable groups: those on an axis of at least one constant of rank ≥ 2. */
export function findGroups(model: Parameters<typeof couple>[0], typing: Typing = couple(model)): Coupling {
  const choices = new Choices(typing.system);
  const byClan = new Map<number, Draft[]>();
  const sums = contractionsByNode(typing);
  const order = new Map<Node, number>();
  for (const node of everyNode(typing.model.graph)) order.set(node, order.size);

  const visit = (value: Value, axes: readonly Axis[], uses: readonly Read[]) => {
    axes.forEach((axis, i) => {
      if (typing.system.reason(axis)) return;
      const role = roleOf(typing, sums, choices, value, axes, i, uses);
      const summed = role === "consumer" ? summedPart(typing, sums, choices, i, uses) : undefined;
      const r = typing.system.find(axis);
      const pieces: { axis: Axis; rows?: readonly [number, number] }[] = [];
      if (r.form?.kind === "family") {
        const per = (value.constant?.dims[0] as number) / r.form.parts.length;
        r.form.parts.forEach((p, b) => {
          if (!typing.system.reason(p)) pieces.push({ axis: p, rows: [b * per, (b + 1) * per] });
        });
      } else pieces.push({ axis: r });
      for (const piece of pieces) {
        const clans = new Map<number, Map<number, number[]>>();
        for (const layer of choices.layers(piece.axis)) {
          layer.forEach((c, p) => {
            if (c === ALWAYS) return;
            const clan = choices.clanOf(c);
            const of = clans.get(clan) ?? new Map<number, number[]>();
            clans.set(clan, of);
            const list = of.get(c);
            if (!list) of.set(c, [p]);
            else list.push(p);
          });
        }
        // A product of an axis with itself has a channel in two layers.
        for (const of of clans.values())
          for (const [c, list] of of)
            of.set(
              c,
              [...new Set(list)].sort((p, q) => p - q),
            );
        for (const [clan, at] of clans) {
          const isSummed = !summed || [...at.keys()].some((c) => summed.has(c));
          const draft: Draft = {
            slot: { value, axis: i, role: isSummed ? role : "producer", uses, ...(piece.rows ? { rows: piece.rows } : {}) },
            at,
          };
          const of = byClan.get(clan);
          if (of) of.push(draft);
          else byClan.set(clan, [draft]);
        }
      }
    });
  };

  for (const { value, uses, axes } of constantReads(typing)) visit(value, axes, uses);

  const groups: Group[] = [];
  const index = new Map<number, Group>();
  const names = new Set<string>();
  // Of groups that would have one name (channels, and whole groups of them) the one with most channels has it.
  const drafts = [...byClan.values()]
    .filter((mine) => mine.some((d) => (d.slot.value.constant?.dims.length ?? 0) >= 2))
    .map((mine) => ({ mine, list: [...new Set(mine.flatMap((d) => [...d.at.keys()]))].sort((a, b) => a - b) }))
    .sort((a, b) => b.list.length - a.list.length);
  for (const { mine, list } of drafts) {
    const slots: ConstantSlot[] = mine.map((d) => ({ ...d.slot, positions: (k) => d.at.get(list[k] as number) ?? [] }));
    const nodes = [...new Set(slots.flatMap((s) => s.uses.map((u) => u.node)))].sort((a, b) => (order.get(a) ?? 0) - (order.get(b) ?? 0));
    const lead = slots.find((s) => s.role === "producer") ?? (slots[0] as ConstantSlot);
    const group: Group = { name: uniqueName(`${lead.value.name}:${lead.axis}`, names), choices: list, slots, nodes };
    groups.push(group);
    for (const c of list) index.set(c, group);
  }
  const first = (g: Group) => order.get(g.nodes[0] as Node) ?? 0;
  groups.sort((a, b) => first(a) - first(b) || (a.name < b.name ? -1 : 1));
  return { typing, choices, groups, groupOf: (c) => index.get(c) };
}

type Read = { readonly node: Node; readonly index: number };
type Sums = ReadonlyMap<Node, readonly Contraction[]>;
interface Draft {
  readonly slot: Omit<ConstantSlot, "positions">;
  /** choice -> positions */
  readonly at: ReadonlyMap<number, number[]>;
}

/** Every constant that is read, or that a body returns, with its axes: once per use for rank ≤ 1, once per value otherwise. */
function* constantReads(typing: Typing): Iterable<{ value: Value; uses: Read[]; axes: readonly Axis[] }> {
  const seen = new Set<Value>();
  for (const node of everyNode(typing.model.graph)) {
    for (const [index, value] of node.inputs.entries()) {
      if (!value?.constant) continue;
      if (isTypedPerUse(value)) {
        const axes = typing.axesOfInput(node, index);
        if (axes) yield { value, uses: [{ node, index }], axes };
      } else if (!seen.has(value)) {
        seen.add(value);
        const axes = typing.axesOf(value);
        if (axes) yield { value, uses: value.uses(), axes };
      }
    }
    for (const value of node.subgraphs().flatMap((body) => body.outputs)) {
      const axes = value.constant && !isTypedPerUse(value) && !seen.has(value) ? typing.axesOf(value) : undefined;
      seen.add(value);
      if (axes) yield { value, uses: value.uses(), axes };
    }
  }
}

function contractionsByNode(typing: Typing): Sums {
  const out = new Map<Node, Contraction[]>();
  for (const c of typing.contractions) {
    const of = out.get(c.node);
    if (of) of.push(c);
    else out.set(c.node, [c]);
  }
  return out;
}

/**
 * An axis is a consumer when a contraction runs over its choices at the node that the constant reaches (through
 * Transpose, Reshape, dequantisation, if need be); else it acts per channel (one real axis) or makes the channels.
 */
function roleOf(
  typing: Typing,
  sums: Sums,
  choices: Choices,
  value: Value,
  axes: readonly Axis[],
  axis: number,
  uses: readonly Read[],
): Role {
  if (uses.some((u) => sums.get(u.node)?.some((c) => c.slots.some((s) => s.input === u.index && s.axis === axis)))) return "consumer";
  if ((value.constant?.dims ?? []).filter((d) => d > 1).length <= 1) return "vector";
  // Weights that pass through data movement first: compare what the contraction sums over.
  for (const { node, index } of consumersOf(uses)) {
    if (uses.some((u) => u.node === node && u.index === index)) continue;
    for (const c of sums.get(node) ?? []) {
      for (const s of c.slots) {
        if (s.input !== index) continue;
        const over = typing.axesOfInput(node, index)?.[s.axis];
        if (over && shares(choices, typing, axes[axis] as Axis, over)) return "consumer";
      }
    }
  }
  return "producer";
}

/** The choices that a contraction sums over, where it does not sum over all of the constant's axis. */
function summedPart(typing: Typing, sums: Sums, choices: Choices, axis: number, uses: readonly Read[]): ReadonlySet<number> | undefined {
  const slots = uses.flatMap((u) => (sums.get(u.node) ?? []).flatMap((c) => c.slots.filter((s) => s.input === u.index && s.axis === axis)));
  if (slots.length === 0 || slots.some((s) => !s.over)) return undefined;
  const members = slots.flatMap((s) => typing.system.members(s.over as Axis));
  return new Set(members.flatMap((m) => choices.layers(m.axis).flatMap((l) => [...l])));
}

/** Where a constant ends up when it first passes through nodes that read nothing but constants. */
function consumersOf(uses: readonly Read[]): Read[] {
  const out: Read[] = [];
  const stack = [...uses];
  const seen = new Set<Node>();
  while (stack.length > 0) {
    const u = stack.pop() as Read;
    const onlyConstants = u.node.inputs.every((v, i) => i === u.index || !v || v.constant !== undefined);
    if (!onlyConstants) out.push(u);
    else if (!seen.has(u.node)) {
      seen.add(u.node);
      for (const o of u.node.outputs) if (o) stack.push(...o.uses());
    }
  }
  return out;
}

function shares(choices: Choices, typing: Typing, a: Axis, b: Axis): boolean {
  const of = (x: Axis): Set<number> => {
    return new Set(typing.system.members(x).flatMap((m) => choices.layers(m.axis).flatMap((l) => [...l])));
  };
  const mine = of(a);
  mine.delete(ALWAYS);
  for (const c of of(b)) if (mine.has(c)) return true;
  return false;
}

function uniqueName(base: string, taken: Set<string>): string {
  let name = base;
  for (let i = 2; taken.has(name); i++) name = `${base}/${i}`;
  taken.add(name);
  return name;
}
