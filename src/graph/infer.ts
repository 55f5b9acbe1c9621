/**
 * Type inference: dtype, shape and (for the small integer tensors that shapes are computed with) contents of every
 * value, in one pass over the nodes. Drives OpSpec.infer.
 *
 * Symbols stand for extents of at least 1. A symbol that starts with "?" was made here, for an extent nobody declared.
 */
import { ConfigError, ModelError } from "../errors.js";
import { add, type Dim, evaluate, isKnown } from "./dim.js";
import { isInteger } from "./dtype.js";
import { evaluateNode, isReadable } from "./evaluate.js";
import type { Graph, Model, Node, TensorType, Value, ValueType } from "./graph.js";
import type { CostContext, InferContext, OpSpec } from "./op.js";
import { operandError } from "./operands.js";
import { specOf } from "./ops/index.js";
import { HIGHEST_RANK } from "./ops/shape-rules.js";
import { Tensor } from "./tensor.js";

/** A value whose declared type (value_info, output) contradicts what its producer computes; the inferred type is used. */
export interface TypeConflict {
  readonly value: Value;
  readonly inferred: ValueType;
  readonly declared: ValueType;
}

/** What inference found. A snapshot: it does not follow later edits of the graph. */
export interface Types {
  type(value: Value): ValueType | undefined;
  /** Undefined for what is not a tensor of known rank. */
  shape(value: Value): readonly Dim[] | undefined;
  /** Elements of an integer or bool tensor of rank 0 or 1 with at most 64 elements, where known at least symbolically. */
  content(value: Value): readonly Dim[] | undefined;
  /** Inputs and outputs of `node` as the op rules see them. */
  context(node: Node): CostContext;
  /** The meaning of `node` at this model's opset; undefined for unknown operators and calls of local functions. */
  spec(node: Node): OpSpec | undefined;
  readonly conflicts: readonly TypeConflict[];
  /** What keeps the nodes of a subgraph from having types, where it contradicts what it is given. */
  contradiction(body: Graph): ModelError | undefined;
}

export interface InferOptions {
  /** Numeric shapes of graph inputs by name: binds their symbols, wherever else they occur, to numbers. */
  readonly bind?: Readonly<Record<string, readonly number[]>>;
  /** A node whose inputs contradict each other has outputs of declared type instead of raising: for graphs under repair. */
  readonly lenient?: boolean;
}

/** Most elements of a tensor that inference follows one by one. */
const LONGEST_CONTENT = 64;
/** Most elements of a tensor that inference computes with; weights are never read. */
const LARGEST_FOLDED = 4096;

/**
 * Types of all values of the main graph and of the subgraphs of its nodes. The model is not changed.
 *
 * Declared types serve where inference has no answer: for operators without rules, calls of local functions, and
 * extents that depend on data.
 *
 * @throws ModelError when a node's inputs contradict each other.
 * @throws ConfigError when `bind` does not fit the inputs.
 */
export function infer(model: Model, options: InferOptions = {}): Types {
  return new Inference(model, options);
}

/**
 * Writes inferred types into `Value.type`, where there is none or it contradicts. Graph inputs and outputs keep
 * what they declare: they are the interface.
 */
export function applyTypes(model: Model, types: Types): void {
  const apply = (graph: Graph) => {
    for (const value of graph.values) {
      const inferred = types.type(value);
      if (!inferred || value.type === inferred) continue;
      const isInterface = value.isInput || value.isOutput;
      if (!value.type || (!isInterface && isStale(value.type, inferred))) value.type = inferred;
    }
    for (const node of graph.nodes) for (const body of node.subgraphs()) apply(body);
  };
  apply(model.graph);
}

function isStale(declared: ValueType, inferred: ValueType): boolean {
  if (inferred.kind === "tensor" && declared.kind === "tensor" && !declared.shape && inferred.shape) return true;
  return contradicts(declared, inferred);
}

