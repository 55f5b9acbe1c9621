/** A budget of time: planned by a table of layer times, met by measuring the model that comes out. */
import { BudgetError, UnsupportedError } from "../errors.js";
import type { Model } from "../graph/graph.js";
import type { Note } from "../graph/note.js";
import type { Timing } from "../passes/pass.js";
import type { Feeds, Runner, Session } from "../runtime/runner.js";
import { sourceOf } from "../runtime/source.js";
import { LATENCY_TOLERANCE } from "../score/target.js";
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
   * A plan whose model takes `keep` by `predict`, which gives milliseconds. `timing` tells of parts of a model, which need not add up to one.
   * @throws BudgetError when there is none
   */
  plan(keep: number, predict: (model: Model) => number, timing: Timing): P;
  /** The model that a plan makes. */
  carryOut(plan: P): Model;
  note(note: Note): void;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** Plans that are measured: the first, and corrections of it. */
const ROUNDS = 5;
/** Searches of one plan, each with the layers timed that the one before lacked. */
const SEARCHES = 12;
/** Layers timed between two searches: with their times the next may look at other layers. */
const MOST_AT_ONCE = 100;
/** How far the true time of a layer may be from an estimate, as a share of it: a step of the blocks, or a fall out of the fast kernels. */
const DOUBT = 0.5;
const COMPARISON_MS = 3000;

