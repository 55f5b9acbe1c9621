/** What a constant that left with removed channels gave: less where a kernel reached into zero padding. One bias per zone gives it back. */
import { int } from "../graph/attribute.js";
import { extract } from "../graph/clone.js";
import type { Graph, Model, Node, Value } from "../graph/graph.js";
import { infer, type Types } from "../graph/infer.js";
import { unravel } from "../graph/rearrange.js";
import { Tensor } from "../graph/tensor.js";
import type { Runner } from "../runtime/runner.js";
import { sourceOf } from "../runtime/source.js";
import { type Layer, layersOf } from "../score/layers.js";
import type { Batches } from "./batches.js";
import { Missing } from "./missing.js";
import type { Pairing } from "./pairing.js";
import { Stages } from "./stages.js";
import { type SweepOptions, type Swept, type Task, taskOf } from "./sweep.js";
import { ONE_ZONE, type Zones, zonesOf } from "./zones.js";

/** A layer's held-out error must fall by this share against the plain bias: a map costs an Add over the whole output. */
const LEAST_GAIN = 0.02;

/**
 * Σ over taps of W_R·m_R is what channels R, at their means m_R, gave a convolution: one constant inside, another wherever taps lie in
 * the padding (or between the strides of a ConvTranspose). A bias cannot say that; a constant per zone says it exactly. For each layer with
 * more than one zone, the mean of what is missing (`sweep.ts`: of the layer's end, or of the sum it goes into) is taken zone by zone, on
 * what the corrected layers before it give, and an Add puts it there where held-out samples confirm it (`LEAST_GAIN`). Elsewhere a bias
 * stays all there is, fitted anew to what then comes in if biases were (`options.biases`); so it does where spatial extents are not fixed, which is noted. Changes `pruned` in place.
 */
export async function borders(runner: Runner, pruned: Model, pairing: Pairing, batches: Batches, options: SweepOptions): Promise<Swept> {
  const types = infer(pruned);
  const { layers: found } = layersOf(pruned, types);
  const left: { node: string; why: string }[] = [];
  const tasks: (Task & { zones: Zones })[] = [];
  for (const [i, layer] of found.entries()) {
    const zones = zonesIn(layer, types);
    if (typeof zones === "string") left.push({ node: layer.node.label, why: zones });
    const task = taskOf(layer, found.slice(i), pairing, types);
    // Why a layer has no partner is said by the correction before this one.
    if (typeof task !== "string") tasks.push({ ...task, zones: typeof zones === "object" ? zones : ONE_ZONE });
  }
  const mine = new Stages(runner, pruned, batches, options.memory / 2);
  const theirs = new Stages(runner, pairing.original, batches, options.memory / 2);
  const read = ({ layer, other }: Task) => (other ? [layer.input, other] : [layer.input]);
  const layers: Swept["layers"][number][] = [];
  const indices = new Map<string, Value>();
  let maps = 0;
  for (const [i, task] of tasks.entries()) {
    options.signal?.throwIfAborted();
    options.onProgress?.(i, tasks.length);
    // Biases were fitted to what came in before there was a map.
    if (task.zones.count === 1 && (maps === 0 || !options.biases)) continue;
    const a = await mine.open(read(task), tasks.slice(i).flatMap(read));
    const b = await theirs.open(
      [task.pair.value],
      tasks.slice(i + 1).map((t) => t.pair.value),
    );
    const { layer, pair, other, zones } = task;
    const part = extract(pruned, chainNodes(layer), [layer.end], new Set(), (v) => types.type(v));
    for (const v of part.graph.outputs) if (v.type?.kind === "tensor") v.type = { ...v.type, shape: undefined };
    const session = await runner.load(sourceOf(part));
    const [fitting, heldOut] = [new Missing(layer, zones), new Missing(layer, zones)];
    try {
      for (let batch = 0; batch < batches.count; batch++) {
        const [have, reference] = [await a.run(batch), await b.run(batch)];
        const given = await session.run({ [layer.input.name]: have.get(layer.input) as Tensor });
        const sums = batches.isHeldOut(batch) ? heldOut : fitting;
        sums.add(given[layer.end.name] as Tensor, reference.get(pair.value) as Tensor, pair.kept, other && have.get(other));
      }
    } finally {
      await session.release();
      await a.close();
      await b.close();
    }
    const { perZone, plain } = fitting.means();
    const before = heldOut.error(undefined);
    const best = layer.hasBias ? Math.min(before, heldOut.error(plain)) : before;
    const isShifted = layer.hasBias && options.biases === true && best < before;
    const after = heldOut.error(perZone);
    const isMapped = zones.count > 1 && after < best * (1 - LEAST_GAIN) && perZone.every(Number.isFinite);
    if (isMapped) maps++;
    if (isMapped) addMap(pruned.graph, layer, zones, perZone, indices);
    else if (isShifted) shift(layer, zones, plain);
    layers.push({ node: layer.node.label, changed: isMapped || isShifted, before, after: isMapped ? after : isShifted ? best : before });
  }
  return { layers, left };
}

