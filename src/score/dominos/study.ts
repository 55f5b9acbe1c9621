/** What DOMINOS looks at in one model: its layers, what must be measured of them, and what follows from the measurements. */
import { ablate } from "../../calibrate/ablation.js";
import { batchOf, tapped } from "../../calibrate/statistics/instrument.js";
import type { Gram, Moments, StatisticRequest, Statistics, Tap } from "../../calibrate/statistics/request.js";
import { UnsupportedError } from "../../errors.js";
import type { Group } from "../../graph/coupling/groups.js";
import type { Node } from "../../graph/graph.js";
import type { Note } from "../../graph/note.js";
import type { Bench, ScoringContext } from "../criterion.js";
import { distinct, measuredFor } from "../measured.js";
import { dominoInfluence, relativeInfluence, type SurvivalOptions } from "./importance.js";
import { curvesOf, type Edge, type Effect, edgesOf, type Reach, ratio, reachOf } from "./influence.js";
import { type FeatureMap, type Member, type Network, networkOf } from "./maps.js";

/** A map that a linear layer makes. */
export type Layer = Network["layers"][number];

/** What ablation.ts measured: by F of the layer and of the target, per filter. */
export type Ablations = Awaited<ReturnType<typeof ablate>>;

/** Operators that bring the channels of two or more maps together in a sum. */
const SUMS: ReadonlySet<string> = new Set([
  "Add",
  "Sum",
  "com.microsoft.SkipLayerNormalization",
  "com.microsoft.SkipSimplifiedLayerNormalization",
]);

/** One model as DOMINOS sees it. Valid while the model is not changed. */
export class Study {
  readonly network: Network;
  /** Layers with a layer downstream, in graph order: those that have an influence. */
  readonly layers: readonly Layer[];
  /** Sums of two or more maps, and the maps they bring together. */
  readonly sums: readonly { readonly node: Node; readonly operands: readonly FeatureMap[] }[];
  /** What could not be looked at. */
  readonly notes: Note[] = [];
  readonly #edges: readonly (readonly Edge[])[];
  readonly #context: ScoringContext;
  readonly #statistics: Statistics;
  readonly #measurable = new Map<string, boolean>();
  readonly #targets: ReadonlyMap<Layer, readonly Layer[]>;
  readonly #effects = new Map<Ablations | undefined, ReadonlyMap<Layer, readonly Effect[]>>();
  readonly #makers = new Map<number, Set<Layer>>();

