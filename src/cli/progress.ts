/** Progress on stderr: one bar on a terminal, a line now and then elsewhere. */
import type { ProgressEvent } from "../pipeline.js";
import type { Channel } from "./terminal.js";

/** Between lines where there is no terminal; a log should not fill up with percentages. */
const LINE_EVERY_MS = 5000;
const DRAW_EVERY_MS = 80;
const BAR = 24;

export class Progress {
  readonly #channel: Channel;
  readonly #now: () => number;
  #phase = "";
  #started = 0;
  #from = 0;
  #shown = Number.NEGATIVE_INFINITY;
  #isDrawn = false;

  /** Milliseconds from `now`, which tests replace. */
  constructor(channel: Channel, now: () => number = () => performance.now()) {
    this.#channel = channel;
    this.#now = now;
  }

  show({ phase, done, total }: ProgressEvent): void {
    const now = this.#now();
    const isNew = phase !== this.#phase;
    if (isNew) {
      this.#phase = phase;
      this.#started = now;
      this.#from = done;
      this.#shown = Number.NEGATIVE_INFINITY;
    }
    if (now - this.#shown < (this.#channel.isTTY ? DRAW_EVERY_MS : LINE_EVERY_MS) && done < total) return;
    if (!this.#channel.isTTY && !isNew && done >= total && now - this.#started < LINE_EVERY_MS) return;
    this.#shown = now;
    const rate = rateOf(done - this.#from, now - this.#started, total - done);
    if (!this.#channel.isTTY) {
      this.#channel.write(isNew ? `${phase} …\n` : `${phase} ${done}/${total}${rate}\n`);
      return;
    }
    const share = total > 0 ? Math.min(1, done / total) : 0;
    const full = Math.round(share * BAR);
    const bar = this.#channel.style("cyan", "█".repeat(full)) + this.#channel.style("dim", "░".repeat(BAR - full));
    const text = ` ${done}/${total}${rate}`;
    this.#channel.write(`\r\u001b[K${phase.slice(0, 16).padEnd(16)} ${bar}${text.slice(0, Math.max(0, this.#channel.columns - BAR - 18))}`);
    this.#isDrawn = true;
  }

  /** Takes the bar away: what follows starts on a clean line. */
  clear(): void {
    if (this.#isDrawn) this.#channel.write("\r\u001b[K");
    this.#isDrawn = false;
    this.#phase = "";
  }
}

function rateOf(steps: number, ms: number, left: number): string {
  if (steps <= 0 || ms < 200) return "";
  const perSecond = (1000 * steps) / ms;
  const eta = left > 0 ? `, ${duration(left / perSecond)} left` : "";
  return ` (${perSecond >= 10 ? Math.round(perSecond) : perSecond.toPrecision(2)}/s${eta})`;
}

function duration(seconds: number): string {
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  const minutes = Math.ceil(seconds / 60);
  return minutes < 90 ? `${minutes} min` : `${(minutes / 60).toFixed(1)} h`;
}
