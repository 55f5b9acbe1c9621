/**
 * Pools: what the planner may remove in one move.
 *
 * An ordinary group is a pool of its own, one channel a move. Where parts must keep equally many (the groups of a
 * convolution, the dims of each head), channels with the same duties are *cells*, and a move takes so many of each that
 * every balance that held before holds after (balanced-moves.ts).
 */
import { ALWAYS, type Kept } from "../graph/coupling/choices.js";
import type { Balance } from "../graph/coupling/couple.js";
import type { Coupling, Group } from "../graph/coupling/groups.js";
import { balancedMoves, type Part } from "./balanced-moves.js";

export interface Cell {
  readonly choices: readonly number[];
  /** How many of them have left after 0, 1, 2 … moves. */
  readonly taken: readonly number[];
}

export interface Pool {
  /** Groups with a share in it, in graph order; the first names it. */
  readonly groups: readonly Group[];
  readonly cells: readonly Cell[];
  /** One more than can be taken: after so many nothing, or nothing that may leave, would be left. */
  readonly moves: number;
}

/** How many choices of a cell have left after so many moves. */
export function takenOf(cell: Cell, moves: number): number {
  return cell.taken[Math.min(moves, cell.taken.length - 1)] as number;
}

export interface Declined {
  readonly group: Group;
  readonly why: string;
}

/** A balance over the choices that do not count the same in all of its parts. */
interface Bound {
  readonly balance: Balance;
  /** Per part: choice -> positions. */
  readonly counts: readonly ReadonlyMap<number, number>[];
  readonly extents: readonly number[];
}

/** The pools of a coupling, in graph order, and the groups whose balance cannot be kept by any move. */
export function findPools(coupling: Coupling): { readonly pools: readonly Pool[]; readonly declined: readonly Declined[] } {
  const { groups } = coupling;
  const stuck = new Map<number, string>();
  const linked = new Links();
  const balances = boundBalances(coupling, stuck);
  for (const { counts } of balances) {
    const all = new Set(counts.flatMap((n) => [...n.keys()]));
    const [first] = all;
    for (const c of all) linked.join(first as number, c);
  }
  const isBound = (c: number) => linked.has(c) && !stuck.has(c);

  const components = componentsOf(groups, balances, isBound, linked);
  const pools: Pool[] = [];
  const declined = new Map<Group, string>();
  const decline = (group: Group, why: string) => {
    if (!declined.has(group)) declined.set(group, why);
  };
  for (const group of groups) {
    const free = group.choices.filter((c) => !isBound(c) && !stuck.has(c));
    if (free.length > 1 || (free.length === 1 && leavesSome(group, free[0] as number)))
      pools.push({
        groups: [group],
        cells: [{ choices: free, taken: free.map((_, m) => m).concat(free.length) }],
        moves: Math.max(2, free.length),
      });
    else if (free.length === 1) decline(group, "it has one channel, which must stay");
    for (const c of group.choices) if (stuck.has(c)) decline(group, stuck.get(c) as string);
    // Each component once, where its first group is.
    for (const component of new Set(group.choices.filter(isBound).map((c) => components.get(linked.root(c)) as Component))) {
      if (component.groups[0] !== group) continue;
      const pool = poolOf(component);
      if (typeof pool === "string") for (const g of component.groups) decline(g, pool);
      else pools.push(pool);
    }
  }
  return { pools, declined: [...declined].map(([group, why]) => ({ group, why })) };
}

/** Choices that balances link with one another. */
interface Component {
  /** In graph order. */
  readonly groups: Group[];
  readonly bound: number[];
  readonly balances: Bound[];
}

function componentsOf(
  groups: readonly Group[],
  balances: readonly Bound[],
  isBound: (choice: number) => boolean,
  linked: Links,
): ReadonlyMap<number, Component> {
  const out = new Map<number, Component>();
  for (const group of groups) {
    for (const c of group.choices.filter(isBound)) {
      const root = linked.root(c);
      const component = out.get(root) ?? { groups: [], bound: [], balances: [] };
      out.set(root, component);
      if (component.groups.at(-1) !== group) component.groups.push(group);
      component.bound.push(c);
    }
  }
  for (const balance of balances) {
    const [first] = balance.counts.flatMap((n) => [...n.keys()]);
    out.get(linked.root(first as number))?.balances.push(balance);
  }
  return out;
}