/** undefined where all positions are alike; a sentence where extents, and so zones, are not known. */
function zonesIn(layer: Layer, types: Types): Zones | string | undefined {
  if (layer.channelsLast) return undefined;
  const spatial = (v: Value) => types.shape(v)?.slice(2);
  const [inside, out] = [spatial(layer.input), spatial(layer.end)];
  const fixed = (dims: typeof inside): dims is number[] => dims?.every((d) => typeof d === "number") ?? false;
  if (!fixed(inside) || !fixed(out)) {
    return isPadded(layer.node) ? "its borders, beyond what a bias gives: height and width are not fixed" : undefined;
  }
  const zones = zonesOf(layer.node, inside, out);
  return zones.count > 1 ? zones : undefined;
}

function isPadded(node: Node): boolean {
  const transposed = node.opType === "ConvTranspose";
  return transposed || (node.ints("pads") ?? []).some((p) => p > 0) || node.string("auto_pad", "NOTSET").startsWith("SAME");
}

/** The nodes from a layer's own to its end, each of which is all that reads the one before. */
function chainNodes(layer: Layer): Node[] {
  const nodes = [layer.node];
  for (let v = layer.node.outputs[0] as Value; v !== layer.end; v = nodes.at(-1)?.outputs[0] as Value) {
    nodes.push(v.uses()[0]?.node as Node);
  }
  return nodes;
}

/** Adds `plain` [channels, zones] to the bias. */
function shift(layer: Layer, { count }: Zones, plain: Float64Array): void {
  const { weight, bias } = layer.read();
  layer.write({ weight, bias: bias.map((b, c) => b + (plain[c * count] as number)) });
}

/**
 * Adds `map` [channels, zones] to the layer's end, which keeps its name: readers and later steps know it by that. Where classes say it
 * in fewer bytes, the file holds one number per zone and spreads them by Gather, which ONNX Runtime does once, when it loads the file.
 */
function addMap(graph: Graph, layer: Layer, zones: Zones, map: Float64Array, indices: Map<string, Value>): void {
  const { end } = layer;
  const producer = end.producer as Node;
  const dtype = layer.node.inputs[1]?.constant?.dtype ?? "float32";
  const channels = layer.groups * layer.rows;
  const axes = zones.classes.map((of, a) => ({ of, a, count: zones.counts[a] as number }));
  const whole = axes.map(({ of, count }) => (count > 1 ? of.length : 1));
  const positions = whole.reduce((n, d) => n * d, 1);
  const spelled = axes.filter(({ count }) => count > 1).reduce((n, { of }) => n + 8 * of.length, 0);
  const name = `${end.name}_borders`;
  const before = graph.nodes[graph.nodes.indexOf(producer) + 1] as Node;
  let value: Value;
  if (4 * channels * positions <= 4 * channels * zones.count + spelled) {
    const flat = new Float64Array(channels * positions);
    for (let c = 0, at = 0; c < channels; c++) {
      for (let p = 0; p < positions; p++) flat[at++] = map[c * zones.count + zoneAt(p, whole, zones)] as number;
    }
    value = graph.addInitializer(name, Tensor.fromNumbers(dtype, [1, channels, ...whole], flat));
  } else {
    value = graph.addInitializer(name, Tensor.fromNumbers(dtype, [1, channels, ...zones.counts], map));
    for (const { of, a, count } of axes) {
      if (count === 1) continue;
      const key = of.join();
      const at = indices.get(key) ?? graph.addInitializer("border_zones", Tensor.ints([...of]));
      indices.set(key, at);
      value = graph.insertNode("Gather", [value, at], { before, outputs: [name], attributes: { axis: int(2 + a) } }).outputs[0] as Value;
    }
  }
  const add = graph.insertNode("Add", [end, value], { before, outputs: [`${end.name}_inside`] });
  const inner = add.outputs[0] as Value;
  inner.type = end.type;
  add.releaseOutput(0);
  graph.replaceProducerOutput(producer, producer.outputs.indexOf(end), inner);
  graph.replaceProducerOutput(add, 0, end);
  add.setInput(0, inner);
}

/** Zone of position `p` of a map that has but one position on the axes of one class. */
function zoneAt(p: number, extents: readonly number[], { classes, counts }: Zones): number {
  return unravel(p, extents).reduce((zone, place, a) => zone * (counts[a] as number) + (classes[a]?.[place] as number), 0);
}
