/** The outputs of both graphs, gathered run after run. */
import type { Model } from "../graph/graph.js";
import { infer } from "../graph/infer.js";
import { typeText } from "../graph/print.js";
import type { Tensor } from "../graph/tensor.js";
import type { Feeds, Session } from "../runtime/runner.js";
import { isCarried } from "../runtime/wire.js";
import { OutputAccumulator } from "./output-difference.js";
import type { OutputDifference } from "./report.js";
import { type Batch, sampleRows } from "./runs.js";

/** Outputs that both graphs have as numbers, in the order of the reference, and why others are not compared. */
export interface ComparableOutputs {
  readonly names: readonly string[];
  readonly notCompared: ReadonlyMap<string, string>;
}

export function comparableOutputs(a: Model, b: Model): ComparableOutputs {
  const types = [infer(a), infer(b)] as const;
  const names: string[] = [];
  const notCompared = new Map<string, string>();
  for (const mine of a.graph.outputs) {
    const theirs = b.graph.outputs.find((v) => v.name === mine.name);
    if (!theirs) {
      notCompared.set(mine.name, "b has no such output");
      continue;
    }
    const both = [types[0].type(mine), types[1].type(theirs)];
    // A type nobody knows is taken for numbers, as most are: the runtime will tell.
    const isNumeric = both.every((t) => !t || (t.kind === "tensor" && t.dtype !== "string" && isCarried(t.dtype)));
    if (isNumeric) names.push(mine.name);
    else notCompared.set(mine.name, `it holds no numbers that can be read (${[...new Set(both.map((t) => typeText(t)))].join(", ")})`);
  }
  return { names, notCompared };
}

/** What two sessions give for the same batches. */
export class Outputs {
  /** Outputs of the reference: in its order those that are compared, then the others. */
  readonly names: readonly string[];
  /** Inputs of the run in which some output differed most. */
  worst: Feeds | undefined;
  #worstError = -1;
  readonly #sessions: readonly [Session, Session];
  readonly #fetch: readonly string[];
  readonly #notCompared: Map<string, string>;
  readonly #dims = new Map<string, OutputDifference["dims"]>();
  readonly #found = new Map<string, OutputAccumulator>();
  readonly #saturating: ReadonlyMap<string, string>;

  constructor(a: Session, b: Session, { names, notCompared }: ComparableOutputs, saturating: ReadonlyMap<string, string>) {
    this.names = [...names, ...notCompared.keys()];
    this.#sessions = [a, b];
    this.#saturating = saturating;
    this.#notCompared = new Map(notCompared);
    this.#fetch = [...new Set([...names, ...saturating.values()])];
  }

  async add(batch: Batch): Promise<{ mine: Readonly<Record<string, Tensor>>; theirs: Readonly<Record<string, Tensor>> }> {
    // One after the other: sessions of one runner take turns anyway.
    const mine = await this.#rows(this.#sessions[0], batch);
    const theirs = await this.#rows(this.#sessions[1], batch);
    for (const name of this.#fetch) {
      const [x, y] = [mine[name] as Tensor, theirs[name] as Tensor];
      const isSame = String(x.dims) === String(y.dims);
      if (isSame && this.#notCompared.has(name)) continue;
      this.#dims.set(name, { a: x.dims, b: y.dims });
      if (!isSame) this.#notCompared.set(name, `its dims are [${x.dims.join(", ")}] in a and [${y.dims.join(", ")}] in b`);
      const error = isSame ? this.#accumulator(name).add(x, y, batch.samples) : Number.POSITIVE_INFINITY;
      if (error > this.#worstError) {
        this.#worstError = error;
        this.worst = batch.feeds;
      }
    }
    return { mine, theirs };
  }

  async #rows(session: Session, batch: Batch): Promise<Record<string, Tensor>> {
    const run = await session.run(batch.feeds, this.#fetch);
    return Object.fromEntries(Object.entries(run).map(([name, t]) => [name, sampleRows(t, batch)]));
  }

  #accumulator(name: string): OutputAccumulator {
    const found = this.#found.get(name) ?? new OutputAccumulator();
    this.#found.set(name, found);
    return found;
  }

  result(): OutputDifference[] {
    return this.names.map((name) => {
      const dims = this.#dims.get(name) ?? { a: undefined, b: undefined };
      const why = this.#notCompared.get(name);
      const found = this.#found.get(name);
      if (why !== undefined || !found) return { ...blank(name, why ?? "it was not run"), dims };
      const numbers = found.numbers();
      const value = this.#saturating.get(name);
      const inner = value === undefined ? undefined : this.#found.get(value)?.numbers();
      const before = value !== undefined && inner ? { value, maxRel: inner.maxRel } : undefined;
      const error = before ? Math.max(Math.min(numbers.maxRel, numbers.maxAbs), before.maxRel) : numbers.maxRel;
      return { name, dims, notCompared: undefined, numbers, scores: found.scores(), before, error };
    });
  }
}

/** An output without numbers, and why. */
export function blank(name: string, notCompared: string): OutputDifference {
  return {
    name,
    dims: { a: undefined, b: undefined },
    notCompared,
    numbers: undefined,
    scores: undefined,
    before: undefined,
    error: undefined,
  };
}
