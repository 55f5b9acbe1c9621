/**
 * Large models run piece by piece: each piece of the graph is loaded with its own weights, run on all inputs, and freed.
 *
 * A piece is a run of nodes in topological order; what it reads from pieces before it are its inputs, what later ones read
 * are its outputs. The same kernels see the same operands in the same order as in one session without graph optimisation,
 * so nothing is lost but time, and memory is that of one piece instead of several times that of the model.
 */
import { extract } from "../graph/clone.js";
import { isFloat } from "../graph/dtype.js";
import { captures, type Model, type Value } from "../graph/graph.js";
import { infer } from "../graph/infer.js";
import type { Tensor } from "../graph/tensor.js";
import type { Feeds, LoadOptions, Runner, Session } from "../runtime/runner.js";
import { sourceOf } from "../runtime/source.js";
import { isCarried } from "../runtime/wire.js";

/** Bytes of weights up to which a model is run whole: ONNX Runtime takes up to four times that. */
const LARGEST_WHOLE = 2 ** 28;
/** Bytes of weights a piece has, unless a single node has more. */
const PIECE = 2 ** 27;
/** Weights of at least this many bytes are given as inputs; small ones may be shapes, which some kernels want constant. */
const FED = 2 ** 20;

export interface PieceOptions {
  readonly optimization: NonNullable<LoadOptions["optimization"]>;
  /** Weights stay initializers, as the optimiser wants them, at up to four times the memory. */
  readonly constant?: boolean;
  /** Most bytes of weights at once; default: up to 256 MiB whole, else pieces of 128 MiB. */
  readonly limit?: number;
  /** Names of the values wanted; default: the outputs of the model. */
  readonly fetch?: readonly string[];
}

/**
 * Outputs of `model` for each of `feeds`: in one session, or in pieces when its weights are large.
 * @throws what Runner.load and Session.run throw.
 */
export async function runAll(
  runner: Runner,
  model: Model,
  feeds: readonly Feeds[],
  options: PieceOptions,
): Promise<Record<string, Tensor>[]> {
  if (!isRunWhole(model, options.limit)) return runInPieces(runner, model, feeds, options);
  const session = await runner.load(sourceOf(model), { optimization: options.optimization });
  try {
    const runs: Record<string, Tensor>[] = [];
    for (const f of feeds) runs.push(await session.run(f, options.fetch));
    return runs;
  } finally {
    await session.release();
  }
}

/** Whether runAll() takes one session. */
export function isRunWhole(model: Model, limit: number = LARGEST_WHOLE): boolean {
  return weightBytes(model) <= limit;
}

/** Bytes of all weights of the main graph, in Constant nodes too. */
export function weightBytes(model: Model): number {
  let n = 0;
  for (const v of model.graph.values) n += constantBytes(v);
  return n;
}

/** Outputs of `model` for each of `feeds`, computed piece by piece. */
async function runInPieces(
  runner: Runner,
  model: Model,
  feeds: readonly Feeds[],
  options: PieceOptions,
): Promise<Record<string, Tensor>[]> {
  const wanted = options.fetch ?? model.graph.outputs.map((v) => v.name);
  const pieces = piecesOf(model, new Set(wanted), options);
  const known = feeds.map((f) => new Map<string, Tensor>(Object.entries(f)));
  for (const v of model.graph.initializers)
    if (wanted.includes(v.name)) for (const k of known) if (!k.has(v.name)) k.set(v.name, v.initializer as Tensor);
  const lastUse = new Map<string, number>();
  for (const [i, piece] of pieces.entries()) for (const name of piece.inputs) lastUse.set(name, i);
  for (const name of wanted) lastUse.set(name, pieces.length);
  for (const [i, piece] of pieces.entries()) {
    await runPiece(runner, piece, known, options);
    for (const k of known) for (const name of k.keys()) if ((lastUse.get(name) ?? -1) <= i) k.delete(name);
  }
  return known.map((k) => Object.fromEntries(wanted.flatMap((name) => (k.has(name) ? [[name, k.get(name) as Tensor]] : []))));
}

async function runPiece(
  runner: Runner,
  piece: Piece,
  known: readonly Map<string, Tensor>[],
  { optimization }: PieceOptions,
): Promise<void> {
  if (piece.outputs.length === 0) return;
  const session = await runner.load(sourceOf(piece.model), { optimization, fixed: piece.fed, lean: true });
  try {
    for (const k of known) {
      const feeds = Object.fromEntries(session.inputs.flatMap(({ name }) => (k.has(name) ? [[name, k.get(name) as Tensor]] : [])));
      for (const [name, tensor] of Object.entries(await session.run(feeds))) k.set(name, tensor);
    }
  } finally {
    await session.release();
  }
}

/** A session that holds no weights: each run loads and frees one piece after the other. */
export class PiecewiseSession implements Session {
  readonly inputs: Session["inputs"];
  readonly outputs: Session["outputs"];
  readonly #runner: Runner;
  readonly #model: Model;
  readonly #optimization: PieceOptions["optimization"];

