/**
 * Multiple-choice knapsack: of each class one option, so that what is saved lies in a window and as little as possible is lost.
 *
 * A window, not a bound: a budget is to be met, and an option that loses nothing but saves too much does not meet it. Dynamic programming
 * over a grid of what is saved, once for all windows. Savings are rounded down to the grid, so that a choice never saves less than it is
 * asked for. (Row-column budgets are bounds on so many cells, with so many levels, that Lagrange's multiplier does: row-column/allocate.ts.)
 *
 * @see Kellerer, Pferschy, Pisinger, "Knapsack Problems", 2004, chapter 11; Frantar, Alistarh, "SPDY", ICML 2022, for layers of networks.
 */

export interface Option {
  /** Cost that is saved, of any unit; at least 0. */
  readonly saved: number;
  /** What is lost, finite, at least 0. */
  readonly loss: number;
}

/** Grid steps per class, and at most. */
const STEPS_PER_CLASS = 1000;
const MOST_STEPS = 1 << 16;

export class Knapsack {
  readonly #classes: readonly (readonly Option[])[];
  /** Cost of one grid step. */
  readonly step: number;
  /** Σ over classes of the most that an option saves. */
  readonly most: number;
  /** least[j]: least loss of choices that save j steps. */
  readonly #least: Float64Array;
  /** picks[c][j]: option of class c in the best choice of classes 0 to c that saves j steps. */
  readonly #picks: readonly Uint16Array[];

  /** @param classes each with one option or more, at most 65,535. */
  constructor(classes: readonly (readonly Option[])[], steps = Math.min(MOST_STEPS, STEPS_PER_CLASS * classes.length)) {
    this.#classes = classes;
    this.most = classes.reduce((n, c) => n + c.reduce((m, o) => Math.max(m, o.saved), 0), 0);
    this.step = this.most > 0 ? this.most / steps : 1;
    let least = new Float64Array(steps + 1).fill(Number.POSITIVE_INFINITY);
    least[0] = 0;
    this.#picks = classes.map((options) => {
      const next = new Float64Array(steps + 1).fill(Number.POSITIVE_INFINITY);
      const picks = new Uint16Array(steps + 1);
      options.forEach(({ loss }, i) => {
        const saved = this.#stepsOf(options, i);
        for (let j = saved; j <= steps; j++) {
          const before = (least[j - saved] as number) + loss;
          if (before < (next[j] as number)) {
            next[j] = before;
            picks[j] = i;
          }
        }
      });
      least = next;
      return picks;
    });
    this.#least = least;
  }

  /**
   * One option of each class that save `needed` to `needed + slack` in all, as rounded down: by up to one grid step per class more. Of these
   * it loses least. Undefined where none do.
   */
  best(needed: number, slack: number): number[] | undefined {
    const from = Math.max(0, Math.ceil(needed / this.step - 1e-9));
    const to = Math.min(this.#least.length - 1, Math.floor((needed + slack) / this.step + 1e-9));
    let j = from;
    for (let k = from; k <= to; k++) if ((this.#least[k] as number) < (this.#least[j] as number)) j = k;
    if (!((this.#least[j] ?? Number.POSITIVE_INFINITY) < Number.POSITIVE_INFINITY) || from > to) return undefined;
    const chosen = new Array<number>(this.#classes.length).fill(0);
    for (let c = this.#classes.length - 1; c >= 0; c--) {
      const i = (this.#picks[c] as Uint16Array)[j] as number;
      chosen[c] = i;
      j -= this.#stepsOf(this.#classes[c] as readonly Option[], i);
    }
    return chosen;
  }

  /** A whisker is added, so that a saving of so many steps is not rounded to one less. */
  #stepsOf(options: readonly Option[], i: number): number {
    return Math.floor((options[i] as Option).saved / this.step + 1e-9);
  }
}

/** At most `most` options: of those that save about the same, the one that loses least. Ascending by what they save. */
export function thinned<O extends Option>(options: readonly O[], most = 96): O[] {
  const sorted = [...options].sort((a, b) => a.saved - b.saved || a.loss - b.loss);
  if (sorted.length <= most) return sorted;
  const widest = (sorted.at(-1) as O).saved;
  const best = new Map<number, O>();
  for (const o of sorted) {
    const bin = widest > 0 ? Math.floor((o.saved / widest) * (most - 1)) : 0;
    const have = best.get(bin);
    if (!have || o.loss < have.loss) best.set(bin, o);
  }
  return [...best.values()];
}
