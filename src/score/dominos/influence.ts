/**
 * Domino influence curves: I_{l,k}(d), how much of the layers d further down changes when channel k of layer l is replaced by
 * its mean (a constant can be absorbed by a bias, so nothing less than its variation counts).
 *
 * Layer-by-layer decaying influence is in Chen 2020. Mean ablation and its closed form below are a reconstruction, akin to NISP
 * (Yu et al., CVPR 2018), which propagates importance back through |W|; squares make it decay as variances do.
 */
import type { Coupling } from "../../graph/coupling/groups.js";
import { type FeatureMap, keepsPositions, type Member, type Network, sameShape } from "./maps.js";

/** From a map back to a value that its source reads. */
export interface Edge {
  readonly to: Member;
  /** 1 through a linear layer, 0 through sums, pools and movement. */
  readonly depth: 0 | 1;
  /** Gains per cell of this map's source, as gains per cell of `to`. */
  back(r: Float64Array): Float64Array;
  /** Cells of `to` that it says something about, given those of the source; all, where a layer reads them. */
  covered(known: Uint8Array): Uint8Array;
}

/** What a target sees of a map upstream. */
export interface Reach {
  /** Linear layers on the way, the target's included: of the longest path. */
  readonly depth: number;
  /** r: variance of the target, summed over its channels, per variance of each cell of the map's F. */
  readonly gains: Float64Array;
  /** 1 where a way from the cell to the target is known, if only with a gain of 0; others may have one that is not followed. */
  readonly known: Uint8Array;
}

/** Edges out of each map, by its index. Where it is not known which channel becomes which, there is none: the walk ends. */
export function edgesOf(network: Network, coupling: Coupling): readonly (readonly Edge[])[] {
  return network.maps.map(({ source, layer, ...map }): readonly Edge[] => {
    if (layer) {
      const to = network.memberOf(layer.input);
      const fits = to && to.map.axes.length === 1 && to.map.axes[0] === layer.inputAxis && to.map.cells === layer.inputs;
      const covered = (known: Uint8Array) => new Uint8Array(layer.inputs).fill(known.includes(1) ? 1 : 0);
      return fits ? [{ to, depth: 1, back: (r) => layer.back(r), covered }] : [];
    }
    const node = source.producer;
    if (!node || coupling.typing.barriers.has(node)) return [];
    return node.inputs.flatMap((v): Edge[] => {
      const to = v && network.memberOf(v);
      if (!v || !to) return [];
      const isInPlace =
        keepsPositions(node, coupling) &&
        sameShape(source, v, coupling.typing.types) &&
        map.axes.length > 0 &&
        map.axes.join() === to.map.axes.join();
      if (isInPlace) return [{ to, depth: 0, back: (r) => r, covered: (known) => known }];
      const matched = byKey(map.keys, to.map.keys);
      return matched ? [{ to, depth: 0, ...matched }] : [];
    });
  });
}

/** Each channel keeps its total: of H·W columns behind a Flatten, channel c of the map gets the sum. Undefined when they share none. */
function byKey(from: FeatureMap["keys"], to: FeatureMap["keys"]): Pick<Edge, "back" | "covered"> | undefined {
  const ids = new Map<string, number>();
  for (const key of to) if (key.length > 0 && !ids.has(key.join())) ids.set(key.join(), ids.size);
  const idsOf = (keys: FeatureMap["keys"]) => Int32Array.from(keys, (k) => ids.get(k.join()) ?? -1);
  const [sources, targets] = [idsOf(from), idsOf(to)];
  if (!sources.some((id) => id >= 0)) return undefined;
  const times = new Float64Array(ids.size);
  for (const id of targets) if (id >= 0) times[id] = (times[id] as number) + 1;
  const totalsOf = (r: ArrayLike<number>) => {
    const totals = new Float64Array(ids.size);
    sources.forEach((id, p) => {
      if (id >= 0) totals[id] = (totals[id] as number) + (r[p] as number);
    });
    return totals;
  };
  return {
    back(r) {
      const totals = totalsOf(r);
      return Float64Array.from(targets, (id) => (id < 0 ? 0 : (totals[id] as number) / (times[id] as number)));
    },
    covered(known) {
      const totals = totalsOf(known);
      return Uint8Array.from(targets, (id) => (id >= 0 && (totals[id] as number) > 0 ? 1 : 0));
    },
  };
}

