/** Writes a layer in one of its forms (forms.ts). */
import { internal } from "../../errors.js";
import { int, ints } from "../../graph/attribute.js";
import { removeDeadFrom } from "../../graph/dead.js";
import type { Dim } from "../../graph/dim.js";
import { isKnown } from "../../graph/dim.js";
import type { Graph, Node, Value } from "../../graph/graph.js";
import { Tensor } from "../../graph/tensor.js";
import {
  allTaps,
  type Box,
  boxOf,
  channelsOf,
  type Form,
  loweredWidth,
  piecesOf,
  tapsIn,
  tapsOf,
  type Windows,
  type Work,
  windowsOf,
} from "./forms.js";

/** Writes layers of one graph; what several of them need of one input is made once. */
export class Emitter {
  readonly #graph: Graph;
  readonly #made = new Map<string, Value>();
  readonly #shapeOf: (value: Value) => readonly Dim[] | undefined;

  constructor(graph: Graph, shapeOf: (value: Value) => readonly Dim[] | undefined) {
    this.#graph = graph;
    this.#shapeOf = shapeOf;
  }

  /** `work.node` computes what it did without the columns and rows that leave. Layers must come in graph order. */
  emit(work: Work, form: Form): void {
    const rows = this.#keptRows(work);
    const lost = rows ? this.#dropRows(work, rows) : [];
    const left: Work = rows ? { ...work, filters: rows.length, removedRows: [] } : work;
    // First, while the node stands: form `boxes` puts others in its place.
    if (rows) this.#expand(work, rows, lost);
    if (form === "mask") return;
    if (left.kernel.length === 0) this.#matrix(left);
    else this.#convolution(left, form);
  }

  /** Constants and nodes that forms left behind. */
  finish(): void {
    removeDeadFrom(this.#graph);
  }

  #keptRows({ filters, removedRows }: Work): number[] | undefined {
    if (removedRows.length === 0) return undefined;
    const gone = new Set(removedRows);
    return Array.from({ length: filters }, (_, i) => i).filter((i) => !gone.has(i));
  }

  /** Gemm and MatMul: a Gather of input features. */
  #matrix(work: Work): void {
    const { node, columnAxis } = work;
    const kept = channelsOf(work, 0);
    if (kept.length === work.channels) return;
    const [X, W] = node.inputs as [Value, Value];
    node.setInput(0, this.#gather(X, node.opType === "Gemm" ? 1 : -1, kept, node));
    this.#setConstant(node, 1, (W.constant as Tensor).take(columnAxis, kept));
  }

  #convolution(work: Work, form: Exclude<Form, "mask">): void {
    const { node, kernel } = work;
    const X = node.inputs[0] as Value;
    const every = { box: kernel.map((k) => ({ first: 0, last: k - 1, step: 1 })) };
    const windows = windowsOf(work, this.#shapeOf(X));
    if (form === "channels" || !windows) this.#trim(work, node, { ...every, channels: this.#padded(work) }, undefined);
    else if (form === "trim") this.#trim(work, node, { box: boxOf(allTaps(work), kernel), channels: this.#padded(work) }, windows);
    else if (form === "boxes") this.#boxes(work, windows);
    else this.#lowered(work, windows);
  }

