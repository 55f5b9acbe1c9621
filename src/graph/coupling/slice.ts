/** The deed: a model without the removed choices. Deterministic; takes no decision. */
import { internal, ModelError, UnsupportedError } from "../../errors.js";
import { cloneModel } from "../clone.js";
import { type Dim, exactDiv, isKnown, product } from "../dim.js";
import { captures, type Graph, type Model, type Node, type Value } from "../graph.js";
import { applyTypes, infer, type Types } from "../infer.js";
import { Tensor } from "../tensor.js";
import type { Axis } from "./axis.js";
import type { Kept } from "./choices.js";
import { isMeasure, isShapeArithmetic, isTypedPerUse, type Typing } from "./couple.js";
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
  const next = cloneModel(model);
  const source = model.graph.nodes;
  const target = next.graph.nodes.slice();
  const slicer = new Slicer(typing, kept, next);

  const moving = freezeDataReads(typing, kept, target);
  for (const [i, node] of source.entries()) slicer.sliceConstants(node, target[i] as Node);
  slicer.finishConstants();
  for (const [i, node] of source.entries()) slicer.resize(node, target[i] as Node, moving);
  for (const v of model.graph.values) {
    const mine = next.graph.value(v.name);
    const shape = slicer.expectedShape(v);
    // Only what shrank: other declared types, the interface's above all, stay as they are written.
    if (mine?.type?.kind === "tensor" && shape && slicer.isCut(v)) mine.type = { ...mine.type, shape };
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
  readonly #graph: Graph;
  readonly #done = new Set<Value>();
  /** Small constants: value -> signature of what is kept -> uses. */
  readonly #perUse = new Map<Value, Signatures>();
  readonly #wanted: { node: Node; input: number; content: readonly Dim[] }[] = [];
  /** Values of the original that subgraphs read, or return as they are. */
  readonly #captured: ReadonlySet<Value>;

  constructor(typing: Typing, kept: Kept, model: Model) {
    this.#typing = typing;
    this.#kept = kept;
    this.#model = model;
    this.#graph = model.graph;
    this.#captured = new Set(typing.model.graph.nodes.flatMap((n) => (n.subgraphs().length > 0 ? captures(n) : [])));
  }

  sliceConstants(node: Node, target: Node): void {
    node.inputs.forEach((value, index) => {
      if (!value?.constant || value.graph !== this.#typing.model.graph) return;
      const axes = this.#typing.axesOfInput(node, index);
      if (!axes) return;
      if (isTypedPerUse(value)) {
        const key = axes.map((a) => this.#kept.indices(a)?.join(",") ?? "all").join(";");
        const of: Signatures = this.#perUse.get(value) ?? new Map();
        this.#perUse.set(value, of);
        const entry = of.get(key);
        if (entry) entry.uses.push({ node: target, index });
        else of.set(key, { axes, uses: [{ node: target, index }] });
      } else if (!this.#done.has(value)) {
        this.#done.add(value);
        const mine = this.#graph.value(value.name) as Value;
        const tensor = takeKept(value.constant, axes, this.#kept);
        if (tensor !== value.constant) this.#graph.setConstant(mine, tensor);
      }
    });
  }

  /** Small constants whose readers keep different indices are cloned: graph outputs and subgraphs read the whole. */
  finishConstants(): void {
    for (const [value, signatures] of this.#perUse) {
      const isAlone = signatures.size === 1 && !value.isOutput && !this.#captured.has(value);
      for (const { axes, uses } of signatures.values()) {
        const tensor = takeKept(value.constant as Tensor, axes, this.#kept);
        if (tensor === value.constant) continue;
        if (isAlone) this.#graph.setConstant(this.#graph.value(value.name) as Value, tensor);
        else {
          const copy = this.#graph.addInitializer(`${value.name}_pruned`, tensor);
          for (const u of uses) u.node.setInput(u.index, copy);
        }
      }
    }
  }

  /** Lets the op adjust to lost indices; also where only an extent that feeds its size operands moved. */
  resize(node: Node, target: Node, moving: ReadonlySet<Value>): void {
    const { types } = this.#typing;
    if (isShapeArithmetic(node, types)) return;
    const spec = types.spec(node);
    if (!spec?.resize || !(this.#touches(node) || node.inputs.some((v) => v && moving.has(v)))) return;
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
        target.setInput(input, this.#graph.addInitializer(`${target.inputs[input]?.name ?? node.label}_pruned`, tensor));
      },
      gatherInput: (input, axis, indices) => {
        insertGather(this.#graph, target, input, axis, indices);
      },
    };
    spec.resize(context);
    // A size or position that moves with a pruned extent, where the rule has nothing to adjust, keeps its value.
    for (const k of spec.sizeOperands ?? []) {
      const content = node.inputs[k] && moving.has(node.inputs[k]) && !written.has(k) ? base.content(k) : undefined;
      if (content) this.#wanted.push({ node: target, input: k, content });
    }
  }

  #keptIndices(axis: Axis): readonly number[] | undefined {
    return isKnown(axis.size) && !this.#kept.isFamily(axis) ? this.#kept.indices(axis) : undefined;
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
        node.setInput(input, this.#graph.addInitializer(`${have?.name ?? node.label}_resized`, tensor));
      } else {
        if (!have || !now || now.length !== content.length) {
          throw new UnsupportedError(
            "SLICE_OPERAND",
            `Operand ${input} of ${node.opType} "${node.label}" must become [${content.join(", ")}], but it is computed in a way that cannot be rewritten.`,
            { at: { node: node.label }, hint: "Fix the dynamic input sizes of the model first, or exclude this layer." },
          );
        }
        node.setInput(input, this.#patchElements(node, have, now, content));
      }
      types = undefined;
    }
  }

  #patchElements(node: Node, have: Value, now: readonly Dim[], content: readonly Dim[]): Value {
    const pieces: Value[] = [];
    // A Reshape finds one extent by itself.
    const changed = content.flatMap((d, k) => (!isKnown(d) && now[k] !== d ? [k] : []));
    const open = node.opType === "Reshape" && changed.length === 1 && !content.includes(-1) ? changed[0] : undefined;
    for (let k = 0; k < content.length; ) {
      const isNew = now[k] !== content[k];
      let end = k + 1;
      while (end < content.length && (now[end] !== content[end]) === isNew) end++;
      if (isNew) {
        const run = content.slice(k, end).map((d, i) => (k + i === open ? -1 : d));
        if (!run.every(isKnown)) {
          throw new UnsupportedError(
            "SLICE_OPERAND",
            `A symbolic element of the size operand "${have.name}" of "${node.label}" changed from [${now.slice(k, end)}] to [${run}].`,
            { at: { node: node.label } },
          );
        }
        pieces.push(this.#graph.addInitializer(`${have.name}_resized`, Tensor.ints(run)));
      } else {
        const indices = this.#graph.addInitializer(`${have.name}_positions`, Tensor.ints(Array.from({ length: end - k }, (_, i) => k + i)));
        const g = this.#graph.insertNode("Gather", [have, indices], {
          before: node,
          outputs: [`${have.name}_kept`],
          attributes: { axis: { kind: "int", value: 0 } },
        });
        pieces.push(g.outputs[0] as Value);
      }
      k = end;
    }
    if (pieces.length === 1) return pieces[0] as Value;
    const c = this.#graph.insertNode("Concat", pieces, {
      before: node,
      outputs: [`${have.name}_resized`],
      attributes: { axis: { kind: "int", value: 0 } },
    });
    return c.outputs[0] as Value;
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
    for (const v of this.#typing.model.graph.values) {
      const mine = this.#graph.value(v.name);
      const want = mine && this.expectedShape(v);
      const got = mine && after.shape(mine);
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
  return Tensor.lazy(tensor.dtype, dims, () => {
    const parts = blocks.map(
      (indices, b) =>
        tensor
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
function freezeDataReads(typing: Typing, kept: Kept, target: readonly Node[]): ReadonlySet<Value> {
  const { model, types } = typing;
  const moving = new Set<Value>();
  for (const [i, node] of model.graph.nodes.entries()) {
    if (isShapeArithmetic(node, types)) {
      const [measured] = node.inputs;
      const moves = isMeasure(node)
        ? measured && typing.axesOf(measured)?.some((a) => kept.isCut(a))
        : node.inputs.some((v) => v && moving.has(v));
      if (moves) for (const o of node.outputs) if (o) moving.add(o);
      continue;
    }
    const spec = types.spec(node);
    node.inputs.forEach((v, k) => {
      if (!v || !moving.has(v) || (spec?.resize && spec.sizeOperands?.includes(k))) return;
      const content = types.content(v) ?? [];
      const type = types.type(v);
      // couple.ts pins the axes behind contents that are not plain numbers.
      if (!content.every(isKnown) || type?.kind !== "tensor")
        throw internal(`"${v.name}" moves with a pruned extent, but is read as data by "${node.label}".`, { value: v.name });
      const twin = target[i] as Node;
      const tensor = Tensor.fromNumbers(type.dtype, type.shape?.length === 0 ? [] : [content.length], content);
      twin.setInput(k, (twin.graph as Graph).addInitializer(`${v.name}_original`, tensor));
    });
  }
  return moving;
}
