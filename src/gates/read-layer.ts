/** One linear layer that reads a gated map, as sums over channels, taps and positions. */
import { type Dim, isKnown } from "../graph/dim.js";
import type { LinearReader } from "../passes/gates/readers.js";
import type { GateSite } from "../passes/gates/sites.js";

/** Where the layer's result lies, and what is known of it. */
export interface LayerResult {
  readonly shape: readonly Dim[];
  /** Axis of the output channels. */
  readonly channels: number;
  readonly outputs: number;
  readonly bias: Float64Array | undefined;
  /** Rows of the teacher's result that the student makes; undefined: all. */
  readonly rows: readonly number[] | undefined;
  readonly wanted: Wanted;
}

/** What the layer should give: the value of this name in the teacher, less what the student has at `minus`. */
export interface Wanted {
  readonly value: string;
  readonly minus: string | undefined;
}

/** Y[o, p] = Σ_c Σ_t W[o, c, t]·U[c, t, p], c < C channels of the map, t < K taps on each, o < O outputs, p < P positions. */
export interface ReadLayer {
  readonly reader: LinearReader;
  /** Conv; MatMul on tokens; Gemm or MatMul on flattened maps (K positions of each channel are its taps, and P is 1). */
  readonly form: "conv" | "tokens" | "features";
  readonly C: number;
  readonly K: number;
  readonly O: number;
  readonly bias: Float64Array | undefined;
  readonly rows: readonly number[] | undefined;
  readonly wanted: Wanted;
  /** Axis of the outputs in the result. */
  readonly channels: number;
  /** Positions that are looked at; undefined: all. */
  readonly positions: readonly number[] | undefined;
  /** G = (WᵀW)∘(UUᵀ) summed over taps, cheaper than Z where there are more outputs than pairs of taps. */
  readonly isGram: boolean;
  /** [C, O, K]. */
  weightByChannel(): Float64Array;
  /** [C·K, O]. */
  weightByTap(): Float64Array;
  /** WᵀW, [C·K, C·K]. */
  weightGram(): Float64Array;
}

/** @param room numbers that one sample may take. */
export function layerOf(reader: LinearReader, site: GateSite, result: LayerResult, room: number): ReadLayer | string {
  const { node, weight } = reader;
  const about = `${node.opType} "${node.label}"`;
  const C = site.channels;
  const O = result.outputs;
  const form = node.opType === "Conv" ? "conv" : site.rank === 3 ? "tokens" : "features";
  if (node.opType === "ConvTranspose") return `${about} reads it, for which no fit is written`;
  if (form === "conv" && (reader.groups !== 1 || weight.dims.length !== 4)) return `${about} reads it in groups, or not in two dimensions`;
  if (form === "tokens" && (reader.block !== 1 || result.shape.length !== 3)) return `${about} does not read tokens`;
  const K = form === "conv" ? weight.dims.slice(2).reduce((p, d) => p * d, 1) : reader.block;
  const spatial = form === "conv" ? result.shape.slice(2) : form === "tokens" ? [result.shape[1] as Dim] : [];
  if (!spatial.every(isKnown)) return `the extents of what ${about} makes are only known when the model runs`;
  const P = spatial.reduce<number>((p, d) => p * (d as number), 1);
  const isGram = K * K < O && (C * K) ** 2 <= room;
  const fixed = isGram ? 2 * (C * K) ** 2 : 0;
  const each = isGram ? 2 * C * K : C * O + C * K;
  const seen = Math.min(P, Math.max(1, Math.floor((room - Math.min(fixed, room / 2)) / each)));
  const positions = seen === P ? undefined : Array.from({ length: seen }, (_, i) => Math.floor(((i + 0.5) * P) / seen));

  const data = weight.numbers();
  const factor = node.opType === "Gemm" ? node.float("alpha", 1) : 1;
  // Element of the stored weight for output o, channel c, tap t.
  const at = (o: number, c: number, t: number) =>
    form === "conv" ? (o * C + c) * K + t : reader.axis === 1 ? o * C * K + c * K + t : (c * K + t) * O + o;
  const W = (o: number, c: number, t: number) => factor * (data[at(o, c, t)] as number);
  const filled = (n: number, of: (i: number) => number) => Float64Array.from({ length: n }, (_, i) => of(i));
  return {
    reader,
    form,
    C,
    K,
    O,
    bias: result.bias,
    rows: result.rows,
    wanted: result.wanted,
    channels: result.channels,
    positions,
    isGram,
    weightByChannel: () => filled(C * O * K, (i) => W(Math.floor(i / K) % O, Math.floor(i / (O * K)), i % K)),
    weightByTap: () => filled(C * K * O, (i) => W(i % O, Math.floor(i / (K * O)), Math.floor(i / O) % K)),
    weightGram: () => {
      const n = C * K;
      const out = new Float64Array(n * n);
      const row = new Float64Array(n);
      for (let o = 0; o < O; o++) {
        for (let i = 0; i < n; i++) row[i] = W(o, Math.floor(i / K), i % K);
        for (let i = 0; i < n; i++)
          for (let j = 0; j < n; j++) out[i * n + j] = (out[i * n + j] as number) + (row[i] as number) * (row[j] as number);
      }
      return out;
    },
  };
}
