/** What a window reads and what it should give, of as many samples as memory holds. */
import type { Dim } from "../../graph/dim.js";
import { sizeOf } from "../../graph/rearrange.js";
import { Tensor } from "../../graph/tensor.js";
import type { ViewedBatches } from "../batches.js";
import type { Stage } from "../stages.js";
import type { WindowBatch, WindowForm } from "./window-session.js";

export interface WindowData {
  /** By view. */
  readonly fitting: readonly (readonly WindowBatch[])[];
  readonly heldOut: readonly WindowBatch[];
}

/**
 * All batches in order, of which an even share is kept, one at least of those that fit and of those that judge, where the values of all take more
 * than `memory` bytes. Batches come in parts where what lies between the window's ends, forth and back, would take more than that for a whole one.
 */
export async function dataOf(form: WindowForm, mine: Stage, theirs: Stage, batches: ViewedBatches, memory: number): Promise<WindowData> {
  const { window, target, axis, kept } = form;
  const fitting: WindowBatch[][] = [];
  const heldOut: WindowBatch[] = [];
  const seen = { fitting: 0, heldOut: 0 };
  const most = Math.max(1, Math.floor(memory / bytesPerSample(form)));
  let share = 1;
  for (let n = 0; n < batches.count; n++) {
    const [have, reference] = [await mine.run(n), await theirs.run(n)];
    const [x, whole] = [have.get(window.from), reference.get(target)];
    if (!x || !whole) continue;
    const wanted = kept ? whole.take(axis, kept) : whole;
    if (n === 0) share = Math.min(1, memory / ((x.byteLength + wanted.byteLength) * batches.count));
    const role = batches.isHeldOut(n) ? "heldOut" : "fitting";
    const at = seen[role]++;
    const isKept = at === 0 || Math.floor((at + 1) * share) > Math.floor(at * share);
    if (!isKept) continue;
    const view = batches.view(n);
    fitting[view] ??= [];
    (role === "heldOut" ? heldOut : (fitting[view] as WindowBatch[])).push(...parts({ x, target: wanted }, most));
  }
  return { fitting, heldOut };
}

/** Bytes that the ends of a window take, of one sample. */
export function bytesOfEnds({ window, types }: WindowForm): number {
  return [window.from, window.to].reduce((n, v) => n + 4 * numbersIn(types.shape(v)), 0);
}

/** A value between the ends is there once, and its slope once; patches of a kernel are made one tap at a time. */
function bytesPerSample({ window, types }: WindowForm): number {
  let numbers = 1;
  for (const node of window.nodes) {
    numbers += numbersIn(node.outputs[0] && types.shape(node.outputs[0]));
  }
  return 4 * 3 * numbers;
}

/** Of one sample, of a value with known extents. */
export function numbersIn(dims: readonly Dim[] | undefined): number {
  return sizeOf((dims ?? []).slice(1).map(Number));
}

function parts({ x, target }: WindowBatch, most: number): WindowBatch[] {
  const samples = x.dims[0] as number;
  const count = Math.ceil(samples / most);
  if (count === 1) return [{ x, target }];
  const cut = (t: Tensor, from: number, to: number): Tensor => {
    const each = t.byteLength / samples;
    return Tensor.ofBytes(t.dtype, [to - from, ...t.dims.slice(1)], t.bytes.subarray(from * each, to * each));
  };
  return Array.from({ length: count }, (_, i) => {
    const [from, to] = [Math.floor((i * samples) / count), Math.floor(((i + 1) * samples) / count)];
    return { x: cut(x, from, to), target: cut(target, from, to) };
  });
}
