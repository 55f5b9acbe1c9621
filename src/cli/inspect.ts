/** onnx-prune inspect <in.onnx>: what is in a model, what can be removed from it, and why the rest cannot. */
import { readModel } from "../export/read.js";
import { encodedSize } from "../graph/codec.js";
import { type Cost, cost } from "../graph/cost.js";
import { couple } from "../graph/coupling/couple.js";
import { type Coupling, findGroups } from "../graph/coupling/groups.js";
import { everyGraph, everyNode, type Model } from "../graph/graph.js";
import { infer, type Types } from "../graph/infer.js";
import { typeText } from "../graph/print.js";
import { prepare } from "../passes/prepare.js";
import type { Command } from "./command.js";
import { type BlocksFacts, blocksFacts, blocksText } from "./inspect-blocks.js";
import { checkedGroups, checkedText, requireGroups } from "./inspect-check.js";
import { type FrozenReason, frozenReasons, type GroupFacts, groupFacts, prunableShare } from "./inspect-groups.js";
import { explain, explainText } from "./inspect-why.js";
import { writeJson } from "./json.js";
import { inputShapesOf } from "./request.js";
import { bytes, percent, scaled, shortened, table, whole } from "./table.js";
import type { Channel } from "./terminal.js";

export const inspectCommand: Command = {
  name: "inspect",
  takes: ["<in.onnx>"],
  summary: "shows what is in a model, its channel groups, and what is frozen and why",
  flags: ["why", "types", "check", "untie", "ep", "device", "threads", "seed", "input-shape", "json", "quiet", "config"],
  examples: [
    ["onnx-prune inspect in.onnx", "summary, groups, what is frozen"],
    ["onnx-prune inspect in.onnx --why conv1", "every axis of one node or value"],
    ["onnx-prune inspect in.onnx --check all", "each group, proven on its own; exit 4 when one fails"],
  ],

  async run(run) {
    const { positionals, flags, terminal } = run;
    const { out } = terminal;
    const path = positionals[0] as string;
    const { model } = prepare(await readModel(path), flags.untie ?? "auto");
    const inputShapes = inputShapesOf(flags, model);
    const types = infer(model, inputShapes ? { bind: inputShapes } : {});
    const coupling = findGroups(model, couple(model, types));
    const why = flags.why === undefined ? undefined : explain(flags.why, coupling);
    const typed = flags.types ? typesOf(model, types) : undefined;
    const checked = flags.check === undefined ? undefined : await checkedGroups(model, coupling, inputShapes, run);
    // cost() wants either: bound types would make it count a batch that was given as the model's own.
    const facts = inspect(model, path, coupling, cost(model, inputShapes ? undefined : types, inputShapes ? { inputShapes } : {}));
    const extra = { ...(why ? { why } : {}), ...(typed ? { types: typed } : {}), ...(checked ? { checked } : {}) };
    if (flags.json !== undefined) await writeJson(flags.json, { ...facts, ...extra }, out);
    if (flags.json !== "-") {
      if (why) out.write(explainText(why, out));
      if (typed) out.write(table([{ title: "value" }, { title: "type" }], Object.entries(typed)));
      if (checked) out.write(checkedText(checked, out));
      if (Object.keys(extra).length === 0) out.write(inspectText(facts, out));
    }
    if (checked) requireGroups(checked);
  },
};

interface Facts {
  readonly format: 1;
  readonly model: {
    readonly path: string;
    readonly sha256: string | undefined;
    readonly ir: number | undefined;
    readonly opsets: Readonly<Record<string, number>>;
  };
  readonly inputs: Readonly<Record<string, string>>;
  readonly outputs: Readonly<Record<string, string>>;
  /** Nodes of all graphs by operator, most frequent first. */
  readonly operators: Readonly<Record<string, number>>;
  readonly cost: {
    readonly macs: number;
    readonly parameters: number;
    readonly bytes: number;
    readonly activationBytes: number;
    readonly nodes: number;
    readonly notCounted: readonly string[];
  };
  readonly groups: readonly GroupFacts[];
  /** Residual blocks that can be bypassed, and sums like theirs that stay. */
  readonly blocks: BlocksFacts;
  /** Parameters of convolutions and matrix products, and how many of them lie on a group that can lose channels. */
  readonly weights: { readonly all: number; readonly prunable: number };
  /** Axes of weight tensors that are kept whole, by reason. */
  readonly frozen: readonly FrozenReason[];
}

