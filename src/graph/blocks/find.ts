/**
 * Residual blocks: sums of a value and of what a branch makes of that same value. Found from who reads what, never by name.
 *
 * A block can be bypassed: its sum becomes the skip, and what only the branch needed goes (remove.ts).
 */
import { isFloat } from "../dtype.js";
import { everyGraph, type Graph, type Model, type Node, type TensorType, type Value } from "../graph.js";
import { infer, type Types } from "../infer.js";
import { noMacs } from "../ops/shape-rules.js";
import { typeText } from "../print.js";
import { sameValue } from "../same-value.js";
import { Dataflow } from "./dataflow.js";
import { handsOnNonNegative, isNonNegative } from "./non-negative.js";

/** One residual block. Its nodes and values are those of the model it was found in. */
export interface Block {
  /** Label of the node that sums: unique among the blocks of a model, and the same at every call. */
  readonly name: string;
  /** Add, Sum of two, or a layer normalisation that ONNX Runtime fused with the sum before it. */
  readonly add: Node;
  /** identity: the skip is `entry`; projection: the skip has nodes of its own, which leave with the branch. */
  readonly kind: "identity" | "projection";
  /** The value the branch starts from, and which takes the place of the sum. */
  readonly entry: Value;
  /** The operand that always equals `entry` (of a projection: the one with less work). */
  readonly skip: Value;
  readonly branch: Value;
  /** Type of the sum, and of both its operands. */
  readonly type: TensorType;
  /** Which input of `add` is the skip; the branch is the other of 0 and 1. */
  readonly skipIndex: 0 | 1;
  /** Nodes that nobody needs without the block, in graph order; `add` is none of them. */
  readonly nodes: readonly Node[];
  /** An activation reads the sum that changes nothing once the sum is the skip, which has no negative element. */
  readonly removesActivation: boolean;
  /** Nodes with constant weights whose outputs reach the sum on the branch's side through no other such node. */
  readonly last: readonly Node[];
  /** Name of the smallest block in whose branch this one lies. */
  readonly within?: string;
}

/** A sum that looks like one of a residual block, and why it stays. */
export interface DeclinedBlock {
  readonly at: string;
  readonly why: string;
}

export interface Blocks {
  /** Outer graph first, in graph order. */
  readonly blocks: readonly Block[];
  readonly declined: readonly DeclinedBlock[];
}

export interface BlockOptions {
  /** Also blocks whose skip is a projection, where entry and sum are of one type: removed, the sum becomes the entry. Default false. */
  readonly projections?: boolean;
}

/**
 * The residual blocks of `model`, those of bodies included, and the sums that are none for a reason worth telling.
 *
 * One operand of the sum is the entry, or hands it on unchanged (Identity, Dropout at inference, a Cast or Reshape that changes
 * nothing); the other depends on the entry by nodes that compute with weights or multiply; nothing of what depends on the entry
 * is read outside the branch; and both operands are provably of one type. A branch may also read what does not depend on the entry
 * (masks, embeddings of time, encoders), save as a term of its own: that stays where others read it. Sums that act on each element by itself
 * (x + 0.0447·x³ of a GELU), sums with a constant, and sums of integers are passed over in silence.
 */
export function findBlocks(model: Model, types: Types = infer(model), options: BlockOptions = {}): Blocks {
  const found: Unnamed[] = [];
  const declined: DeclinedBlock[] = [];
  for (const graph of everyGraph(model.graph)) {
    const finder = new Finder(model, graph, types, options);
    for (const node of graph.nodes) {
      const block = finder.examine(node);
      if (typeof block === "string") declined.push({ at: node.label, why: block });
      else if (block) found.push(block);
    }
  }
  return { blocks: placed(named(model, found)), declined };
}

type Unnamed = Omit<Block, "name">;

/** A block; or no block, with the reason where it is worth telling: a branch that does no work of its own is none. */
type Verdict = { readonly block: Unnamed } | { readonly why: string | undefined };

/** Operators with an input that holds their weights. */
const WEIGHTED: ReadonlySet<string> = new Set([
  "Conv",
  "ConvTranspose",
  "Gemm",
  "MatMul",
  "com.microsoft.FusedConv",
  "com.microsoft.FusedGemm",
  "com.microsoft.FusedMatMul",
  "com.microsoft.MatMulNBits",
]);

