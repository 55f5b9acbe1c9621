/**
 * The axis algebra: what an axis of a tensor is made of, and what it means that two axes are the same.
 *
 *   Axis ::= Atom | Units | Prod(a1 … ak) | Sum(a1 … ak) | Family(a1 … ag)
 *
 * - An *atom* is a run of n indices that may each be removed on its own: one class of a union-find.
 * - A *prod* is a row-major product (Reshape, Flatten, heads × dims): an element survives iff all its factors do.
 * - A *sum* is a concatenation (Concat, Split, Slice, the blocks of a grouped convolution).
 * - *units* is the index-level leaf: one union-find id per index, for permutations, strides and repeats. A unit may be
 *   defined as the AND of others (a product seen index by index).
 * - A *family* is an axis whose choices depend on another axis of the same tensor, its *rows*: row b has member b. The dims
 *   inside each head, the input channels of each group of a convolution, the hidden units of each direction. Members have
 *   one extent and keep equally many (a balance constraint), but not the same indices. Where rows and family are flattened
 *   into one axis it is the sum over b of (row b × member b); where the rows are not at hand the members are one.
 *
 * Refinement is in place: an atom that meets a product or a cut takes that form wherever it occurs, so equations may
 * come in any order. What cannot be expressed is pinned (kept whole) with a reason: never guessed.
 */
import { internal } from "../../errors.js";
import { type Dim, exactDiv, isKnown, product } from "../dim.js";
import { Clans } from "./clans.js";
import type { Reason } from "./reason.js";
import { Units } from "./units.js";

export type { Reason } from "./reason.js";

export type Form =
  | { readonly kind: "prod"; readonly parts: readonly Axis[] }
  | { readonly kind: "sum"; readonly parts: readonly Axis[] }
  | { readonly kind: "units"; readonly ids: Int32Array }
  | { readonly kind: "family"; readonly parts: readonly Axis[]; readonly rows: Axis };

/** A term of the algebra. Read it through AxisSystem.find: an atom may have been merged or refined since. */
export interface Axis {
  readonly id: number;
  readonly size: Dim;
  /** Where the axis was first seen, e.g. "conv1.weight:0": names groups and prints types. */
  readonly origin: string;
}

interface AxisNode extends Axis {
  parent: AxisNode | undefined;
  form: Form | undefined;
  pinned: Reason | undefined;
  /** #epoch at which no family was hidden inside the form. */
  normal: number;
  /** Atoms cut from one atom, and units exploded from it, are one family of choices. */
  clan: number;
}

/** One member of a family, with the rows it lies in, outermost first: it is there while all of them are. */
export interface Member {
  readonly axis: Axis;
  readonly rows: readonly { readonly axis: Axis; readonly index: number }[];
}

/** Exploding more indices than this pins instead: bounded time and memory on absurd shapes. */
const EXPLODE_LIMIT = 1 << 20;
/** Products and concatenations of more indices are kept whole. */
const LIST_LIMIT = 1 << 24;
/** One equation that makes more new terms than this, and than this per index of its axes, is given up: what is left of it is pinned. */
const FEW_TERMS = 4096;
const TERMS_PER_INDEX = 64;

/** Members of a family that are printed. */
const SHOWN = 4;

/** Splits with more rows than this are products, in which every row keeps the same inner indices. */
const MOST_ROWS = 256;

