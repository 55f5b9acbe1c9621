/** A pruning plan: what to remove, as data. Deciding ends here; the deed (apply) is a function of model and plan alone. */
import { z } from "zod";
import { PlanError } from "../errors.js";
import type { Axis } from "../graph/coupling/axis.js";
import { ALWAYS, Kept } from "../graph/coupling/choices.js";
import { isTypedPerUse } from "../graph/coupling/couple.js";
import type { Coupling } from "../graph/coupling/groups.js";
import { everyGraph, type Value } from "../graph/graph.js";
import { closest } from "../suggest.js";
import { brokenBalances } from "./pools.js";

const mergeSchema = z.strictObject({
  group: z.string(),
  from: z.int().min(0),
  into: z.int().min(0),
  scale: z.number(),
});

/** Schema of a plan file. */
export const planSchema = z.strictObject({
  format: z.literal(1),
  /** Sha-256 (hex) of the model file the plan was made for. */
  model: z.string(),
  /** Residual blocks bypassed before channels are looked at; group names in `remove` are those of the model without them. */
  blocks: z.array(z.string()).default([]),
  /** group name, or "value:axis" -> indices to remove. */
  remove: z.record(z.string(), z.array(z.int().min(0))),
  /** Shared matrices of which each reader gets its own before anything else, by name. */
  untied: z.array(z.string()).default([]),
  /** Weight edits made on the whole model before anything is removed, in order. */
  merges: z.array(mergeSchema).default([]),
  /** How the plan came to be: criterion, options, target; free form. */
  why: z.record(z.string(), z.unknown()).default({}),
});

/** `remove` maps group names (see `onnx-prune inspect`) to channel indices; a "value:axis" key names indices of that axis. */
export type PruningPlan = z.output<typeof planSchema>;
export type PlannedMerge = z.output<typeof mergeSchema>;

/** Reads a plan from JSON text. @throws PlanError naming the first thing that does not fit. */
export function parsePlan(text: string, where: string): PruningPlan {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new PlanError("PLAN_JSON", `"${where}" is not JSON: ${(cause as Error).message}`, { cause, at: { file: where } });
  }
  const parsed = planSchema.safeParse(json);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw new PlanError("PLAN_SCHEMA", `"${where}" is not a pruning plan: ${issue?.path.join(".") || "the document"}: ${issue?.message}`, {
    at: { file: where },
    hint: "Make one with `onnx-prune plan`, or see docs/passes.md for the format.",
  });
}

export function printPlan(plan: PruningPlan): string {
  return `${JSON.stringify(plan, undefined, 1)}\n`;
}

/** @throws PlanError PLAN_OTHER_MODEL when the plan names another file than the one with this sha-256. */
export function requireSameModel(plan: PruningPlan, sha256: string | undefined): void {
  if (sha256 === undefined || plan.model === "" || plan.model === sha256) return;
  throw new PlanError("PLAN_OTHER_MODEL", `The plan was made for a model with sha256 ${plan.model}, but this one has ${sha256}.`, {
    hint: 'Make the plan again from this file. To use it on purpose, set "model" in the plan to "".',
  });
}

/**
 * The choices a plan removes and what they leave.
 *
 * @throws PlanError when the plan was made for another model, names what does not exist, removes a frozen or ambiguous
 *   index, empties an axis, or breaks a balance.
 */
export function resolvePlan(plan: PruningPlan, coupling: Coupling, sha256: string | undefined): Kept {
  requireSameModel(plan, sha256);
  const removed = new Set<number>();
  for (const [key, indices] of Object.entries(plan.remove)) for (const c of choicesOf(key, indices, coupling)) removed.add(c);
  const kept = new Kept(coupling.typing.system, coupling.choices, removed);
  const empty = emptiedAxes(coupling, kept)[0];
  if (empty) {
    throw new PlanError(
      "PLAN_EMPTIES_AXIS",
      `The plan removes every index of axis ${coupling.typing.system.show(empty)}; a layer must keep at least one.`,
    );
  }
  const broken = brokenBalances(coupling, kept)[0];
  if (broken) throw new PlanError("PLAN_UNBALANCED", `The plan cannot be carried out: ${broken}.`);
  return kept;
}