function contradicts(declared: ValueType, inferred: ValueType): boolean {
  if (declared.kind === "other" || inferred.kind === "other") return declared.kind !== inferred.kind;
  if (declared.dtype !== "undefined" && declared.dtype !== inferred.dtype) return true;
  const { shape } = inferred;
  if (!declared.shape || !shape) return false;
  return (
    declared.shape.length !== shape.length ||
    declared.shape.some((d, a) => isExtent(d) && isKnown(d) && isKnown(shape[a] as Dim) && d !== shape[a])
  );
}

/**
 * A declared dim that says something. Symbols with "?" do not: the codec and this file make them for dims a file leaves
 * open, and here each value gets its own again.
 */
function isExtent(d: Dim): boolean {
  return isKnown(d) ? d >= 0 : d !== "" && !d.includes("?");
}

/** A tensor computed during inference. `fixed`: from constants alone, not from the shape of anything. */
interface Folded {
  readonly tensor: Tensor;
  readonly fixed: boolean;
}

class Inference implements Types {
  readonly conflicts: TypeConflict[] = [];
  readonly #model: Model;
  readonly #lenient: boolean;
  readonly #functions: ReadonlySet<string>;
  readonly #bound = new Map<string, number>();
  readonly #given = new Map<Value, readonly number[]>();
  readonly #types = new Map<Value, ValueType>();
  /** In row-major order, of any rank. */
  readonly #contents = new Map<Value, readonly Dim[]>();
  readonly #folded = new Map<Value, Folded>();
  readonly #symbols = new Map<Value, string>();
  readonly #taken = new Set<string>();
  readonly #visited = new Set<Graph>();
  readonly #contradictions = new Map<Graph, ModelError>();

  constructor(model: Model, { bind = {}, lenient = false }: InferOptions) {
    this.#model = model;
    this.#lenient = lenient;
    this.#functions = new Set(model.functions.map((f) => `${f.domain === "ai.onnx" ? "" : f.domain}:${f.name}:${f.overload}`));
    for (const [name, dims] of Object.entries(bind)) this.#bind(name, dims);
    this.#graph(model.graph, []);
  }

  type(value: Value): ValueType | undefined {
    return this.#types.get(value);
  }

  shape(value: Value): readonly Dim[] | undefined {
    const type = this.#types.get(value);
    return type?.kind === "tensor" ? type.shape : undefined;
  }

  content(value: Value): readonly Dim[] | undefined {
    const shape = this.shape(value);
    return shape && shape.length <= 1 ? this.#content(value) : undefined;
  }

