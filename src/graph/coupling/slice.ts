/** The deed: a model without the removed choices. Deterministic; takes no decision. */
import { internal, ModelError } from "../../errors.js";
import { int } from "../attribute.js";
import { Copies, cloneModel } from "../clone.js";
import { type Dim, exactDiv, isKnown, product, terms } from "../dim.js";
import { everyGraph, everyNode, type Graph, type Model, type Node, type Value } from "../graph.js";
import { applyTypes, infer, type Types } from "../infer.js";
import { Tensor } from "../tensor.js";
import type { Axis } from "./axis.js";
import type { Chain } from "./chains.js";
import type { Kept } from "./choices.js";
import { isTypedPerUse, type Typing } from "./couple.js";
import { isShapeArithmetic, type Measured } from "./measures.js";
import type { ResizeContext } from "./resize.js";

/**
 * A copy of `typing.model` in which every axis holds only its kept indices.
 *
 * Constants are taken lazily (no weight is read here), nodes keep names and order, what mentions a size is rewritten.
 * Node for node the result is the input graph; cleaning up is other passes' work.
 * @throws InternalError if the new graph's inferred shapes are not what the typing says (never a wrong file).
 */
export function removeSlices(typing: Typing, kept: Kept): Model {
  const { model } = typing;
  const copies = new Copies();
  const next = cloneModel(model, copies);
  const slicer = new Slicer(typing, kept, next, copies);

  const moving = freezeDataReads(typing, kept, copies);
  for (const node of everyNode(model.graph)) slicer.sliceConstants(node);
  slicer.finishConstants();
  const gathered = new Set(typing.chains.filter((c) => slicer.replaceChain(c)).flatMap((c) => c.nodes));
  for (const node of everyNode(model.graph)) if (!gathered.has(node)) slicer.resize(node, moving);
  for (const v of everyValue(model.graph)) {
    const mine = copies.value(v);
    const shape = slicer.expectedShape(v);
    // Only what shrank: other declared types, the interface's above all, stay as they are written.
    if (mine.type?.kind === "tensor" && shape && slicer.isCut(v)) mine.type = { ...mine.type, shape };
  }
  slicer.patchOperands();
  const after = inferAgain(next, slicer);
  slicer.confirm(after);
  applyTypes(next, after);
  return next;
}

/** A contradiction shows at whoever reads the wrong extent: what made it is named, and that it is our fault. */
function inferAgain(next: Model, slicer: Slicer): Types {
  try {
    return infer(next);
  } catch (error) {
    if (!(error instanceof ModelError)) throw error;
    slicer.confirm(infer(next, { lenient: true }));
    throw internal(`After removal the graph contradicts itself: ${error.message}`, error.at);
  }
}

/** What is kept of a small constant -> the reads that keep just that. */
type Signatures = Map<string, { readonly axes: readonly Axis[]; readonly uses: { readonly node: Node; readonly index: number }[] }>;

class Slicer {
  readonly #typing: Typing;
  readonly #kept: Kept;
  readonly #model: Model;
  readonly #copies: Copies;
  readonly #done = new Set<Value>();
  readonly #taken = new Map<Tensor, Map<string, Tensor>>();
  /** Small constants: value -> signature of what is kept -> uses. */
  readonly #perUse = new Map<Value, Signatures>();
  /** Nodes of the copy with operands to patch -> their originals. */
  readonly #originals = new Map<Node, Node>();
  readonly #wanted: { node: Node; input: number; content: readonly Dim[] }[] = [];
  /** Nodes typed as part of a chain: what lies between them has no axes that say anything. */
  readonly #chained: ReadonlySet<Node>;
  /** Values of the original that graphs return: the model, and bodies (some return a value of an outer graph). */
  readonly #returned: ReadonlySet<Value>;

  constructor(typing: Typing, kept: Kept, model: Model, copies: Copies) {
    this.#typing = typing;
    this.#kept = kept;
    this.#model = model;
    this.#chained = new Set(typing.chains.flatMap((c) => c.nodes));
    this.#copies = copies;
    this.#returned = new Set([...everyGraph(typing.model.graph)].flatMap((g) => g.outputs));
  }

