/** A budget of time: planned by a table of layer times, met by measuring the model that comes out. */
import { BudgetError, UnsupportedError } from "../errors.js";
import type { Model } from "../graph/graph.js";
import type { Note } from "../graph/note.js";
import type { Feeds, Runner, Session } from "../runtime/runner.js";
import { sourceOf } from "../runtime/source.js";
import { compareLatency } from "./latency.js";
import { type LatencyTable, type LayerShape, layersOf, leastOf } from "./latency-table.js";

export interface LatencyRequest<P> {
  /** What fractions of time refer to. */
  readonly original: Model;
  /** Fraction of its time to keep. */
  readonly keep: number;
  readonly feeds: Feeds;
  readonly table: LatencyTable;
  /**
   * A plan whose model takes `keep` by `predict`, which gives milliseconds.
   * @throws BudgetError when there is none
   */
  plan(keep: number, predict: (model: Model) => number): P;
  /** The model that a plan makes. */
  carryOut(plan: P): Model;
  note(note: Note): void;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** Relative error of the time that is measured. */
const LATENCY_TOLERANCE = 0.05;
/** Plans that are measured: the first, and corrections of it. */
const ROUNDS = 3;
/** Searches of one plan, each with the layers timed that the one before lacked. */
const SEARCHES = 12;
/** Layers timed at a time where no plan says which matter. */
const MOST_AT_ONCE = 100;
const COMPARISON_MS = 3000;

/**
 * Plans until the time measured on the emitted model is `keep` of the original's, within 5 %. Time that is not in layers (element-wise
 * operators, the runtime itself) is taken to stay as it is at first; measuring corrects that.
 *
 * A model that is faster than asked is returned with a note: widths come in steps. @throws BudgetError (exit 3) LATENCY_NOT_MET with what
 * was reached, or what `plan` throws; UnsupportedError LATENCY_NO_LAYERS.
 */
export async function planForLatency<P>(
  runner: Runner,
  request: LatencyRequest<P>,
): Promise<{ readonly plan: P; readonly reached: number }> {
  const { original, keep, feeds, table } = request;
  const shapes = Object.fromEntries(Object.entries(feeds).map(([name, t]) => [name, t.dims]));
  const layers = layersOf(original, shapes);
  if (layers.length === 0) {
    throw new UnsupportedError(
      "LATENCY_NO_LAYERS",
      "No layer of this model can be timed by itself: none multiplies float32 matrices of known extents.",
      {
        hint: "Give --input-shape for symbolic extents, or another budget: --macs.",
      },
    );
  }
  await table.fill(runner, layers, request);
  const session = await runner.load(sourceOf(original));
  try {
    const [whole] = (await leastOf([{ session, feeds }], 4, 30)) as [number];
    const rest = Math.max(0, whole - table.predict(layers).milliseconds);
    return await new Rounds(runner, request, shapes, rest, session).run(keep);
  } finally {
    await session.release();
  }
}

class Rounds<P> {
  readonly #runner: Runner;
  readonly #request: LatencyRequest<P>;
  readonly #shapes: Readonly<Record<string, readonly number[]>>;
  readonly #rest: number;
  readonly #session: Session;

  constructor(
    runner: Runner,
    request: LatencyRequest<P>,
    shapes: Readonly<Record<string, readonly number[]>>,
    rest: number,
    session: Session,
  ) {
    this.#runner = runner;
    this.#request = request;
    this.#shapes = shapes;
    this.#rest = rest;
    this.#session = session;
  }

  async run(keep: number): Promise<{ readonly plan: P; readonly reached: number }> {
    let asked = keep;
    let best: { readonly plan: P; readonly reached: number } | undefined;
    const tried: number[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      this.#request.signal?.throwIfAborted();
      const found = await this.#planned(asked, best !== undefined);
      if (!found) break;
      const reached = await this.#measured(found.model);
      tried.push(reached);
      if (!best || badness(reached, keep) < badness(best.reached, keep)) best = { plan: found.plan, reached };
      if (Math.abs(reached / keep - 1) <= LATENCY_TOLERANCE) break;
      asked = Math.min(1, Math.max(0.01, (asked * keep) / reached));
    }
    if (!best) throw new BudgetError("LATENCY_NOT_MET", `--latency ${keep} asks for ${percent(keep)} of the time, but no plan was found.`);
    if (best.reached > keep * (1 + LATENCY_TOLERANCE)) {
      throw new BudgetError(
        "LATENCY_NOT_MET",
        `--latency ${keep} asks for ${percent(keep)} of the time, but measured on what came out it was ${tried.map(percent).join(", then ")}.`,
        { hint: `Ask for --latency ${(Math.ceil(best.reached * 100) / 100).toFixed(2)}, or run on a machine that does nothing else.` },
      );
    }
    if (best.reached < keep * (1 - LATENCY_TOLERANCE)) {
      this.#request.note({
        code: "FASTER_THAN_ASKED",
        about: "latency",
        why: `widths come in steps: ${percent(best.reached)} of the time is what came nearest to ${percent(keep)} (measured: ${tried.map(percent).join(", ")})`,
      });
    }
    return best;
  }

  /** A plan that takes `keep` by a table that has all its layers; undefined where there is none and `mayFail`. */
  async #planned(keep: number, mayFail: boolean): Promise<{ readonly plan: P; readonly model: Model } | undefined> {
    const { table, plan, carryOut } = this.#request;
    for (let search = 1; ; search++) {
      const lacking = new Map<string, LayerShape>();
      const predict = (model: Model): number => {
        const { milliseconds, missing } = table.predict(layersOf(model, this.#shapes));
        for (const l of missing) lacking.set(l.key, l);
        return milliseconds + this.#rest;
      };
      try {
        const made = plan(keep, predict);
        const model = carryOut(made);
        const { missing } = table.predict(layersOf(model, this.#shapes));
        if (missing.length === 0 || search >= SEARCHES) return { plan: made, model };
        await this.#fill(missing);
      } catch (error) {
        // By estimates nothing fits: what is timed may.
        if (!(error instanceof BudgetError)) throw error;
        if (lacking.size === 0 || search >= SEARCHES) {
          if (mayFail) return undefined;
          throw error;
        }
        await this.#fill([...lacking.values()].slice(0, MOST_AT_ONCE));
      }
    }
  }

  #fill(layers: readonly LayerShape[]): Promise<void> {
    return this.#request.table.fill(this.#runner, layers, this.#request);
  }

  async #measured(model: Model): Promise<number> {
    const candidate = await this.#runner.load(sourceOf(model));
    try {
      const { ratio } = await compareLatency(this.#session, candidate, this.#request.feeds, { budget: COMPARISON_MS });
      return ratio.median;
    } finally {
      await candidate.release();
    }
  }
}

/** Too slow is worse than too fast by as much. */
const badness = (reached: number, keep: number): number => (reached > keep ? 2 * (reached / keep - 1) : 1 - reached / keep);
const percent = (x: number): string => `${(100 * x).toFixed(1)} %`;
