/**
 * The iota probe: an operator that moves elements is fed with their numbers, ONNX Runtime says where each element went,
 * and the operator's axis rule must say the same. Nothing of the operator's own code but its rules is used.
 *
 * Two claims of a typing are checked:
 * - *provenance*: an element of the output may stay only where the element that it came from stays. In terms of choices:
 *   what lets a source element leave also takes each element made of it;
 * - *slices*: for random choices that leave, the operator on what is left of its inputs gives what is left of its output.
 */
import { InferenceSession, type Tensor as OrtTensor } from "onnxruntime-node";
import type { Attribute } from "../../src/graph/attribute.js";
import { encode, joinChunks } from "../../src/graph/codec.js";
import type { Axis } from "../../src/graph/coupling/axis.js";
import { ALWAYS, Choices, Kept } from "../../src/graph/coupling/choices.js";
import { couple, type Typing } from "../../src/graph/coupling/couple.js";
import { removeSlices } from "../../src/graph/coupling/slice.js";
import { Graph, Model, Node, Value } from "../../src/graph/graph.js";
import { infer, type Types } from "../../src/graph/infer.js";
import type { OpSpec } from "../../src/graph/op.js";
import { random } from "../../src/graph/random.js";
import { Tensor } from "../../src/graph/tensor.js";

export interface Movement {
  readonly op: string;
  readonly opset: number;
  readonly attributes?: Readonly<Record<string, Attribute>>;
  /** Dims of an input whose elements are moved; a tensor is an operand with contents; undefined is an absent input. */
  readonly inputs: readonly (readonly number[] | Tensor | undefined)[];
  readonly outputs?: number;
}

export interface Finding {
  /** What contradicts the rule; empty when nothing does. */
  readonly faults: readonly string[];
  /** How many choices the rule leaves free: too few is no fault, but says that a rule keeps too much. */
  readonly free: number;
  /** Free choices that occur on an output. */
  readonly freeOut: number;
}

/** Most contradictions that are told of one case. */
const TOLD = 3;
/** Random removals that are carried out per case. */
const REMOVALS = 3;

/** Probes one case; `spec` replaces the operator's meaning, and nothing is run where `differs` says that it is the same here. */
export async function probe(movement: Movement, seed: string, spec?: OpSpec, differs: () => boolean = () => true): Promise<Finding> {
  const { model, node, iota } = build(movement);
  const inferred = infer(model);
  const typing = couple(model, spec ? withSpec(inferred, node, spec) : inferred);
  if (!differs()) return { faults: [], free: 0, freeOut: 0 };
  const choices = new Choices(typing.system);
  const axesIn = movement.inputs.map((_, i) => typing.axesOfInput(node, i));
  const axesOut = node.outputs.map((o) => typing.axesOf(o as Value) ?? []);
  for (const axes of [...axesIn, ...axesOut]) for (const a of axes ?? []) choices.layers(a);

  const ran = build(movement);
  for (const o of ran.node.outputs) ran.model.graph.addOutput(o as Value);
  const moved = await run(ran.model);
  const faults: string[] = [];
  const sources = iota.map(({ input, dims, first }) => ({ input, dims, first, needs: needsOf(choices, axesIn[input] ?? [], dims) }));
  moved.forEach((y, o) => {
    const extents = axesOut[o]?.map((a) => a.size) ?? [];
    if (`${extents}` !== `${y.dims}`) {
      faults.push(`output ${o} is [${y.dims}], but its axes have extents [${extents}]`);
      return;
    }
    const needs = needsOf(choices, axesOut[o] as readonly Axis[], y.dims);
    y.data.forEach((v, k) => {
      const from = sources.find((s) => v >= s.first && v < s.first + s.needs.length);
      const lost = from?.needs[v - from.first]?.filter((c) => !(needs[k] as number[]).includes(c)) ?? [];
      if (lost.length > 0)
        faults.push(
          `element ${at(k, y.dims)} of output ${o} is element ${at(v - (from?.first ?? 0), from?.dims ?? [])} of input ${from?.input}, ` +
            `but stays when ${lost.map((c) => nameOf(choices, c)).join(", ")} leaves`,
        );
    });
  });
  if (faults.length === 0) faults.push(...(await slices(typing, choices, moved, axesIn, axesOut, seed)));
  const layersOut = axesOut.flat().flatMap((a) => choices.layers(a).flatMap((l) => [...l]));
  return { faults: faults.slice(0, TOLD), free: choices.count, freeOut: new Set(layersOut.filter((c) => c !== ALWAYS)).size };
}

