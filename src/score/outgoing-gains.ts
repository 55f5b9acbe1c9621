/** By how much each filter of the next layers amplifies a channel: norms of the kernels through which it is read. */
import type { ConstantSlot } from "../graph/coupling/groups.js";
import type { SlotVectors } from "./folded-weights.js";

/** Of a kernel of one channel to one filter: the norm, or each of its weights (`taps`) as a filter of its own. */
export type GainNorm = "l1" | "l2" | "taps";

/**
 * ω_kj ≥ 0 of channel k to each filter j of one read; empty where the channel is not read there.
 *
 * A channel that lies at several positions (the C·H·W of a flattened map) has one kernel over all of them. Filters are all
 * indices of the weight but the channel's own and the taps of a convolution: rows of the output, in each direction, head or batch.
 */
export function gainsOf(weights: SlotVectors, norm: GainNorm): (k: number) => Float64Array {
  const axes = weights.dims.map((_, a) => a).filter((a) => a !== weights.slot.axis && !weights.taps.includes(a));
  const filters = new Map<number, Indices>();
  return (k) => {
    const vector = weights.vectors[k] as Float64Array;
    const positions = weights.slot.positions(k).length;
    if (positions === 0) return new Float64Array(0);
    if (norm === "taps") return vector.map(Math.abs);
    const filter = filters.get(positions) ?? indicesOver(weights, positions, axes);
    filters.set(positions, filter);
    const gains = new Float64Array(filter.count);
    vector.forEach((w, i) => {
      const j = filter.at[i] as number;
      gains[j] = (gains[j] as number) + (norm === "l1" ? Math.abs(w) : w * w);
    });
    return norm === "l1" ? gains : gains.map(Math.sqrt);
  };
}

export interface Indices {
  readonly at: Int32Array;
  /** How many different ones there can be. */
  readonly count: number;
}

/**
 * Of each number of a vector of SlotVectors, its row-major index over `axes` of the weight; the channel's own axis counts its
 * positions, and axis 0 the slot's rows.
 */
export function indicesOver(
  { slot, dims }: { readonly slot: ConstantSlot; readonly dims: readonly number[] },
  positions: number,
  axes: readonly number[],
): Indices {
  let at = new Int32Array(1);
  let count = 1;
  dims.forEach((dim, a) => {
    const n = a === slot.axis ? positions : a === 0 && slot.rows ? slot.rows[1] - slot.rows[0] : dim;
    const counts = axes.includes(a);
    const next = new Int32Array(at.length * n);
    for (let i = 0; i < at.length; i++)
      for (let p = 0; p < n; p++) next[i * n + p] = counts ? (at[i] as number) * n + p : (at[i] as number);
    at = next;
    if (counts) count *= n;
  });
  return { at, count };
}