/**
 * What of each map upstream arrives at F of `target`, by map index: r = 1ᵀ at the target, and r ← r·Q back through each layer,
 *
 *     Q[k', k] = g_k' · s_k'² · Σ_taps W[k', k]²
 *
 * with s the scale of normalisations and g the share of positions at which k' is active, both on the way from the layer's
 * product to F. Rows meet at sums and concatenations; pooling and movement hand them on.
 *
 * @param active share of positions above 0 of each cell of a member behind an activation.
 */
export function reachOf(
  target: FeatureMap,
  edges: readonly (readonly Edge[])[],
  maps: readonly FeatureMap[],
  active: (member: Member) => Float64Array | undefined,
): ReadonlyMap<number, Reach> {
  const found = new Map<number, { depth: number; gains: Float64Array; known: Uint8Array }>();
  found.set(target.index, { depth: 0, gains: new Float64Array(target.cells).fill(1), known: new Uint8Array(target.cells).fill(1) });
  for (let index = target.index; index >= 0; index--) {
    const here = found.get(index);
    if (!here) continue;
    const { seen } = maps[index] as FeatureMap;
    const own = here.gains.map((g, c) => g * gainAt(seen, active(seen), c));
    for (const edge of edges[index] as readonly Edge[]) {
      const { to } = edge;
      const arrived = edge.back(own);
      const covered = edge.covered(here.known);
      const there = found.get(to.map.index) ?? {
        depth: 0,
        gains: new Float64Array(to.map.cells),
        known: new Uint8Array(to.map.cells),
      };
      found.set(to.map.index, there);
      there.depth = Math.max(there.depth, here.depth + edge.depth);
      const [mine, theirs] = [active(to), active(to.map.seen)];
      for (let c = 0; c < arrived.length; c++) {
        const g = to === to.map.seen ? 1 : ratio(gainAt(to, mine, c), gainAt(to.map.seen, theirs, c));
        there.gains[c] = (there.gains[c] as number) + g * (arrived[c] as number);
        if (covered[c] === 1) there.known[c] = 1;
      }
    }
  }
  found.delete(target.index);
  return found;
}

function gainAt({ gain, isBent }: Member, active: Float64Array | undefined, cell: number): number {
  return (gain?.[cell] ?? 1) * (isBent ? (active?.[cell] ?? 1) : 1);
}

/** a/b for parts of a whole: nothing of nothing. */
export function ratio(a: number, b: number): number {
  return b > 0 ? a / b : 0;
}

/** Squared influence of each cell of one map on one target. */
export interface Effect {
  readonly depth: number;
  readonly squared: Float64Array;
  /** Cells whose influence on the target is known. */
  readonly known: Uint8Array;
}

/**
 * I_k(d) for d = 1 … D: √ of each effect, averaged over targets of equal depth. Only targets on which the influence of k is known
 * count; depths that have none are left out.
 */
export function curvesOf(cells: number, effects: readonly Effect[]): Float64Array[] {
  const depths = [...new Set(effects.map((e) => e.depth))].sort((a, b) => a - b);
  const byDepth = depths.map((d) => effects.filter((e) => e.depth === d));
  return Array.from({ length: cells }, (_, k) => {
    const curve = byDepth.flatMap((at) => {
      const known = at.filter((e) => e.known[k] === 1);
      return known.length === 0 ? [] : [known.reduce((sum, e) => sum + Math.sqrt(e.squared[k] as number), 0) / known.length];
    });
    return Float64Array.from(curve);
  });
}