/** Carries out random removals, and compares what comes out with what should be left of the output. */
async function slices(
  typing: Typing,
  choices: Choices,
  whole: readonly Moved[],
  axesIn: readonly (readonly Axis[] | undefined)[],
  axesOut: readonly (readonly Axis[])[],
  seed: string,
): Promise<string[]> {
  const uniform = random(`iota ${seed}`);
  const faults: string[] = [];
  for (let n = 0; n < REMOVALS && choices.count > 0; n++) {
    const share = 0.15 + 0.5 * uniform();
    const removed = new Set(Array.from({ length: choices.count }, (_, c) => c).filter(() => uniform() < share));
    const kept = new Kept(typing.system, choices, removed);
    // An axis that would lose its last index is another matter: score/ sees to it.
    const axes = [...axesIn, ...axesOut].flatMap((a) => a ?? []);
    if (removed.size === 0 || axes.some((a) => a.size !== 0 && kept.count(a) === 0)) continue;
    const gone = [...removed].map((c) => nameOf(choices, c)).join(", ");
    try {
      const sliced = removeSlices(typing, kept);
      typing.model.graph.nodes[0]?.outputs.forEach((o) => {
        if (o) sliced.graph.addOutput(sliced.graph.value(o.name) as Value);
      });
      const got = await run(sliced);
      whole.forEach((y, o) => {
        const want = left(
          y,
          (axesOut[o] as readonly Axis[]).map((a) => kept.indices(a)),
        );
        const have = got[o] as Moved;
        if (`${have.dims}` !== `${want.dims}` || have.data.some((v, k) => v !== want.data[k]))
          faults.push(`without ${gone}, output ${o} is [${have.data}] of [${have.dims}], not [${want.data}] of [${want.dims}]`);
      });
    } catch (error) {
      faults.push(`without ${gone}: ${String(error)}`);
    }
  }
  return faults;
}

interface Moved {
  readonly dims: readonly number[];
  readonly data: readonly number[];
}

/** A graph of one node, on constants only. The node's outputs are none of the graph: those would be kept whole. */
function build({ op, opset, attributes = {}, inputs, outputs = 1 }: Movement) {
  const graph = new Graph("iota");
  const node = new Node(op, { name: "node" });
  const iota: { input: number; dims: readonly number[]; first: number }[] = [];
  let next = 1;
  inputs.forEach((given, i) => {
    if (given === undefined) {
      node.setInput(i, undefined);
      return;
    }
    let tensor = given instanceof Tensor ? given : undefined;
    if (!tensor) {
      const dims = given as readonly number[];
      const size = dims.reduce((a, b) => a * b, 1);
      iota.push({ input: i, dims, first: next });
      const first = next;
      tensor = Tensor.floats(
        dims,
        Float32Array.from({ length: size }, (_, k) => first + k),
      );
      next += size;
    }
    node.setInput(i, graph.addInitializer(`input${i}`, tensor));
  });
  for (const [name, a] of Object.entries(attributes)) node.setAttribute(name, a);
  for (let i = 0; i < outputs; i++) node.addOutput(new Value(`output${i}`));
  graph.appendNode(node);
  const model = new Model(graph);
  model.irVersion = 10;
  model.opsets.set("", opset);
  return { model, node, iota };
}

async function run(model: Model): Promise<Moved[]> {
  const session = await InferenceSession.create(joinChunks(encode(model)), {
    graphOptimizationLevel: "disabled",
    intraOpNumThreads: 1,
    logSeverityLevel: 4,
    extra: { session: { intra_op: { allow_spinning: "0" } } },
  });
  try {
    const results = await session.run({});
    return session.outputNames.map((name) => {
      const t = results[name] as OrtTensor;
      return { dims: t.dims, data: Array.from(t.data as Float32Array) };
    });
  } finally {
    await session.release();
  }
}

/** For each element of a tensor of these axes, the choices that all must stay for it to stay. */
function needsOf(choices: Choices, axes: readonly Axis[], dims: readonly number[]): number[][] {
  const layers = axes.map((a) => choices.layers(a));
  const size = dims.reduce((a, b) => a * b, 1);
  return Array.from({ length: size }, (_, k) => {
    const index = unravel(k, dims);
    return layers.flatMap((of, a) => of.flatMap((l) => (l[index[a] as number] === ALWAYS ? [] : [l[index[a] as number] as number])));
  });
}

/** `y` at the kept positions of each axis. */
function left(y: Moved, kept: readonly (readonly number[] | undefined)[]): Moved {
  const stays = kept.map((k) => k && new Set(k));
  const data = y.data.filter((_, k) => unravel(k, y.dims).every((i, a) => stays[a]?.has(i) ?? true));
  return { dims: y.dims.map((d, a) => kept[a]?.length ?? d), data };
}

function unravel(k: number, dims: readonly number[]): number[] {
  const out: number[] = [];
  let rest = k;
  for (const d of [...dims].reverse()) {
    out.unshift(rest % d);
    rest = Math.floor(rest / d);
  }
  return out;
}

const at = (k: number, dims: readonly number[]): string => `[${unravel(k, dims)}]`;

function nameOf(choices: Choices, c: number): string {
  const { origin, index } = choices.originOf(c);
  return `${origin}#${index}`;
}

/** `types`, but with another meaning of `node` for its axes. */
function withSpec(types: Types, node: Node, spec: OpSpec): Types {
  return {
    type: (v) => types.type(v),
    shape: (v) => types.shape(v),
    content: (v) => types.content(v),
    context: (n) => types.context(n),
    spec: (n) => (n === node ? spec : types.spec(n)),
    conflicts: types.conflicts,
  };
}
