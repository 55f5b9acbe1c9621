/** Tied weights: one matrix that several nodes read. Untying gives each read a matrix of its own, so that they may keep different indices. */
import { z } from "zod";
import { PlanError } from "../errors.js";
import { cloneModel } from "../graph/clone.js";
import { couple, type Typing } from "../graph/coupling/couple.js";
import { everyGraph, type Graph, type Model, type Use, type Value } from "../graph/graph.js";
import type { Note } from "../graph/note.js";
import type { Tensor } from "../graph/tensor.js";
import { definePass } from "./pass.js";

/** Which matrices are untied: none; all; or those that tying keeps whole and that cost little to copy. */
export const untying = z.enum(["none", "auto", "all"]);
export type Untying = z.output<typeof untying>;

/** Copies that add no more than this, or than 1 % of all weights, are made without being asked for. */
const FREE_BYTES = 64 * 1024;
const FREE_SHARE = 0.01;

export const untie = definePass({
  name: "untie",
  summary: "give each node that reads a shared matrix its own copy",
  options: z.strictObject({ values: z.array(z.string()).describe("the matrices, by name") }),
  effect: "exact",
  run: (model, { options }) => untieValues(model, options.values),
});

/**
 * Splits the named matrices in `model`, one value per read; the first read keeps the name. Copies share the tensor.
 * @throws PlanError PLAN_UNTIED when a name is no matrix with several readers.
 */
export function untieValues(model: Model, names: readonly string[]): boolean {
  const shared = new Map(sharedMatrices(model).map((v) => [v.name, v]));
  for (const name of names) {
    const value = shared.get(name);
    if (!value)
      throw new PlanError("PLAN_UNTIED", `"${name}" should be untied, but it is no constant matrix that several nodes read.`, {
        at: { value: name },
        hint: "A plan fits the file it was made from; make it again with `onnx-prune plan`.",
      });
    const graph = value.graph as Graph;
    const [first, ...rest] = value.uses();
    // What a graph returns stays with the name.
    for (const { node, index } of value.isOutput ? [first as Use, ...rest] : rest) {
      node.setInput(index, graph.addInitializer(`${name}_of_${node.label}`, value.constant as Tensor));
    }
  }
  return names.length > 0;
}

/** The matrices that `mode` unties, with a note for each. */
export function chooseUntied(model: Model, mode: Untying): { readonly names: readonly string[]; readonly notes: readonly Note[] } {
  const candidates = mode === "none" ? [] : sharedMatrices(model);
  if (candidates.length === 0) return { names: [], notes: [] };
  const chosen = mode === "all" ? candidates.map((value) => ({ value, why: undefined })) : heldBack(model, candidates);
  return {
    names: chosen.map((c) => c.value.name),
    notes: chosen.map(({ value, why }): Note => {
      const readers = value.uses().length;
      const most = (readers - 1) * (value.constant as Tensor).byteLength;
      return {
        code: "UNTIED",
        about: value.name,
        why: `its ${readers} readers may keep different indices of it${why ? `: together they could not lose any (${why})` : ""}; at most ${most} bytes more before removal`,
      };
    }),
  };
}

/** Matrices of which an axis is kept whole only because several nodes read it, and whose copies are cheap. */
function heldBack(model: Model, candidates: readonly Value[]): { readonly value: Value; readonly why: string }[] {
  const weights = new Set([...everyGraph(model.graph)].flatMap((g) => [...g.values].map((v) => v.constant).filter((t) => t !== undefined)));
  const limit = Math.max(FREE_BYTES, FREE_SHARE * [...weights].reduce((n, t) => n + t.byteLength, 0));
  const cheap = candidates.filter((v) => (v.uses().length - 1) * (v.constant as Tensor).byteLength <= limit);
  if (cheap.length === 0) return [];
  const tied = couple(model);
  const held = cheap.filter((v) => tied.axesOf(v)?.some((a) => isHeld(tied, a)));
  if (held.length === 0) return [];
  const apart = cloneModel(model);
  untieValues(
    apart,
    held.map((v) => v.name),
  );
  const free = couple(apart);
  const copies = new Map<Tensor, Value[]>();
  for (const g of everyGraph(apart.graph))
    for (const v of g.values) if (v.constant) copies.set(v.constant, [...(copies.get(v.constant) ?? []), v]);
  return held.flatMap((value) => {
    const axes = tied.axesOf(value) ?? [];
    const freed = axes.find(
      (a, k) =>
        isHeld(tied, a) &&
        copies.get(value.constant as Tensor)?.some((v) => free.axesOf(v)?.[k] && !free.system.reason(free.axesOf(v)?.[k] as typeof a)),
    );
    const why = freed && tied.system.reason(freed);
    return why ? [{ value, why: why.text }] : [];
  });
}

function isHeld(typing: Typing, axis: Parameters<Typing["system"]["reason"]>[0]): boolean {
  return axis.size !== 1 && typing.system.reason(axis) !== undefined;
}

/** Constants of rank 2 and more that are read in several places, in graph order; of names that repeat among bodies, the first. */
function sharedMatrices(model: Model): Value[] {
  const out = new Map<string, Value>();
  for (const g of everyGraph(model.graph)) {
    for (const v of g.values) {
      const reads = v.useCount + (v.isOutput ? 1 : 0);
      if ((v.constant?.dims.length ?? 0) >= 2 && reads > 1 && v.useCount > 0 && !out.has(v.name)) out.set(v.name, v);
    }
  }
  return [...out.values()];
}

/** Lets initializers of one graph that hold the very same tensor be one again: reads that kept alike after all. Changes `model`. */
export function retie(model: Model): boolean {
  let changed = false;
  for (const graph of everyGraph(model.graph)) {
    const first = new Map<Tensor, Value>();
    for (const value of graph.initializers) {
      const tensor = value.initializer as Tensor;
      const twin = first.get(tensor);
      if (!twin) {
        first.set(tensor, value);
        continue;
      }
      if (value.isInput || value.isOutput || twin.isInput) continue;
      graph.replaceUses(value, twin);
      graph.removeInitializer(value);
      changed = true;
    }
  }
  return changed;
}
