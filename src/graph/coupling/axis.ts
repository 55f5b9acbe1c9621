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
 * - A *family* is the dependent axis of a grouped weight: block b of another axis uses member b. Members have one
 *   extent and keep equally many (a balance constraint), but not the same indices.
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
  /** Atoms cut from one atom, and units exploded from it, are one family of choices. */
  clan: number;
}

/** Exploding more indices than this pins instead: bounded time and memory on absurd shapes. */
const EXPLODE_LIMIT = 1 << 20;
/** Products and concatenations of more indices are kept whole. */
const LIST_LIMIT = 1 << 24;

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

  /** The dependent axis of a grouped weight: member b belongs to block b of `rows`. All members must have one extent. */
  family(parts: readonly Axis[], rows: Axis, origin: string): Axis {
    const a = this.#new((parts[0] as Axis).size, origin, 0);
    a.form = { kind: "family", parts, rows };
    this.#hasFamilies = true;
    return a;
  }
  #hasFamilies = false;
  get hasFamilies(): boolean {
    return this.#hasFamilies;
  }
  /** The families `a` is, or has inside a product or a sum, each with the axis whose blocks its members go with. */
  familiesIn(a: Axis): { readonly family: Axis; readonly rows: Axis }[] {
    const out: { family: Axis; rows: Axis }[] = [];
    const stack: Axis[] = [a];
    while (stack.length > 0) {
      const r = this.#find(stack.pop() as Axis);
      if (r.form?.kind === "family") out.push({ family: r, rows: r.form.rows });
      else if (r.form && r.form.kind !== "units") stack.push(...r.form.parts);
    }
    return out;
  }

  /** The current representative: an atom (form undefined) or a composite. */
  find(a: Axis): Axis & { readonly form: Form | undefined; readonly pinned: Reason | undefined } {
    return this.#find(a);
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
    for (let steps = 0; work.length > 0; steps++) {
      const [p, q] = work.pop() as [Axis, Axis];
      // Every step either merges, cuts or pins something finite; this is a guard against our own mistakes.
      if (steps > 4 * EXPLODE_LIMIT) throw internal(`The axis equations of node "${at.node}" did not settle.`);
      this.#unifyStep(this.#find(p), this.#find(q), at, work);
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
    // A whole axis kept makes the other whole too, and structure no longer matters: most spatial reshapes end here.
    const ra = this.reason(a);
    const rb = this.reason(b);
    if (ra || rb) {
      if (ra && !rb) this.pin(b, ra);
      else if (rb && !ra) this.pin(a, rb);
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
      if (this.#contains(term, leaf)) this.pin(term, { ...at, text: "an axis would have to contain itself" });
      else leaf.parent = term;
      return;
    }
    this.#unifyForms(a, a.form, b, b.form, at, work);
  }

  #unifyForms(a: AxisNode, fa: Form, b: AxisNode, fb: Form, at: Reason, work: [Axis, Axis][]): void {
    if (fa.kind === "family" || fb.kind === "family") {
      if (fa.kind === "family" && fb.kind === "family" && fa.parts.length === fb.parts.length) {
        fa.parts.forEach((p, i) => {
          work.push([p, fb.parts[i] as Axis]);
        });
        return;
      }
      const why: Reason = { ...at, text: "the input axis of a grouped weight is read as an ordinary axis" };
      this.pin(a, why);
      this.pin(b, why);
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

  /** Two row-major products of one extent: walk both, refining the larger factor by the smaller. */
  #unifyProducts(a: AxisNode, b: AxisNode, at: Reason, work: [Axis, Axis][]): void {
    const left = this.#factors(a);
    const right = this.#factors(b);
    let i = 0;
    let j = 0;
    while (i < left.length && j < right.length) {
      const f = this.#find(left[i] as Axis);
      const g = this.#find(right[j] as Axis);
      if (f.form?.kind === "prod") {
        left.splice(i, 1, ...this.#factors(f));
        continue;
      }
      if (g.form?.kind === "prod") {
        right.splice(j, 1, ...this.#factors(g));
        continue;
      }
      if (f.size === g.size) {
        work.push([f, g]);
        i++;
        j++;
        continue;
      }
      // A single index as a factor switches the whole row; nothing on the other side can follow it.
      if (f.size === 1 || g.size === 1) {
        this.pin(f.size === 1 ? f : g, { ...at, text: "a single index multiplies an axis that another reading splits differently" });
        if (f.size === 1) i++;
        else j++;
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
   * `a` seen as a row-major product of `sizes`: one axis per size.
   * Sizes must multiply to the extent of `a`; extents of 1 become pinned axes of their own.
   */
  split(a: Axis, sizes: readonly Dim[], at: Reason): Axis[] {
    const whole = this.reason(a);
    if (whole) return sizes.map((s) => this.fixed(s, a.origin, whole));
    const parts = sizes.map((s) => (s === 1 ? this.atom(1, a.origin) : this.#child(this.#find(a), s)));
    this.unify(
      a,
      this.prod(
        parts.filter((p) => p.size !== 1),
        a.origin,
      ),
      at,
    );
    return parts;
  }

  /** `a` cut at ascending offsets (exclusive of 0 and the extent): one axis per piece. */
  cut(a: Axis, offsets: readonly number[], at: Reason): Axis[] {
    return this.#cut(this.#find(a), offsets, at);
  }

  #cut(a: AxisNode, offsets: readonly number[], at: Reason): Axis[] {
    if (offsets.length === 0) return [a];
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
        this.pin(a, { ...at, text: "the input axis of a grouped weight is cut" });
        return sizes.map((s) => this.fixed(s, a.origin, at));
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
    const r = this.#find(a);
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
    const r = this.#find(a);
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
        this.pin(r, { ...at, text: "the input axis of a grouped weight is followed index by index" });
        return undefined;
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
    const a: AxisNode = { id: this.#nodes.length, size, origin, parent: undefined, form: undefined, pinned: undefined, clan };
    this.#nodes.push(a);
    return a;
  }
  /** A factor born from splitting `a`: a clan of its own, since heads and dims are different choices. */
  #child(a: AxisNode, size: Dim): Axis {
    const c = this.#new(size, a.origin, this.#clans.create());
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
  /** Whether `term` has `leaf` inside; only parts as long as the leaf can. */
  #contains(term: AxisNode, leaf: AxisNode): boolean {
    const stack: Axis[] = [term];
    while (stack.length > 0) {
      const r = this.#find(stack.pop() as Axis);
      if (r === leaf) return true;
      if (r.form && r.form.kind !== "units") for (const p of r.form.parts) if (p.size === leaf.size) stack.push(p);
    }
    return false;
  }

  /** Readable type: `conv1.weight:0(64)`, products as (a*b), sums as [a | b], pinned with "!". */
  show(a: Axis): string {
    const r = this.#find(a);
    const mark = this.reason(r) ? "!" : "";
    if (!r.form) return `${r.origin || `a${r.id}`}(${r.size})${mark}`;
    switch (r.form.kind) {
      case "prod":
        return `(${r.form.parts.map((p) => this.show(p)).join(" * ")})`;
      case "sum":
        return `[${r.form.parts.map((p) => this.show(p)).join(" | ")}]`;
      case "family":
        return `each{${r.form.parts.map((p) => this.show(p)).join("; ")}}`;
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
