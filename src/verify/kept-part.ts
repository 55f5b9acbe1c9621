/** What is kept of a tensor of the unpruned graph, whatever its axes depend on. */
import type { Axis, AxisSystem } from "../graph/coupling/axis.js";
import type { Kept } from "../graph/coupling/choices.js";
import { rearrange, sizeOf, stridesOf } from "../graph/rearrange.js";
import type { Tensor } from "../graph/tensor.js";

/** Positions along each axis, or, where one axis keeps other positions in other rows of another, parts to be joined along that one. */
type Selection = { readonly positions: readonly (readonly number[])[] } | { readonly along: number; readonly parts: readonly Selection[] };

/**
 * The elements of `tensor`, of axes `axes`, that `kept` leaves, as the pruned graph holds them.
 *
 * An axis whose extent the tensor does not have (one that only a run knows) is taken whole, and so is one that depends on
 * rows the tensor does not hold.
 */
export function keptPart(tensor: Tensor, axes: readonly Axis[], system: AxisSystem, kept: Kept): Tensor {
  if (!axes.some((a) => kept.isFamily(a))) {
    return axes.reduce((t, a, k) => {
      const indices = a.size === tensor.dims[k] ? kept.indices(a) : undefined;
      return indices ? t.take(k, indices) : t;
    }, tensor);
  }
  const whole = tensor.dims.map((d) => Array.from({ length: d }, (_, i) => i));
  const found = flattened(selectionOf(axes, whole, new Set()), tensor.dims);
  return rearrange([tensor], found.dims, Float64Array.from(found.positions)) ?? tensor;

  /** `settled`: axes of which the positions are final. */
  function selectionOf(here: readonly Axis[], positions: readonly (readonly number[])[], settled: ReadonlySet<number>): Selection {
    for (const [k, a] of here.entries()) {
      if (settled.has(k) || !kept.isFamily(a)) continue;
      const { form } = system.find(a);
      const place = system.rowsAt(here, a);
      if (form?.kind !== "family" || place === undefined || settled.has(place)) continue;
      const per = (tensor.dims[place] as number) / form.parts.length;
      const stay = positionsOf(here[place] as Axis, positions[place] as readonly number[]);
      const parts = form.parts.flatMap((p, b) => {
        const rows = stay.filter((i) => Math.floor(i / per) === b);
        if (rows.length === 0) return [];
        const inside = here.map((x, i) => (i === k ? p : i === place ? x : system.inRow(x, form.rows, b)));
        return [
          selectionOf(
            inside,
            positions.map((list, i) => (i === place ? rows : list)),
            new Set([...settled, place]),
          ),
        ];
      });
      return { along: place, parts };
    }
    return {
      positions: here.map((a, i) =>
        settled.has(i) ? (positions[i] as readonly number[]) : positionsOf(a, positions[i] as readonly number[]),
      ),
    };
  }

  function positionsOf(axis: Axis, all: readonly number[]): readonly number[] {
    if (kept.isFamily(axis) || axis.size !== all.length) return all;
    return kept.indices(axis) ?? all;
  }
}

/** Flat positions of the selected elements, row-major, and their extents. */
function flattened(
  selection: Selection,
  dims: readonly number[],
): { readonly dims: readonly number[]; readonly positions: readonly number[] } {
  if ("positions" in selection) {
    const steps = stridesOf(dims);
    let positions = [0];
    for (const [a, list] of selection.positions.entries())
      positions = positions.flatMap((start) => list.map((i) => start + i * (steps[a] as number)));
    return { dims: selection.positions.map((p) => p.length), positions };
  }
  const parts = selection.parts.map((p) => flattened(p, dims));
  const [first] = parts;
  if (!first) return { dims: dims.map((d, a) => (a === selection.along ? 0 : d)), positions: [] };
  const outer = sizeOf(first.dims.slice(0, selection.along));
  const positions: number[] = [];
  for (let o = 0; o < outer; o++) {
    for (const p of parts) {
      const run = p.positions.length / outer;
      for (let i = 0; i < run; i++) positions.push(p.positions[o * run + i] as number);
    }
  }
  const along = parts.reduce((n, p) => n + (p.dims[selection.along] as number), 0);
  return { dims: first.dims.map((d, a) => (a === selection.along ? along : d)), positions };
}