  /** Channels of each group that stay, as many in each: a group with fewer has others along, of which all weights are 0. */
  #padded(work: Work): number[][] {
    const lists = Array.from({ length: work.groups }, (_, g) => channelsOf(work, g));
    const width = Math.max(...lists.map((l) => l.length));
    return lists.map((list) => {
      for (let c = 0; list.length < width; c++) if (!list.includes(c)) list.push(c);
      return list.sort((a, b) => a - b);
    });
  }

  /** Makes `node`, a copy of the layer's, read the channels and taps given alone. */
  #trim(work: Work, node: Node, { channels, box }: { channels: readonly number[][]; box: Box }, windows: Windows | undefined): void {
    const { groups, kernel } = work;
    const W = weightOf(work.node);
    const X = node.inputs[0] as Value;
    const global = channels.flatMap((list, g) => list.map((c) => g * work.channels + c));
    const taps = tapsIn(box, kernel);
    const extents = box.map((r) => (r.last - r.first) / r.step + 1);
    const perGroup = work.filters / groups;
    const cells = (i: number) => (channels[Math.floor(i / perGroup)] as number[]).flatMap((c) => taps.map((t) => [c, t] as const));
    this.#setWeights(work, node, W, extents, cells);
    const gathered = this.#gather(X, 1, global, node, groups * work.channels);
    node.setInput(0, gathered);
    if (!windows) return;
    const trimmed = trimWindows(windows, kernel, box);
    const { value, begins, ends } = this.#crop(gathered, windows, trimmed, this.#shapeOf(X)?.slice(2), node);
    node.setInput(0, value);
    node.setAttribute("auto_pad", undefined);
    node.setAttribute("pads", ints([...begins, ...ends]));
    node.setAttribute("dilations", ints(trimmed.dilations));
  }

  /** Negative pads are cropped; where that could leave nothing to convolve, all pads are written out first. */
  #crop(
    X: Value,
    whole: Windows,
    { begins, ends }: Windows,
    extents: readonly Dim[] | undefined,
    node: Node,
  ): Pick<Windows, "begins" | "ends"> & { readonly value: Value } {
    if ([...begins, ...ends].every((p) => p >= 0)) return { value: X, begins, ends };
    const once = begins.map(() => 1);
    const leavesSome = begins.every((b, i) => {
      const x = extents?.[i];
      const isBare = whole.begins[i] === 0 && whole.ends[i] === 0;
      return isBare || (x !== undefined && isKnown(x) && x + Math.min(0, b) + Math.min(0, ends[i] as number) > 0);
    });
    const over = (pads: readonly number[]) => pads.map((p) => Math.max(0, -p));
    const left = (pads: readonly number[]) => pads.map((p) => Math.max(0, p));
    if (leavesSome) return { value: this.#slice(X, over(begins), over(ends), once, node), begins: left(begins), ends: left(ends) };
    const padded = this.#pad(X, whole, node);
    const cut = (pads: readonly number[], now: readonly number[]) => pads.map((p, i) => p - (now[i] as number));
    const value = this.#slice(padded, cut(whole.begins, begins), cut(whole.ends, ends), once, node);
    const none = begins.map(() => 0);
    return { value, begins: none, ends: none };
  }

  #boxes(work: Work, windows: Windows): void {
    const { node } = work;
    const parts = piecesOf(work).map(({ channels, box }, i) => {
      const inputs = [node.inputs[0], node.inputs[1], ...(i === 0 && node.inputs[2] ? [node.inputs[2]] : [])];
      const part = this.#graph.insertNode("Conv", inputs, {
        before: node,
        outputs: ["rc"],
        attributes: Object.fromEntries(node.attributes),
      });
      this.#trim(work, part, { channels: [[...channels]], box }, windows);
      return part.outputs[0] as Value;
    });
    this.#replace(node, this.#graph.insertNode("Sum", parts, { before: node, outputs: ["rc"] }).outputs[0] as Value);
  }

  /** im2col of the columns that stay, tap by tap, and one 1 × 1 convolution. */
  #lowered(work: Work, windows: Windows): void {
    const { node, groups, channels, kernel } = work;
    const { strides, dilations } = windows;
    const X = node.inputs[0] as Value;
    const W = weightOf(node);
    const padded = this.#pad(X, windows, node);
    const parts: Value[] = [];
    /** Per group, the columns in the order in which they come: channel, tap and place in the Concat. */
    const columns = Array.from({ length: groups }, () => [] as { c: number; t: number; at: number }[]);
    let at = 0;
    for (const t of [...allTaps(work)].sort((a, b) => a - b)) {
      const list: number[] = [];
      for (let g = 0; g < groups; g++) {
        for (let c = 0; c < channels; c++) {
          if (!tapsOf(work, g, c).includes(t)) continue;
          list.push(g * channels + c);
          columns[g]?.push({ c, t, at: at++ });
        }
      }
      const place = coordinates(t, kernel);
      const from = place.map((p, i) => p * (dilations[i] as number));
      const to = place.map((p, i) => ((kernel[i] as number) - 1 - p) * (dilations[i] as number));
      parts.push(this.#slice(this.#gather(padded, 1, list, node, groups * channels), from, to, strides, node));
    }
    if (parts.length === 0) {
      // Nothing stays: one column of zeros, so that there is a convolution.
      const to = kernel.map((k, i) => (k - 1) * (dilations[i] as number));
      parts.push(
        this.#slice(
          this.#gather(padded, 1, [0], node, groups * channels),
          to.map(() => 0),
          to,
          strides,
          node,
        ),
      );
      at = 1;
    }
    let all = parts.length === 1 ? (parts[0] as Value) : this.#insert("Concat", parts, node, { axis: int(1) });
    const width = loweredWidth(work);
    if (groups > 1) {
      const order = columns.flatMap((list) => Array.from({ length: width }, (_, k) => list[k]?.at ?? 0));
      all = this.#gather(all, 1, order, node, at);
    }
    const perGroup = work.filters / groups;
    const cells = (i: number) => {
      const list = columns[Math.floor(i / perGroup)] ?? [];
      return Array.from({ length: width }, (_, k) => (list[k] ? ([list[k].c, list[k].t] as const) : undefined));
    };
    this.#setWeights(
      work,
      node,
      W,
      kernel.map(() => 1),
      cells,
    );
    node.setInput(0, all);
    for (const name of ["auto_pad", "pads", "strides", "dilations"]) node.setAttribute(name, undefined);
  }

  /** Weights [filters, …, ...kernel]: of filter i the [channel, tap] cells listed; `undefined` is 0. */
  #setWeights(
    work: Work,
    node: Node,
    W: Tensor,
    kernel: readonly number[],
    cells: (filter: number) => readonly (readonly [number, number] | undefined)[],
  ): void {
    const taps = work.kernel.reduce((a, b) => a * b, 1);
    const left = kernel.reduce((a, b) => a * b, 1);
    const numbers = W.numbers();
    const out: number[] = [];
    for (let i = 0; i < work.filters; i++)
      for (const cell of cells(i)) out.push(cell ? (numbers[(i * work.channels + cell[0]) * taps + cell[1]] as number) : 0);
    this.#setConstant(node, 1, Tensor.fromNumbers(W.dtype, [work.filters, out.length / work.filters / left, ...kernel], out));
    if (node.attributes.has("kernel_shape")) node.setAttribute("kernel_shape", ints(kernel));
  }

  /** Takes filters out of the weight and bias; what they added (the bias alone, of filters that leave) is returned. */
  #dropRows({ node, rowAxis, removedRows }: Work, rows: readonly number[]): number[] {
    this.#setConstant(node, 1, weightOf(node).take(rowAxis, rows));
    const bias = node.opType === "MatMul" ? undefined : node.inputs[2]?.constant;
    if (!bias) return [];
    this.#setConstant(node, 2, bias.take(0, rows));
    const beta = node.opType === "Gemm" ? node.float("beta", 1) : 1;
    const gone = new Set(removedRows);
    return Array.from(bias.numbers(), (b, i) => (gone.has(i) ? beta * b : 0));
  }

  /** Pads one channel of zeros, and puts each channel in its place: those that left read the zeros. Their bias is added again. */
  #expand({ node, filters }: Work, rows: readonly number[], lost: readonly number[]): void {
    const graph = this.#graph;
    const Y = node.outputs[0] as Value;
    const rank = this.#shapeOf(Y)?.length as number;
    const axis = node.opType === "MatMul" ? rank - 1 : 1;
    const next = graph.nodes[graph.nodes.indexOf(node) + 1] as Node;
    const readers = Y.uses();
    const place = new Array<number>(filters).fill(rows.length);
    rows.forEach((i, at) => {
      place[i] = at;
    });
    const pads = Array.from({ length: 2 * rank }, (_, i) => (i === rank + axis ? 1 : 0));
    let Z = this.#insert("Gather", [this.#insert("Pad", [Y, this.#vector(pads)], next), this.#indices(place)], next, { axis: int(axis) });
    if (lost.some((b) => b !== 0)) {
      const dims = Array.from({ length: rank - axis }, (_, a) => (a === 0 ? filters : 1));
      const { dtype } = weightOf(node);
      Z = this.#insert("Add", [Z, graph.addInitializer("rc", Tensor.fromNumbers(dtype, dims, lost))], next);
    }
    for (const { node: reader, index } of readers) reader.setInput(index, Z);
    if (Y.type?.kind === "tensor" && Y.type.shape)
      Y.type = { ...Y.type, shape: Y.type.shape.map((d, a) => (a === axis ? rows.length : d)) };
  }

  #replace(node: Node, by: Value): void {
    const Y = node.outputs[0] as Value;
    if (!this.#graph.bypass(Y, by)) throw internal(`"${Y.name}" cannot be made by another node.`, { value: Y.name });
    this.#graph.removeNode(node);
  }

  #gather(X: Value, axis: number, indices: readonly number[], before: Node, extent = Number.NaN): Value {
    if (indices.length === extent && indices.every((x, i) => x === i)) return X;
    return this.#once(`gather ${X.name} ${axis} ${indices}`, () =>
      this.#insert("Gather", [X, this.#indices(indices)], before, { axis: int(axis) }),
    );
  }

  /** All but `from` at the beginning and `to` at the end of each spatial axis, by `steps`. */
  #slice(X: Value, from: readonly number[], to: readonly number[], steps: readonly number[], before: Node): Value {
    if ([...from, ...to].every((x) => x === 0) && steps.every((s) => s === 1)) return X;
    const axes = from.map((_, i) => i + 2);
    const end = to.map((x) => (x === 0 ? Number.MAX_SAFE_INTEGER : -x));
    const operands = [from, end, axes, ...(steps.every((s) => s === 1) ? [] : [steps])].map((v) => this.#vector(v));
    return this.#once(`slice ${X.name} ${from} ${to} ${steps}`, () => this.#insert("Slice", [X, ...operands], before));
  }

  #pad(X: Value, { begins, ends }: Windows, before: Node): Value {
    if ([...begins, ...ends].every((p) => p === 0)) return X;
    return this.#once(`pad ${X.name} ${begins} ${ends}`, () =>
      this.#insert("Pad", [X, this.#vector([0, 0, ...begins, 0, 0, ...ends])], before),
    );
  }

  #insert(op: string, inputs: readonly Value[], before: Node, attributes = {}): Value {
    return this.#graph.insertNode(op, inputs, { before, outputs: ["rc"], attributes }).outputs[0] as Value;
  }

  /** An int64 vector, once for each content. */
  #vector(values: readonly number[]): Value {
    return this.#once(`int64 ${values}`, () => this.#graph.addInitializer("rc", Tensor.fromNumbers("int64", [values.length], values)));
  }
  /** Indices of a Gather: int32 takes half the bytes. */
  #indices(values: readonly number[]): Value {
    return this.#once(`int32 ${values}`, () => this.#graph.addInitializer("rc", Tensor.fromNumbers("int32", [values.length], values)));
  }
  #once(key: string, make: () => Value): Value {
    const have = this.#made.get(key);
    if (have) return have;
    const made = make();
    this.#made.set(key, made);
    return made;
  }

  #setConstant(node: Node, index: number, tensor: Tensor): void {
    const value = node.inputs[index] as Value;
    if (value.useCount === 1 && value.graph === this.#graph && !value.isOutput) this.#graph.setConstant(value, tensor);
    else node.setInput(index, this.#graph.addInitializer(value.name, tensor));
  }
}

/** The constant that `node` multiplies by. */
function weightOf(node: Node): Tensor {
  return node.inputs[1]?.constant as Tensor;
}

/** Pads and dilations of a kernel of which only `box` is left; a pad may be negative. */
function trimWindows({ strides, dilations, begins, ends }: Windows, kernel: readonly number[], box: Box): Windows {
  return {
    strides,
    dilations: box.map((r, i) => r.step * (dilations[i] as number)),
    begins: box.map((r, i) => (begins[i] as number) - r.first * (dilations[i] as number)),
    ends: box.map((r, i) => (ends[i] as number) - ((kernel[i] as number) - 1 - r.last) * (dilations[i] as number)),
  };
}

/** Place of tap t on each axis of the kernel. */
function coordinates(t: number, kernel: readonly number[]): number[] {
  const out: number[] = [];
  for (let i = kernel.length - 1; i >= 0; i--) {
    out.unshift(t % (kernel[i] as number));
    t = Math.floor(t / (kernel[i] as number));
  }
  return out;
}
