/** Minimality (src/verify/minimality.ts) of every group of every topology: nothing that leaves could have stayed. */
import { readdirSync, readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { decode } from "../../../src/graph/codec.js";
<<<<<<< HEAD
import { Kept } from "../../../src/graph/coupling/choices.js";
import { isTypedPerUse } from "../../../src/graph/coupling/couple.js";
import { type ConstantSlot, type Coupling, findGroups } from "../../../src/graph/coupling/groups.js";
import { oracleOf } from "../../../src/graph/coupling/oracle.js";
import { removeSlices, takeBlocks } from "../../../src/graph/coupling/slice.js";
import type { Model, Value } from "../../../src/graph/graph.js";
import { infer } from "../../../src/graph/infer.js";
import { Tensor } from "../../../src/graph/tensor.js";
import { findPools, type Pool, takenOf } from "../../../src/score/pools.js";
=======
import { findGroups } from "../../../src/graph/coupling/groups.js";
import { openRunner } from "../../../src/runtime/provider.js";
import type { Runner } from "../../../src/runtime/runner.js";
import { findPools, type Pool } from "../../../src/score/pools.js";
import { randomFeeds } from "../../../src/verify/feeds.js";
import { checkMinimality } from "../../../src/verify/minimality.js";
>>>>>>> 19576ab (verify, inspect: masked, poison, zero invariance, minimality and every value, for users)
import { modelOf } from "../../support/build.js";

const folder = new URL("../../fixtures/topologies/", import.meta.url);

<<<<<<< HEAD
/** Groups of at most this many slots are tried in every subset. */
const ALL_SUBSETS = 7;

/** One axis of one constant that loses positions; the blocks of a grouped weight are one place. */
interface Place {
  readonly value: Value;
  readonly axis: number;
  /** Positions that a sum runs over, with the rows of axis 0 that read them. */
  readonly summed: { readonly rows: readonly [number, number] | undefined; readonly positions: readonly number[] }[];
}

function placesOf(pool: Pool, removed: ReadonlySet<number>): Place[] {
  const out = new Map<string, Place>();
  const lost = (s: ConstantSlot, choices: readonly number[]) => choices.flatMap((c, k) => (removed.has(c) ? s.positions(k) : []));
  for (const g of pool.groups) {
    for (const s of g.slots) {
      const positions = lost(s, g.choices);
      // A small constant of several readers may have been cloned for each.
      if (positions.length === 0 || (isTypedPerUse(s.value) && s.value.useCount > 1)) continue;
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
  return model;
}

/** The original in which the weights of `sliced` places that a sum reads are 0. */
function zeroed({ typing }: Coupling, sliced: readonly Place[]): Model {
  const model = cloneModel(typing.model);
  for (const { value, axis, summed } of sliced) {
    const mine = model.graph.value(value.name) as Value;
    const tensor = mine.constant as Tensor;
    const inner = tensor.dims.slice(axis + 1).reduce((a, b) => a * b, 1);
    const row = tensor.size / (tensor.dims[0] as number);
    const isGone = (i: number) =>
      summed.some(
        ({ rows, positions }) =>
          positions.includes(Math.floor(i / inner) % (tensor.dims[axis] as number)) &&
          (!rows || (Math.floor(i / row) >= rows[0] && Math.floor(i / row) < rows[1])),
      );
    const data = Float32Array.from(tensor.numbers(), (x, i) => (isGone(i) ? 0 : x));
    model.graph.setConstant(mine, Tensor.floats(tensor.dims, data));
  }
  return model;
}

/** Whether inference finds no contradiction and ONNX Runtime runs the model to outputs of the right shapes. */
async function outputsOf(model: Model): Promise<Record<string, Float32Array> | undefined> {
  for (const v of model.graph.values) if (v.producer && !v.isOutput) v.type = undefined;
  try {
    if (infer(model).conflicts.length > 0) return undefined;
  } catch (error) {
    if (error instanceof ModelError) return undefined;
    throw error;
  }
  return run(model).catch(() => undefined);
}

function* subsets<T>(items: readonly T[]): Iterable<readonly T[]> {
  if (items.length <= ALL_SUBSETS) {
    for (let mask = 1; mask < 2 ** items.length - 1; mask++) yield items.filter((_, i) => mask & (1 << i));
    return;
  }
  for (const [i, a] of items.entries()) {
    yield [a];
    for (const b of items.slice(i + 1)) yield [a, b];
  }
}

/** The sets of places that could stay although one move of `pool` takes all; none where coupling is minimal. */
async function spareOf(coupling: Coupling, pool: Pool): Promise<string[]> {
  const removed = new Set(pool.cells.flatMap((c) => c.choices.slice(0, takenOf(c, 1))));
  const kept = new Kept(coupling.typing.system, coupling.choices, removed);
  const places = placesOf(pool, removed);
  const sliced = removeSlices(coupling.typing, kept);
  const want = await run(oracleOf(coupling.typing, kept));
  const spare: string[] = [];
  for (const whole of subsets(places)) {
    const got = await outputsOf(without(coupling, kept, sliced, whole));
    if (!got) continue;
    const rest = places.filter((p) => !whole.includes(p));
    const alone = await run(zeroed(coupling, rest));
    // float32 sums of the same terms in another order.
    if (relative(got, want) <= 1e-5 || relative(got, alone) <= 1e-5) spare.push(whole.map((p) => `${p.value.name}:${p.axis}`).join(" "));
  }
  return spare;
}
=======
let runner: Runner;
beforeAll(async () => {
  runner = await openRunner("cpu", { threads: 1 });
});
afterAll(async () => runner.close());
>>>>>>> 19576ab (verify, inspect: masked, poison, zero invariance, minimality and every value, for users)

describe("no slot could have stayed", () => {
  const names = readdirSync(folder).flatMap((f) => (f.endsWith(".onnx") ? [f.slice(0, -".onnx".length)] : []));
  it.each(names)("%s", async (name) => {
    const model = decode(readFileSync(new URL(`${name}.onnx`, folder)));
    const coupling = findGroups(model);
    for (const pool of findPools(coupling).pools)
      expect((await checkMinimality(runner, coupling, pool, randomFeeds(model, 1))).spare).toEqual([]);
  });
});

it("layers that are tied for no reason would be noticed", async () => {
  const model = modelOf(`g (float[N,3] x) => (float[N,2] y) <
      float[3,6] a = {...}, float[6] k = {...}, float[6,6] b = {...}, float[6,2] c = {...} > {
      h = MatMul (x, a)
      u = Add (h, k)
      v = MatMul (u, b)
      y = MatMul (v, c)
    }`);
  const coupling = findGroups(model);
  const [first, second] = findPools(coupling).pools as [Pool, Pool];
  const tied: Pool = { groups: [...first.groups, ...second.groups], cells: [...first.cells, ...second.cells], moves: first.moves };
  const { spare, tried, of } = await checkMinimality(runner, coupling, tied, randomFeeds(model, 1));
  expect(spare).toEqual([
    ["a:1", "k:0", "b:0"],
    ["b:1", "c:0"],
  ]);
  expect(tried).toBe(of);
  expect((await checkMinimality(runner, coupling, tied, randomFeeds(model, 1), 3)).tried).toBe(3);
});