/** Sums fused with the normalisation after them, and the opset that has this normalisation alone. */
const FUSED: ReadonlyMap<string, number> = new Map([
  ["com.microsoft.SkipLayerNormalization", 17],
  ["com.microsoft.SkipSimplifiedLayerNormalization", 23],
]);

/** Labels in one reason. */
const LABELS_SHOWN = 3;

class Finder {
  readonly #model: Model;
  readonly #flow: Dataflow;
  readonly #types: Types;
  readonly #options: BlockOptions;

  constructor(model: Model, graph: Graph, types: Types, options: BlockOptions) {
    this.#model = model;
    this.#flow = new Dataflow(graph);
    this.#types = types;
    this.#options = options;
  }

  /** The block whose sum is `node`; a sentence where it is none for a reason; undefined where it is no such sum at all. */
  examine(node: Node): Unnamed | string | undefined {
    const operands = this.#operands(node);
    if (!operands) return undefined;
    const whys: (string | undefined)[] = [];
    for (const skipIndex of operands.keys()) {
      for (const branchIndex of operands.keys()) {
        if (operands[skipIndex] === operands[branchIndex]) continue;
        const found = this.#identity(node, operands, skipIndex, branchIndex);
        if (found && "block" in found) return found.block;
        if (found) whys.push(found.why);
      }
    }
    if (whys.length > 0) return whys.find((why) => why !== undefined);
    return operands.length === 2 ? this.#projection(node, operands as [Value, Value]) : undefined;
  }

