/** What a window reads and what it should give, of as many samples as memory holds. */
import { Tensor } from "../../graph/tensor.js";
import type { Batches } from "../batches.js";
import type { Stage } from "../stages.js";
import type { WindowBatch, WindowForm } from "./window-session.js";

export interface WindowData {
  readonly fitting: readonly WindowBatch[];
  readonly heldOut: readonly WindowBatch[];
}

/**
 * All batches in order, of which an even share is kept, one at least of those that fit and of those that judge, where the values of all take more
 * than `memory` bytes. Batches come in parts where what lies between the window's ends, forth and back, would take more than that for a whole one.
 */
export async function dataOf(form: WindowForm, mine: Stage, theirs: Stage, batches: Batches, memory: number): Promise<WindowData> {
  const { from } = form.window;
  const kept = { fitting: [] as WindowBatch[], heldOut: [] as WindowBatch[] };
  const seen = { fitting: 0, heldOut: 0 };
  const most = Math.max(1, Math.floor(memory / bytesPerSample(form)));
  let share = 1;
  for (let n = 0; n < batches.count; n++) {
    const [have, reference] = [await mine.run(n), await theirs.run(n)];
    const [x, wanted] = [have.get(from), reference.get(form.target)];
    if (!x || !wanted) continue;
    if (n === 0) share = Math.min(1, memory / ((x.byteLength + wanted.byteLength) * batches.count));
    const role = batches.isHeldOut(n) ? "heldOut" : "fitting";
    const at = seen[role]++;
    const isKept = at === 0 || Math.floor((at + 1) * share) > Math.floor(at * share);
    if (isKept) kept[role].push(...parts({ x, target: wanted }, most));
  }
  return kept;
}

/** A value between the ends is there once, and its slope once; patches of a kernel are made one tap at a time. */
function bytesPerSample({ window, types }: WindowForm): number {
  let numbers = 1;
  for (const node of window.nodes) {
    const dims = node.outputs[0] && types.shape(node.outputs[0]);
    numbers += (dims ?? []).slice(1).reduce<number>((n, d) => n * Number(d), 1);
  }
  return 4 * 3 * numbers;
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