  spec(node: Node): OpSpec | undefined {
    if (this.#functions.has(`${node.domain}:${node.opType}:${node.overload}`)) return undefined;
    return specOf(node, this.#opset(node));
  }

  contradiction(body: Graph): ModelError | undefined {
    return this.#contradictions.get(body);
  }

  context(node: Node): InferContext & CostContext {
    const tensorType = (v: Value | undefined): TensorType | undefined => {
      const type = v && this.#types.get(v);
      return type?.kind === "tensor" ? type : undefined;
    };
    return {
      node,
      opset: this.#opset(node),
      type: (i) => tensorType(node.inputs[i]),
      shape: (i) => tensorType(node.inputs[i])?.shape,
      constant: (i) => {
        const v = node.inputs[i];
        const folded = v && this.#folded.get(v);
        return v?.constant ?? (folded?.fixed ? folded.tensor : undefined);
      },
      content: (i) => node.inputs[i] && this.content(node.inputs[i]),
      outputShape: (i) => tensorType(node.outputs[i])?.shape,
      fresh: (output, axis) => {
        const v = node.outputs[output];
        return v ? this.#fresh(v, axis) : `?unused_${output}_${axis}`;
      },
      body: (graph, inputs) => {
        this.#contradictions.delete(graph);
        try {
          this.#graph(graph, inputs);
        } catch (error) {
          if (error instanceof ModelError) this.#contradictions.set(graph, error);
          throw error;
        }
        return graph.outputs.map((v) => this.#types.get(v));
      },
    };
  }

  #opset(node: Node): number {
    return this.#model.opsets.get(node.domain) ?? 1;
  }

  // Inputs.

  #bind(name: string, dims: readonly number[]): void {
    const input = this.#model.graph.inputs.find((v) => v.name === name);
    if (!input) {
      const names = this.#model.graph.inputs.map((v) => `"${v.name}"`).join(", ");
      throw new ConfigError("INPUT_UNKNOWN", `A shape is given for input "${name}", but the model's inputs are ${names}.`, {
        at: { value: name },
      });
    }
    const declared = input.shape;
    if (dims.some((d) => !Number.isInteger(d) || d < 0) || (declared && declared.length !== dims.length)) throw badBinding(input, dims);
    this.#given.set(input, dims);
    declared?.forEach((d, a) => {
      const to = dims[a] as number;
      const symbol = isExtent(d) ? add(d, 0) : this.#fresh(input, a);
      if (isKnown(symbol) ? symbol !== to : (this.#bound.get(symbol) ?? to) !== to) throw badBinding(input, dims);
      if (!isKnown(symbol)) this.#bound.set(symbol, to);
    });
  }

  #declared(value: Value): ValueType | undefined {
    const type = value.type;
    if (type?.kind !== "tensor") return type;
    if (type.dtype === "undefined") return undefined;
    if (type.shape && type.shape.length > HIGHEST_RANK) return { ...type, shape: undefined };
    const shape = this.#given.get(value) ?? type.shape?.map((d, a) => this.#number(isExtent(d) ? add(d, 0) : this.#fresh(value, a)));
    return { kind: "tensor", dtype: type.dtype, shape };
  }

  /** Types that no honest file has are cut down: absurd ranks are unknown, and extents whose text has grown too long are symbols. */
  #bounded(value: Value, type: ValueType): ValueType {
    if (type.kind !== "tensor" || !type.shape) return type;
    if (type.shape.length > HIGHEST_RANK) return { ...type, shape: undefined };
    if (type.shape.some((d) => isKnown(d) && !(d >= 0 && Number.isSafeInteger(d)))) {
      throw new ModelError(
        "MODEL_SHAPE_MISMATCH",
        `"${value.name}" would have the shape [${type.shape.join(", ")}], which no tensor has.`,
        {
          at: { value: value.name, ...(value.producer ? { node: value.producer.label } : {}) },
          hint: "An attribute, a shape or a constant of the model is wrong, or an input shape given on the command line does not fit it.",
        },
      );
    }
    if (!type.shape.some(isLong)) return type;
    return { ...type, shape: type.shape.map((d, a) => (isLong(d) ? this.#fresh(value, a) : d)) };
  }

  #number(d: Dim): Dim {
    return isKnown(d) || this.#bound.size === 0 ? d : (this.#bound.get(d) ?? evaluate(d, this.#bound) ?? d);
  }

  /** The symbol for an extent of `value` that nothing else determines. */
  #fresh(value: Value, axis: number): Dim {
    let base = this.#symbols.get(value);
    if (base === undefined) {
      // Names of sibling subgraphs may repeat; their extents are not the same for that.
      const name = `?${escapeName(value.name)}`;
      base = name;
      for (let n = 2; this.#taken.has(base); n++) base = `${name}~${n}`;
      this.#taken.add(base);
      this.#symbols.set(value, base);
    }
    return `${base}_${axis}`;
  }

  // Graphs and nodes.

  #graph(graph: Graph, inputs: readonly (ValueType | undefined)[]): void {
    this.#visited.add(graph);
    graph.inputs.forEach((v, i) => {
      this.#settle(v, inputs[i]);
    });
    for (const v of graph.initializers) {
      const t = v.initializer as Tensor;
      if (v.constant || !this.#types.has(v)) this.#types.set(v, { kind: "tensor", dtype: t.dtype, shape: t.dims });
    }
    for (const node of graph.nodes) this.#node(node);
  }

  #node(node: Node): void {
    const spec = this.spec(node);
    const op = this.context(node);
    const inferred = this.#infer(spec, op);
    node.outputs.forEach((v, i) => {
      if (!v) return;
      this.#contents.delete(v);
      this.#folded.delete(v);
      this.#settle(v, inferred[i]?.type);
      const content = inferred[i]?.content;
      const shape = this.shape(v);
      if (
        content &&
        shape &&
        shape.length <= 1 &&
        content.length <= LONGEST_CONTENT &&
        content.length === (shape[0] ?? 1) &&
        !content.some(isLong)
      ) {
        this.#contents.set(
          v,
          content.map((d) => this.#number(d)),
        );
      }
    });
    for (const body of node.subgraphs()) if (!this.#visited.has(body)) this.#graph(body, []);
    if (spec?.evaluate && !spec.nondeterministic && node.opType !== "Constant") this.#fold(node, spec, op);
  }

  #infer(spec: OpSpec | undefined, op: InferContext): ReturnType<NonNullable<OpSpec["infer"]>> {
    try {
      const error = spec && operandError(spec, op);
      if (error) throw error;
      return spec?.infer?.(op) ?? [];
    } catch (error) {
      if (this.#lenient && error instanceof ModelError) return [];
      throw error;
    }
  }

  /** Records the type of a value: the inferred one, completed by the declared one. */
  #settle(value: Value, found: ValueType | undefined): void {
    const declared = this.#declared(value);
    const inferred = found && this.#bounded(value, found);
    if (!inferred) {
      if (declared) this.#types.set(value, declared);
      else this.#types.delete(value);
      return;
    }
    if (!declared) {
      this.#types.set(value, inferred);
      return;
    }
    const bound =
      inferred.kind === "tensor" && inferred.shape ? { ...inferred, shape: inferred.shape.map((d) => this.#number(d)) } : inferred;
    if (contradicts(declared, bound)) {
      this.conflicts.push({ value, inferred: bound, declared });
      this.#types.set(value, bound);
    } else this.#types.set(value, this.#complete(value, bound, declared));
  }

  #complete(value: Value, inferred: ValueType, declared: ValueType): ValueType {
    if (inferred.kind !== "tensor" || declared.kind !== "tensor") return declared;
    if (!inferred.shape || !declared.shape) return { ...inferred, shape: inferred.shape ?? declared.shape };
    const shape = inferred.shape.map((d, a) => (d === this.#fresh(value, a) ? (declared.shape?.[a] as Dim) : d));
    return { ...inferred, shape };
  }

  // Contents.

  #content(value: Value): readonly Dim[] | undefined {
    const have = this.#contents.get(value);
    if (have) return have;
    const constant = value.constant;
    if (!constant || constant.size > LONGEST_CONTENT || !(isInteger(constant.dtype) || constant.dtype === "bool")) return undefined;
    const content = constant.ints();
    this.#contents.set(value, content);
    return content;
  }

  /** The tensor a value is known to hold, unless it is too large to look at. */
  #tensor(value: Value): Folded | undefined {
    const constant = value.constant;
    if (constant) return constant.size <= LARGEST_FOLDED && isReadable(constant.dtype) ? { tensor: constant, fixed: true } : undefined;
    const folded = this.#folded.get(value);
    if (folded) return folded;
    const content = this.#contents.get(value);
    const type = this.#types.get(value);
    if (!content || type?.kind !== "tensor" || !content.every(isKnown) || !type.shape?.every(isKnown)) return undefined;
    return { tensor: Tensor.fromNumbers(type.dtype, type.shape as number[], content as number[]), fixed: false };
  }

  /** Computes the outputs of a small node from known inputs, or moves the symbolic contents of its inputs. */
  #fold(node: Node, spec: OpSpec, op: InferContext): void {
    const inputs = node.inputs.map((v) => v && this.#tensor(v));
    if (inputs.every((t, i) => t || !node.inputs[i])) {
      const tensors = this.#evaluate(
        node,
        spec,
        op,
        inputs.map((t) => t?.tensor),
        LARGEST_FOLDED,
      );
      // The shape of a constant is not fixed: pruning changes it.
      const fixed = !readsExtents.has(node.opType) && inputs.every((t) => !t || t.fixed);
      tensors?.forEach((tensor, i) => {
        const v = node.outputs[i];
        if (!v) return;
        this.#folded.set(v, { tensor, fixed });
        if (tensor.size <= LONGEST_CONTENT && (isInteger(tensor.dtype) || tensor.dtype === "bool")) this.#contents.set(v, tensor.ints());
      });
    } else if (spec.moves !== undefined) this.#move(node, spec, op, inputs);
  }

  #evaluate(
    node: Node,
    spec: OpSpec,
    op: InferContext,
    inputs: readonly (Tensor | undefined)[],
    limit: number,
  ): readonly Tensor[] | undefined {
    try {
      return evaluateNode(spec, op, inputs, outputShapes(node, this), limit);
    } catch (error) {
      if (this.#lenient && error instanceof ModelError) return undefined;
      throw error;
    }
  }

  /** Sends the elements' numbers instead of the elements through `evaluate` and reads where they land. */
  #move(node: Node, spec: OpSpec, op: InferContext, known: readonly (Folded | undefined)[]): void {
    // 0 stands for the zeros that e.g. Pad and Trilu add.
    const elements: Dim[] = [0];
    const inputs: (Tensor | undefined)[] = [];
    for (const [i, v] of node.inputs.entries()) {
      const isMoved = spec.moves === "all" || spec.moves?.includes(i);
      if (!v || !isMoved) {
        if (v && !known[i]) return;
        inputs.push(known[i]?.tensor);
        continue;
      }
      const content = this.#content(v);
      const shape = this.shape(v);
      if (!content || !shape?.every(isKnown)) return;
      inputs.push(
        Tensor.ints(
          content.map((_, k) => elements.length + k),
          shape as number[],
        ),
      );
      elements.push(...content);
    }
    this.#evaluate(node, spec, op, inputs, LONGEST_CONTENT)?.forEach((ids, i) => {
      const v = node.outputs[i];
      if (v)
        this.#contents.set(
          v,
          ids.ints().map((id) => elements[id] as Dim),
        );
    });
  }
}

