/**
 * What leaves, and what recovery would put in its place, without any fit of the layers behind: channels become what those that stay tell of
 * them, so that what cannot be made good is all that is measured.
 */
import { type StandIn, takesMatrix, withConstantOperand, withStandIns } from "../../calibrate/stand-ins.js";
import type { StatisticRequest, Statistics, Tap } from "../../calibrate/statistics/request.js";
import type { Block } from "../../graph/blocks/find.js";
import type { Coupling, Group } from "../../graph/coupling/groups.js";
import { type DType, isFloat } from "../../graph/dtype.js";
import type { Model, Value } from "../../graph/graph.js";
import { type Carrier, carriersOf, isTappable } from "../carriers.js";
import { distinct } from "../measured.js";
import { inverseOf } from "../obs/elimination.js";

/**
 * none: nothing; mean: their means, which biases can take up; linear: their best linear prediction from the channels that stay, position by
 * position, which weights can (of blocks: the mean of what the branch gives).
 */
export type Correction = "none" | "mean" | "linear";

/** Channels beyond which only means stand in: covariances would take longer to invert than the model to run. */
const MOST_PREDICTED = 512;
/** Share of the mean variance that is added before covariances are inverted. */
const RIDGE = 1e-3;

/** The statistics that corrections rest on. */
export function correctionStatistics(coupling: Coupling, blocks: readonly Block[], correct: Correction): readonly StatisticRequest[] {
  if (correct === "none") return [];
  const places = coupling.groups.flatMap((g) => floatCarriers(g, coupling).map((c) => requestOf(c, rankOf(c, coupling), correct)));
  const branches = blocks.flatMap((b) => {
    const place = branchPlace(b, coupling);
    return place ? [momentsOf(place)] : [];
  });
  return distinct([...places, ...branches]);
}

/** `model` with the removed channels of these groups predicted wherever they are read; undefined where they are seen nowhere, or not everywhere. */
export function withPredicted(
  model: Model,
  coupling: Coupling,
  groups: readonly Group[],
  removed: ReadonlySet<number>,
  statistics: Statistics | undefined,
  correct: Correction,
): Model | undefined {
  const gone = new Map<string, { readonly carrier: Carrier; readonly isGone: Uint8Array }>();
  for (const group of groups) {
    const carriers = floatCarriers(group, coupling);
    const isSeen = (slot: Group["slots"][number]) => carriers.some((c) => c.readers.some((r) => r.slot === slot));
    if (carriers.length === 0 || !group.slots.every((s) => s.role !== "consumer" || isSeen(s))) return undefined;
    for (const carrier of carriers) {
      const key = `${carrier.value.name}:${carrier.axis}`;
      const entry = gone.get(key) ?? { carrier, isGone: new Uint8Array(carrier.extent) };
      gone.set(key, entry);
      group.choices.forEach((c, k) => {
        if (removed.has(c)) for (const p of carrier.positions(k)) entry.isGone[p] = 1;
      });
    }
  }
  const standIns: StandIn[] = [];
  for (const { carrier, isGone } of gone.values()) {
    const rank = rankOf(carrier, coupling);
    const request = requestOf(carrier, rank, correct);
    if (!statistics?.has(request)) return undefined;
    const { value, axis } = carrier;
    const found = statistics.of(request);
    const map = "covariance" in found ? predictedBy(found.mean, found.covariance, isGone) : { constant: meansOf(found.mean, isGone) };
    standIns.push({ value: value.name, axis, rank, dtype: dtypeOf(value, coupling), isGone, ...map });
  }
  return withStandIns(model, standIns);
}

/** `model` in which a block adds the mean of what its branch gives; undefined where that is not known. */
export function withoutBlock(model: Model, block: Block, statistics: Statistics | undefined, correct: Correction): Model | undefined {
  if (correct === "none" || !block.add.isStandard || block.kind !== "identity") return undefined;
  const shape = block.type.shape;
  const output = block.add.outputs[0]?.name;
  const axis = channelAxis(block);
  const request = momentsOf({ value: block.branch.name, axis });
  if (!shape || output === undefined || !statistics?.has(request)) return undefined;
  return withConstantOperand(model, {
    output,
    input: 1 - block.skipIndex,
    axis,
    rank: shape.length,
    dtype: block.type.dtype,
    numbers: statistics.of(request).mean,
  });
}

/** M and c with x' = M·x + c: what stays is as it was, what is gone is E[x_R] + Σ_RK (Σ_KK + λI)⁻¹ (x_K − E[x_K]). */
function predictedBy(mean: Float64Array, covariance: Float64Array, isGone: Uint8Array) {
  const C = mean.length;
  const indices = Array.from(isGone.keys());
  const [K, R] = [indices.filter((i) => isGone[i] === 0), indices.filter((i) => isGone[i] === 1)];
  const n = K.length;
  const matrix = new Float64Array(C * C);
  for (const k of K) matrix[k * C + k] = 1;
  const constant = meansOf(mean, isGone);
  const system = Float64Array.from(
    { length: n * n },
    (_, i) => covariance[(K[Math.floor(i / n)] as number) * C + (K[i % n] as number)] as number,
  );
  let trace = 0;
  for (let i = 0; i < n; i++) trace += system[i * n + i] as number;
  if (!(trace > 0)) return { matrix, constant };
  const inverse = inverseOf(system, n, (RIDGE * trace) / n).matrix;
  for (const r of R) {
    for (let j = 0; j < n; j++) {
      let a = 0;
      for (let i = 0; i < n; i++) a += (covariance[r * C + (K[i] as number)] as number) * (inverse[i * n + j] as number);
      const k = K[j] as number;
      matrix[r * C + k] = a;
      constant[r] = (constant[r] as number) - a * (mean[k] as number);
    }
  }
  return { matrix, constant };
}

function meansOf(mean: Float64Array, isGone: Uint8Array): Float64Array {
  return mean.map((m, i) => (isGone[i] ? m : 0));
}

/** Carriers whose numbers are floats: what is quantised takes no prediction. */
function floatCarriers(group: Group, coupling: Coupling): readonly Carrier[] {
  return carriersOf(group, coupling).filter(({ value }) => isFloat(dtypeOf(value, coupling)));
}

function dtypeOf(value: Value, coupling: Coupling): DType {
  const type = coupling.typing.types.type(value);
  return type?.kind === "tensor" ? type.dtype : "undefined";
}

function rankOf({ value }: Carrier, coupling: Coupling): number {
  return coupling.typing.types.shape(value)?.length ?? 0;
}

function requestOf(
  { value, axis, extent }: Carrier,
  rank: number,
  correct: Correction,
): (StatisticRequest & { kind: "gram" }) | ReturnType<typeof momentsOf> {
  const tap: Tap = { value: value.name, axis };
  return correct === "linear" && takesMatrix(axis, rank) && extent <= MOST_PREDICTED ? { kind: "gram", ...tap } : momentsOf(tap);
}

function momentsOf(tap: Tap) {
  return { kind: "moments", variable: "pixels", byClass: false, ...tap } as const;
}

function branchPlace(block: Block, coupling: Coupling): Tap | undefined {
  const { branch, type } = block;
  const axis = channelAxis(block);
  const isAble = isTappable(branch, coupling) && isFloat(type.dtype) && axis >= 1 && typeof type.shape?.[axis] === "number";
  return isAble ? { value: branch.name, axis } : undefined;
}

/** Convolutions make channels on axis 1, all else on the last. */
function channelAxis({ last, type }: Block): number {
  return last.some((n) => n.opType.includes("Conv")) ? 1 : (type.shape?.length ?? 0) - 1;
}