/** Whether anything is left of every axis that channel `choice` of `group` lies on, when it alone leaves. */
function leavesSome(group: Group, choice: number): boolean {
  const k = group.choices.indexOf(choice);
  return group.slots.every((s) => s.rows !== undefined || s.positions(k).length < (s.value.constant?.dims[s.axis] ?? 0));
}

/** Balances that say something, each once; `stuck` is told the choices that no counting of channels can balance. */
function boundBalances({ typing, choices }: Coupling, stuck: Map<number, string>): Bound[] {
  const out = new Map<string, Bound>();
  for (const balance of typing.balances) {
    const extents = balance.parts.map((p) => typing.system.find(p.axis).size as number);
    const layers = balance.parts.map((p) => (typing.system.reason(p.axis) ? [] : choices.layers(p.axis)));
    const why = `${balance.why}${at(balance)}, and some have more that can leave than others`;
    const clans = clansIn(layers, choices);
    // Where channels of one kind stand in the way (switches of some of the positions), they stay, and the others may leave.
    const without = [undefined, ...clans].find((clan) => countsOf(layers, extents, choices, clan) !== undefined);
    const found = countsOf(layers, extents, choices, without);
    const held = found && without === undefined ? [] : layers.flat().flatMap((l) => [...l]);
    const all = found ? undefined : boundIn(layers, choices, undefined);
    for (const c of held) if (c !== ALWAYS && (all ? all.has(c) : choices.clanOf(c) === without)) stuck.set(c, why);
    if (!found || found.every((n) => n.size === 0)) continue;
    out.set(found.map((n) => [...n].map((e) => e.join("*")).join(",")).join(";"), { balance, counts: found, extents });
  }
  return [...out.values()];
}

/** Kinds of channels, the one with fewest first: what switches others is fewer than they are. */
function clansIn(layers: Layers, choices: Coupling["choices"]): number[] {
  const sizes = new Map<number, Set<number>>();
  for (const layer of layers.flat()) {
    for (const c of layer) {
      if (c === ALWAYS) continue;
      const clan = choices.clanOf(c);
      sizes.set(clan, (sizes.get(clan) ?? new Set()).add(c));
    }
  }
  return [...sizes].sort(([, a], [, b]) => a.size - b.size).map(([clan]) => clan);
}

type Layers = readonly (readonly Int32Array[])[];

/** Positions per choice in each part, those of `clan` aside. */
function tally(layers: Layers, choices: Coupling["choices"], clan: number | undefined): Map<number, number>[] {
  return layers.map((of) => {
    const n = new Map<number, number>();
    for (const layer of of) for (const c of layer) if (c !== ALWAYS && choices.clanOf(c) !== clan) n.set(c, (n.get(c) ?? 0) + 1);
    return n;
  });
}

/** The choices that do not count the same in all parts. */
function boundIn(layers: Layers, choices: Coupling["choices"], clan: number | undefined): Set<number> {
  const all = tally(layers, choices, clan);
  return new Set(all.flatMap((n) => [...n.keys()]).filter((c) => all.some((n) => n.get(c) !== all[0]?.get(c))));
}

/**
 * Positions that each part has of each bound choice, those of `clan` left as they are; undefined where losing equally
 * many choices is not losing equally many positions. It is where every position is one choice's own, and where all parts
 * are made alike.
 */
function countsOf(
  layers: Layers,
  extents: readonly number[],
  choices: Coupling["choices"],
  clan: number | undefined,
): Map<number, number>[] | undefined {
  const bound = boundIn(layers, choices, clan);
  const counts = tally(layers, choices, clan).map((n) => new Map([...n].filter(([c]) => bound.has(c))));
  const rest = layers.map((of) => of.map((l) => l.map((c) => (c !== ALWAYS && choices.clanOf(c) === clan ? ALWAYS : c))));
  const isPlain =
    rest.every((of) => of.filter((l) => l.some((c) => c !== ALWAYS)).length <= 1) &&
    counts.every((n) => [...n.values()].every((k) => k === 1));
  const kinds = rest.map((of, i) => kindOf(of, extents[i] as number, bound, choices));
  return isPlain || kinds.every((k) => k !== undefined && k === kinds[0]) ? counts : undefined;
}

