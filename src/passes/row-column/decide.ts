/** Which rows and columns leave which layer. */
import type { StatisticRequest, Statistics } from "../../calibrate/statistics/request.js";
import { UnsupportedError } from "../../errors.js";
import { type Coupling, findGroups } from "../../graph/coupling/groups.js";
import type { Model, Node } from "../../graph/graph.js";
import type { Note } from "../../graph/note.js";
import { isTappable } from "../../score/carriers.js";
import { allocate, curveOf } from "../../score/row-column/allocate.js";
import { lowerBound } from "../../score/row-column/bound.js";
import { budgetOf, count, type Problem, problemOf, type Selection } from "../../score/row-column/problem.js";
import { type Method, solve } from "../../score/row-column/solve.js";
import { type Cluster, clustersOf, deadChannels, type RowOption, type RowWay, unreadChannels } from "./clusters.js";
import { columnAt, columnsOf, findLayers, type Layer, matrixOf, powerOf, type Saliency, type Unit, weightsOf } from "./layers.js";

export interface Choice {
  readonly sparsity: number;
  readonly method: Method;
  readonly saliency: Saliency;
  readonly unit: Unit;
  readonly scope: "layer" | "global";
  readonly rows: RowOption;
  readonly skip: readonly string[];
}

export interface LayerDecision {
  /** Name of what the layer gives, by which copies of the model find it. */
  readonly output: string;
  readonly label: string;
  readonly op: string;
  readonly way: RowWay;
  /** 1: the filter leaves. */
  readonly rows: Uint8Array;
  /** 1: the column leaves; groups × channels × taps. */
  readonly columns: Uint8Array;
  /** Cells (weights) of the whole matrix, and those that stay. */
  readonly cells: number;
  readonly kept: number;
  /** Sizes of the matrix (of one group), and what stays, in columns of the unit. */
  readonly shape: readonly [number, number];
  readonly left: readonly [number, number];
  /** f, the sum T of all cells, and a lower bound on f; of all layers that were decided together. */
  readonly cost: number;
  readonly total: number;
  readonly bound: number;
}

export interface Decision {
  readonly layers: readonly LayerDecision[];
  /** By group: channels whose rows leave. */
  readonly rows: ReadonlyMap<string, readonly number[]>;
  /** By group: channels of which no column stays anywhere, so that their filters can leave too. */
  readonly unread: ReadonlyMap<string, readonly number[]>;
}

/** E[x²] of what each layer reads, for saliency "data". */
export function powerRequests(model: Model, skip: readonly string[]): StatisticRequest[] {
  const coupling = findGroups(model);
  return findLayers(model, coupling.typing.types, skip, () => undefined).flatMap((l) => powerRequest(l, coupling) ?? []);
}

function powerRequest({ input, inputAxis }: Layer, coupling: Coupling): StatisticRequest | undefined {
  const rank = coupling.typing.types.shape(input)?.length;
  if (rank === undefined || rank < 2 || !isTappable(input, coupling)) return undefined;
  return { kind: "moments", variable: "pixels", byClass: false, value: input.name, axis: inputAxis < 0 ? rank - 1 : inputAxis };
}

/**
 * Layers are decided from front to back: columns of channels that left before weigh nothing, so that each layer's budget counts what is
 * still there to lose.
 * @throws UnsupportedError ROW_COLUMN_NOTHING without layers; ROW_COLUMN_MATRIX for weights that are no numbers.
 */
