/** --why: every axis of a node's inputs and outputs, or of one value, with its type and what keeps it or moves it. */
import { ConfigError } from "../errors.js";
import type { Axis } from "../graph/coupling/axis.js";
import { ALWAYS } from "../graph/coupling/choices.js";
import type { Coupling } from "../graph/coupling/groups.js";
import { everyGraph, everyNode, type Node, type Value } from "../graph/graph.js";
import { closest } from "../suggest.js";
import { shortened, table } from "./table.js";
import type { Channel } from "./terminal.js";

export interface AxisFacts {
  /** The value as seen here, e.g. "input W conv1.weight". */
  readonly place: string;
  readonly axis: number;
  readonly extent: number | string;
  /** The axis in the algebra of coupling/axis.ts; "!" marks what is kept whole. */
  readonly type: string;
  /** Why it is kept whole. */
  readonly frozen?: string;
  /** Groups whose channels lie on it. */
  readonly groups?: readonly string[];
}

export interface Explanation {
  readonly about: string;
  /** Why the node keeps every axis it touches, where it does. */
  readonly barrier?: string;
  readonly axes: readonly AxisFacts[];
}

/** @throws ConfigError WHY_UNKNOWN when the graph has neither a node nor a value of this name. */
export function explain(name: string, coupling: Coupling): Explanation {
  const { graph } = coupling.typing.model;
  const nodes = [...everyNode(graph)];
  const node = nodes.find((n) => n.name === name) ?? nodes.find((n) => n.label === name);
  if (node) return explainNode(node, coupling);
  const graphs = [...everyGraph(graph)];
  const value = graphs.map((g) => g.value(name)).find((v) => v !== undefined);
  if (value) return { about: `value "${name}"`, axes: axesOfValue("", value, coupling.typing.axesOf(value), coupling) };
  const group = coupling.groups.find((g) => g.name === name);
  if (group)
    return {
      about: `group "${name}"`,
      axes: group.slots.map((s) => axisFacts(`${s.role} ${s.value.name}`, s.axis, slotAxis(s, coupling), coupling)),
    };
  const near = closest(name, [...nodes.map((n) => n.label), ...graphs.flatMap((g) => [...g.values].map((v) => v.name))]);
  throw new ConfigError(
    "WHY_UNKNOWN",
    `The model has no node, value or group called "${name}".`,
    near ? { hint: `Did you mean "${near}"?` } : { hint: "--types lists every value." },
  );
}

function explainNode(node: Node, coupling: Coupling): Explanation {
  const { typing } = coupling;
  const spec = typing.types.spec(node);
  const parameter = (names: readonly string[] | undefined, i: number) => (names?.[i] ?? names?.at(-1) ?? `${i}`).replace(/[?.]+$/, "");
  const inputs = node.inputs.flatMap((v, i) =>
    v ? axesOfValue(`input ${parameter(spec?.inputs, i)} `, v, typing.axesOfInput(node, i), coupling) : [],
  );
  const outputs = node.outputs.flatMap((v, i) =>
    v ? axesOfValue(`output ${parameter(spec?.outputs, i)} `, v, typing.axesOf(v), coupling) : [],
  );
  const barrier = typing.barriers.get(node);
  return { about: `${node.qualifiedType} "${node.label}"`, ...(barrier ? { barrier } : {}), axes: [...outputs, ...inputs] };
}

function slotAxis(slot: Coupling["groups"][number]["slots"][number], { typing }: Coupling): Axis {
  const use = slot.uses[0];
  const axes = (use && typing.axesOfInput(use.node, use.index)) ?? typing.axesOf(slot.value);
  return axes?.[slot.axis] as Axis;
}

function axesOfValue(prefix: string, value: Value, axes: readonly Axis[] | undefined, coupling: Coupling): AxisFacts[] {
  const place = `${prefix}${value.name}`;
  if (!axes) return [{ place, axis: 0, extent: "?", type: "?", frozen: "its rank is unknown" }];
  return axes.map((a, i) => axisFacts(place, i, a, coupling));
}

function axisFacts(place: string, axis: number, a: Axis, coupling: Coupling): AxisFacts {
  const { system } = coupling.typing;
  const base = { place, axis, extent: system.find(a).size, type: system.show(a) };
  const reason = system.reason(a);
  if (reason) return { ...base, frozen: `${reason.text}${reason.node ? ` (node "${reason.node}")` : ""}` };
  return { ...base, groups: groupsOn(a, coupling) };
}

function groupsOn(a: Axis, coupling: Coupling): string[] {
  const { system } = coupling.typing;
  const r = system.find(a);
  const parts = r.form?.kind === "family" ? r.form.parts : [r];
  const names = new Set<string>();
  for (const p of parts) {
    for (const layer of coupling.choices.layers(p))
      for (const c of layer) if (c !== ALWAYS) names.add(coupling.groupOf(c)?.name ?? "(no weight of rank 2 makes or reads it)");
  }
  return [...names];
}

export function explainText({ about, barrier, axes }: Explanation, out: Channel): string {
  const rows = axes.map((a, i) => [
    a.place === axes[i - 1]?.place ? "" : shortened(a.place, 50),
    String(a.axis),
    shortened(String(a.extent), 20),
    shortened(a.type, 60),
    a.frozen ? `kept whole: ${a.frozen}` : `prunable: ${a.groups?.join(", ")}`,
  ]);
  const columns = [
    { title: "" },
    { title: "axis", align: "right" },
    { title: "extent", align: "right" },
    { title: "is" },
    { title: "" },
  ] as const;
  return `${out.style("bold", about)}\n${barrier ? `  Every axis of this node is kept whole: ${barrier}.\n` : ""}${table(columns, rows)}`;
}