/**
 * Plans until the time measured on the emitted model is `keep` of the original's, within 5 %. Time that is not in layers (element-wise
 * operators, the runtime itself) is taken to stay as it is at first; measuring corrects that: a plan that came out slower is made again for
 * less time, one that came out faster for more, so that it keeps more channels.
 *
 * Where a model is faster than asked and the next that keeps more is slower, it is returned with a note. @throws BudgetError (exit 3)
 * LATENCY_NOT_MET with what was reached, or what `plan` throws; UnsupportedError LATENCY_NO_LAYERS.
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
    const [whole] = (await leastOf([{ session, feeds }], 30, 6)) as [number];
    const inLayers = table.predict(layers).milliseconds;
    return await new Rounds(runner, request, shapes, inLayers, Math.max(0, whole - inLayers), session).run(keep);
  } finally {
    await session.release();
  }
}

class Rounds<P> {
  readonly #runner: Runner;
  readonly #request: LatencyRequest<P>;
  readonly #shapes: Readonly<Record<string, readonly number[]>>;
  readonly #inLayers: number;
  readonly #rest: number;
  readonly #session: Session;
  /** Share of the time that the fastest model of the last search takes. */
  #least = 1;

  constructor(
    runner: Runner,
    request: LatencyRequest<P>,
    shapes: Readonly<Record<string, readonly number[]>>,
    inLayers: number,
    rest: number,
    session: Session,
  ) {
    this.#runner = runner;
    this.#request = request;
    this.#shapes = shapes;
    this.#inLayers = inLayers;
    this.#rest = rest;
    this.#session = session;
  }

  async run(keep: number): Promise<{ readonly plan: P; readonly reached: number }> {
    const tried: Tried<P>[] = [];
    let refused: BudgetError | undefined;
    let asked = keep;
    for (let round = 0; round < ROUNDS; round++) {
      this.#request.signal?.throwIfAborted();
      const found = await this.#planned(asked);
      if (found instanceof BudgetError) {
        refused ??= found;
        // By the table it cannot be. What the fastest model there is really takes may be less.
        asked = this.#least * (1 + 1e-6);
        if (round > 0 || asked >= 1) break;
        continue;
      }
      // Once more the same: there is nothing between it and what was measured.
      if (tried.some((t) => t.layers === found.layers)) break;
      const reached = await this.#measured(found.model);
      tried.push({ ...found, asked, reached });
      if (isMet(reached, keep)) break;
      asked = nextOf(tried, keep);
    }
    // The nearest of those that are fast enough, else the fastest.
    const [best] = [...tried].sort((a, b) => badness(a.reached, keep) - badness(b.reached, keep));
    const measured = tried.map((t) => percent(t.reached)).join(", then ");
    if (!best) throw refused as BudgetError;
    if (best.reached > keep && !isMet(best.reached, keep)) {
      throw new BudgetError(
        "LATENCY_NOT_MET",
        `--latency ${keep} asks for ${percent(keep)} of the time, but measured on what came out it was ${measured}.`,
        { hint: `Ask for --latency ${(Math.ceil(best.reached * 100) / 100).toFixed(2)}, or run on a machine that does nothing else.` },
      );
    }
    if (!isMet(best.reached, keep)) {
      this.#request.note({
        code: "FASTER_THAN_ASKED",
        about: "latency",
        why: `widths come in steps: ${percent(best.reached)} of the time is what came nearest to ${percent(keep)} (measured: ${measured})`,
      });
    }
    return { plan: best.plan, reached: best.reached };
  }

  /** A plan that takes `keep` by times of which none is an estimate, or why there is none. */
  async #planned(keep: number): Promise<Planned<P> | BudgetError> {
    const { table, plan, carryOut } = this.#request;
    const whole = this.#inLayers + this.#rest;
    const timing: Timing = {
      inputs: this.#shapes,
      layers: layersOf,
      milliseconds: (layers) => table.predict(layers as readonly LayerShape[]).milliseconds,
    };
    for (let search = 1; ; search++) {
      // Of all models on which an estimate decides: what it turned away may be what is wanted.
      const lacking = new Map<string, LayerShape>();
      this.#least = 1;
      const predict = (model: Model): number => {
        const { milliseconds, estimated, missing } = table.predict(layersOf(model, this.#shapes));
        const total = milliseconds + this.#rest;
        this.#least = Math.min(this.#least, total / whole);
        if (Math.abs(total - keep * whole) <= DOUBT * estimated) for (const l of missing) lacking.set(l.key, l);
        return total;
      };
      let found: Planned<P> | BudgetError;
      try {
        const made = plan(keep, predict, timing);
        const model = carryOut(made);
        const layers = layersOf(model, this.#shapes);
        for (const l of table.predict(layers).missing) lacking.set(l.key, l);
        found = { plan: made, model, layers: layers.map((l) => `${l.key} × ${l.share}`).join("; ") };
      } catch (error) {
        if (!(error instanceof BudgetError)) throw error;
        found = error;
      }
      if (lacking.size === 0 || search >= SEARCHES) return found;
      await table.fill(this.#runner, [...lacking.values()].slice(-MOST_AT_ONCE), this.#request);
    }
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

interface Planned<P> {
  readonly plan: P;
  readonly model: Model;
  /** What its time depends on. */
  readonly layers: string;
}

interface Tried<P> extends Planned<P> {
  readonly asked: number;
  readonly reached: number;
}

/** What to ask for next: between a plan that was too fast and one that was too slow, where there are both. */
function nextOf(tried: readonly Tried<unknown>[], keep: number): number {
  const fast = tried.filter((t) => t.reached <= keep).sort((a, b) => b.reached - a.reached)[0];
  const slow = tried.filter((t) => t.reached > keep).sort((a, b) => a.reached - b.reached)[0];
  if (fast && slow) return fast.asked + ((slow.asked - fast.asked) * (keep - fast.reached)) / (slow.reached - fast.reached);
  const { asked, reached } = (fast ?? slow) as Tried<unknown>;
  return Math.min(1, Math.max(0.01, (asked * keep) / reached));
}

const isMet = (reached: number, keep: number): boolean => Math.abs(reached / keep - 1) <= LATENCY_TOLERANCE;
/** Too slow is worse than too fast, by however much. */
const badness = (reached: number, keep: number): number =>
  isMet(reached, keep) ? 0 : reached > keep ? reached / keep + 1 : 1 - reached / keep;
const percent = (x: number): string => `${(100 * x).toFixed(1)} %`;