  constructor(context: ScoringContext) {
    this.#context = context;
    this.#statistics = measuredFor("dominos", context);
    this.network = networkOf(context.coupling);
    this.#edges = edgesOf(this.network, context.coupling);
    const measured = this.network.layers.filter((l) => this.#canTap(l.seen));
    const isLayer = new Map(measured.map((l) => [l.index, l]));
    const targets = new Map<Layer, Layer[]>();
    for (const t of measured) {
      for (const index of this.#upstream([t.index])) {
        const l = index === t.index ? undefined : isLayer.get(index);
        if (l) targets.set(l, [...(targets.get(l) ?? []), t]);
      }
    }
    this.#targets = targets;
    this.layers = measured.filter((l) => targets.has(l));
    for (const l of this.layers) {
      for (const c of l.keys.flat()) {
        const of = this.#makers.get(c) ?? new Set<Layer>();
        this.#makers.set(c, of.add(l));
      }
    }
    this.#noteEnds();
    this.sums = this.network.maps.flatMap((map) => {
      const node = map.source.producer;
      if (!node || !SUMS.has(node.qualifiedType)) return [];
      const operands = [...new Set((this.#edges[map.index] as readonly Edge[]).map((e) => e.to.map))];
      return operands.length > 1 ? [{ node, operands }] : [];
    });
  }

  /** Where the walk from layers back to what they read ends for want of a rule; graph inputs are no such ends. */
  #noteEnds(): void {
    const { barriers } = this.#context.coupling.typing;
    for (const index of this.#upstream(this.network.layers.map((l) => l.index))) {
      if ((this.#edges[index] as readonly Edge[]).length > 0) continue;
      const { source, layer } = this.network.maps[index] as FeatureMap;
      const node = source.producer;
      if (!node) continue;
      const barrier = barriers.get(node);
      const isBlind = layer !== undefined && this.network.memberOf(layer.input)?.map.source.isInput === false;
      if (barrier === undefined && !isBlind) continue;
      const why = barrier ?? "it is not known which channels it reads";
      this.notes.push({ code: "INFLUENCE_ENDS", about: node.label, why: `influence is not followed past it: ${why}` });
    }
  }

  /** Layers that reach a sum through no other layer: the last ones of branches, and those that a stream begins with. */
  ends(): ReadonlySet<number> {
    const found = new Set(this.sums.flatMap((s) => s.operands.map((m) => m.index)));
    for (const index of found) for (const { to, depth } of this.#edges[index] as readonly Edge[]) if (depth === 0) found.add(to.map.index);
    return found;
  }

  /** Layers downstream of `layer` on which its influence is followed, in graph order. */
  targetsOf(layer: Layer): readonly Layer[] {
    return this.#targets.get(layer) ?? [];
  }

  /** Layers that make channels of a group, in graph order. */
  makersOf(group: Group): readonly Layer[] {
    const found = new Set(group.choices.flatMap((c) => [...(this.#makers.get(c) ?? [])]));
    return [...found].sort((a, b) => a.index - b.index);
  }

  /** The cells of each channel of the group in a layer; none where it makes another's. */
  cellsOf(group: Group, layer: Layer): readonly (readonly number[])[] {
    const mine = new Map(group.choices.map((c, k) => [c, k]));
    const cells: number[][] = group.choices.map(() => []);
    layer.keys.forEach((key, cell) => {
      for (const c of key) {
        const k = mine.get(c);
        if (k !== undefined) cells[k]?.push(cell);
      }
    });
    return cells;
  }

  /** What must be known: of each layer and target the variance, of each activation on the way its share, of `shown` layers the Gram matrix. */
  requests(shown: Iterable<Layer>, pool: number): readonly StatisticRequest[] {
    const out: StatisticRequest[] = [];
    const targets = new Set([...this.#targets.values()].flat());
    for (const l of this.network.layers) {
      if (targets.has(l) || this.#targets.has(l)) out.push({ kind: "moments", variable: "pixels", byClass: false, ...tapOf(l.seen) });
    }
    const bent = new Set<Member>([...targets].map((t) => t.seen));
    for (const index of this.#upstream([...targets].map((t) => t.index))) {
      for (const { to } of this.#edges[index] as readonly Edge[]) bent.add(to).add(to.map.seen);
    }
    for (const m of bent) if (this.#hasShare(m)) out.push({ kind: "active", ...tapOf(m) });
    for (const l of shown) out.push(gramOf(l, pool));
    return distinct(out);
  }

  gram(layer: Layer, pool: number): Gram {
    return this.#statistics.of(gramOf(layer, pool));
  }

  /** D/mean D of each filter of each layer that has an influence; NaN for filters whose influence is on nothing that is known. */
  influence(options: SurvivalOptions, ablations?: Ablations): ReadonlyMap<Layer, Float64Array> {
    const effects = this.effects(ablations);
    const curves = this.layers.map((l) => curvesOf(l.cells, effects.get(l) as readonly Effect[]));
    const influence = dominoInfluence(curves, options);
    return new Map(
      this.layers.map((l, i) => {
        const known = (effects.get(l) as readonly Effect[]).map((e) => e.known);
        return [l, relativeInfluence((influence[i] as Float64Array).map((d, c) => (known.some((k) => k[c] === 1) ? d : Number.NaN)))];
      }),
    );
  }

  /** Runs the model without each filter of each layer, on so many samples. */
  ablate({ runner, samples, batch, ...rest }: Bench, count: number): Promise<Ablations> {
    const means = (l: Layer) => this.#moments(l).mean;
    const ablations = this.layers.map((l) => ({
      ...tapOf(l.seen),
      means: means(l),
      targets: this.targetsOf(l).map((t) => t.seen.value.name),
    }));
    return ablate(runner, this.#context.model, ablations, samples, { samples: count, copies: batch && batch + 1, ...rest });
  }

  /**
   * What a layer as a whole brings to the next ones: √Σ_k I_k² on the nearest layers downstream, averaged; of the last layer of a branch
   * about the share of the stream's deviation that the block adds.
   */
  contribution(layer: Layer, ablations?: Ablations): number {
    const all = this.effects(ablations).get(layer) ?? [];
    const nearest = Math.min(...all.map((e) => e.depth));
    const at = all.filter((e) => e.depth === nearest);
    return at.reduce((sum, e) => sum + Math.sqrt(e.squared.reduce((a, b) => a + b, 0)), 0) / at.length;
  }

  /** I² of each filter on each layer downstream: r_k·Var(F_k)/Σ Var(F_t) in closed form, or from ablations. Computed once for either. */
  effects(ablations?: Ablations): ReadonlyMap<Layer, readonly Effect[]> {
    const have = this.#effects.get(ablations);
    if (have) return have;
    const out = new Map<Layer, Effect[]>(this.layers.map((l) => [l, []]));
    const share = (m: Member) => (this.#hasShare(m) ? this.#statistics.of({ kind: "active", ...tapOf(m) }).positive : undefined);
    const downstream = new Map<Layer, Layer[]>();
    for (const l of this.layers) for (const t of this.targetsOf(l)) downstream.set(t, [...(downstream.get(t) ?? []), l]);
    for (const [target, from] of downstream) {
      const reach = reachOf(target, this.#edges, this.network.maps, share);
      const total = this.#moments(target).variance.reduce((a, b) => a + b, 0);
      for (const l of from) {
        const { depth, gains, known } = reach.get(l.index) as Reach;
        const exact = ablations?.get(l.seen.value.name)?.get(target.seen.value.name);
        const { variance } = this.#moments(l);
        // An ablation's figure is a mean over channels too.
        const squared = gains.map((r, c) => ratio(exact ? (exact[c] as number) * target.cells : r * (variance[c] as number), total));
        (out.get(l) as Effect[]).push({ depth, squared, known });
      }
    }
    this.#effects.set(ablations, out);
    return out;
  }

  #hasShare(m: Member): boolean {
    return m.isBent && m.map.axes.length === 1 && this.#canTap(m);
  }

  #canTap(m: Member): boolean {
    const { value, axis } = tapOf(m);
    const key = `${value}:${axis}`;
    let can = this.#measurable.get(key);
    if (can === undefined) {
      const { model, coupling } = this.#context;
      try {
        tapped(model, coupling.typing.types, { value, axis }, batchOf(model));
        can = true;
      } catch (error) {
        if (!(error instanceof UnsupportedError)) throw error;
        this.notes.push({ code: "NOT_MEASURED", about: value, why: error.message });
        can = false;
      }
      this.#measurable.set(key, can);
    }
    return can;
  }

  #moments(l: Layer): Moments {
    return this.#statistics.of({ kind: "moments", variable: "pixels", byClass: false, ...tapOf(l.seen) });
  }

  /** Indices of the maps that some maps are made from, their own included. */
  #upstream(of: readonly number[]): ReadonlySet<number> {
    const found = new Set(of);
    for (const index of found) for (const { to } of this.#edges[index] as readonly Edge[]) found.add(to.map.index);
    return found;
  }
}

/** Where a value of a map is measured. */
export function tapOf({ value, map }: Member): Tap {
  return { value: value.name, axis: map.axes[0] ?? 0 };
}

function gramOf(layer: Layer, pool: number): StatisticRequest & { readonly kind: "gram" } {
  return { kind: "gram", pool, ...tapOf(layer.seen) };
}