  /** What comes of one operand as skip and another as branch; undefined where the branch does not depend on the skip. */
  #identity(node: Node, operands: readonly Value[], skipIndex: number, branchIndex: number): Verdict | undefined {
    const [skip, branch] = [operands[skipIndex] as Value, operands[branchIndex] as Value];
    let why: string | undefined;
    let depends = false;
    for (const entry of this.#aliases(skip)) {
      const between = this.#flow.between(entry, branch, { extents: true });
      if (!isMadeBy(branch, between)) continue;
      depends = true;
      if (!between.some((n) => this.#computes(n))) continue;
      const obstacle = operands.length > 2 ? `it is a sum of ${operands.length} terms` : this.#obstacle(node, [skip, branch]);
      const dead = this.#flow.unneeded(node, [branchIndex], entry);
      const problem = obstacle ?? this.#leak(node, between, dead) ?? this.#otherTerm(entry, branch, between);
      if (problem === undefined) return { block: this.#block("identity", node, skipIndex as 0 | 1, entry, dead) };
      why ??= problem;
    }
    return depends ? { why } : undefined;
  }

  /** The terms of a sum of floats that all change from run to run. */
  #operands(node: Node): Value[] | undefined {
    const isSum = node.isStandard && (node.opType === "Add" || node.opType === "Sum");
    const terms = isSum ? node.inputs : FUSED.has(node.qualifiedType) ? node.inputs.slice(0, 2) : [];
    const present = terms.filter((v) => v !== undefined);
    const isOne = (v: Value) => {
      const type = this.#types.type(v);
      return type?.kind === "tensor" && isFloat(type.dtype) && this.#flow.isVarying(v);
    };
    return present.length >= 2 && present.length === terms.length && present.every(isOne) ? present : undefined;
  }

  /** `value` and what it always equals, the nearest first. */
  #aliases(value: Value): Value[] {
    const found = [value];
    for (let node = this.#flow.producer(value); node; ) {
      const same: Value | undefined = node.outputs[0] === found.at(-1) ? sameValue(node, this.#types) : undefined;
      if (!same || !this.#flow.isVarying(same)) break;
      found.push(same);
      node = this.#flow.producer(same);
    }
    return found;
  }

  /** Whether a node does more than move elements or treat each by itself: it has weights, or multiplies and adds. */
  #computes(node: Node): boolean {
    const spec = this.#types.spec(node);
    if (spec?.macs && spec.macs !== noMacs) return true;
    return node.inputs.some((v) => {
      const type = v && this.#types.type(v);
      if (type?.kind !== "tensor" || this.#flow.isVarying(v as Value)) return false;
      return isFloat(type.dtype) && !(type.shape?.every((d) => d === 1) ?? false);
    });
  }

  /** Why the sum cannot become one of its terms, whatever the branch is. */
  #obstacle(node: Node, values: readonly Value[]): string | undefined {
    const [first, ...others] = values.map((v) => ({ name: v.name, type: this.#types.type(v) }));
    const text = (type: ReturnType<Types["type"]>) => (type ? typeText(type) : "of unknown type");
    for (const other of others)
      if (!isSameType(first?.type, other.type))
        return `"${first?.name}" is ${text(first?.type)} and "${other.name}" is ${text(other.type)}, which is not provably one type`;
    const least = FUSED.get(node.qualifiedType);
    if (least === undefined) return undefined;
    if (this.#model.opset < least) return `opset ${this.#model.opset} has no such normalisation without the sum (${least} has)`;
    const statistic = node.outputs.slice(1, 3).find((o) => o && (o.isOutput || this.#flow.readers(o).length > 0));
    return statistic && `its output "${statistic.name}" is read, which no normalisation without the sum gives`;
  }

  /** What of the nodes `between` entry and sum is needed elsewhere. */
  #leak(sum: Node, between: readonly Node[], dead: ReadonlySet<Node>): string | undefined {
    const leaking = between.filter((n) => !dead.has(n));
    const inside = new Set([sum, ...between, ...dead]);
    for (const o of leaking.flatMap((n) => n.outputs)) {
      if (!o) continue;
      if (o.isOutput) return `"${o.name}", which the branch computes, is an output of the graph`;
      const reader = this.#flow.readers(o).find((r) => !inside.has(r));
      if (reader) return `"${o.name}", which the branch computes, is also read outside it, by ${said(reader)}`;
    }
    return leaking[0] && `${said(leaking[0])} is needed outside the branch`;
  }

  /** A term of the branch that does not come from the entry: where the branch is a sum with a trunk, the entry may be a side way. */
  #otherTerm(entry: Value, branch: Value, between: readonly Node[]): string | undefined {
    const terms = [branch];
    for (let v = terms.pop(); v; v = terms.pop()) {
      const last = this.#aliases(v).at(-1) as Value;
      const node = this.#flow.producer(last);
      const isInside = node !== undefined && between.includes(node);
      if (!isInside && last !== entry && this.#flow.isVarying(last) && isSameType(this.#types.type(last), this.#types.type(branch)))
        return `its branch is a sum with "${v.name}", which does not come from "${entry.name}"`;
      if (isInside && node.isStandard && (node.opType === "Add" || node.opType === "Sum"))
        terms.push(...node.inputs.filter((i) => i !== undefined));
    }
    return undefined;
  }

  /** Both operands have nodes of their own after the last value they share. */
  #projection(node: Node, operands: readonly [Value, Value]): Unnamed | string | undefined {
    if (operands[0] === operands[1]) return undefined;
    const entry = this.#flow.meeting(...operands);
    if (!entry) return undefined;
    const sides = operands.map((v) => this.#flow.between(entry, v, { extents: false }));
    const weighted = sides.map((side) => side.filter((n) => this.#isWeighted(n)));
    if (weighted.every((w) => w.length === 0)) return undefined;
    const more = (of: readonly (readonly Node[])[]) => (of[0] as Node[]).length - (of[1] as Node[]).length;
    const skipIndex = (more(weighted) || more(sides)) > 0 ? 1 : 0;
    const own = weighted[skipIndex]?.length ? (weighted[skipIndex] as Node[]) : (sides[skipIndex] as readonly Node[]);
    const others = own.length > LABELS_SHOWN ? ` and ${own.length - LABELS_SHOWN} more` : "";
    const way = own.slice(0, LABELS_SHOWN).map(said).join(", ");
    const why = `a projection: from "${entry.name}" even the shorter way to the sum leads through ${way}${others}`;
    if (!this.#options.projections) return why;
    const dead = this.#flow.unneeded(node, [0, 1], entry);
    const problem = this.#obstacle(node, [entry, ...operands]) ?? this.#leak(node, this.#flow.inOrder(new Set(sides.flat())), dead);
    return problem === undefined ? this.#block("projection", node, skipIndex, entry, dead) : `${why}; ${problem}`;
  }

  #isWeighted(node: Node): boolean {
    const [A, W] = node.inputs;
    const isConstant = (v: Value | undefined) => v !== undefined && !this.#flow.isVarying(v);
    return WEIGHTED.has(node.qualifiedType) && (isConstant(W) || (node.opType === "MatMul" && isConstant(A)));
  }

  #block(kind: Block["kind"], add: Node, skipIndex: 0 | 1, entry: Value, dead: ReadonlySet<Node>): Unnamed {
    const [skip, branch] = [add.inputs[skipIndex] as Value, add.inputs[1 - skipIndex] as Value];
    return {
      add,
      kind,
      entry,
      skip,
      branch,
      type: this.#types.type(branch) as TensorType,
      skipIndex,
      nodes: this.#flow.inOrder(dead),
      removesActivation: redundantActivations(add).length > 0 && isNonNegative(entry, this.#types),
      last: this.#last(branch, entry),
    };
  }

  /** Gates and the like, whose outputs are smaller than the branch, are left out where there are others. */
  #last(branch: Value, entry: Value): readonly Node[] {
    const between = new Set(this.#flow.between(entry, branch, { extents: false }));
    const found = new Set<Node>();
    const seen = new Set<Value>();
    const pending: Value[] = [branch];
    for (let v = pending.pop(); v; v = pending.pop()) {
      const node = this.#flow.producer(v);
      if (seen.has(v) || !node || !between.has(node)) continue;
      seen.add(v);
      if (this.#isWeighted(node)) found.add(node);
      else pending.push(...this.#flow.dataReads(node));
    }
    const all = this.#flow.inOrder(found);
    const whole = all.filter((n) => isSameType(this.#types.type(n.outputs[0] as Value), this.#types.type(branch)));
    return whole.length > 0 ? whole : all;
  }
}

/** Nodes that read the sum and hand it on where it is not negative. */
export function redundantActivations(add: Node): Node[] {
  if (FUSED.has(add.qualifiedType)) return [];
  const uses = add.outputs[0]?.uses() ?? [];
  return uses.flatMap(({ node, index }) => (index === 0 && handsOnNonNegative(node) ? [node] : []));
}

function isMadeBy(value: Value, nodes: readonly Node[]): boolean {
  return value.producer !== undefined && nodes.includes(value.producer);
}

function isSameType(a: ReturnType<Types["type"]>, b: ReturnType<Types["type"]>): boolean {
  if (a?.kind !== "tensor" || b?.kind !== "tensor" || !a.shape || !b.shape) return false;
  return a.dtype === b.dtype && a.shape.length === b.shape.length && a.shape.every((d, i) => d === b.shape?.[i]);
}

function said(node: Node): string {
  return `${node.opType} "${node.label}"`;
}

/** Labels, where several nodes have the same the name of what they make, and a number where bodies repeat that too. */
function named(model: Model, blocks: readonly Unnamed[]): Block[] {
  const labels = new Map<string, number>();
  for (const graph of everyGraph(model.graph)) for (const n of graph.nodes) labels.set(n.label, (labels.get(n.label) ?? 0) + 1);
  const taken = new Set<string>();
  return blocks.map((block) => {
    const { label } = block.add;
    const base = labels.get(label) === 1 ? label : (block.add.outputs[0]?.name ?? label);
    let name = base;
    for (let n = 2; taken.has(name); n++) name = `${base}#${n}`;
    taken.add(name);
    return { name, ...block };
  });
}

/** Each block with the smallest that holds it. */
function placed(blocks: readonly Block[]): Block[] {
  const holders = new Map<Node, Block>();
  for (const block of [...blocks].sort((a, b) => b.nodes.length - a.nodes.length)) for (const n of block.nodes) holders.set(n, block);
  return blocks.map((block) => {
    let holder: Block | undefined;
    for (let node: Node | undefined = block.add; node && !holder; node = node.graph?.owner) holder = holders.get(node);
    return holder ? { ...block, within: holder.name } : block;
  });
}
