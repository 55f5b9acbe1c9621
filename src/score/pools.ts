/**
 * Pools: what the planner may remove in one move.
 *
 * An ordinary group is a pool of its own, one channel a move. Where parts must keep equally many (the groups of a
 * convolution), channels with the same duties are *cells*, and a move takes the same share of every cell: then every
 * balance that holds before holds after, however constraints chain from layer to layer.
 */
import { ALWAYS, type Kept } from "../graph/coupling/choices.js";
import type { Coupling, Group } from "../graph/coupling/groups.js";

export interface Cell {
  readonly choices: readonly number[];
  /** Choices that leave per move. */
  readonly step: number;
}

export interface Pool {
  /** Groups with a share in it, in graph order; the first names it. */
  readonly groups: readonly Group[];
  readonly cells: readonly Cell[];
  /** Number of moves if everything left; at least one must stay. */
  readonly moves: number;
}

export interface Declined {
  readonly group: Group;
  readonly why: string;
}

/** The pools of a coupling, in graph order, and the groups whose balance cannot be kept by any move. */
export function findPools(coupling: Coupling): { readonly pools: readonly Pool[]; readonly declined: readonly Declined[] } {
  const { typing, choices, groups } = coupling;
  // Duty of a choice: how often it counts in each part of each balance, unless it counts the same in all parts.
  const duties = new Map<number, string[]>();
  const stuck = new Map<number, string>();
  const linked = new Links();
  typing.balances.forEach((balance, b) => {
    const parts = balance.parts.map((p) => (typing.system.reason(p) ? [] : choices.layers(p)));
    const counts = parts.map((layers) => {
      const n = new Map<number, number>();
      for (const layer of layers) for (const c of layer) if (c !== ALWAYS) n.set(c, (n.get(c) ?? 0) + 1);
      return n;
    });
    const all = new Set(counts.flatMap((n) => [...n.keys()]));
    const bound = [...all].filter((c) => counts.some((n) => n.get(c) !== counts[0]?.get(c)));
    if (bound.length === 0) return;
    for (const c of bound) {
      const duty = `${b}:${counts.map((n) => n.get(c) ?? 0).join(",")}`;
      duties.set(c, [...(duties.get(c) ?? []), duty]);
      linked.join(bound[0] as number, c);
    }
    // The same share of every cell takes equally many from all parts only where these are made alike.
    const sizes = balance.parts.map((p) => typing.system.find(p).size as number);
    const kinds = parts.map((layers, i) => kindOf(layers, sizes[i] as number, new Set(bound), choices));
    if (kinds.some((k) => k === undefined || k !== kinds[0])) {
      const isFrozen = parts.some((layers, i) => isRigid(sizes[i] as number, layers));
      const text = isFrozen ? "some of them are frozen" : "some have more that can leave than others";
      for (const c of bound) stuck.set(c, `${balance.why} (node "${balance.node.label}"), and ${text}`);
    }
  });

  const components = new Map<number, Set<Group>>();
  for (const group of groups) for (const c of group.choices) if (duties.has(c)) add(components, linked.root(c), group);
  // One pool for all groups that share a component, however many components a group has a share in.
  const owner = new Map<Group, Group>();
  const lead = (g: Group): Group => {
    let r = g;
    while (owner.has(r) && owner.get(r) !== r) r = owner.get(r) as Group;
    return r;
  };
  for (const members of components.values()) {
    const [first, ...rest] = members;
    for (const g of rest) if (lead(g) !== lead(first as Group)) owner.set(lead(g), lead(first as Group));
  }
  const members = new Map<Group, Group[]>();
  for (const g of groups) members.set(lead(g), [...(members.get(lead(g)) ?? []), g]);

  const pools: Pool[] = [];
  const declined: Declined[] = [];
  for (const list of members.values()) {
    const all = list.flatMap((g) => g.choices);
    const bound = all.filter((c) => duties.has(c));
    const free = all.filter((c) => !duties.has(c));
    if (bound.length === 0) {
      for (const g of list) pools.push({ groups: [g], cells: [{ choices: g.choices, step: 1 }], moves: g.choices.length });
      continue;
    }
    // Unbound choices of the same groups (rare: a part of an axis lies outside every balance) are a pool of their own.
    if (free.length > 0) pools.push({ groups: list, cells: [{ choices: free, step: 1 }], moves: free.length + 1 });
    const why = bound.map((c) => stuck.get(c)).find((w) => w !== undefined);
    const cells = cellsOf(bound, duties);
    const moves = cells.reduce((g, c) => gcd(g, c.length), 0);
    if (why !== undefined || moves < 2) {
      const text =
        why ?? `its ${cells.length} balanced parts of ${cells.map((c) => c.length).join(", ")} channels have no common share to remove`;
      for (const g of list) declined.push({ group: g, why: text });
    } else pools.push({ groups: list, cells: cells.map((c) => ({ choices: c, step: c.length / moves })), moves });
  }
  return { pools, declined };
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

/** Whether some position of a part has no choice in any layer. */
function isRigid(size: number, layers: readonly Int32Array[]): boolean {
  for (let p = 0; p < size; p++) if (layers.every((l) => l[p] === ALWAYS)) return true;
  return false;
}

function cellsOf(bound: readonly number[], duties: ReadonlyMap<number, readonly string[]>): number[][] {
  const cells = new Map<string, number[]>();
  for (const c of bound) {
    const key = (duties.get(c) as readonly string[]).join(";");
    const of = cells.get(key);
    if (of) of.push(c);
    else cells.set(key, [c]);
  }
  return [...cells.values()];
}

function gcd(a: number, b: number): number {
  return b === 0 ? a : gcd(b, a % b);
}

function add<K, V>(map: Map<K, Set<V>>, key: K, value: V): void {
  const s = map.get(key);
  if (s) s.add(value);
  else map.set(key, new Set([value]));
}

/** The balances that `kept` breaks, as sentences; empty when all hold. */
export function brokenBalances(coupling: Coupling, kept: Kept): string[] {
  const out: string[] = [];
  for (const b of coupling.typing.balances) {
    const counts = b.parts.map((p) => kept.count(p));
    if (counts.some((n) => n !== counts[0])) out.push(`${b.why}, but they would keep ${counts.join(", ")} (node "${b.node.label}")`);
  }
  return out;
}

/** Union-find over choice numbers. */
class Links {
  readonly #parent = new Map<number, number>();
  root(x: number): number {
    let r = x;
    for (let p = this.#parent.get(r); p !== undefined && p !== r; p = this.#parent.get(r)) r = p;
    return r;
  }
  join(x: number, y: number): void {
    const a = this.root(x);
    const b = this.root(y);
    if (a !== b) this.#parent.set(Math.max(a, b), Math.min(a, b));
  }
}
