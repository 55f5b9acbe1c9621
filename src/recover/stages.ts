/** Runs a model over samples piece by piece: what one piece gave is where the next begins. */
import { extract } from "../graph/clone.js";
import { captures, type Model, type Node, type Value } from "../graph/graph.js";
import { infer, type Types } from "../graph/infer.js";
import type { Tensor } from "../graph/tensor.js";
import type { Feeds, Runner, Session } from "../runtime/runner.js";
import { sourceOf } from "../runtime/source.js";
import type { Batches } from "./batches.js";

/** One value of each wanted in each batch. Batches must be run in order, each once, and closed at the end. */
export interface Stage {
  run(batch: number): Promise<ReadonlyMap<Value, Tensor>>;
  close(): Promise<void>;
}

/**
 * Values of `model`, asked for in graph order. Where the values alive at a stage fit `memory` (bytes, for all batches), they are kept,
 * and the next stage starts from them; else it starts where the last one did. Constants may change from stage to stage in what has
 * not run yet.
 */
export class Stages {
  readonly #runner: Runner;
  readonly #model: Model;
  readonly #types: Types;
  readonly #batches: Batches;
  readonly #memory: number;
  /** Values at hand, by batch; graph inputs come from the samples. */
  #kept: ReadonlyMap<Value, Tensor>[] = [];
  #live: ReadonlySet<Value>;

  constructor(runner: Runner, model: Model, batches: Batches, memory: number) {
    this.#runner = runner;
    this.#model = model;
    this.#types = infer(model);
    this.#batches = batches;
    this.#memory = memory;
    this.#live = new Set(model.graph.inputs.filter((v) => !v.constant));
  }

  /** `wanted` now; `later` what will be asked for after it. */
  async open(wanted: readonly Value[], later: readonly Value[]): Promise<Stage> {
    const nodes = this.#between(wanted);
    const made = new Set(nodes.flatMap((n) => n.outputs.filter((v): v is Value => v !== undefined)));
    const frontier = this.#frontier(later, (v) => this.#live.has(v) || made.has(v));
    const fetch = [...new Set([...wanted, ...frontier])].filter((v) => made.has(v));
    const types = this.#types;
    const load = async (outputs: readonly Value[]): Promise<Session | undefined> => {
      if (outputs.length === 0) return undefined;
      const part = extract(this.#model, nodes, outputs, new Set(), (v) => types.type(v));
      for (const v of part.graph.outputs) if (v.type?.kind === "tensor") v.type = { ...v.type, shape: undefined };
      return this.#runner.load(sourceOf(part));
    };
    let session = await load(fetch);
    let isKept = true;
    const next: Map<Value, Tensor>[] = [];
    const inputs = this.#model.graph.inputs;
    return {
      run: async (batch) => {
        const have = new Map(this.#kept[batch] ?? []);
        const needsInputs = [...this.#live].some((v) => v.isInput);
        if (needsInputs) {
          const feeds = await this.#batches.feeds(batch);
          for (const v of inputs) if (feeds[v.name]) have.set(v, feeds[v.name] as Tensor);
        }
        if (session) {
          const feeds = Object.fromEntries([...have].map(([v, t]) => [v.name, t]));
          let outputs = await session.run(onlyInputs(session, feeds));
          if (batch === 0 && isKept && bytesOf(outputs, frontier) * this.#batches.count > this.#memory) {
            isKept = false;
            await session.release();
            session = await load(wanted.filter((v) => made.has(v)));
            outputs = session ? await session.run(onlyInputs(session, feeds)) : {};
          }
          for (const [name, t] of Object.entries(outputs)) {
            const v = this.#model.graph.value(name);
            if (v) have.set(v, t);
          }
        }
        if (isKept) next[batch] = new Map([...have].filter(([v]) => frontier.has(v) && !v.isInput));
        return have;
      },
      close: async () => {
        await session?.release();
        if (!isKept || next.length < this.#batches.count) return;
        this.#kept = next;
        this.#live = frontier;
      },
    };
  }

  /** Nodes that make `wanted` from what is at hand, in graph order. */
  #between(wanted: readonly Value[]): Node[] {
    const found = new Set<Node>();
    const stack = [...wanted];
    for (let v = stack.pop(); v; v = stack.pop()) {
      const node = v.producer;
      if (!node || this.#live.has(v) || found.has(node)) continue;
      found.add(node);
      for (const i of [...node.inputs, ...captures(node)]) if (i) stack.push(i);
    }
    return this.#model.graph.nodes.filter((n) => found.has(n));
  }

  /** What is at hand of the values that `later` is made from. */
  #frontier(later: readonly Value[], isAtHand: (v: Value) => boolean): ReadonlySet<Value> {
    const live = new Set<Value>();
    const seen = new Set<Value>();
    const stack = [...later];
    for (let v = stack.pop(); v; v = stack.pop()) {
      if (seen.has(v) || v.constant) continue;
      seen.add(v);
      if (isAtHand(v)) live.add(v);
      else for (const i of v.producer ? [...v.producer.inputs, ...captures(v.producer)] : []) if (i) stack.push(i);
    }
    return live;
  }
}

function onlyInputs(session: Session, feeds: Feeds): Feeds {
  return Object.fromEntries(session.inputs.map(({ name }) => [name, feeds[name] as Tensor]));
}

function bytesOf(outputs: Readonly<Record<string, Tensor>>, of: ReadonlySet<Value>): number {
  let n = 0;
  for (const v of of) n += outputs[v.name]?.byteLength ?? 0;
  return n;
}
