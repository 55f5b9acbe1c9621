/**
 * Units: single indices under a union-find, for what only holds index by index (permutations, strides, repeats, mixed
 * radices). A unit is a free choice, pinned with a reason, or defined as the AND of free ones: it survives iff all do.
 */
import type { Clans } from "./clans.js";
import type { Reason } from "./reason.js";

/** Where a unit was first an index of: for names and messages. */
export interface UnitOrigin {
  readonly origin: string;
  readonly index: number;
}

/** Unit 0 is always kept. */
const KEPT = 0;

export class Units {
  readonly #clans: Clans;
  readonly #parent: number[] = [KEPT];
  readonly #pinned = new Map<number, Reason>([[KEPT, { text: "always kept" }]]);
  readonly #all = new Map<number, readonly number[]>();
  readonly #clan: number[] = [0];
  readonly #origin: UnitOrigin[] = [{ origin: "", index: 0 }];
  readonly #ands = new Map<string, number>();

  constructor(clans: Clans) {
    this.#clans = clans;
  }

  create(clan: number, origin: string, index: number): number {
    const id = this.#parent.length;
    this.#parent.push(id);
    this.#clan.push(clan);
    this.#origin.push({ origin, index });
    return id;
  }

  root(id: number): number {
    let r = id;
    while (this.#parent[r] !== r) r = this.#parent[r] as number;
    for (let k = id; k !== r; ) {
      const next = this.#parent[k] as number;
      this.#parent[k] = r;
      k = next;
    }
    return r;
  }
  /** The units whose AND this root is defined as; undefined for a unit that is itself a choice. */
  definition(root: number): readonly number[] | undefined {
    return this.#all.get(root);
  }
  /** Why a root is always kept: it is pinned, or all that it is the AND of are. */
  reason(root: number): Reason | undefined {
    const pinned = this.#pinned.get(root);
    const all = this.#all.get(root);
    if (pinned || !all) return pinned;
    const whys = all.map((x) => this.reason(this.root(x)));
    return whys.every((w) => w !== undefined) ? whys[0] : undefined;
  }
  clan(root: number): number {
    return this.#clans.root(this.#clan[root] as number);
  }
  origin(root: number): UnitOrigin {
    return this.#origin[root] as UnitOrigin;
  }

  /** The unit that survives iff both do; one of them, or a kept one, where that says it all. */
  and(x: number, y: number): number {
    const terms = [...new Set([...this.#terms(x), ...this.#terms(y)])].sort((p, q) => p - q);
    // Always kept: by a unit that says why, if there is one.
    if (terms.length === 0) return [x, y].find((u) => u !== KEPT && this.#pinned.has(this.root(u))) ?? KEPT;
    if (terms.length === 1) return terms[0] as number;
    const key = terms.join(",");
    const have = this.#ands.get(key);
    if (have !== undefined) return have;
    const id = this.create(0, "", 0);
    this.#all.set(id, terms);
    this.#ands.set(key, id);
    return id;
  }

  /** Keeps a unit, and with it all that it is the AND of. The first reason stays. */
  pin(id: number, why: Reason): void {
    const r = this.root(id);
    if (this.#pinned.has(r)) return;
    this.#pinned.set(r, why);
    for (const x of this.#all.get(r) ?? []) this.pin(x, why);
  }

  /** States that two units live and die together; what cannot be said is pinned. */
  unify(x: number, y: number, at: Reason): void {
    const p = this.root(x);
    const q = this.root(y);
    if (p === q) return;
    const pinned = this.#pinned.get(p) ?? this.#pinned.get(q);
    if (pinned) {
      this.pin(p, pinned);
      this.pin(q, pinned);
      return;
    }
    const tp = this.#terms(p);
    const tq = this.#terms(q);
    // One depends on nothing that can leave: the other stays as well.
    if (tp.length === 0 || tq.length === 0) {
      const why = this.reason(tp.length === 0 ? p : q) ?? at;
      this.pin(p, why);
      this.pin(q, why);
      return;
    }
    if (tp.length === 1 && tq.length === 1) {
      this.#merge(tp[0] as number, tq[0] as number);
      return;
    }
    const [free, all] = tp.length === 1 ? [tp[0] as number, tq] : tq.length === 1 ? [tq[0] as number, tp] : [-1, []];
    if (free >= 0 && !all.includes(free)) this.#all.set(free, all);
    else this.#unifyProducts(tp, tq, at);
  }

  /** The choices a unit depends on: itself, or its definition; nothing when it is always kept. */
  #terms(id: number): number[] {
    const r = this.root(id);
    if (this.#pinned.has(r)) return [];
    const all = this.#all.get(r);
    return all ? [...new Set(all.flatMap((x) => this.#terms(x)))].sort((x, y) => x - y) : [r];
  }

  #merge(x: number, y: number): void {
    const [keep, drop] = [Math.min(x, y), Math.max(x, y)];
    if (keep === drop) return;
    this.#parent[drop] = keep;
    this.#clans.join(this.#clan[keep] as number, this.#clan[drop] as number);
  }

  /**
   * a1·b1 = a2·b2 holds when a1 = a2 and b1 = b2, and factors on both sides need nothing: more than is asked for, but
   * what a flip or a shuffle over heads × dims means. Of factors from other axes, those that do not switch whole rows are
   * partners where there is just one on each side (a channel made by one grouped convolution, shuffled, and read by the
   * next); factors without a partner are kept.
   */
  #unifyProducts(left: readonly number[], right: readonly number[], at: Reason): void {
    const rest = right.filter((t) => !left.includes(t));
    const why: Reason = { ...at, text: "two different products of choices would have to agree" };
    const alone: number[] = [];
    for (const t of left) {
      if (right.includes(t)) continue;
      const partner = rest.findIndex((r) => this.clan(r) === this.clan(t));
      if (partner >= 0) this.#merge(t, rest.splice(partner, 1)[0] as number);
      else alone.push(t);
    }
    const [p, ...others] = alone.filter((t) => !this.#clans.isSwitch(this.clan(t)));
    const [q, ...more] = rest.filter((t) => !this.#clans.isSwitch(this.clan(t)));
    const isPair = p !== undefined && q !== undefined && others.length === 0 && more.length === 0;
    for (const t of [...alone, ...rest]) if (!isPair || (t !== p && t !== q)) this.pin(t, why);
    if (isPair) this.#merge(p, q);
  }
}
