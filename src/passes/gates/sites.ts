/** Where attention gates go: the feature maps through which channels of inner groups are read. */
import { batchOf } from "../../calibrate/statistics/instrument.js";
import { ALWAYS } from "../../graph/coupling/choices.js";
import type { Coupling, Group } from "../../graph/coupling/groups.js";
import type { DType } from "../../graph/dtype.js";
import type { Node, Value } from "../../graph/graph.js";
import type { Note } from "../../graph/note.js";
import { carriersOf } from "../../score/carriers.js";

/** A value that a gate can multiply, channel by channel. */
export interface GateSite {
  readonly value: Value;
  /** 4: [N, C, H, W], channels on axis 1; 3: tokens [N, T, C], channels on axis 2; 2: vectors [N, C], for constant factors alone. */
  readonly rank: 2 | 3 | 4;
  readonly axis: 1 | 2;
  readonly channels: number;
  readonly dtype: DType;
}

export interface GateSites {
  /** In graph order. */
  readonly sites: readonly GateSite[];
  /** Places that take constant factors but no gate, as a gate sees nothing there beyond what is read; each is in `declined` too. In graph order. */
  readonly constantOnly: readonly GateSite[];
  /** Values that carry channels and get no gate, with the reason. */
  readonly declined: readonly Note[];
}

/** Operators whose result has its operands' channels added. */
const SUMS: ReadonlySet<string> = new Set([
  "Add",
  "Sub",
  "Sum",
  "Mean",
  "com.microsoft.SkipLayerNormalization",
  "com.microsoft.SkipSimplifiedLayerNormalization",
]);

/** Elements that ONNX Runtime multiplies, pools and convolves alike. */
export const GATED_TYPES: ReadonlySet<DType> = new Set<DType>(["float32", "float64", "float16"]);

/**
 * The last tensor of each group before its consumers (carriers.ts). `inner` leaves out groups whose channels meet others in a
 * sum, as those of residual streams do; `all` takes every carrier.
 *
 * That gates sit on feature maps of what was kept is how the abstract of Chen 2020 can be read; which maps is a reconstruction.
 */
export function gateSites(coupling: Coupling, where: "inner" | "all"): GateSites {
  const { typing } = coupling;
  const linked = where === "inner" ? linkedGroups(coupling) : new Set<Group>();
  const batch = batchOf(typing.model);
  const order = new Map(typing.model.graph.nodes.map((n, i) => [n, i]));
  const seen = new Map<Value, Place>();
  for (const group of coupling.groups) {
    for (const { value, axis } of carriersOf(group, coupling)) if (!seen.has(value)) seen.set(value, siteAt(value, axis));
  }
  const place = (v: Value) => (v.producer ? (order.get(v.producer) ?? 0) : -1);
  const all = [...seen].sort(([a], [b]) => place(a) - place(b));
  return {
    sites: all.flatMap(([, { site, why }]) => (site && !why ? [site] : [])),
    constantOnly: all.flatMap(([, { site, why }]) => (site && why ? [site] : [])),
    declined: all.flatMap(([{ name }, { why }]) => (why ? [{ code: "GATE_DECLINED", about: name, why }] : [])),
  };

  function siteAt(value: Value, axis: number): Place {
    const type = typing.types.type(value);
    const shape = typing.types.shape(value);
    const rank = shape?.length;
    if (!shape || type?.kind !== "tensor") return { why: "its type is not known" };
    if (!GATED_TYPES.has(type.dtype)) return { why: `it holds ${type.dtype}` };
    if (!value.producer) return { why: "it is an input of the graph" };
    if (value.isOutput) return { why: "it is an output of the graph" };
    const described = `its shape is [${shape.join(", ")}] with channels on axis ${axis}; gates are made for [N, C, H, W] and tokens [N, T, C]`;
    const isMap = (rank === 4 && axis === 1) || (rank === 3 && axis === 2);
    if (!isMap && !(rank === 2 && axis === 1)) return { why: described };
    if (shape[0] !== batch) return { why: `axis 0 of [${shape.join(", ")}] does not count samples` };
    if (isLinked(value, axis)) return { why: "its channels are linked through a residual sum" };
    const site = { value, rank: rank as 2 | 3 | 4, axis: axis as 1 | 2, channels: shape[axis] as number, dtype: type.dtype };
    if (!isMap) return { site, why: described };
    const positions = rank === 4 ? shape.slice(2) : shape.slice(1, 2);
    if (positions.every((d) => d === 1)) return { site, why: "it has one position: its mean is what it holds already" };
    if (value.uses().length > 0 && value.uses().every(({ node }) => takesMean(node)))
      return { site, why: "all that is read of it is its mean" };
    return { site };
  }

  function isLinked(value: Value, axis: number): boolean {
    const of = typing.axesOf(value)?.[axis];
    if (!of || linked.size === 0) return false;
    return coupling.choices.layers(of).some((layer) =>
      layer.some((c) => {
        const group = c === ALWAYS ? undefined : coupling.groupOf(c);
        return group !== undefined && linked.has(group);
      }),
    );
  }
}

/** A place for a gate; `why` it takes none, or with a site only constant factors. */
interface Place {
  readonly site?: GateSite;
  readonly why?: string;
}

function takesMean(node: Node): boolean {
  return node.isStandard && (node.opType === "GlobalAveragePool" || node.opType === "ReduceMean");
}

/** Groups with channels on both sides of a sum of two activations. */
function linkedGroups(coupling: Coupling): ReadonlySet<Group> {
  const found = new Set<Group>();
  for (const node of coupling.typing.model.graph.nodes) {
    if (!SUMS.has(node.qualifiedType)) continue;
    const carried = node.inputs.flatMap((v) => (v && !v.constant ? [groupsOf(v)] : []));
    for (const [k, groups] of carried.entries())
      for (const g of groups) if (carried.some((other, j) => j !== k && other.has(g))) found.add(g);
  }
  return found;

  function groupsOf(value: Value): ReadonlySet<Group> {
    const groups = new Set<Group>();
    for (const axis of coupling.typing.axesOf(value) ?? []) {
      if (coupling.typing.system.find(axis).form?.kind === "family") continue;
      for (const layer of coupling.choices.layers(axis)) {
        for (const c of layer) {
          const g = c === ALWAYS ? undefined : coupling.groupOf(c);
          if (g) groups.add(g);
        }
      }
    }
    return groups;
  }
}