  sliceConstants(node: Node): void {
    const target = this.#copies.node(node);
    node.inputs.forEach((value, index) => {
      if (!value?.constant) return;
      const axes = this.#typing.axesOfInput(node, index);
      if (!axes) return;
      if (isTypedPerUse(value)) {
        const key = axes.map((a) => this.#indicesText(a)).join(";");
        const of: Signatures = this.#perUse.get(value) ?? new Map();
        this.#perUse.set(value, of);
        const entry = of.get(key);
        if (entry) entry.uses.push({ node: target, index });
        else of.set(key, { axes, uses: [{ node: target, index }] });
      } else this.#sliceShared(value, axes);
    });
    // A branch may give a constant, which nothing in it reads.
    for (const body of node.subgraphs())
      for (const o of body.outputs) if (o.constant && !isTypedPerUse(o)) this.#sliceShared(o, this.#typing.axesOf(o) ?? []);
  }

  /** What is kept of a tensor: one tensor for all values that hold it and keep the same. */
  #take(tensor: Tensor, axes: readonly Axis[]): Tensor {
    const key = axes.map((a) => this.#kept.familyIndices(a)?.join(";") ?? this.#indicesText(a)).join("|");
    const of = this.#taken.get(tensor) ?? new Map<string, Tensor>();
    this.#taken.set(tensor, of);
    const made = of.get(key) ?? takeKept(tensor, axes, this.#kept);
    of.set(key, made);
    return made;
  }
  #indicesText(axis: Axis): string {
    return (this.#kept.isFamily(axis) ? undefined : this.#kept.indices(axis)?.join(",")) ?? "all";
  }

  #sliceShared(value: Value, axes: readonly Axis[]): void {
    if (this.#done.has(value)) return;
    this.#done.add(value);
    setKept(this.#copies.value(value), this.#take(value.constant as Tensor, axes));
  }

  /** Small constants whose readers keep different indices are cloned: what a graph returns stays whole. */
  finishConstants(): void {
    for (const [value, signatures] of this.#perUse) {
      const isAlone = signatures.size === 1 && !this.#returned.has(value);
      const mine = this.#copies.value(value);
      for (const { axes, uses } of signatures.values()) {
        const tensor = this.#take(value.constant as Tensor, axes);
        if (tensor === value.constant) continue;
        if (isAlone) setKept(mine, tensor);
        else {
          const copy = graphOf(mine).addInitializer(`${value.name}_pruned`, tensor);
          for (const u of uses) u.node.setInput(u.index, copy);
        }
      }
    }
  }

  /** A chain whose axis lost indices becomes the Gather that it amounts to, or nothing where what is left is in order. */
  replaceChain({ input, output, moved, nodes }: Chain): boolean {
    if (!this.isCut(input) && !this.isCut(output)) return false;
    const last = this.#copies.node(nodes.at(-1) as Node);
    const graph = graphOf(last);
    const from = this.#copies.node(nodes[0] as Node).inputs[0] as Value;
    const to = last.outputs[0] as Value;
    let made = from;
    if (moved) {
      const axes = this.#typing.axesOf(input) as readonly Axis[];
      const place = new Map((this.#kept.indices(axes[moved.axis] as Axis) ?? moved.order.map((_, i) => i)).map((index, p) => [index, p]));
      const order = moved.order.flatMap((index) => place.get(index) ?? []);
      if (order.some((p, i) => p !== i)) {
        const gather = graph.insertNode("Gather", [from, graph.addInitializer(`${to.name}_order`, Tensor.ints(order))], {
          before: last,
          outputs: [`${to.name}_permuted`],
          attributes: { axis: { kind: "int", value: moved.axis } },
        });
        made = gather.outputs[0] as Value;
      }
    }
    graph.replaceUses(to, made);
    graph.removeNodes(nodes.map((n) => this.#copies.node(n)));
    return true;
  }

  /** Lets the op adjust to lost indices; also where only an extent that feeds its size operands moved. */
  resize(node: Node, moving: ReadonlySet<Value>): void {
    const { types } = this.#typing;
    const target = this.#copies.node(node);
    const graph = graphOf(target);
    if (isShapeArithmetic(node, types)) return;
    const spec = types.spec(node);
    // A barrier keeps all of its axes: its size operands keep their values (freezeDataReads).
    if (!spec?.resize || this.#typing.barriers.has(node) || !(this.#touches(node) || node.inputs.some((v) => v && moving.has(v)))) return;
    this.#originals.set(target, node);
    const base = types.context(node);
    const inAxis = (i: number, a: number) => this.#typing.axesOfInput(node, i)?.[a] as Axis;
    const outAxis = (i: number, a: number) => this.#typing.axesOf(node.outputs[i] as Value)?.[a] as Axis;
    const written = new Set<number>();
    const context: ResizeContext = {
      node,
      target,
      opset: base.opset,
      type: (i) => base.type(i),
      shape: (i) => base.shape(i),
      constant: (i) => base.constant(i),
      content: (i) => base.content(i),
      keptIn: (i, a) => this.#keptIndices(inAxis(i, a)),
      keptOut: (i, a) => this.#keptIndices(outAxis(i, a)),
      sizeIn: (i, a) => this.#kept.count(inAxis(i, a)),
      sizeOut: (i, a) => this.#kept.count(outAxis(i, a)),
      outShape: (i) => types.shape(node.outputs[i] as Value) ?? [],
      setAttribute: (name, attribute) => {
        target.setAttribute(name, attribute);
      },
      setOperand: (input, content) => {
        written.add(input);
        this.#wanted.push({ node: target, input, content });
      },
      setTensor: (input, tensor) => {
        written.add(input);
        target.setInput(input, graph.addInitializer(`${target.inputs[input]?.name ?? node.label}_pruned`, tensor));
      },
      gatherInput: (input, axis, indices) => {
        insertGather(graph, target, input, axis, indices);
      },
    };
    if (!this.#chained.has(node)) spec.resize(context);
    // A size or position that moves with a pruned extent, where the rule has nothing to adjust, keeps its value.
    for (const k of spec.sizeOperands ?? []) {
      const content = node.inputs[k] && moving.has(node.inputs[k]) && !written.has(k) ? base.content(k) : undefined;
      if (content) this.#wanted.push({ node: target, input: k, content });
    }
  }

  #keptIndices(axis: Axis): readonly number[] | undefined {
    if (!isKnown(axis.size)) return undefined;
    if (!this.#kept.isFamily(axis)) return this.#kept.indices(axis);
    if (this.#kept.familyIndices(axis)) throw internal("Positions are asked of an axis that keeps others in every row.");
    return undefined;
  }

  #touches(node: Node): boolean {
    const cut = (axes: readonly Axis[] | undefined) => axes?.some((a) => this.#kept.isCut(a)) ?? false;
    return (
      node.inputs.some((v, i) => v && cut(this.#typing.axesOfInput(node, i))) || node.outputs.some((o) => o && cut(this.#typing.axesOf(o)))
    );
  }

  /**
   * Makes every size operand say what the typing says. Arithmetic over Shape nodes mostly follows by itself; the rest is
   * replaced: by a constant, with one -1 where a single symbolic extent remains, else by patching single elements.
   */
  patchOperands(): void {
    // Inference is run only where an operand is computed, and again once one was changed: order is topological.
    let types: Types | undefined;
    for (const { node, input, content } of this.#wanted) {
      const have = node.inputs[input];
      const fixed = have?.constant;
      if (!fixed) types ??= infer(this.#model, { lenient: true });
      const now = fixed ? fixed.ints() : have && types?.content(have);
      if (now && now.length === content.length && now.every((d, k) => d === content[k])) continue;
      const symbolic = content.filter((d) => !isKnown(d));
      const isFree = symbolic.length === 1 && node.opType === "Reshape" && !content.includes(-1);
      // -1 in the place of N should be known to be N: later size operands may be made of it.
      const hasRoom = isFree && (!now || fixed !== undefined || isWhatIsLeft(node, content, types));
      if (symbolic.length === 0 || hasRoom) {
        const values = content.map((d) => (isKnown(d) ? d : -1));
        const type = have && (types?.type(have) ?? have.type);
        const dtype = fixed?.dtype === "int32" || (type?.kind === "tensor" && type.dtype === "int32") ? "int32" : "int64";
        const rank0 = have !== undefined && (fixed ? fixed.dims.length === 0 : types?.shape(have)?.length === 0);
        const tensor = Tensor.fromNumbers(dtype, rank0 ? [] : [values.length], values);
        node.setInput(input, graphOf(node).addInitializer(`${have?.name ?? node.label}_resized`, tensor));
      } else {
        node.setInput(input, this.#patchElements(node, input, now?.length === content.length ? now : [], content));
      }
      types = undefined;
    }
  }

  /** An operand of runs: elements of the old one where it says what it should, new ones elsewhere. */
  #patchElements(node: Node, input: number, now: readonly Dim[], content: readonly Dim[]): Value {
    const have = node.inputs[input];
    const name = have?.name ?? node.label;
    const pieces: Value[] = [];
    const graph = graphOf(node);
    const original = this.#originals.get(node)?.inputs[input];
    const type = original && this.#typing.types.type(original);
    // Pieces are int64; starts and ends of a Slice may be int32.
    const [narrow, wide] = type?.kind === "tensor" && type.dtype === "int32" ? [INT32, INT64] : [];
    const cast = (v: Value, to: number | undefined) =>
      to ? only(graph.insertNode("Cast", [v], { before: node, outputs: [`${name}_cast`], attributes: { to: int(to) } })) : v;
    // A Reshape finds one extent by itself.
    const changed = content.flatMap((d, k) => (!isKnown(d) && now[k] !== d ? [k] : []));
    const open = node.opType === "Reshape" && changed.length === 1 && !content.includes(-1) ? changed[0] : undefined;
    for (let k = 0; k < content.length; ) {
      const d = k === open ? -1 : (content[k] as Dim);
      const isOld = have !== undefined && now[k] === content[k];
      let end = k + 1;
      if (isOld) {
        while (end < content.length && now[end] === content[end]) end++;
        const indices = graph.addInitializer(`${name}_positions`, Tensor.ints(Array.from({ length: end - k }, (_, i) => k + i)));
        const run = graph.insertNode("Gather", [have, indices], { before: node, outputs: [`${name}_kept`], attributes: { axis: int(0) } });
        pieces.push(cast(only(run), wide));
      } else if (isKnown(d)) {
        const run = [d];
        for (; end < content.length && end !== open && isKnown(content[end] as Dim) && now[end] !== content[end]; end++)
          run.push(content[end] as number);
        pieces.push(graph.addInitializer(`${name}_resized`, Tensor.ints(run)));
      } else pieces.push(this.#told(d, node));
      k = end;
    }
    if (pieces.length === 1) return cast(pieces[0] as Value, narrow);
    const all = graph.insertNode("Concat", pieces, { before: node, outputs: [`${name}_resized`], attributes: { axis: int(0) } });
    return cast(only(all), narrow);
  }

  /** A vector of one element: an extent of symbols, computed before `reader` from the places that have them. */
  #told(d: Dim, reader: Node): Value {
    const graph = graphOf(reader);
    const make = (op: string, inputs: readonly Value[], attributes = {}) =>
      only(graph.insertNode(op, inputs, { before: reader, attributes }));
    const constant = (x: number) => graph.addInitializer("extent", Tensor.ints([x]));
    // The reader itself may be new: places are known by the original it stands for.
    const read = (text: string): Value | undefined => {
      const place = this.#typing.rulers.find(text, this.#originals.get(reader) as Node, ({ value, axis }) => {
        const axes = this.#typing.axesOf(value);
        return axes !== undefined && this.#typing.system.reason(axes[axis] as Axis) !== undefined;
      });
      if (!place) return undefined;
      return make("Gather", [make("Shape", [this.#copies.value(place.value)]), constant(place.axis)], { axis: int(0) });
    };
    const whole = isKnown(d) ? constant(d) : read(d);
    if (whole) return whole;
    const sum = terms(d).map(({ coefficient, factors }) => {
      const parts = factors.map((f) => {
        const extent = read(f);
        // couple.ts keeps whatever a size that cannot be told depends on.
        if (!extent)
          throw internal(`A size of ${reader.opType} "${reader.label}" must become ${d}, but no extent of the model is ${f}.`, {
            node: reader.label,
          });
        return extent;
      });
      if (coefficient !== 1 || parts.length === 0) parts.push(constant(coefficient));
      return parts.reduce((a, b) => make("Mul", [a, b]));
    });
    return sum.reduce((a, b) => make("Add", [a, b]));
  }

  isCut(value: Value): boolean {
    return this.#typing.axesOf(value)?.some((a) => this.#kept.isCut(a)) ?? false;
  }

  expectedShape(value: Value): readonly Dim[] | undefined {
    const axes = isTypedPerUse(value) ? undefined : this.#typing.axesOf(value);
    return axes?.map((a) => this.#kept.count(a));
  }

  /** The new graph, inferred afresh, must have the extents the typing promises: two independent ways to one answer. */
  confirm(after: Types): void {
    for (const v of everyValue(this.#typing.model.graph)) {
      const want = this.expectedShape(v);
      const got = after.shape(this.#copies.value(v));
      if (!want || !got || this.#typing.types.content(v) !== undefined) continue;
      const wrong = want.length !== got.length || want.some((d, i) => isKnown(d) && isKnown(got[i] as Dim) && d !== got[i]);
      if (wrong) {
        throw internal(
          `After removal "${v.name}" has shape [${got}], but its axes say [${want}] (made by ${v.producer?.opType ?? "the graph"} "${v.producer?.label ?? ""}").`,
          { value: v.name },
        );
      }
    }
  }
}

function* everyValue(graph: Graph): Iterable<Value> {
  for (const g of everyGraph(graph)) yield* g.values;
}

/** The graph a node or value of the copy lives in. */
function graphOf(part: Node | Value): Graph {
  return part.graph as Graph;
}

/** TensorProto.DataType, for Cast. */
const INT32 = 6;
const INT64 = 7;

function only(node: Node): Value {
  return node.outputs[0] as Value;
}

function setKept(constant: Value, tensor: Tensor): void {
  if (tensor !== constant.constant) graphOf(constant).setConstant(constant, tensor);
}

/** Whether the one symbol of a Reshape's target is what dividing the data by the other extents gives. */
function isWhatIsLeft(node: Node, target: readonly Dim[], types: Types | undefined): boolean {
  const [data] = node.inputs;
  const shape = data && types?.shape(data);
  const left = shape && exactDiv(product(shape), product(target.filter(isKnown)));
  return left !== undefined && left === target.find((d) => !isKnown(d));
}

/** `tensor` with only the kept positions of each axis; the same object when nothing leaves. */
export function takeKept(tensor: Tensor, axes: readonly Axis[], kept: Kept): Tensor {
  let out = tensor;
  axes.forEach((axis, a) => {
    const blocks = kept.familyIndices(axis);
    if (blocks) out = takeBlocks(out, a, blocks);
  });
  axes.forEach((axis, a) => {
    if (kept.isFamily(axis)) return;
    const indices = kept.indices(axis);
    if (indices) out = out.take(a, indices);
  });
  return out;
}

/**
 * The dependent axis of a grouped weight: rows of axis 0 fall in `blocks.length` equal runs, and each run keeps its own
 * positions of `axis`. All blocks keep equally many (balance), so the result is a tensor again.
 */
export function takeBlocks(tensor: Tensor, axis: number, blocks: readonly (readonly number[])[]): Tensor {
  const rows = tensor.dims[0] as number;
  const per = rows / blocks.length;
  const width = (blocks[0] as readonly number[]).length;
  if (blocks.some((b) => b.length !== width))
    throw internal(`Blocks of a grouped weight keep ${blocks.map((b) => b.length).join(", ")} positions.`);
  const dims = tensor.dims.map((d, a) => (a === axis ? width : d));
  return tensor.derive(dims, (bytes) => {
    const whole = Tensor.ofBytes(tensor.dtype, tensor.dims, bytes);
    const parts = blocks.map(
      (indices, b) =>
        whole
          .take(
            0,
            Array.from({ length: per }, (_, i) => b * per + i),
          )
          .take(axis, indices).bytes,
    );
    const out = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
    let at = 0;
    for (const p of parts) {
      out.set(p, at);
      at += p.length;
    }
    return out;
  });
}

/** Puts Gather(input, indices, axis) before `node`'s input. */
export function insertGather(graph: Graph, node: Node, input: number, axis: number, indices: readonly number[]): void {
  const value = node.inputs[input] as Value;
  const at = graph.addInitializer(`${value.name}_kept_indices`, Tensor.ints(indices));
  const gather = graph.insertNode("Gather", [value, at], {
    before: node,
    outputs: [`${value.name}_gathered`],
    attributes: { axis: { kind: "int", value: axis } },
  });
  node.setInput(input, gather.outputs[0]);
}

/**
 * A size that the model computes from a shape and then uses as data (1/√d, an average over C) must keep its value: the
 * pruned graph equals the original with slices made ineffective, not the original of another width. The same holds for
 * size operands of ops that have no rule to adjust them.
 *
 * Returns the values of shape arithmetic whose contents move with the pruned extents.
 */
function freezeDataReads(typing: Typing, kept: Kept, copies: Copies): ReadonlySet<Value> {
  const { model, types } = typing;
  const moving = new Set<Value>();
  for (const node of everyNode(model.graph)) {
    if (isShapeArithmetic(node, types)) {
      const isCut = ({ value, axis }: Measured) => kept.isCut(typing.axesOf(value)?.[axis] as Axis);
      for (const o of node.outputs) if (o && typing.measures.of(o).some((list) => list.some(isCut))) moving.add(o);
      continue;
    }
    const spec = types.spec(node);
    node.inputs.forEach((v, k) => {
      if (!v || !moving.has(v) || (spec?.resize && !typing.barriers.has(node) && spec.sizeOperands?.includes(k))) return;
      const content = types.content(v) ?? [];
      const type = types.type(v);
      // couple.ts pins the axes behind contents that are not plain numbers.
      if (!content.every(isKnown) || type?.kind !== "tensor")
        throw internal(`"${v.name}" moves with a pruned extent, but is read as data by "${node.label}".`, { value: v.name });
      const twin = copies.node(node);
      const tensor = Tensor.fromNumbers(type.dtype, type.shape?.length === 0 ? [] : [content.length], content);
      twin.setInput(k, graphOf(twin).addInitializer(`${v.name}_original`, tensor));
    });
  }
  return moving;
}
