/**
 * What can be removed, one index at a time: every free index of every atom, and every free unit, gets a number (a
 * *choice*). An axis is then a few layers of choice numbers per position, and all questions become array walks.
 */
import { internal } from "../../errors.js";
import { type Dim, isKnown, mul } from "../dim.js";
import type { Axis, AxisSystem, Member } from "./axis.js";

/** Position without a choice: always kept. */
export const ALWAYS = -1;

export class Choices {
  readonly #system: AxisSystem;
  readonly #base = new Map<number, number>();
  readonly #unit = new Map<number, number>();
  readonly #clan: number[] = [];
  readonly #origin: { readonly origin: string; readonly index: number }[] = [];
  readonly #layers = new Map<Axis, readonly Int32Array[]>();

  constructor(system: AxisSystem) {
    this.#system = system;
  }

  get count(): number {
    return this.#clan.length;
  }
  /** The clan (family of choices from one axis) of a choice. */
  clanOf(choice: number): number {
    return this.#clan[choice] as number;
  }
  /** Where a choice comes from, e.g. index 3 of "conv1.weight:0"; for messages. */
  originOf(choice: number): { readonly origin: string; readonly index: number } {
    return this.#origin[choice] as { origin: string; index: number };
  }

  /**
   * Choices of each position of `axis`: position p survives iff every layer's choice at p is kept (ALWAYS counts as kept).
   * No layers: the axis is kept whole. The extent must be known unless the axis is frozen.
   */
  layers(axis: Axis): readonly Int32Array[] {
    const r = this.#system.find(axis);
    const have = this.#layers.get(r);
    if (have) return have;
    const made = this.#make(r);
    this.#layers.set(r, made);
    return made;
  }

  #make(r: ReturnType<AxisSystem["find"]>): readonly Int32Array[] {
    if (this.#system.reason(r)) return [];
    const n = r.size;
    if (!isKnown(n)) throw internal(`Axis ${this.#system.show(r)} of extent ${n} was read index by index.`);
    if (!r.form) {
      let base = this.#base.get(r.id);
      if (base === undefined) {
        base = this.#clan.length;
        this.#base.set(r.id, base);
        for (let i = 0; i < n; i++) this.#add(this.#system.clanOf(r), { origin: r.origin, index: i });
      }
      const first = base;
      return [Int32Array.from({ length: n }, (_, i) => first + i)];
    }
    switch (r.form.kind) {
      case "units":
        return this.#unitLayers(r.form.ids);
      case "sum": {
        const parts = r.form.parts.map((p) => ({ size: p.size as number, layers: this.layers(p) }));
        const depth = Math.max(...parts.map((p) => p.layers.length));
        return Array.from({ length: depth }, (_, d) => {
          const out = new Int32Array(n).fill(ALWAYS);
          let at = 0;
          for (const p of parts) {
            const layer = p.layers[d];
            if (layer) out.set(layer, at);
            at += p.size;
          }
          return out;
        });
      }
      case "prod": {
        const out: Int32Array[] = [];
        let inner = n;
        for (const p of r.form.parts) {
          const size = p.size as number;
          inner /= size;
          for (const layer of this.layers(p)) {
            out.push(Int32Array.from({ length: n }, (_, i) => layer[Math.floor(i / inner) % size] as number));
          }
        }
        return out;
      }
      case "family":
        throw internal("An axis that depends on others was read as an ordinary axis.");
    }
  }

  #unitLayers(ids: Int32Array): Int32Array[] {
    const perIndex = Array.from(ids, (id) => this.#unitChoices(id));
    const depth = Math.max(1, ...perIndex.map((t) => t.length));
    return Array.from({ length: depth }, (_, d) => Int32Array.from(perIndex, (t) => t[d] ?? ALWAYS));
  }