function choicesOf(key: string, indices: readonly number[], coupling: Coupling): number[] {
  const group = coupling.groups.find((g) => g.name === key);
  if (group) {
    return indices.map((k) => {
      const c = group.choices[k];
      if (c === undefined) throw outOfRange(key, k, group.choices.length);
      return c;
    });
  }
  const colon = key.lastIndexOf(":");
  const value = colon < 0 ? undefined : valueNamed(key, key.slice(0, colon), coupling);
  const axis = value && axesAsRead(key, value, coupling)?.[Number(key.slice(colon + 1))];
  if (!axis) {
    const near = closest(
      key,
      coupling.groups.map((g) => g.name),
    );
    throw new PlanError("PLAN_UNKNOWN_GROUP", `The plan removes from "${key}", which is neither a group nor an axis of this model.`, {
      hint: `${near ? `Did you mean "${near}"? ` : ""}\`onnx-prune inspect\` lists the groups.`,
    });
  }
  const frozen = coupling.typing.system.reason(axis);
  if (frozen) {
    throw new PlanError(
      "PLAN_FROZEN",
      `The plan removes "${key}"[${indices[0] ?? ""}], but that axis is frozen: ${frozen.text}${frozen.node ? ` (node "${frozen.node}")` : ""}.`,
    );
  }
  const layers = coupling.choices.layers(axis);
  return indices.map((i) => {
    if (i >= (axis.size as number)) throw outOfRange(key, i, axis.size as number);
    const here = [...new Set(layers.map((l) => l[i] as number))].filter((c) => c !== ALWAYS);
    if (here.length === 1) return here[0] as number;
    if (here.length === 0) throw new PlanError("PLAN_FROZEN", `The plan removes "${key}"[${i}], but that index is frozen.`);
    const names = [...new Set(here.map((c) => coupling.groupOf(c)?.name ?? "?"))];
    throw new PlanError(
      "PLAN_AMBIGUOUS",
      `"${key}"[${i}] belongs to several groups at once (${names.join(", ")}): name the group instead.`,
    );
  });
}

/** The value of the main graph with this name, else the one that a body has. */
function valueNamed(key: string, name: string, { typing }: Coupling): Value | undefined {
  const { graph } = typing.model;
  const found = graph.value(name) ?? [...everyGraph(graph)].flatMap((g) => g.value(name) ?? []);
  if (!Array.isArray(found)) return found;
  if (found.length > 1)
    throw new PlanError("PLAN_AMBIGUOUS", `${found.length} bodies have a value of the name in "${key}": name the group instead.`);
  return found[0];
}

/** The axes of a value; of a small constant, which each reader may keep differently, as its only reader sees them. */
function axesAsRead(key: string, value: Value, { typing }: Coupling): readonly Axis[] | undefined {
  if (!isTypedPerUse(value)) return typing.axesOf(value);
  const [use, ...more] = value.uses();
  if (more.length > 0) {
    throw new PlanError(
      "PLAN_AMBIGUOUS",
      `"${key}" is read by ${more.length + 1} nodes, which may keep different indices: name the group instead.`,
    );
  }
  return use && typing.axesOfInput(use.node, use.index);
}

function outOfRange(key: string, index: number, size: number): PlanError {
  return new PlanError("PLAN_OUT_OF_RANGE", `The plan removes "${key}"[${index}], but it has indices 0 to ${size - 1}.`);
}

/** Axes that had indices and would have none. */
export function emptiedAxes(coupling: Coupling, kept: Kept): ReturnType<Coupling["typing"]["system"]["find"]>[] {
  const { system } = coupling.typing;
  const seen = new Set<unknown>();
  const out: ReturnType<typeof system.find>[] = [];
  for (const axis of coupling.typing.allAxes()) {
    const r = system.find(axis);
    if (seen.has(r) || r.size === 0) continue;
    seen.add(r);
    for (const m of system.members(r)) {
      const a = system.find(m.axis);
      if (a !== r && seen.has(a)) continue;
      seen.add(a);
      if (kept.isAlive(m) && kept.count(a) === 0) out.push(a);
    }
  }
  return out;
}
