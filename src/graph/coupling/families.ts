/** Which axes really depend on others, once all equations are stated (axis.ts: families). */
import { isKnown } from "../dim.js";
import type { Axis, AxisSystem } from "./axis.js";

/** The axes of one tensor. */
export interface TypedTensor {
  readonly axes: readonly Axis[];
  readonly isConstant: boolean;
}

/**
 * Collapses every family that some tensor holds without its rows: there is no telling which member an index is of, so
 * that the members are one and the same. Returns the families that remain, with a tensor's axis each is seen at.
 *
 * @param tensors all typed tensors, anew at every call.
 */
export function settleFamilies(system: AxisSystem, tensors: () => Iterable<TypedTensor>): { axis: Axis; value: string }[] {
  for (let changed = true; changed; ) {
    changed = false;
    for (const { axes, isConstant } of tensors()) if (collapseStrays(system, axes, isConstant)) changed = true;
  }
  const out = new Map<Axis, { axis: Axis; value: string }>();
  for (const { axes } of tensors())
    for (const a of axes) {
      const r = system.find(a);
      if (r.form?.kind === "family" && !out.has(r)) out.set(r, { axis: r, value: a.origin });
    }
  return [...out.values()];
}

/** Beyond this many rows, what is flattened with them is the same in all. */
const MOST_ROWS = 4096;

/**
 * Lets each factor of a flattened product depend on the factor before it, where no tensor holds the one without the other:
 * copies of a channel then leave one by one, as long as every channel keeps equally many.
 */
export function spreadProducts(system: AxisSystem, tensors: () => Iterable<TypedTensor>): void {
  const pairs = new Map<Axis, Axis>();
  for (const { axes } of tensors()) {
    for (const a of axes) {
      const { form } = system.find(a);
      if (form?.kind !== "prod") continue;
      form.parts.forEach((p, i) => {
        const rows = form.parts[i - 1];
        if (!rows || system.reason(p) || system.reason(rows) || system.find(p).form) return;
        if (isKnown(rows.size) && rows.size <= MOST_ROWS && rows.size > 1) pairs.set(system.find(p), system.find(rows));
      });
    }
  }
  if (pairs.size === 0) return;
  const ok = new Map([...pairs].map(([inner, rows]) => [inner, inner !== rows]));
  for (const { axes } of tensors()) {
    const here = new Set(axes.flatMap((a) => leavesOf(system, a)));
    for (const [inner, rows] of pairs) if (here.has(inner) && !leavesOf(system, rows).every((l) => here.has(l))) ok.set(inner, false);
  }
  for (const [inner, rows] of pairs) if (ok.get(inner)) system.depend(inner, rows);
}

/** The atoms an axis is made of. */
function leavesOf(system: AxisSystem, axis: Axis): Axis[] {
  const out: Axis[] = [];
  const stack: Axis[] = [axis];
  while (stack.length > 0) {
    const r = system.find(stack.pop() as Axis);
    if (r.form && r.form.kind !== "units") stack.push(...r.form.parts);
    else out.push(r);
  }
  return out;
}

/** A constant is sliced row by row: along its first axis, and by one family. */
function isSliceable(system: AxisSystem, r: ReturnType<AxisSystem["find"]>, place: number): boolean {
  return place === 0 && r.form?.kind === "family" && r.form.parts.every((p) => system.find(p).form?.kind !== "family");
}

/** An axis depends on so many others at most: more says that it depends on itself by a detour. */
const DEEPEST = 6;

/** Collapses the families among the axes of one tensor whose rows it does not have; whether there were any. */
export function collapseStrays(system: AxisSystem, axes: readonly Axis[], isConstant: boolean, depth = 0): boolean {
  let changed = false;
  for (const [k, a] of axes.entries()) {
    for (;;) {
      const r = system.find(a);
      if (r.form?.kind !== "family" || system.reason(r)) break;
      const place = system.rowsAt(axes, r);
      if (depth > DEEPEST || place === undefined || (isConstant && !isSliceable(system, r, place))) {
        system.collapse(r, { text: "it is read without its rows" });
        changed = true;
        continue;
      }
      // Inside each row: what depends on further rows.
      const { parts, rows } = r.form;
      let isSettled = true;
      for (const [b, p] of parts.entries()) {
        if (system.find(p).form?.kind !== "family") continue;
        const inside = axes.map((x, i) => (i === k ? p : i === place ? x : system.inRow(x, rows, b)));
        if (collapseStrays(system, inside, isConstant, depth + 1)) isSettled = false;
      }
      if (isSettled) break;
      changed = true;
    }
  }
  return changed;
}
