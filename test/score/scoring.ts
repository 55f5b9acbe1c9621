/** Scoring one group of a small model, and editing its weights by hand. */
import type { StatisticRequest, Statistics } from "../../src/calibrate/statistics/request.js";
import { cloneModel } from "../../src/graph/clone.js";
import { Kept } from "../../src/graph/coupling/choices.js";
import { type Coupling, findGroups, type Group } from "../../src/graph/coupling/groups.js";
import { removeSlices } from "../../src/graph/coupling/slice.js";
import type { Model } from "../../src/graph/graph.js";
import type { Note } from "../../src/graph/note.js";
import { Tensor } from "../../src/graph/tensor.js";
import { type Criterion, judgementOf, type Ranking } from "../../src/score/criterion.js";
import { findValue } from "../support/build.js";

export interface Scored extends Ranking {
  readonly group: Group;
  readonly coupling: Coupling;
  readonly notes: readonly Note[];
}

/** The ranking of the group called `name` (default: the first), options as a user would type them. */
export function score<O>(
  criterion: Criterion<O>,
  model: Model,
  options: unknown = {},
  name?: string,
  seed = 0,
  measure?: (requests: readonly StatisticRequest[], coupling: Coupling) => Statistics,
): Scored {
  const coupling = findGroups(model);
  const group = name === undefined ? coupling.groups[0] : coupling.groups.find((g) => g.name === name);
  if (!group) throw new Error(`No group "${name}" among ${coupling.groups.map((g) => g.name).join(", ")}.`);
  const notes: Note[] = [];
  const checked = criterion.options.parse(options);
  const context = { model, coupling, seed, note: (n: Note) => notes.push(n) };
  const statistics = measure?.(criterion.statistics?.(checked, context) ?? [], coupling);
  const { rank } = judgementOf(criterion.prepare(checked, { ...context, statistics }));
  return { ...rank(group), group, coupling, notes };
}

/** A copy of `model` with the numbers of one initializer changed in place by `edit`. */
export function edited(model: Model, name: string, edit: (data: Float32Array) => void): Model {
  const next = cloneModel(model);
  const value = findValue(next, name);
  const tensor = value.constant as Tensor;
  const data = Float32Array.from(tensor.numbers());
  edit(data);
  next.graph.setConstant(value, Tensor.floats(tensor.dims, data));
  return next;
}

/** `model` without the channels `removed` of the group called `name`. */
export function without(model: Model, name: string, removed: readonly number[]): Model {
  const coupling = findGroups(model);
  const group = coupling.groups.find((g) => g.name === name) as Group;
  return removeSlices(
    coupling.typing,
    new Kept(
      coupling.typing.system,
      coupling.choices,
      removed.map((k) => group.choices[k] as number),
    ),
  );
}

/** Channels in the order in which they leave. */
export function removalOrder({ scores, order }: Ranking): number[] {
  return order ? [...order] : [...scores.keys()].sort((a, b) => (scores[a] as number) - (scores[b] as number) || a - b);
}