export function decide(
  model: Model,
  choice: Choice,
  context: { readonly seed: number; readonly statistics?: Statistics | undefined; note(note: Note): void },
): Decision {
  const coupling = findGroups(model);
  const found = findLayers(model, coupling.typing.types, choice.skip, context.note);
  if (found.length === 0) {
    throw new UnsupportedError("ROW_COLUMN_NOTHING", "The model has no Conv, Gemm or MatMul whose rows and columns could be pruned.", {
      hint: "Quantised and shared weights are not pruned so, and layers in local functions only after --pass inline-functions.",
    });
  }
  const clusters = clustersOf(found, choice.rows, model, coupling, choice.skip, context.note);
  const weights = new Map(found.map((l) => [l, weightsOf(l)]));
  const powers = new Map(found.map((l) => [l, powerFor(l, choice, coupling, context)]));
  const gone = new Set<number>();

  const problemFor = ({ layers, way }: Cluster): Problem => {
    const [first] = layers as [Layer];
    const m = first.filters / first.groups;
    const parts = layers.map((l) => matrix(l, 0, gone, coupling, weights, powers, choice));
    const n = parts.reduce((s, p) => s + p.length / m, 0);
    return problemOf(parts.length === 1 ? (parts[0] as Float64Array) : beside(parts, m, n), m, n, choice.sparsity, {
      rows: way === "whole" ? m : 1,
    });
  };
  const budgets = choice.scope === "global" ? globalBudgets(clusters, problemFor, choice.sparsity) : undefined;
  const layers: LayerDecision[] = [];
  for (const cluster of clusters) {
    const [first] = cluster.layers as [Layer];
    const decided =
      first.groups > 1
        ? groupwise(first, budgets?.get(cluster), gone, coupling, weights, powers, choice)
        : together(cluster, problemFor(cluster), budgets?.get(cluster), choice, context);
    layers.push(...decided);
    const rows = (decided[0] as LayerDecision).rows;
    for (const [i, c] of (cluster.choices ?? []).entries()) if (rows[i]) gone.add(c);
  }
  const order = new Map(found.map((l, i) => [l.node.outputs[0]?.name, i]));
  layers.sort((a, b) => (order.get(a.output) as number) - (order.get(b.output) as number));
  return { layers, rows: byGroup(gone, coupling), unread: unreadChannels(layers, found, gone, coupling, choice.skip) };
}

function matrix(
  layer: Layer,
  g: number,
  gone: ReadonlySet<number>,
  coupling: Coupling,
  weights: ReadonlyMap<Layer, Float64Array>,
  powers: ReadonlyMap<Layer, Float64Array | undefined>,
  { unit, saliency }: Choice,
): Float64Array {
  const dead = layer.groups === 1 ? deadChannels(layer, gone, coupling) : undefined;
  return matrixOf(layer, g, weights.get(layer) as Float64Array, { unit, saliency, power: powers.get(layer), dead });
}

/** Matrices of m rows side by side. */
function beside(parts: readonly Float64Array[], m: number, n: number): Float64Array {
  const out = new Float64Array(m * n);
  for (let i = 0; i < m; i++) {
    let at = i * n;
    for (const part of parts) {
      const width = part.length / m;
      out.set(part.subarray(i * width, (i + 1) * width), at);
      at += width;
    }
  }
  return out;
}

/** Cells that each cluster may keep, where all share (1 − s) of all cells. Costs are shares of each cluster's own weight. */
function globalBudgets(clusters: readonly Cluster[], problemFor: (c: Cluster) => Problem, sparsity: number): Map<Cluster, number> {
  // A unit is as many weights as it sums over: budgets of clusters are compared in weights.
  const size = ({ layers }: Cluster) => layers.reduce((s, l) => s + l.tensor.size, 0);
  const curves = clusters.map((c) => {
    const problem = problemFor(c);
    const per = size(c) / (problem.m * problem.n);
    return curveOf(problem).map((l) => ({ ...l, kept: l.kept * per }));
  });
  const all = clusters.reduce((s, c) => s + size(c), 0);
  const chosen = allocate(curves, budgetOf(1, all, sparsity));
  return new Map(clusters.map((c, i) => [c, (chosen[i] as { budget: number }).budget]));
}

/** One problem for layers that share their rows. */
function together(
  { layers, way }: Cluster,
  whole: Problem,
  given: number | undefined,
  choice: Choice,
  { seed, note }: { readonly seed: number; note(note: Note): void },
): LayerDecision[] {
  const [first] = layers as [Layer];
  const problem = { ...whole, budget: withinReach(whole, given ?? whole.budget, first.node, note) };
  const selection = solve(problem, choice.method, `${seed}:${first.node.outputs[0]?.name}`);
  // Never above f: what is more is rounding, where nothing is lost.
  const bound = problem.minRows === problem.m ? selection.cost : Math.min(selection.cost, lowerBound(problem));
  const total = problem.a.reduce((s, x) => s + x, 0);
  let from = 0;
  return layers.map((layer) => {
    const width = columnsOf(layer, choice.unit);
    const columns = selection.columns.subarray(from, from + width);
    from += width;
    return decisionOf(layer, way, selection.rows, [columns], choice.unit, { cost: selection.cost, total, bound });
  });
}

