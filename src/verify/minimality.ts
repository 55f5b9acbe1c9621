/**
 * Minimality: a group holds nothing that could have stayed. The oracle cannot see that too much was tied, for what is
 * removed together is removed consistently; so here members are put back, and the graph must break.
 *
 * Sets of slots are left unsliced, everything else being sliced. Nearly always the extents then contradict each other.
 * Where a graph still runs, behind a Slice or a Gather of fixed positions, it must compute neither what the whole removal
 * does, nor the original with only those weights set to 0 that were sliced: else the slots that stayed need not leave
 * with the others.
 *
 * What this cannot see: sizes written in attributes and operands stay those of the whole removal, so a tie that only a
 * Reshape, Split or Slice of constant sizes makes is not questioned.
 */
import { ModelError } from "../errors.js";
import { cloneModel } from "../graph/clone.js";
import { Kept } from "../graph/coupling/choices.js";
import { isTypedPerUse } from "../graph/coupling/couple.js";
import type { ConstantSlot, Coupling } from "../graph/coupling/groups.js";
import { oracleOf } from "../graph/coupling/oracle.js";
import { removeSlices, takeBlocks } from "../graph/coupling/slice.js";
import type { Graph, Model, Value } from "../graph/graph.js";
import { infer } from "../graph/infer.js";
import { Tensor } from "../graph/tensor.js";
import type { Feeds, Runner } from "../runtime/runner.js";
import { emptiedAxes } from "../score/plan.js";
import { type Pool, takenOf } from "../score/pools.js";
import { relative, toleranceOf } from "./equality.js";
import { runAll } from "./pieces.js";

/** Pools of at most this many slots are tried in every subset, others in every one and every two. */
const ALL_SUBSETS = 7;

/** One axis of one constant that loses positions; the blocks of a grouped weight are one place. */
interface Place {
  readonly value: Value;
  readonly axis: number;
  /** Positions that a sum runs over, with the rows of axis 0 that read them. */
  readonly summed: { readonly rows: readonly [number, number] | undefined; readonly positions: readonly number[] }[];
}

export interface Minimality {
  /** Sets of slots, each as "value:axis", that could stay although a move of the pool takes them: none where it is minimal. */
  readonly spare: readonly (readonly string[])[];
  /** Sets that were left unsliced, and how many there are: fewer were tried where `limit` was reached. */
  readonly tried: number;
  readonly of: number;
}

/** Whether one move of `pool` takes more than it must. At most `limit` sets of slots are tried. */
export async function checkMinimality(
  runner: Runner,
  coupling: Coupling,
  pool: Pool,
  feeds: Feeds,
  limit = Number.POSITIVE_INFINITY,
): Promise<Minimality> {
  const removed = moveOf(coupling, pool);
  if (!removed) return { spare: [], tried: 0, of: 0 };
  const kept = new Kept(coupling.typing.system, coupling.choices, removed);
  const places = placesOf(coupling.typing.model.graph, pool, removed);
  const sliced = removeSlices(coupling.typing, kept);
  const oracle = oracleOf(coupling.typing, kept);
  const tolerance = toleranceOf(oracle);
  const want = await outputsOf(runner, oracle, feeds);
  const spare: string[][] = [];
  const sets = subsets(places);
  for (const whole of sets.slice(0, limit)) {
    const model = without(coupling, kept, sliced, whole);
    const got = isConsistent(model) ? await outputsOf(runner, model, feeds).catch(refused) : undefined;
    if (!got) continue;
    const rest = places.filter((p) => !whole.includes(p));
    const alone = await outputsOf(runner, zeroed(coupling, rest), feeds);
    if (apart(got, want) <= tolerance || apart(got, alone) <= tolerance) spare.push(whole.map((p) => `${p.value.name}:${p.axis}`));
  }
  return { spare, tried: Math.min(sets.length, limit), of: sets.length };
}

/** The choices of the first move of a pool that leaves no axis empty; undefined when each does. */
export function moveOf(coupling: Coupling, pool: Pool): ReadonlySet<number> | undefined {
  for (let m = 0; m < pool.moves; m++) {
    const removed = new Set(pool.cells.flatMap((c) => c.choices.slice(takenOf(c, m), takenOf(c, m + 1))));
    if (emptiedAxes(coupling, new Kept(coupling.typing.system, coupling.choices, removed)).length === 0) return removed;
  }
  return undefined;
}

