/** Carries a decision out, and says what the result must equal. */
import { cloneModel, extract } from "../../graph/clone.js";
import { encodedSize } from "../../graph/codec.js";
import type { Axis } from "../../graph/coupling/axis.js";
import { Kept } from "../../graph/coupling/choices.js";
import { type Coupling, findGroups } from "../../graph/coupling/groups.js";
import { oracleOf } from "../../graph/coupling/oracle.js";
import { removeSlices } from "../../graph/coupling/slice.js";
import { type Dim, isKnown } from "../../graph/dim.js";
import type { Model, Node, Value } from "../../graph/graph.js";
import { normal, random } from "../../graph/random.js";
import { Tensor } from "../../graph/tensor.js";
import type { Runner } from "../../runtime/runner.js";
import { sourceOf } from "../../runtime/source.js";
import type { Slices } from "../pass.js";
import type { Decision, LayerDecision } from "./decide.js";
import { Emitter } from "./emit.js";
import { type Form, formsOf, storedOf, type Windows, type Work, windowsOf } from "./forms.js";

/** A layer on the model without the channels that left, and what of it stays. */
export interface Job {
  readonly decision: LayerDecision;
  readonly work: Work;
}

/** The model without the channels that leave, columns zeroed but in place, and what is left to do. */
export interface Sliced {
  readonly model: Model;
  readonly jobs: readonly Job[];
  readonly slices: Slices;
}

/** What to count when a form is chosen: see `candidates`. */
export type Preference = "parameters" | "bytes" | "speed";

/** `model` with zeros for the columns that leave, and for rows that are put back as zeros: the same graph, other weights. */
export function masked(model: Model, { layers }: Decision): Model {
  const next = cloneModel(model);
  for (const { output, rows, columns, way, op } of layers) {
    const node = next.graph.value(output)?.producer as Node;
    const weight = node.inputs[1] as Value;
    const tensor = weight.constant as Tensor;
    const numbers = Float64Array.from(tensor.numbers());
    const isConv = op === "Conv";
    const filtersFirst = isConv || node.int("transB", 0) !== 0;
    const m = rows.length;
    const groups = isConv ? node.int("group", 1) : 1;
    const n = columns.length / groups;
    for (let i = 0; i < m; i++) {
      const from = Math.floor((i * groups) / m) * n;
      for (let j = 0; j < n; j++) if (columns[from + j] || (way === "expand" && rows[i])) numbers[filtersFirst ? i * n + j : j * m + i] = 0;
    }
    next.graph.setConstant(weight, Tensor.fromNumbers(tensor.dtype, tensor.dims, numbers));
  }
  return next;
}

/** The exact oracle: masked weights, and before each sum a Gather without the channels whose rows leave. Knows nothing of forms. */
export function oracle(model: Model, decision: Decision): Model {
  const coupling = findGroups(masked(model, decision));
  return oracleOf(coupling.typing, keptOf(coupling, [decision.rows]));
}

function keptOf(coupling: Coupling, removed: readonly ReadonlyMap<string, readonly number[]>[]): Kept {
  const choices = removed.flatMap((of) => coupling.groups.flatMap((g) => (of.get(g.name) ?? []).map((k) => g.choices[k] as number)));
  return new Kept(coupling.typing.system, coupling.choices, choices);
}

/** Rows that leave with their channel, and channels nothing reads any more, are removed for good. */
export function slice(model: Model, decision: Decision): Sliced {
  const coupling = findGroups(masked(model, decision));
  const { typing } = coupling;
  const kept = keptOf(coupling, [decision.rows, decision.unread]);
  const next = removeSlices(typing, kept);
  const jobs = decision.layers.map((layer): Job => {
    const before = typing.model.graph.value(layer.output)?.producer as Node;
    const node = next.graph.value(layer.output)?.producer as Node;
    const axes = typing.axesOf(before.inputs[1] as Value) as readonly Axis[];
    return { decision: layer, work: workOf(layer, before, node, (a) => kept.indices(axes[a] as Axis)) };
  });
  return { model: next, jobs, slices: { source: typing.model, coupling, kept } };
}

function workOf(layer: LayerDecision, before: Node, node: Node, keptAlong: (axis: number) => readonly number[] | undefined): Work {
  const isConv = layer.op === "Conv";
  const groups = isConv ? node.int("group", 1) : 1;
  const rowAxis = isConv || (layer.op === "Gemm" && node.int("transB", 0) !== 0) ? 0 : 1;
  const columnAxis = 1 - rowAxis;
  const whole = before.inputs[1]?.constant as Tensor;
  const dims = node.inputs[1]?.constant?.dims as readonly number[];
  const every = (n: number) => Array.from({ length: n }, (_, i) => i);
  const channels = (groups > 1 ? undefined : keptAlong(columnAxis)) ?? every(whole.dims[columnAxis] as number);
  const filters = keptAlong(rowAxis) ?? every(whole.dims[rowAxis] as number);
  const kernel = isConv ? dims.slice(2) : [];
  const taps = kernel.reduce((a, b) => a * b, 1);
  const kept = new Uint8Array(groups * channels.length * taps);
  const wide = whole.dims[columnAxis] as number;
  for (let g = 0; g < groups; g++) {
    channels.forEach((c, at) => {
      for (let t = 0; t < taps; t++) kept[(g * channels.length + at) * taps + t] = 1 - (layer.columns[(g * wide + c) * taps + t] as number);
    });
  }
  const removed = layer.way === "expand" ? [...filters.keys()].filter((i) => layer.rows[filters[i] as number] === 1) : [];
  return {
    node,
    groups,
    filters: filters.length,
    channels: channels.length,
    kernel,
    kept,
    // Something has to be left to put the zeros beside.
    removedRows: removed.length < filters.length ? removed : removed.slice(1),
    rowAxis,
    columnAxis,
  };
}