/** A convolution in groups keeps its rows; each group loses as many columns, its own lightest. That is the optimum of what is left to choose. */
function groupwise(
  layer: Layer,
  given: number | undefined,
  gone: ReadonlySet<number>,
  coupling: Coupling,
  weights: ReadonlyMap<Layer, Float64Array>,
  powers: ReadonlyMap<Layer, Float64Array | undefined>,
  choice: Choice,
): LayerDecision[] {
  const m = layer.filters / layer.groups;
  const n = columnsOf(layer, choice.unit);
  const found: Selection[] = [];
  let total = 0;
  for (let g = 0; g < layer.groups; g++) {
    const a = matrix(layer, g, gone, coupling, weights, powers, choice);
    const problem = problemOf(a, m, n, choice.sparsity, { rows: m });
    const budget = Math.max(m, given ?? problem.budget);
    found.push(solve({ ...problem, budget }, "im", 0));
    total += a.reduce((s, x) => s + x, 0);
  }
  const cost = found.reduce((s, f) => s + f.cost, 0);
  const columns = found.map((f) => f.columns);
  return [decisionOf(layer, "whole", new Uint8Array(layer.filters), columns, choice.unit, { cost, total, bound: cost })];
}

/** At least one column of the rows that must stay. */
function withinReach({ minRows, minColumns }: Problem, budget: number, node: Node, note: (note: Note) => void): number {
  if (budget >= minRows * minColumns) return budget;
  note({ code: "SPARSITY_OUT_OF_REACH", about: node.label, why: "its rows stay, and one column of them is more than the sparsity allows" });
  return minRows * minColumns;
}

function decisionOf(
  layer: Layer,
  way: RowWay,
  rows: Uint8Array,
  columns: readonly Uint8Array[],
  unit: Unit,
  figures: Pick<LayerDecision, "cost" | "total" | "bound">,
): LayerDecision {
  const { groups, channels, taps, filters, tensor, node } = layer;
  const all = new Uint8Array(groups * channels * taps);
  for (let g = 0; g < groups; g++) {
    for (let c = 0; c < channels; c++)
      for (let t = 0; t < taps; t++) all[(g * channels + c) * taps + t] = columns[g]?.[columnAt(layer, unit, c, t)] as number;
  }
  const n = columnsOf(layer, unit);
  const r = filters / groups - count(rows);
  const cellsOf = (cs: Uint8Array) => cs.length - count(cs);
  return {
    output: node.outputs[0]?.name as string,
    label: node.label,
    op: node.opType,
    way,
    rows,
    columns: all,
    cells: tensor.size,
    kept: r * cellsOf(all),
    shape: [filters / groups, n],
    left: [r, n - count(columns[0] as Uint8Array)],
    ...figures,
  };
}

function byGroup(gone: ReadonlySet<number>, coupling: Coupling): Map<string, number[]> {
  const out = new Map<string, number[]>();
  for (const group of coupling.groups) {
    const ks = [...group.choices.keys()].filter((k) => gone.has(group.choices[k] as number));
    if (ks.length > 0) out.set(group.name, ks);
  }
  return out;
}

function powerFor(
  layer: Layer,
  { saliency }: Choice,
  coupling: Coupling,
  { statistics, note }: { readonly statistics?: Statistics | undefined; note(note: Note): void },
): Float64Array | undefined {
  if (saliency !== "data") return undefined;
  const request = powerRequest(layer, coupling);
  if (request?.kind === "moments" && statistics?.has(request)) return powerOf(statistics.of(request));
  note({ code: "INPUT_NOT_SEEN", about: layer.node.label, why: "what it reads was not measured, so that its weights count by w² alone" });
  return undefined;
}