function placesOf(main: Graph, pool: Pool, removed: ReadonlySet<number>): Place[] {
  const out = new Map<string, Place>();
  const lost = (s: ConstantSlot, choices: readonly number[]) => choices.flatMap((c, k) => (removed.has(c) ? s.positions(k) : []));
  for (const g of pool.groups) {
    for (const s of g.slots) {
      const positions = lost(s, g.choices);
      // A small constant of several readers may have been cloned for each.
      // Those of bodies are left out of account.
      const isOwn = s.value.graph === main;
      if (!isOwn || positions.length === 0 || (isTypedPerUse(s.value) && s.value.useCount > 1)) continue;
      const key = `${s.value.name}:${s.axis}`;
      const place = out.get(key) ?? { value: s.value, axis: s.axis, summed: [] };
      if (s.role === "consumer") place.summed.push({ rows: s.rows, positions });
      out.set(key, place);
    }
  }
  return [...out.values()];
}

/** The sliced model with the places in `whole` as they were. */
function without({ typing }: Coupling, kept: Kept, sliced: Model, whole: readonly Place[]): Model {
  const model = cloneModel(sliced);
  for (const value of new Set(whole.map((p) => p.value))) {
    const spared = new Set(whole.filter((p) => p.value === value).map((p) => p.axis));
    const [use] = value.uses();
    const axes = (isTypedPerUse(value) && use ? typing.axesOfInput(use.node, use.index) : typing.axesOf(value)) ?? [];
    let tensor = value.constant as Tensor;
    // Blocks are told by rows: while these are all there.
    axes.forEach((axis, a) => {
      const blocks = spared.has(a) ? undefined : kept.familyIndices(axis);
      if (blocks) tensor = takeBlocks(tensor, a, blocks);
    });
    axes.forEach((axis, a) => {
      const indices = spared.has(a) || kept.isFamily(axis) ? undefined : kept.indices(axis);
      if (indices) tensor = tensor.take(a, indices);
    });
    model.graph.setConstant(model.graph.value(value.name) as Value, tensor);
  }
  for (const v of model.graph.values) if (v.producer && !v.isOutput) v.type = undefined;
  return model;
}

/** The original in which the weights of `sliced` places that a sum reads are 0. */
function zeroed({ typing }: Coupling, sliced: readonly Place[]): Model {
  const model = cloneModel(typing.model);
  for (const { value, axis, summed } of sliced) {
    const mine = model.graph.value(value.name) as Value;
    const tensor = mine.constant as Tensor;
    const extent = tensor.dims[axis] as number;
    const inner = tensor.dims.slice(axis + 1).reduce((a, b) => a * b, 1);
    const row = tensor.size / (tensor.dims[0] as number);
    const parts = summed.map(({ rows, positions }) => ({ rows, gone: new Set(positions) }));
    const isGone = (i: number) => {
      const at = Math.floor(i / row);
      return parts.some(({ rows, gone }) => gone.has(Math.floor(i / inner) % extent) && (!rows || (at >= rows[0] && at < rows[1])));
    };
    const data = Float64Array.from(tensor.numbers(), (x, i) => (isGone(i) ? 0 : x));
    model.graph.setConstant(mine, Tensor.fromNumbers(tensor.dtype, tensor.dims, data));
  }
  return model;
}

function isConsistent(model: Model): boolean {
  try {
    return infer(model).conflicts.length === 0;
  } catch (error) {
    if (error instanceof ModelError) return false;
    throw error;
  }
}

async function outputsOf(runner: Runner, model: Model, feeds: Feeds): Promise<Record<string, Tensor>> {
  const [outputs] = await runAll(runner, model, [feeds], { optimization: "disabled" });
  return outputs ?? {};
}

/** That ONNX Runtime does not load or run a graph is what is hoped for here. */
function refused(): undefined {
  return undefined;
}

/** Largest relative difference of any output. */
function apart(got: Readonly<Record<string, Tensor>>, want: Readonly<Record<string, Tensor>>): number {
  const each = Object.entries(want).map(([name, t]) => {
    const mine = got[name];
    return mine ? relative(mine, t) : Number.POSITIVE_INFINITY;
  });
  return Math.max(0, ...each);
}

/** Every proper subset of few items; every one and every two of many. */
function subsets<T>(items: readonly T[]): (readonly T[])[] {
  if (items.length <= ALL_SUBSETS) {
    return Array.from({ length: Math.max(0, 2 ** items.length - 2) }, (_, m) => items.filter((_item, i) => (m + 1) & (1 << i)));
  }
  return items.flatMap((a, i) => [[a], ...items.slice(i + 1).map((b) => [a, b])]);
}
