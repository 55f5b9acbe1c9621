/** Which axes really depend on others, once all equations are stated (axis.ts: families). */
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

/** A constant is sliced row by row: along its first axis, and by one family. */
function isSliceable(system: AxisSystem, r: ReturnType<AxisSystem["find"]>, place: number): boolean {
  return place === 0 && r.form?.kind === "family" && r.form.parts.every((p) => system.find(p).form?.kind !== "family");
}

function collapseStrays(system: AxisSystem, axes: readonly Axis[], isConstant: boolean): boolean {
  let changed = false;
  for (const [k, a] of axes.entries()) {
    for (;;) {
      const r = system.find(a);
      if (r.form?.kind !== "family" || system.reason(r)) break;
      const place = system.rowsAt(axes, r);
      if (place === undefined || (isConstant && !isSliceable(system, r, place))) {
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
        if (collapseStrays(system, inside, isConstant)) isSettled = false;
      }
      if (isSettled) break;
      changed = true;
    }
  }
  return changed;
}