  /** Choices a unit depends on: none when pinned, itself when free, its definition's otherwise. */
  #unitChoices(id: number): number[] {
    const root = this.#system.units.root(id);
    if (this.#system.units.reason(root)) return [];
    const all = this.#system.units.definition(root);
    if (all) return [...new Set(all.flatMap((x) => this.#unitChoices(x)))].sort((a, b) => a - b);
    let c = this.#unit.get(root);
    if (c === undefined) {
      c = this.#clan.length;
      this.#unit.set(root, c);
      this.#add(this.#system.units.clan(root), this.#system.units.origin(root));
    }
    return [c];
  }

  #add(clan: number, origin: { readonly origin: string; readonly index: number }): void {
    this.#clan.push(clan);
    this.#origin.push(origin);
  }
}

/** Which choices are removed, and what that leaves of each axis. */
export class Kept {
  readonly #system: AxisSystem;
  readonly #choices: Choices;
  readonly #removed: Uint8Array;
  readonly #indices = new Map<Axis, readonly number[] | undefined>();

  constructor(system: AxisSystem, choices: Choices, removed: Iterable<number>) {
    this.#system = system;
    this.#choices = choices;
    this.#removed = new Uint8Array(choices.count);
    for (const c of removed) this.#removed[c] = 1;
  }

  isRemoved(choice: number): boolean {
    return this.#removed[choice] === 1;
  }

  /** Kept positions, ascending; undefined when all are kept. Family axes differ per block: see `familyIndices`. */
  indices(axis: Axis): readonly number[] | undefined {
    const r = this.#system.find(axis);
    if (this.#indices.has(r)) return this.#indices.get(r);
    const layers = this.#choices.layers(r);
    let out: number[] | undefined;
    if (layers.some((l) => l.some((c) => c !== ALWAYS && this.#removed[c] === 1))) {
      out = [];
      for (let i = 0; i < (r.size as number); i++)
        // Axes of no constant get their choices when first asked, perhaps after this was made: those are kept.
        if (layers.every((l) => l[i] === ALWAYS || this.#removed[l[i] as number] !== 1)) out.push(i);
    }
    this.#indices.set(r, out);
    return out;
  }

  /** Whether `axis` keeps other positions in other rows: such axes have no `indices` of their own. */
  isFamily(axis: Axis): boolean {
    const r = this.#system.find(axis);
    return r.form?.kind === "family" && !this.#system.reason(r);
  }

  /** Whether a member's rows all stay. */
  isAlive(member: Member): boolean {
    return member.rows.every(({ axis, index }) => this.indices(axis)?.includes(index) ?? true);
  }

  /**
   * Kept positions of a family axis in each of its rows; undefined when none leaves, or when `axis` is no family. Rows
   * that leave themselves have as many positions as the others, whichever.
   */
  familyIndices(axis: Axis): readonly (readonly number[])[] | undefined {
    const r = this.#system.find(axis);
    if (!this.isFamily(r) || r.form?.kind !== "family") return undefined;
    const kept = this.#system.members(r).map((m) => ({ m, at: this.indices(m.axis) }));
    if (kept.every(({ m, at }) => at === undefined || !this.isAlive(m))) return undefined;
    const width = this.count(r) as number;
    const all = Array.from({ length: r.size as number }, (_, i) => i);
    return kept.map(({ m, at }) => (this.isAlive(m) ? (at ?? all) : all.slice(0, width)));
  }

  /** Number of kept indices, symbolic where the extent is. */
  count(axis: Axis): Dim {
    const r = this.#system.find(axis);
    if (this.#system.reason(r)) return r.size;
    if (r.form?.kind === "family") {
      const members = this.#system.members(r);
      return this.count((members.find((m) => this.isAlive(m)) ?? (members[0] as Member)).axis);
    }
    if (isKnown(r.size)) return this.indices(r)?.length ?? r.size;
    // A product with a symbolic (hence frozen) factor: extents multiply.
    if (r.form?.kind === "prod") return r.form.parts.reduce<Dim>((n, p) => mul(n, this.count(p)), 1);
    throw internal(`Axis ${this.#system.show(r)} of extent ${r.size} cannot be counted.`);
  }

  /** Whether any index leaves. */
  isCut(axis: Axis): boolean {
    return this.count(axis) !== this.#system.find(axis).size;
  }
}
