/** What a layer's output lacks on average, zone by zone. */
import type { Tensor } from "../graph/tensor.js";
import type { Layer } from "../score/layers.js";
import type { Zones } from "./zones.js";

/** Sums of target − given over samples, per channel and zone. */
export class Missing {
  readonly #channels: number;
  readonly #channelsLast: boolean;
  readonly #zones: Zones;
  /** [channels, zones] */
  readonly #sums: Float64Array;
  /** Values summed per zone and channel. */
  readonly #counts: Float64Array;
  #squares = 0;
  /** Of the targets, per channel. */
  readonly #targets: Float64Array;
  #targetSquares = 0;

  constructor({ groups, rows, channelsLast }: Layer, zones: Zones) {
    this.#channels = groups * rows;
    this.#channelsLast = channelsLast;
    this.#zones = zones;
    this.#sums = new Float64Array(this.#channels * zones.count);
    this.#counts = new Float64Array(zones.count);
    this.#targets = new Float64Array(this.#channels);
  }

  /**
   * `given` and `other` [N, channels, …], `target` [N, all channels, …], of which `kept` are the ones that are left; or with channels on the
   * last axis.
   */
  add(given: Tensor, target: Tensor, kept: readonly number[] | undefined, other: Tensor | undefined): void {
    const { ofPosition, count } = this.#zones;
    const channels = this.#channels;
    const [mine, theirs, beside] = [given.numbers(), target.numbers(), other?.numbers()];
    const samples = given.dims[0] as number;
    const size = given.size / samples / channels;
    const all = target.size / samples / size;
    // From one position to the next, in what has so many channels.
    const step = (width: number) => (this.#channelsLast ? width : 1);
    const start = (n: number, c: number, width: number) => n * width * size + (this.#channelsLast ? c : c * size);
    const zoneOf = (p: number) => (count === 1 ? 0 : (ofPosition[p] as number));
    for (let p = 0; p < size; p++) this.#counts[zoneOf(p)] = (this.#counts[zoneOf(p)] as number) + samples;
    const [stepMine, stepTheirs] = [step(channels), step(all)];
    for (let n = 0; n < samples; n++) {
      for (let c = 0; c < channels; c++) {
        let a = start(n, c, channels);
        let b = start(n, kept?.[c] ?? c, all);
        const to = c * count;
        let sum = 0;
        for (let p = 0; p < size; p++, a += stepMine, b += stepTheirs) {
          const t = (theirs[b] as number) - (beside ? (beside[a] as number) : 0);
          const d = t - (mine[a] as number);
          const zone = to + zoneOf(p);
          this.#sums[zone] = (this.#sums[zone] as number) + d;
          this.#squares += d * d;
          this.#targetSquares += t * t;
          sum += t;
        }
        this.#targets[c] = (this.#targets[c] as number) + sum;
      }
    }
  }

  /**
   * What is missing on average, [channels, zones]: in each zone by itself, and over all positions, alike in all zones, which is what a bias
   * can give.
   */
  means(): { readonly perZone: Float64Array; readonly plain: Float64Array } {
    const { count } = this.#zones;
    const total = this.#counts.reduce((n, c) => n + c, 0);
    const plain = this.#sums.map((_, i) => {
      const from = i - (i % count);
      return this.#sums.subarray(from, from + count).reduce((s, x) => s + x / total, 0);
    });
    return { perZone: this.#sums.map((s, i) => s / (this.#counts[i % count] as number)), plain };
  }

  /** Mean square of what is missing once `given` is added, as a share of the targets' variances (sweep.ts). */
  error(given: Float64Array | undefined): number {
    const { count } = this.#zones;
    const total = this.#counts.reduce((n, c) => n + c, 0);
    let squares = this.#squares;
    given?.forEach((c, i) => {
      squares += c * c * (this.#counts[i % count] as number) - 2 * c * (this.#sums[i] as number);
    });
    const variance = this.#targets.reduce((v, s) => v - (s * s) / total, this.#targetSquares);
    return Math.max(0, squares) / (variance > 0 ? variance : total);
  }
}