function inspect(model: Model, path: string, coupling: Coupling, c: Cost): Facts {
  const { graph } = model;
  const types = coupling.typing.types;
  const counts = new Map<string, number>();
  for (const n of everyNode(graph)) counts.set(n.qualifiedType, (counts.get(n.qualifiedType) ?? 0) + 1);
  const named = (values: typeof graph.inputs) => Object.fromEntries(values.map((v) => [v.name, typeText(types.type(v))]));
  const groups = groupFacts(coupling);
  return {
    format: 1,
    model: {
      path,
      sha256: model.sha256,
      ir: model.irVersion,
      opsets: Object.fromEntries([...model.opsets].map(([domain, v]) => [domain || "ai.onnx", v])),
    },
    inputs: named(graph.inputs.filter((v) => v.constant === undefined)),
    outputs: named(graph.outputs),
    operators: Object.fromEntries([...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1))),
    cost: {
      macs: c.macs,
      parameters: c.parameters,
      bytes: encodedSize(model),
      activationBytes: c.activationBytes,
      nodes: c.nodes,
      notCounted: c.notCounted,
    },
    groups,
    blocks: blocksFacts(model, types, c),
    weights: prunableShare(coupling, new Set(groups.filter((g) => g.declined !== undefined).map((g) => g.name))),
    frozen: frozenReasons(coupling),
  };
}

function typesOf(model: Model, types: Types): Record<string, string> {
  // A name that several bodies give to a value of theirs is told with the type of the first.
  const values = [...everyGraph(model.graph)].reverse().flatMap((g) => [...g.values]);
  return Object.fromEntries(values.map((v) => [v.name, typeText(types.type(v))]));
}

/** Reasons shown; --json has all. */
const REASONS_SHOWN = 12;

function inspectText(f: Facts, out: Channel): string {
  const ports = (of: Readonly<Record<string, string>>) =>
    Object.entries(of)
      .map(([name, type]) => `${name} ${type}`)
      .join(", ");
  const plain = [{ title: "" }, { title: "" }];
  const summary = table(plain, [
    ["inputs", ports(f.inputs)],
    ["outputs", ports(f.outputs)],
    [
      "opsets",
      Object.entries(f.model.opsets)
        .map(([d, v]) => `${d} ${v}`)
        .join(", "),
    ],
    [
      "operators",
      Object.entries(f.operators)
        .map(([op, n]) => `${n} ${op}`)
        .join(", "),
    ],
    ["parameters", whole(f.cost.parameters)],
    ["MACs", `${scaled(f.cost.macs)} (batch 1${f.cost.notCounted.length > 0 ? `; not counted: ${f.cost.notCounted.join(", ")}` : ""})`],
    ["bytes", bytes(f.cost.bytes)],
    ["peak activations", bytes(f.cost.activationBytes)],
  ]);
  const groups = table(
    [
      { title: "group" },
      { title: "channels", align: "right" },
      { title: "made by", align: "right" },
      { title: "read by", align: "right" },
      { title: "" },
    ],
    f.groups.map((g) => [
      shortened(g.name, 60),
      whole(g.channels),
      whole(g.producers.length),
      whole(g.consumers.length),
      g.declined ? `declined: ${g.declined}` : (g.balanced ?? ""),
    ]),
  );
  const share =
    f.weights.all > 0
      ? `${percent(f.weights.prunable / f.weights.all, 1)} of ${whole(f.weights.all)} parameters of convolutions and matrix products lie on a group that can lose channels.\n`
      : "";
  const frozen = table(
    [{ title: "axes", align: "right" }, { title: "kept whole because" }, { title: "for example" }],
    f.frozen.slice(0, REASONS_SHOWN).map((r) => [whole(r.axes), r.why, r.example]),
  );
  const more = f.frozen.length > REASONS_SHOWN ? `  and ${f.frozen.length - REASONS_SHOWN} more reasons (--json has all)\n` : "";
  return [
    `${out.style("bold", f.model.path)}\n${summary}`,
    f.groups.length > 0
      ? `${out.style("bold", `${f.groups.length} groups of channels`)}\n${groups}${share}`
      : "No channel of this model can be removed.\n",
    blocksText(f.blocks, out),
    f.frozen.length > 0 ? `${out.style("bold", "Axes of weights that are kept whole")}\n${frozen}${more}` : "",
  ]
    .filter((part) => part !== "")
    .join("\n");
}