  private constructor(
    runner: Runner,
    model: Model,
    ports: Pick<Session, "inputs" | "outputs">,
    optimization: PieceOptions["optimization"],
  ) {
    this.#runner = runner;
    this.#model = model;
    this.#optimization = optimization;
    this.inputs = ports.inputs;
    this.outputs = ports.outputs;
  }

  static of(runner: Runner, model: Model, optimization: PieceOptions["optimization"] = "all"): PiecewiseSession {
    const types = infer(model);
    const port = (v: Value) => {
      const type = types.type(v);
      const isTensor = type?.kind === "tensor";
      return { name: v.name, dtype: isTensor ? type.dtype : ("undefined" as const), shape: isTensor ? (type.shape ?? []) : [] };
    };
    const inputs = model.graph.inputs.filter((v) => v.initializer === undefined);
    return new PiecewiseSession(runner, model, { inputs: inputs.map(port), outputs: model.graph.outputs.map(port) }, optimization);
  }

  async run(feeds: Feeds, fetch?: readonly string[]): Promise<Record<string, Tensor>> {
    const options = { optimization: this.#optimization, ...(fetch ? { fetch } : {}) };
    const [result] = await runInPieces(this.#runner, this.#model, [feeds], options);
    return result as Record<string, Tensor>;
  }

  async time(feeds: Feeds, runs: number): Promise<Float64Array> {
    const times = new Float64Array(runs);
    for (let i = 0; i < runs; i++) {
      const start = performance.now();
      await this.run(feeds);
      times[i] = performance.now() - start;
    }
    return times;
  }

  async release(): Promise<void> {}
}

export interface Piece {
  readonly model: Model;
  /** Names of values of other pieces and of inputs of the model that it reads. */
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  /** Weights given as inputs. */
  readonly fed: Readonly<Record<string, Tensor>>;
}

/** `model` cut where only values that can be fed cross, each piece with as many nodes as `limit` bytes of weights allow. */
export function piecesOf(model: Model, wanted: ReadonlySet<string>, options: Pick<PieceOptions, "constant" | "limit"> = {}): Piece[] {
  const types = infer(model);
  const { nodes } = model.graph;
  const reads = nodes.map((n) => [...new Set([...n.inputs, ...captures(n)])].filter((v) => v !== undefined));
  /** Index of the last node that reads a value; those that are wanted are read at the end. */
  const last = new Map<Value, number>();
  for (const [i, values] of reads.entries()) for (const v of values) last.set(v, i);
  for (const v of model.graph.values) if (wanted.has(v.name)) last.set(v, nodes.length);
  const isReadAfter = (v: Value, i: number) => (last.get(v) ?? -1) >= i;

  const pieceOf = ([from, to]: readonly [number, number]): Piece => {
    const part = nodes.slice(from, to);
    const made = part.flatMap((n) => n.outputs.filter((v) => v !== undefined));
    const own = new Set(made);
    const read = [...new Set(reads.slice(from, to).flat())].filter((v) => !own.has(v));
    const fed = options.constant ? [] : read.filter(isFed);
    const outputs = made.filter((v) => isReadAfter(v, to));
    return {
      model: extract(model, part, outputs, new Set(fed), (v) => types.type(v)),
      inputs: read.filter((v) => !v.initializer).map((v) => v.name),
      outputs: outputs.map((v) => v.name),
      fed: Object.fromEntries(fed.map((v) => [v.name, v.initializer as Tensor])),
    };
  };

  const stuck = new Set<Value>();
  const canCutAfter = nodes.map((node, i) => {
    for (const v of node.outputs) {
      const type = v && types.type(v);
      if (v && !(type?.kind === "tensor" && isCarried(type.dtype))) stuck.add(v);
    }
    for (const v of stuck) if (!isReadAfter(v, i + 1)) stuck.delete(v);
    return stuck.size === 0;
  });
  return ranges(reads, canCutAfter, options.limit ?? PIECE).map(pieceOf);
}

/** The nodes in runs [from, to), each of at most `limit` bytes of weights where cuts are allowed and one node has no more. */
function ranges(reads: readonly (readonly Value[])[], canCutAfter: readonly boolean[], limit: number): [number, number][] {
  const out: [number, number][] = [];
  let from = 0;
  while (from < reads.length) {
    const weights = new Set<Value>();
    let bytes = 0;
    let to = from;
    for (let i = from; i < reads.length; i++) {
      for (const v of reads[i] as readonly Value[]) {
        if (!weights.has(v)) bytes += constantBytes(v);
        weights.add(v);
      }
      if (bytes > limit && to > from) break;
      if (canCutAfter[i] || i === reads.length - 1) to = i + 1;
    }
    out.push([from, to]);
    from = to;
  }
  return out;
}

/** Bytes of a weight, an initializer or in a Constant node. */
function constantBytes(v: Value): number {
  return (v.initializer ?? v.constant)?.byteLength ?? 0;
}

/** A large float weight that only standard operators read: theirs take any operand as a computed one. */
function isFed(v: Value): boolean {
  const tensor = v.constant === undefined ? undefined : v.initializer;
  if (!tensor || tensor.byteLength < FED || !isFloat(tensor.dtype) || !isCarried(tensor.dtype)) return false;
  return v.uses().every((u) => u.node.isStandard);
}