/** Writes every layer in its form, in place. */
export function emit({ model, jobs }: Sliced, forms: ReadonlyMap<string, Form>): void {
  const emitter = new Emitter(model.graph, (v) => v.shape);
  for (const { decision, work } of jobs) emitter.emit(work, forms.get(decision.output) ?? "mask");
  emitter.finish();
}

/** A layer alone, in one form, with its input as the model's. */
function alone({ model }: Sliced, { work }: Job, form: Form): Model {
  const { node } = work;
  const Y = node.outputs[0] as Value;
  const X = node.inputs[0] as Value;
  const part = extract(model, [node], [Y], new Set(), (v) => v.type);
  const mine = part.graph.value(Y.name)?.producer as Node;
  const emitter = new Emitter(part.graph, (v) => (v.name === X.name ? X.shape : undefined));
  emitter.emit({ ...work, node: mine, removedRows: [] }, form);
  emitter.finish();
  return part;
}

/** Pads of a layer; undefined where they are not known, or where the operators that crop and pad have another meaning yet. */
export function windowsFor({ model }: Sliced, work: Work): Windows | undefined {
  return model.opset >= 11 ? windowsOf(work, work.node.inputs[0]?.shape) : undefined;
}

/**
 * Forms among which time decides. Only those that make the file smaller; with `parameters`, those that store no more weights than
 * stay of the matrix (if there is one); with `bytes`, the smallest. The dense form with zeros where none is smaller.
 */
export function candidates(sliced: Sliced, job: Job, prefer: Preference): Form[] {
  const { work } = job;
  if (work.kept.every((x) => x === 1)) return ["mask"];
  const forms = formsOf(work, windowsFor(sliced, work));
  const bytes = new Map(forms.map((f) => [f, encodedSize(alone(sliced, job, f))]));
  const size = (f: Form) => bytes.get(f) as number;
  const small = forms.filter((f) => f !== "mask" && size(f) < size("mask")).sort((a, b) => size(a) - size(b));
  if (small.length === 0) return ["mask"];
  if (prefer === "speed") return small;
  if (prefer === "bytes") return small.slice(0, 1);
  const within = small.filter((f) => storedOf(work, f) <= job.decision.kept);
  return within.length > 0 ? within : small.slice(0, 1);
}

/** Multiply-accumulates and bytes per second that estimates count with: figures of one core of a desktop CPU. */
const MACS_PER_SECOND = 10e9;
const BYTES_PER_SECOND = 5e9;

/** Seconds that a form takes by a plain model: its multiply-accumulates, and 8 bytes moved for each element copied. */
export function estimate({ work }: Job, form: Form): number {
  const { node, groups, channels, kept } = work;
  const area = (v: Value | undefined) => (v?.shape ?? []).slice(2).reduce<number>((n, d) => n * (isKnown(d) ? d : 1), 1);
  const [into, out] = [area(node.inputs[0]), area(node.outputs[0])];
  const columns = kept.reduce((n, x) => n + x, 0);
  const gathered = form === "mask" ? 0 : form === "lowered" ? columns : groups * channels;
  const copied = gathered * into + (form === "lowered" ? 2 * columns * out : 0);
  return (storedOf(work, form) * out) / MACS_PER_SECOND + (8 * copied) / BYTES_PER_SECOND;
}

/** The form of each layer that takes least time by `estimate`. */
export function formsByEstimate(sliced: Sliced, prefer: Preference): Map<string, Form> {
  return new Map(sliced.jobs.map((job) => [job.decision.output, least(candidates(sliced, job, prefer), (f) => estimate(job, f))]));
}

/** Runs of a form that are timed; the least counts, which other work on the machine disturbs least. */
const TIMED_RUNS = 7;

/** The form of each layer that takes least time on `runner`, for a batch of one; by `estimate` where extents are not known. */
export async function formsByTime(sliced: Sliced, prefer: Preference, runner: Runner): Promise<Map<string, Form>> {
  const out = new Map<string, Form>();
  for (const job of sliced.jobs) {
    const forms = candidates(sliced, job, prefer);
    const X = job.work.node.inputs[0] as Value;
    const dims = X.shape?.map((d: Dim, a) => (isKnown(d) ? d : a === 0 ? 1 : Number.NaN)) ?? [Number.NaN];
    if (forms.length === 1 || dims.some(Number.isNaN) || !X.dtype) {
      out.set(
        job.decision.output,
        least(forms, (f) => estimate(job, f)),
      );
      continue;
    }
    const next = random("timing");
    const size = dims.reduce((a, b) => a * b, 1);
    const feeds = {
      [X.name]: Tensor.fromNumbers(
        X.dtype,
        dims,
        Float64Array.from({ length: size }, () => normal(next)),
      ),
    };
    const times = new Map<Form, number>();
    for (const form of forms) {
      const session = await runner.load(sourceOf(alone(sliced, job, form)));
      try {
        await session.time(feeds, 2);
        times.set(form, Math.min(...(await session.time(feeds, TIMED_RUNS))));
      } finally {
        await session.release();
      }
    }
    out.set(
      job.decision.output,
      least(forms, (f) => times.get(f) as number),
    );
  }
  return out;
}

function least(forms: readonly Form[], of: (form: Form) => number): Form {
  return forms.reduce((best, f) => (of(f) < of(best) ? f : best));
}