/**
 * What is an operand today was an attribute of that name in older operators (shape of Reshape, k of TopK).
 * @throws ModelError when an input that the operator cannot do without is absent.
 */
/** Each node may join the texts of its inputs, so that without a bound they could double from node to node. */
const LONGEST_DIM = 512;

function isLong(d: Dim): boolean {
  return !isKnown(d) && d.length > LONGEST_DIM;
}

const readsExtents: ReadonlySet<string> = new Set(["Shape", "Size", "EyeLike"]);

function outputShapes(node: Node, types: Types): (readonly Dim[] | undefined)[] {
  return node.outputs.map((v) => v && types.shape(v));
}

function badBinding(input: Value, dims: readonly number[]): ConfigError {
  return new ConfigError(
    "INPUT_SHAPE",
    `Input "${input.name}" is declared as [${input.shape?.join(", ") ?? "any rank"}], but is given as [${dims.join(", ")}].`,
    {
      at: { value: input.name },
      hint: "Give one non-negative integer per axis; axes that share a symbol share a number.",
    },
  );
}

/** A value name without the characters that mean something in a Dim; distinct names stay distinct. */
function escapeName(name: string): string {
  return name.replace(/[%()*, +~-]/g, (c) => `%${c.charCodeAt(0).toString(16)}`);
}