export class AxisSystem {
  readonly #nodes: AxisNode[] = [];
  readonly #clans = new Clans();
  /** The index-level leaves: what the ids of a units axis mean. */
  readonly units: Units = new Units(this.#clans);

  /** A fresh atom. Symbolic and zero extents, and a true extent of 1 (it broadcasts), are pinned at birth. */
  atom(size: Dim, origin: string): Axis {
    const a = this.#new(size, origin, this.#clans.create());
    if (!isKnown(size)) a.pinned = { text: `its extent ${size} is known only at run time` };
    else if (size === 1) a.pinned = { text: "an axis of extent 1 broadcasts and cannot lose its only index" };
    else if (size <= 0) a.pinned = { text: `its extent is ${size}` };
    else if (size > EXPLODE_LIMIT) a.pinned = { text: `an extent of ${size} is more than is followed index by index` };
    return a;
  }

  /** A fresh atom that is kept whole. */
  fixed(size: Dim, origin: string, why: Reason): Axis {
    const a = this.#new(size, origin, this.#clans.create());
    a.pinned = why;
    return a;
  }

  prod(factors: readonly Axis[], origin = ""): Axis {
    // A true extent of 1 is no factor; a single index cut out of a longer axis switches the whole product.
    const real = factors.filter((p) => p.size !== 1 || !this.reason(p));
    const parts = real.length > 0 ? real : factors.slice(0, 1);
    if (parts.length === 1) return parts[0] as Axis;
    const a = this.#new(product(parts.map((p) => p.size)), origin || parts.map((p) => p.origin).find((o) => o) || "", 0);
    a.form = { kind: "prod", parts };
    this.#pinUnlistable(a);
    return a;
  }

  sum(parts: readonly Axis[], origin = ""): Axis {
    if (parts.length === 1) return parts[0] as Axis;
    let size: Dim = 0;
    for (const p of parts) size = isKnown(size) && isKnown(p.size) ? size + p.size : `${size} + ${p.size}`;
    const flat = parts.flatMap((p) => this.#parts(this.#find(p)));
    const a = this.#new(size, origin, 0);
    a.form = { kind: "sum", parts: flat };
    this.#pinUnlistable(a);
    return a;
  }

  /** What is kept of an axis is a list of indices, which must fit in memory. */
  #pinUnlistable(a: AxisNode): void {
    if (isKnown(a.size) && a.size > LIST_LIMIT) this.pin(a, { text: `an extent of ${a.size} is more than is followed index by index` });
  }

  /** The axis whose index in row b of `rows` is an index of member b. All members must have one extent. */
  family(parts: readonly Axis[], rows: Axis, origin: string): Axis {
    const [first] = parts;
    if (!first || parts.length === 1) return first ?? this.atom(0, origin);
    const a = this.#new(first.size, origin, 0);
    a.form = { kind: "family", parts, rows };
    this.#epoch++;
    return a;
  }
  /** Counts what may have put a family inside a form: at 0 there is none. */
  #epoch = 0;
  readonly #majors: { readonly axis: Axis; readonly rows: Axis }[] = [];

  /** States that `axis` runs over `rows` first: it is as many equal blocks as there are rows, and block b lies in row b. */
  major(axis: Axis, rows: Axis): void {
    this.#majors.push({ axis, rows });
  }
  /** The place among `axes` that says which row an element of the family `a` lies in; undefined unless there is just one. */
  rowsAt(axes: readonly Axis[], a: Axis): number | undefined {
    const r = this.#normal(a);
    if (r.form?.kind !== "family") return undefined;
    const rows = this.#normal(r.form.rows);
    let found: number | undefined;
    for (const [j, other] of axes.entries()) {
      const o = this.#normal(other);
      if (o === r || (o !== rows && !this.#isMajor(o, rows))) continue;
      if (found !== undefined) return undefined;
      found = j;
    }
    return found;
  }
  #isMajor(axis: AxisNode, rows: AxisNode): boolean {
    return this.#majors.some((m) => this.#normal(m.rows) === rows && this.#normal(m.axis) === axis);
  }

  /** `a` in row `b` of `rows`: the member, where it depends on them. */
  inRow(a: Axis, rows: Axis, b: number): Axis {
    const r = this.#normal(a);
    if (r.form?.kind !== "family") return r;
    if (this.#normal(r.form.rows) === this.#normal(rows)) return r.form.parts[b] as Axis;
    return this.family(
      r.form.parts.map((p) => this.inRow(p, rows, b)),
      this.inRow(r.form.rows, rows, b),
      r.origin,
    );
  }

  /** Whether `a` has other members in other rows of `rows`. */
  dependsOn(a: Axis, rows: Axis): boolean {
    const r = this.#normal(a);
    if (r.form?.kind !== "family" || this.reason(r)) return false;
    return this.#normal(r.form.rows) === this.#normal(rows) || r.form.parts.some((p) => this.dependsOn(p, rows));
  }

  /** All members of a family, through families of families, with the rows they lie in; `a` itself when it is none. */
  members(a: Axis): Member[] {
    const r = this.#normal(a);
    if (r.form?.kind !== "family") return [{ axis: r, rows: [] }];
    const { parts, rows } = r.form;
    return parts.flatMap((p, index) => this.members(p).map((m) => ({ axis: m.axis, rows: [{ axis: rows, index }, ...m.rows] })));
  }

  /** `a` with one member for all rows. */
  uniform(a: Axis, at: Reason): Axis {
    while (this.#isDependent(this.#normal(a))) this.collapse(a, at);
    return a;
  }

  /** The axis without its dependence: the members are one and the same. */
  collapse(a: Axis, at: Reason): void {
    const r = this.#normal(a);
    if (r.form?.kind !== "family") return;
    const [first, ...rest] = r.form.parts;
    // Before anything else is said: the members may speak of it.
    r.form = undefined;
    r.parent = first as AxisNode;
    this.#epoch++;
    for (const p of rest) this.unify(first as Axis, p, at);
  }

  /**
   * The representative of `a` with no family hidden inside it: a family is an atom of another form, and where one sits
   * inside a product or a sum, either its rows sit there too (then both are a sum over the rows), or the whole depends.
   */
  #normal(a: Axis): AxisNode {
    const r = this.#find(a);
    const { form } = r;
    if (!form || form.kind === "units" || r.normal === this.#epoch) return r;
    const epoch = this.#epoch;
    if (form.kind === "family") {
      const rows = this.#find(form.rows);
      const parts = form.parts.map((p, b) => {
        const q = this.#find(p);
        return q.form?.kind === "family" && q !== r && this.#find(q.form.rows) === rows ? this.#find(q.form.parts[b] as Axis) : q;
      });
      // What depends twice on the same rows lies on the diagonal.
      if (parts.some((p, b) => p !== this.#find(form.parts[b] as Axis))) r.form = { kind: "family", parts, rows: form.rows };
      if (parts.every((p) => p === parts[0])) {
        r.form = undefined;
        r.parent = parts[0];
        return this.#normal(r);
      }
    } else {
      const parts = (form.kind === "sum" ? this.#parts(r) : this.#factors(r)).map((p) => this.#normal(p));
      const at = parts.findIndex((p) => this.#isDependent(p));
      if (at >= 0) {
        const made = form.kind === "sum" ? this.#sumOfFamilies(r, parts) : this.#productOfFamilies(r, parts, at);
        // Equivalent, so that all who know `r` know it in this form.
        if (!r.parent && made !== r) {
          r.form = made.form;
          if (!made.form) r.parent = made;
        }
        return this.#normal(r);
      }
    }
    if (epoch === this.#epoch) r.normal = epoch;
    return r;
  }
  #isDependent(a: AxisNode): boolean {
    return a.form?.kind === "family" && !this.reason(a);
  }

  /** A concatenation of parts some of which depend on rows depends on them as a whole. */
  #sumOfFamilies(r: AxisNode, parts: readonly AxisNode[]): AxisNode {
    const lead = parts.find((p) => this.#isDependent(p)) as AxisNode;
    const { rows, parts: members } = lead.form as { parts: readonly Axis[]; rows: Axis };
    this.#collapseOthers(parts, rows);
    return this.family(
      members.map((_, b) => this.sum(parts.map((p) => this.inRow(p, rows, b)))),
      rows,
      r.origin,
    ) as AxisNode;
  }

  /** Parts that depend on other rows than these would depend on every pair of both: too many to follow. */
  #collapseOthers(parts: readonly AxisNode[], rows: Axis): void {
    for (const p of parts)
      if (this.#isDependent(p) && !this.dependsOn(p, rows)) this.collapse(p, { text: "its parts depend on different axes" });
  }

  #productOfFamilies(r: AxisNode, factors: readonly AxisNode[], at: number): AxisNode {
    const lead = factors[at] as AxisNode;
    const { rows, parts: members } = lead.form as { parts: readonly Axis[]; rows: Axis };
    const place = factors.indexOf(this.#normal(rows));
    const isTwice = place >= 0 && factors.lastIndexOf(this.#normal(rows)) !== place;
    if (place > at || isTwice) {
      // Row by row is another order of elements than this.
      this.collapse(lead, { text: "it is flattened outside its rows" });
      return this.prod(factors, r.origin) as AxisNode;
    }
    this.#collapseOthers(factors.slice(place + 1), rows);
    if (place < 0)
      return this.family(
        members.map((_, b) => this.prod(factors.map((f) => this.inRow(f, rows, b)))),
        rows,
        r.origin,
      ) as AxisNode;
    const each = this.singles(rows);
    const inner = this.sum(
      each.map((e, b) => this.prod([e, ...factors.slice(place + 1).map((f) => this.inRow(f, rows, b))])),
      r.origin,
    );
    return this.prod([...factors.slice(0, place), inner], r.origin) as AxisNode;
  }

  /** Every index of `a` as an axis of its own. */
  singles(a: Axis): Axis[] {
    const n = a.size as number;
    return this.cut(
      a,
      Array.from({ length: n - 1 }, (_, i) => i + 1),
      { text: "its indices are taken one by one" },
    );
  }

  /**
   * An axis of extent ∏ sizes as rows × what lies in each row: one axis per size, each depending on those before it, and
   * their product.
   */
  #dependentProduct(sizes: readonly number[], make: (size: number, depth: number) => Axis, depth = 0): { axes: Axis[]; whole: Axis } {
    const [size = 1, ...rest] = sizes;
    const rows = make(size, depth);
    if (rest.length === 0) return { axes: [rows], whole: rows };
    this.#clans.markSwitch((rows as AxisNode).clan);
    const inside = this.singles(rows).map((e) => ({ e, ...this.#dependentProduct(rest, make, depth + 1) }));
    const axes = rest.map((_, k) =>
      this.family(
        inside.map((x) => x.axes[k] as Axis),
        rows,
        "",
      ),
    );
    return { axes: [rows, ...axes], whole: this.sum(inside.map((x) => this.prod([x.e, x.whole]))) };
  }

  /** Rows × an axis of extent `size` in each row: the dependent axis, and the flattened product. */
  dependent(rows: Axis, size: number, origin: string): { readonly inner: Axis; readonly whole: Axis } {
    const clan = this.#clans.create();
    this.#clans.markSwitch(this.#normal(rows).clan);
    const each = this.singles(rows);
    const members = each.map(() => this.#birth(size, origin, clan));
    return {
      inner: this.family(members, rows, origin),
      whole: this.sum(each.map((e, b) => this.prod([e, members[b] as Axis]))),
    };
  }

  /** The current representative: an atom (form undefined) or a composite. */
  find(a: Axis): Axis & { readonly form: Form | undefined; readonly pinned: Reason | undefined } {
    return this.#normal(a);
  }

  /** Why `a` is kept whole; undefined while any index of it may leave. */
  reason(a: Axis): Reason | undefined {
    const r = this.#find(a);
    if (!r.form) return r.pinned;
    if (r.form.kind === "units") {
      let why: Reason | undefined;
      for (const id of r.form.ids) {
        why = this.units.reason(this.units.root(id));
        if (!why) return undefined;
      }
      return why ?? { text: "its extent is 0" };
    }
    let first: Reason | undefined;
    for (const p of r.form.parts) {
      const why = this.reason(p);
      if (!why) return undefined;
      // A true extent of 1 says little about a product: prefer another factor's reason.
      if (!first || first.text.startsWith("an axis of extent 1")) first = why;
    }
    return first ?? { text: "it has no indices" };
  }

  /** Keeps every index of `a`. The first reason stays. */
  pin(a: Axis, why: Reason): void {
    const stack: Axis[] = [a];
    while (stack.length > 0) {
      const r = this.#find(stack.pop() as Axis);
      if (!r.form) r.pinned ??= why;
      else if (r.form.kind === "units") for (const id of r.form.ids) this.units.pin(id, why);
      else stack.push(...r.form.parts);
    }
  }

  /** States that `a` and `b` are the same axis: index i of one lives and dies with index i of the other. */
  unify(a: Axis, b: Axis, at: Reason): void {
    const work: [Axis, Axis][] = [[a, b]];
    const start = this.#nodes.length;
    const most = FEW_TERMS + TERMS_PER_INDEX * (isKnown(a.size) ? a.size : 0);
    for (let steps = 0; work.length > 0; steps++) {
      const [p, q] = work.pop() as [Axis, Axis];
      // The state of a loop, regrouped and cut on its way round, may be defined by itself without end.
      if (this.#nodes.length - start > most) {
        const why: Reason = { ...at, text: "what it is made of comes round to itself and does not settle" };
        this.pin(p, why);
        this.pin(q, why);
        continue;
      }
      // Every step either merges, cuts or pins something finite; this is a guard against our own mistakes.
      if (steps > 4 * EXPLODE_LIMIT) throw internal(`The axis equations of node "${at.node}" did not settle.`);
      this.#unifyStep(this.#normal(p), this.#normal(q), at, work);
    }
  }

  #unifyStep(a: AxisNode, b: AxisNode, at: Reason, work: [Axis, Axis][]): void {
    if (a === b) return;
    if (a.size !== b.size) {
      const why: Reason = { ...at, text: `extents ${a.size} and ${b.size} cannot be shown to be equal` };
      this.pin(a, why);
      this.pin(b, why);
      return;
    }
    // A whole axis kept makes the other whole too, and structure no longer matters: most spatial reshapes end here. They
    // still are one axis: a family's rows must be known again where they are kept whole.
    const ra = this.reason(a);
    const rb = this.reason(b);
    if (ra || rb) {
      if (ra && !rb) this.pin(b, ra);
      else if (rb && !ra) this.pin(a, rb);
      const [low, high] = !a.form && (b.form || b.id < a.id) ? [a, b] : [b, a];
      if (!this.#contains(high, low) && (!low.form || !this.#contains(low, high))) low.parent = high;
      return;
    }
    if (!a.form && !b.form) {
      const [keep, drop] = a.id < b.id ? [a, b] : [b, a];
      drop.parent = keep;
      this.#clans.join(keep.clan, drop.clan);
      return;
    }
    if (!a.form || !b.form) {
      const [leaf, term] = a.form ? [b, a] : [a, b];
      if (!this.#contains(term, leaf)) {
        leaf.parent = term;
        this.#epoch++;
      } else if (term.form?.kind === "family") {
        this.collapse(term, at);
        work.push([term, leaf]);
      } else this.pin(term, { ...at, text: "an axis would have to contain itself" });
      return;
    }
    this.#unifyForms(a, a.form, b, b.form, at, work);
  }

  #unifyForms(a: AxisNode, fa: Form, b: AxisNode, fb: Form, at: Reason, work: [Axis, Axis][]): void {
    if (fa.kind === "family" || fb.kind === "family") {
      this.#unifyFamilies(a, fa, b, fb, at, work);
      return;
    }
    if (fa.kind === "units" || fb.kind === "units") {
      const [u, ids, other, form] = fa.kind === "units" ? [a, fa.ids, b, fb] : [b, (fb as { ids: Int32Array }).ids, a, fa];
      if (form.kind === "sum") {
        let from = 0;
        for (const p of form.parts) {
          const to = from + (p.size as number);
          work.push([p, this.#unitsAxis(ids.slice(from, to), u.origin)]);
          from = to;
        }
        u.parent = other;
        return;
      }
      const theirs = this.unitsOf(other, at);
      if (theirs)
        ids.forEach((id, i) => {
          this.units.unify(id, theirs[i] as number, at);
        });
      if (form.kind === "units") u.parent = other;
      return;
    }
    if (fa.kind === "sum" && fb.kind === "sum") {
      const offsets = new Set<number>();
      for (const f of [fa, fb]) for (const o of endsOf(f.parts)) offsets.add(o);
      const cuts = [...offsets].sort((x, y) => x - y).slice(0, -1);
      const left = this.#cut(a, cuts, at);
      const right = this.#cut(b, cuts, at);
      left.forEach((p, i) => {
        work.push([p, right[i] as Axis]);
      });
      a.parent = b;
      return;
    }
    if (fa.kind === "prod" && fb.kind === "prod") {
      this.#unifyProducts(a, b, at, work);
      return;
    }
    const [s, p] = fa.kind === "sum" ? [a, b] : [b, a];
    this.#unifySumWithProduct(s, p, at, work);
  }

  /** Row by row; an axis that is no family becomes one, where what it is made of can depend on the rows. */
  #unifyFamilies(a: AxisNode, fa: Form, b: AxisNode, fb: Form, at: Reason, work: [Axis, Axis][]): void {
    if (fa.kind === "family" && fb.kind === "family") {
      if (fa.parts.length !== fb.parts.length || this.#contains(a, b) || this.#contains(b, a)) {
        this.collapse(a, at);
        this.collapse(b, at);
        work.push([a, b]);
        return;
      }
      fa.parts.forEach((p, i) => {
        work.push([p, fb.parts[i] as Axis]);
      });
      // Row b of one is row b of the other.
      work.push([fa.rows, fb.rows]);
      a.parent = b;
      return;
    }
    const [family, other] = fa.kind === "family" ? [a, b] : [b, a];
    const { rows } = family.form as { rows: Axis };
    if (!this.#lift(other, this.#normal(rows), family)) this.collapse(family, at);
    work.push([family, other]);
  }

  /** Makes a free atom depend on `rows`: in every row it has other choices. false, and nothing done, where it cannot. */
  depend(a: Axis, rows: Axis): boolean {
    const [atom, r] = [this.#normal(a), this.#normal(rows)];
    return atom.form === undefined && this.#lift(atom, r, undefined);
  }

  /** Makes every free atom of `term` depend on `rows`; false where it holds indices that cannot. */
  #lift(term: AxisNode, rows: AxisNode, family: AxisNode | undefined): boolean {
    const leaves = new Set<AxisNode>();
    const stack: Axis[] = [term];
    while (stack.length > 0) {
      const r = this.#find(stack.pop() as Axis);
      if (r === rows || r === family || r.form?.kind === "units") return false;
      if (!r.form) {
        if (!r.pinned) leaves.add(r);
      } else if (r.form.kind !== "family") stack.push(...r.form.parts);
    }
    // A single index, a switch of others, is not told apart by rows.
    if ([...leaves].some((l) => l.size === 1 || this.#contains(rows, l)) || leaves.size === 0) return false;
    // What the members are made of would depend on the rows twice over.
    if (family && [...leaves].some((l) => this.#contains(family, l))) return false;
    for (const l of leaves) {
      const members = Array.from({ length: rows.size as number }, () => this.#birth(l.size, l.origin, l.clan));
      l.form = { kind: "family", parts: members, rows };
    }
    this.#epoch++;
    return true;
  }

  /** Two row-major products of one extent: walk both, refining the larger factor by the smaller. */
  #unifyProducts(a: AxisNode, b: AxisNode, at: Reason, work: [Axis, Axis][]): void {
    const left = this.#factors(a);
    const right = this.#factors(b);
    const met = new Set<AxisNode>();
    let i = 0;
    let j = 0;
    while (i < left.length && j < right.length) {
      const f = this.#normal(left[i] as Axis);
      const g = this.#normal(right[j] as Axis);
      if (f.form?.kind === "prod") {
        left.splice(i, 1, ...this.#factors(f));
        continue;
      }
      if (g.form?.kind === "prod") {
        right.splice(j, 1, ...this.#factors(g));
        continue;
      }
      // A switch that was met before says nothing new.
      if (met.has(f)) {
        i++;
        continue;
      }
      if (met.has(g)) {
        j++;
        continue;
      }
      if (f.size === g.size) {
        if (f.size === 1) met.add(f).add(g);
        work.push([f, g]);
        i++;
        j++;
        continue;
      }
      // A single index switches the whole row: then also each of what the other side has instead.
      if (f.size === 1 || g.size === 1) {
        const [unit, other, list, k] = f.size === 1 ? [f, g, right, j] : [g, f, left, i];
        if (this.reason(other) || this.#contains(other, unit)) {
          this.pin(unit, { ...at, text: "a single index multiplies an axis that another reading splits differently" });
          (f.size === 1 ? left : right).splice(f.size === 1 ? i : j, 1);
        } else list.splice(k, 1, ...this.#switched(other, unit, work));
        continue;
      }
      const down = exactDiv(g.size, f.size);
      const up = exactDiv(f.size, g.size);
      if (down !== undefined && isProper(down)) right.splice(j, 1, ...this.#splitNow(g, [f.size, down], work));
      else if (up !== undefined && isProper(up)) left.splice(i, 1, ...this.#splitNow(f, [g.size, up], work));
      else {
        this.#unifyByUnits(this.prod(left.slice(i)), this.prod(right.slice(j)), at);
        return;
      }
    }
    for (const rest of [...left.slice(i), ...right.slice(j)]) {
      if (met.has(this.#normal(rest))) continue;
      this.pin(rest, { ...at, text: "a single index multiplies an axis that another reading splits differently" });
    }
  }

  /** Radices that do not nest (3·4 against 2·6): decide index by index; what cannot be expressed is pinned there. */
  #unifyByUnits(a: Axis, b: Axis, at: Reason): void {
    const left = this.unitsOf(a, at);
    const right = left && this.unitsOf(b, at);
    if (left && right)
      left.forEach((id, k) => {
        this.units.unify(id, right[k] as number, at);
      });
    else {
      this.pin(a, at);
      this.pin(b, at);
    }
  }

  /** `a` as `unit`, on which all of it depends, times what else it depends on. */
  #switched(a: AxisNode, unit: AxisNode, work: [Axis, Axis][]): Axis[] {
    const inner = this.#birth(a.size, a.origin, a.clan);
    const p = this.prod([unit, inner], a.origin);
    if (a.form) work.push([a, p]);
    else {
      a.parent = p as AxisNode;
      this.#epoch++;
    }
    return [unit, inner];
  }

  #splitNow(a: AxisNode, sizes: readonly Dim[], work: [Axis, Axis][]): Axis[] {
    const whole = this.reason(a);
    if (whole) return sizes.map((s) => this.fixed(s, a.origin, whole));
    const parts = sizes.map((s) => this.#child(a, s));
    const p = this.prod(parts, a.origin);
    if (!a.form) a.parent = p as AxisNode;
    else work.push([a, p]);
    return parts;
  }

  /**
   * A concatenation read as a product. Where part boundaries fall on whole rows, the outer factor is cut there; else
   * every row is taken alone, and the inner factor is cut where parts meet inside a row.
   */
  #unifySumWithProduct(s: AxisNode, p: AxisNode, at: Reason, work: [Axis, Axis][]): void {
    const parts = this.#parts(s);
    const factors = this.#factors(p);
    const lead: Axis[] = [];
    while (factors.length > 1 && (factors[0] as Axis).size === 1) lead.push(factors.shift() as Axis);
    const outer = factors[0];
    const sizes = parts.map((x) => x.size);
    if (!outer || !sizes.every(isKnown) || !factors.every((f) => isKnown(f.size))) {
      const why: Reason = { ...at, text: "a concatenation of unknown extents is read as a product" };
      this.pin(s, why);
      this.pin(p, why);
      return;
    }
    const cuts = endsOf(parts);
    const total = cuts.pop() as number;
    const inner = factors.slice(1);
    const row = inner.reduce((n, f) => n * (f.size as number), 1);
    if (cuts.every((c) => c % row === 0)) {
      const rows = this.#cut(
        this.#find(outer),
        cuts.map((c) => c / row),
        at,
      );
      parts.forEach((part, i) => {
        work.push([part, this.prod([...lead, rows[i] as Axis, ...inner])]);
      });
      return;
    }
    const count = total / row;
    if (count > EXPLODE_LIMIT / 16) {
      const why: Reason = { ...at, text: "a concatenation whose parts end inside rows is read as a product" };
      this.pin(s, why);
      this.pin(p, why);
      return;
    }
    const starts = Array.from({ length: count - 1 }, (_, i) => (i + 1) * row);
    const rowsOfSum = this.#cut(s, starts, at);
    const rowsOfOuter = this.#cut(
      this.#find(outer),
      starts.map((x) => x / row),
      at,
    );
    rowsOfSum.forEach((r, i) => {
      work.push([r, this.prod([...lead, rowsOfOuter[i] as Axis, ...inner])]);
    });
  }

  /**
   * `a` seen as a row-major product of `sizes`: one axis per size, each depending on those before it.
   * Sizes must multiply to the extent of `a`; extents of 1 become pinned axes of their own.
   */
  split(a: Axis, sizes: readonly Dim[], at: Reason): Axis[] {
    const whole = this.reason(a);
    if (whole) return sizes.map((s) => this.fixed(s, a.origin, whole));
    const r = this.#normal(a);
    if (r.form?.kind === "family") {
      const { parts, rows } = r.form;
      const each = parts.map((p) => this.split(p, sizes, at));
      return sizes.map((s, k) =>
        s === 1
          ? this.atom(1, r.origin)
          : this.family(
              each.map((x) => x[k] as Axis),
              rows,
              r.origin,
            ),
      );
    }
    const long = sizes.filter((s) => s !== 1);
    const { axes, whole: product } = this.#factored(r, long);
    this.unify(a, product, at);
    return sizes.map((s) => (s === 1 ? this.atom(1, a.origin) : (axes.shift() as Axis)));
  }

  #factored(a: AxisNode, sizes: readonly Dim[]): { axes: Axis[]; whole: Axis } {
    const rows = sizes.slice(0, -1).reduce<number>((n, s) => (isKnown(s) ? n * s : Number.POSITIVE_INFINITY), 1);
    if (rows > MOST_ROWS || !sizes.every(isKnown)) {
      const axes = sizes.map((s) => this.#child(a, s));
      return { axes, whole: this.prod(axes, a.origin) };
    }
    // What lies in each row are choices of one kind, whichever row.
    const clans = sizes.map(() => this.#clans.create());
    return this.#dependentProduct(sizes, (size, depth) => this.#birth(size, a.origin, clans[depth] as number));
  }

  /** `a` cut at ascending offsets (exclusive of 0 and the extent): one axis per piece. */
  cut(a: Axis, offsets: readonly number[], at: Reason): Axis[] {
    return this.#cut(this.#normal(a), offsets, at);
  }

  #cut(axis: AxisNode, offsets: readonly number[], at: Reason): Axis[] {
    if (offsets.length === 0) return [axis];
    const a = this.#normal(axis);
    const n = a.size;
    if (!isKnown(n)) throw internal(`An axis of symbolic extent ${n} was cut.`);
    const bounds = [0, ...offsets, n];
    const sizes = offsets.map((_, i) => (bounds[i + 1] as number) - (bounds[i] as number));
    sizes.push(n - (offsets[offsets.length - 1] as number));
    const whole = this.reason(a);
    if (whole) return sizes.map((s) => this.fixed(s, a.origin, whole));
    if (!a.form) {
      const parts = sizes.map((s) => this.#piece(a, s));
      a.form = { kind: "sum", parts };
      return parts;
    }
    switch (a.form.kind) {
      case "units": {
        const ids = a.form.ids;
        return sizes.map((_, i) => this.#unitsAxis(ids.slice(bounds[i] as number, bounds[i + 1] as number), a.origin));
      }
      case "sum":
        return this.#cutSum(a.form.parts, bounds, at);
      case "prod":
        return this.#cutProduct(a, bounds, at);
      case "family": {
        const { parts, rows } = a.form;
        const each = parts.map((p) => this.#cut(this.#normal(p), offsets, at));
        return sizes.map((_, i) =>
          this.family(
            each.map((pieces) => pieces[i] as Axis),
            rows,
            a.origin,
          ),
        );
      }
    }
  }

  #cutSum(parts: readonly Axis[], bounds: readonly number[], at: Reason): Axis[] {
    const pieces: Axis[][] = Array.from({ length: bounds.length - 1 }, () => []);
    let from = 0;
    let k = 0;
    for (const part of parts) {
      const to = from + (part.size as number);
      const inside = bounds.filter((b) => b > from && b < to).map((b) => b - from);
      for (const piece of this.#cut(this.#find(part), inside, at)) {
        while (k + 1 < bounds.length - 1 && from >= (bounds[k + 1] as number)) k++;
        (pieces[k] as Axis[]).push(piece);
        from += piece.size as number;
      }
    }
    return pieces.map((p) => this.sum(p));
  }

  #cutProduct(a: AxisNode, bounds: readonly number[], at: Reason): Axis[] {
    const factors = this.#factors(a);
    const lead: Axis[] = [];
    while (factors.length > 1 && (factors[0] as Axis).size === 1) lead.push(factors.shift() as Axis);
    const outer = factors[0] as Axis;
    const inner = factors.slice(1);
    const row = inner.reduce((n, f) => n * (f.size as number), 1);
    const rowCuts = new Set<number>();
    const innerCuts = new Set<number>();
    for (const b of bounds.slice(1, -1)) {
      rowCuts.add(Math.floor(b / row));
      rowCuts.add(Math.ceil(b / row));
      if (b % row !== 0) innerCuts.add(b % row);
    }
    rowCuts.delete(0);
    rowCuts.delete(outer.size as number);
    const rowBounds = [...rowCuts].sort((x, y) => x - y);
    const rows = this.#cut(this.#find(outer), rowBounds, at);
    const starts = [0, ...rowBounds];
    const innerBounds = [...innerCuts].sort((x, y) => x - y);
    const cells = innerBounds.length > 0 ? this.#cut(this.#find(this.prod(inner)), innerBounds, at) : [];
    const cellStarts = [0, ...innerBounds, row];
    // Pieces in order: whole row runs where no bound falls inside, single cells where one does.
    const pieces: Axis[][] = Array.from({ length: bounds.length - 1 }, () => []);
    const place = (from: number, piece: Axis) => {
      let k = 0;
      while (k + 1 < bounds.length - 1 && from >= (bounds[k + 1] as number)) k++;
      (pieces[k] as Axis[]).push(piece);
    };
    rows.forEach((r, i) => {
      const start = (starts[i] as number) * row;
      const end = start + (r.size as number) * row;
      if (bounds.some((b) => b > start && b < end)) {
        cells.forEach((c, j) => {
          place(start + (cellStarts[j] as number), this.prod([...lead, r, c]));
        });
      } else place(start, this.prod([...lead, r, ...inner]));
    });
    return pieces.map((p) => this.sum(p));
  }

  /** `a` with its indices chosen by `indices` (any order, repeats allowed): Gather, Slice with steps, flips, rolls. */
  pick(a: Axis, indices: readonly number[], at: Reason): Axis {
    const whole = this.reason(a);
    if (whole) return this.fixed(indices.length, a.origin, whole);
    const n = a.size as number;
    const ascending = indices.every((x, i) => i === 0 || x === (indices[i - 1] as number) + 1);
    if (ascending && indices.length > 0) {
      const from = indices[0] as number;
      const to = (indices[indices.length - 1] as number) + 1;
      const offsets = [from, to].filter((o) => o > 0 && o < n);
      const pieces = this.cut(a, offsets, at);
      return pieces[from > 0 ? 1 : 0] as Axis;
    }
    const r = this.#normal(a);
    if (r.form?.kind === "family") {
      const { parts, rows } = r.form;
      return this.family(
        parts.map((p) => this.pick(p, indices, at)),
        rows,
        r.origin,
      );
    }
    const rowwise = this.#pickRows(a, indices, at);
    if (rowwise) return rowwise;
    const ids = this.unitsOf(a, at);
    if (!ids) return this.fixed(indices.length, a.origin, this.reason(a) ?? at);
    return this.#unitsAxis(
      Int32Array.from(indices, (i) => ids[i] as number),
      a.origin,
    );
  }

  /** Whole rows of a product, reordered: pick on the outer factor alone. */
  #pickRows(a: Axis, indices: readonly number[], at: Reason): Axis | undefined {
    const r = this.#normal(a);
    if (r.form?.kind !== "prod") return undefined;
    const [outer, ...inner] = this.#factors(r);
    const row = inner.reduce((n, f) => n * (f.size as number), 1);
    if (!outer || outer.size === 1 || row <= 1 || indices.length % row !== 0) return undefined;
    const rows: number[] = [];
    for (let i = 0; i < indices.length; i += row) {
      const first = indices[i] as number;
      if (first % row !== 0) return undefined;
      for (let k = 1; k < row; k++) if (indices[i + k] !== first + k) return undefined;
      rows.push(first / row);
    }
    return this.prod([this.pick(outer, rows, at), ...inner]);
  }

  /** `a` index by index, as unit ids; refines atoms to units in place. undefined (and `a` pinned) past the size limit. */
  unitsOf(a: Axis, at: Reason): Int32Array | undefined {
    const r = this.#normal(a);
    const n = r.size;
    if (!isKnown(n) || n > EXPLODE_LIMIT) {
      this.pin(r, { ...at, text: `an axis of extent ${n} would have to be followed index by index` });
      return undefined;
    }
    if (!r.form) {
      const ids = Int32Array.from({ length: n }, (_, i) => this.units.create(r.clan, r.origin, i));
      if (r.pinned) for (const id of ids) this.units.pin(id, r.pinned);
      r.form = { kind: "units", ids };
      return ids;
    }
    switch (r.form.kind) {
      case "units":
        return r.form.ids;
      case "sum": {
        const out = new Int32Array(n);
        let from = 0;
        for (const p of r.form.parts) {
          const ids = this.unitsOf(p, at);
          if (!ids) return undefined;
          out.set(ids, from);
          from += ids.length;
        }
        return out;
      }
      case "prod": {
        let out = Int32Array.of(0);
        for (const p of r.form.parts) {
          const ids = this.unitsOf(p, at);
          if (!ids) return undefined;
          const next = new Int32Array(out.length * ids.length);
          let k = 0;
          for (const x of out) for (const y of ids) next[k++] = this.units.and(x, y);
          out = next;
        }
        return out;
      }
      case "family":
        this.collapse(r, at);
        return this.unitsOf(r, at);
    }
  }

  #unitsAxis(ids: Int32Array, origin: string): Axis {
    const a = this.#new(ids.length, origin, 0);
    a.form = { kind: "units", ids };
    return a;
  }

  /** Clan of an axis: what came from one axis is one family of choices. */
  clanOf(a: Axis): number {
    return this.#clans.root(this.#find(a).clan);
  }

  #new(size: Dim, origin: string, clan: number): AxisNode {
    const a: AxisNode = { id: this.#nodes.length, size, origin, parent: undefined, form: undefined, pinned: undefined, normal: -1, clan };
    this.#nodes.push(a);
    return a;
  }
  /** A factor born from splitting `a`: a clan of its own, since heads and dims are different choices. */
  #child(a: AxisNode, size: Dim): Axis {
    return this.#birth(size, a.origin, this.#clans.create());
  }
  #birth(size: Dim, origin: string, clan: number): Axis {
    const c = this.#new(size, origin, clan);
    if (!isKnown(size)) c.pinned = { text: `its extent ${size} is known only at run time` };
    return c;
  }
  #piece(a: AxisNode, size: number): Axis {
    // A single index cut out of a longer axis can leave, unlike an axis whose extent is 1 (which broadcasts).
    const p = this.#new(size, a.origin, a.clan);
    if (size === 0) p.pinned = { text: "its extent is 0" };
    return p;
  }
  #find(a: Axis): AxisNode {
    let r = a as AxisNode;
    while (r.parent) r = r.parent;
    for (let k = a as AxisNode; k !== r && k.parent !== r; ) {
      const next = k.parent as AxisNode;
      k.parent = r;
      k = next;
    }
    return r;
  }
  /** Non-product factors of `a`, outermost first; true extents of 1 are left out. */
  #factors(a: AxisNode): Axis[] {
    const out: Axis[] = [];
    const stack: Axis[] = [a];
    while (stack.length > 0) {
      const r = this.#find(stack.pop() as Axis);
      if (r.form?.kind === "prod") stack.push(...[...r.form.parts].reverse());
      else if (r.size !== 1 || !this.reason(r)) out.push(r);
    }
    return out;
  }
  /** Non-sum parts of `a`, in order. */
  #parts(a: AxisNode): Axis[] {
    const out: Axis[] = [];
    const stack: Axis[] = [a];
    while (stack.length > 0) {
      const r = this.#find(stack.pop() as Axis);
      if (r.form?.kind === "sum") stack.push(...[...r.form.parts].reverse());
      else out.push(r);
    }
    return out;
  }
  /** Whether `term` has `leaf` inside, or depends on it. */
  #contains(term: AxisNode, leaf: AxisNode): boolean {
    const seen = new Set<AxisNode>();
    const stack: Axis[] = [term];
    while (stack.length > 0) {
      const r = this.#find(stack.pop() as Axis);
      if (r === leaf) return true;
      if (!r.form || r.form.kind === "units" || seen.has(r)) continue;
      seen.add(r);
      if (r.form.kind === "family") stack.push(r.form.rows, ...r.form.parts);
      // Parts shorter than the leaf cannot hold it, unless something inside depends on it.
      else for (const p of r.form.parts) if (this.#epoch > 0 || p.size === leaf.size) stack.push(p);
    }
    return false;
  }

  /** Readable type: `conv1.weight:0(64)`, products as (a*b), sums as [a | b], pinned with "!". */
  show(a: Axis): string {
    const r = this.#normal(a);
    const mark = this.reason(r) ? "!" : "";
    if (!r.form) return `${r.origin || `a${r.id}`}(${r.size})${mark}`;
    switch (r.form.kind) {
      case "prod":
        return `(${r.form.parts.map((p) => this.show(p)).join(" * ")})`;
      case "sum":
        return `[${r.form.parts.map((p) => this.show(p)).join(" | ")}]`;
      case "family":
        return `each{${r.form.parts
          .slice(0, SHOWN)
          .map((p) => this.show(p))
          .join("; ")}${r.form.parts.length > SHOWN ? `; … ${r.form.parts.length} rows` : ""}}`;
      case "units":
        return `{${this.#showUnits(r.form.ids)}}${mark}`;
    }
  }
  #showUnits(ids: Int32Array): string {
    const names = Array.from(ids.slice(0, 12), (id) => {
      const root = this.units.root(id);
      const terms = this.units.definition(root) ?? [root];
      return terms
        .map((t) => {
          const o = this.units.origin(this.units.root(t));
          return o.origin ? `${o.origin}#${o.index}` : "kept";
        })
        .join("&");
    });
    return names.join(" ") + (ids.length > 12 ? ` … ${ids.length} units` : "");
  }
}

/** Where each of consecutive parts ends. */
function endsOf(parts: readonly Axis[]): number[] {
  let end = 0;
  return parts.map((p) => {
    end += p.size as number;
    return end;
  });
}

/** A quotient that really splits: not 1, not a negative or fractional number. */
function isProper(d: Dim): boolean {
  return !isKnown(d) || d > 1;
}