/** The pool of the choices of one component of balances, or why there is none. */
function poolOf({ groups, bound, balances }: Component): Pool | string {
  const cells = new Map<string, number[]>();
  for (const c of bound) {
    const key = balances.map(({ counts }) => counts.map((n) => n.get(c) ?? 0).join(",")).join(";");
    const of = cells.get(key);
    if (of) of.push(c);
    else cells.set(key, [c]);
  }
  const list = [...cells.values()];
  const parts = balances.map(({ counts, extents }) =>
    counts.map(
      (n, p): Part => ({
        times: new Map(list.flatMap((cell, i) => (n.has(cell[0] as number) ? [[i, n.get(cell[0] as number) as number] as const] : []))),
        extent: extents[p] as number,
      }),
    ),
  );
  for (const { balance, counts } of balances)
    if (counts.some((n) => n.size === 0)) return `${balance.why}${at(balance)}, and some of them are frozen`;
  const taken = balancedMoves({ sizes: list.map((c) => c.length), balances: parts });
  if (!taken) {
    const sizes = list.map((c) => c.length).join(", ");
    return `its ${list.length} balanced parts of ${sizes} channels cannot lose some of them and stay balanced`;
  }
  const moves = (taken[0] as readonly number[]).length - 1;
  const takesAll = list.every((c, i) => (taken[i] as readonly number[])[moves] === c.length);
  return {
    groups,
    cells: list.map((choices, i) => ({ choices, taken: taken[i] as readonly number[] })),
    moves: takesAll ? moves : moves + 1,
  };
}

/**
 * How a part of a balance is made: how many of its positions depend on how many bound choices, and on which other axes.
 * Parts of one kind lose equally many positions when every cell loses the same share. That holds for positions of one
 * choice, and for products (each choice of one factor meets each of the other); undefined for anything else.
 */
function kindOf(layers: readonly Int32Array[], size: number, bound: ReadonlySet<number>, choices: Coupling["choices"]): string | undefined {
  const tally = new Map<string, { total: number; readonly times: Map<string, number>; readonly factors: Set<number>[] }>();
  for (let p = 0; p < size; p++) {
    const here = [...new Set(layers.map((l) => l[p] as number))].filter((c) => c !== ALWAYS);
    const other = here.filter((c) => !bound.has(c)).map((c) => choices.clanOf(c));
    const key = `${here.length - other.length}|${other.sort((a, b) => a - b).join(",")}`;
    const of = tally.get(key) ?? { total: 0, times: new Map<string, number>(), factors: here.map(() => new Set<number>()) };
    tally.set(key, of);
    of.total++;
    of.times.set(here.join(","), (of.times.get(here.join(",")) ?? 0) + 1);
    here.forEach((c, i) => {
      of.factors[i]?.add(c);
    });
  }
  for (const { times, factors } of tally.values()) {
    const isGrid = times.size === factors.reduce((n, f) => n * f.size, 1) && new Set(times.values()).size === 1;
    if (factors.length > 1 && !isGrid) return undefined;
  }
  return [...tally]
    .map(([key, { total }]) => `${key}:${total}`)
    .sort()
    .join(";");
}

const at = ({ node }: Balance) => (node ? ` (node "${node.label}")` : "");

/** The balances that `kept` breaks, as sentences; empty when all hold. */
export function brokenBalances(coupling: Coupling, kept: Kept): string[] {
  const out: string[] = [];
  for (const b of coupling.typing.balances) {
    const counts = b.parts.filter((p) => kept.isAlive(p)).map((p) => kept.count(p.axis));
    if (counts.some((n) => n !== counts[0])) out.push(`${b.why}, but they would keep ${counts.join(", ")}${at(b)}`);
  }
  return out;
}

/** Union-find over choice numbers. */
class Links {
  readonly #parent = new Map<number, number>();
  has(x: number): boolean {
    return this.#parent.has(x);
  }
  root(x: number): number {
    let r = x;
    for (let p = this.#parent.get(r); p !== undefined && p !== r; p = this.#parent.get(r)) r = p;
    return r;
  }
  join(x: number, y: number): void {
    const a = this.root(x);
    const b = this.root(y);
    for (const k of [x, y, a, b]) if (!this.#parent.has(k)) this.#parent.set(k, k);
    if (a !== b) this.#parent.set(Math.max(a, b), Math.min(a, b));
  }
}
