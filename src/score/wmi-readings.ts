/** Three ways to weigh the information of channels by weights; wmi.ts tells where they come from. */
import type { Tap } from "../calibrate/statistics/request.js";
import type { Coupling, Group } from "../graph/coupling/groups.js";
import type { Node, Use } from "../graph/graph.js";
import { activationRead, type Carrier, isTappable, perChannel, tapOf } from "./carriers.js";
import type { Ranking, ScoringContext } from "./criterion.js";
import type { FoldedWeights, SlotVectors } from "./folded-weights.js";
import type { InformationReader } from "./information.js";
import { type At, beforeActivation, placesOf, Total, unmeasured } from "./measured.js";
import { signalOf } from "./mutual-information.js";
import { type GainNorm, gainsOf, indicesOver } from "./outgoing-gains.js";

export interface Weighing {
  readonly context: ScoringContext;
  readonly weights: FoldedWeights;
  readonly information: InformationReader;
  readonly norm: GainNorm;
  readonly at: At;
  /** Whether terms are averaged or added. */
  readonly over: "mean" | "sum";
}

/** Weights without effect count as this share of the largest of their layer, so that no logarithm is infinite. */
const LEAST_GAIN = 1e-8;

/**
 * Mean over filters j of all readers of I_k + ln(ω_kj + ε), where I_k is measured at what the reader reads and ε is 10⁻⁸ of its
 * largest ω. A constant channel passes nothing on: its ω count as 0.
 */
export function literal(w: Weighing): (group: Group) => Ranking {
  return (group) => {
    const total = new Total(group);
    for (const { place, reads } of readsOf(w, group)) {
      const { nats, constant } = w.information.at(tapOf(place));
      const about = perChannel(group, place, nats);
      const isDead = perChannel(group, place, constant);
      for (const read of reads) {
        const gains = group.choices.map((_, k) => k).map(gainsOf(read.weights, w.norm));
        const floor = floorOf(gains);
        gains.forEach((of, k) => {
          for (const gain of of) total.add(k, (about[k] as number) + Math.log((isDead[k] === 1 ? 0 : gain) + floor));
        });
      }
    }
    return total.ranking(w.context, w.over);
  };
}

/**
 * Mean over filters j of all readers of ½ ln(1 + ω_kj² b_k / (ω_kj² a_k + ν_kj)): the channel's class means (variance b) sent through
 * its weight, against its own noise a and ν_kj = Σ ω_ij² v_i, all that the filter reads of other channels i, of other groups too.
 */
export function signalToNoise(w: Weighing): (group: Group) => Ranking {
  const powers = new Map<Node, Map<string, Float64Array>>();
  const powerAt = ({ use: { node, index }, weights }: Read, length: number) => {
    const key = `${index}:${weights.slot.rows?.[0] ?? 0}:${length}`;
    const ofNode = powers.get(node) ?? new Map<string, Float64Array>();
    powers.set(node, ofNode);
    const of = ofNode.get(key) ?? new Float64Array(length);
    ofNode.set(key, of);
    return of;
  };
  let isReady = false;
  const addUp = () => {
    for (const group of w.context.coupling.groups) {
      for (const { place, reads } of readsOf(w, group)) {
        const power = perChannel(group, place, signalOf(w.information.moments(tapOf(place))).power);
        for (const read of reads) {
          const gains = gainsOf(read.weights, w.norm);
          power.forEach((v, k) => {
            const of = gains(k);
            const sum = powerAt(read, of.length);
            for (let j = 0; j < of.length; j++) sum[j] = (sum[j] as number) + (of[j] as number) ** 2 * v;
          });
        }
      }
    }
    isReady = true;
  };
  return (group) => {
    if (!isReady) addUp();
    const total = new Total(group);
    for (const { place, reads } of readsOf(w, group)) {
      const at = signalOf(w.information.moments(tapOf(place)));
      const [signal, noise, power] = [at.signal, at.noise, at.power].map((of) => perChannel(group, place, of)) as [
        Float64Array,
        Float64Array,
        Float64Array,
      ];
      for (const read of reads) {
        const gains = gainsOf(read.weights, w.norm);
        group.choices.forEach((_, k) => {
          const of = gains(k);
          const all = powerAt(read, of.length);
          of.forEach((gain, j) => {
            const g = gain * gain;
            const others = Math.max(0, (all[j] as number) - g * (power[k] as number));
            const sent = g * (signal[k] as number);
            total.add(k, sent === 0 ? 0 : 0.5 * Math.log1p(sent / (g * (noise[k] as number) + others)));
          });
        });
      }
    }
    return total.ranking(w.context, w.over);
  };
}

/**
 * Of filter k itself: mean over its weights w_kc (each tap) of I(X_c; Y) + ln(|w_kc| + ε), X_c being the channel that the weight
 * multiplies and ε 10⁻⁸ of the largest |w| of the layer. Constant inputs count as weights of 0. Several layers that make the
 * channel are averaged.
 */
export function own(w: Weighing): (group: Group) => Ranking {
  return (group) => {
    const total = new Total(group);
    for (const read of w.weights.producers(group)) {
      const input = inputOf(read.reads[0] as Use, w.context.coupling, w.at);
      if (!input) continue;
      const { nats, constant } = w.information.at(input.tap);
      const floor = floorOf(read.vectors);
      read.vectors.forEach((vector, k) => {
        if (vector.length === 0) return;
        const channel = inputChannels(read, k, input);
        let sum = 0;
        vector.forEach((weight, i) => {
          const c = channel[i] as number;
          sum += (nats[c] as number) + Math.log((constant[c] === 1 ? 0 : Math.abs(weight)) + floor);
        });
        total.add(k, w.over === "sum" ? sum : sum / vector.length);
      });
    }
    const ranking = total.ranking(w.context, w.over);
    return ranking.whole === undefined ? ranking : { ...unmeasured(group), whole: NO_INPUT };
  };
}

const NO_INPUT = "no weight of the main graph makes its channels from an activation, so that nothing they are made of was measured";

interface Input {
  readonly tap: Tap;
  readonly weightAxis: number;
  readonly node: Node;
}

/** What the weights at `use` multiply, where it can be measured. */
function inputOf(use: Use, coupling: Coupling, at: At): Input | undefined {
  const read = activationRead(use, coupling);
  if (read?.weightAxis === undefined || !isTappable(read.value, coupling)) return undefined;
  return { tap: tapOf(at === "read" ? read : beforeActivation(read, coupling)), weightAxis: read.weightAxis, node: read.node };
}

/** Places that `own` reads: the inputs of the layers that make channels. */
export function inputTaps(coupling: Coupling, at: At): readonly Tap[] {
  return coupling.groups.flatMap((g) =>
    g.slots.flatMap((s) => (s.role === "consumer" ? [] : s.uses.flatMap((use) => inputOf(use, coupling, at)?.tap ?? []))),
  );
}

/** Input channel of each number of filter k. */
function inputChannels(read: SlotVectors, k: number, { weightAxis, node }: Input): Int32Array {
  const { slot, dims } = read;
  const positions = slot.positions(k);
  const { at } = indicesOver(read, positions.length, [weightAxis]);
  if (weightAxis === 0 && node.opType !== "Conv") return slot.rows ? at.map((c) => c + (slot.rows?.[0] as number)) : at;
  const groups = node.opType === "Conv" ? node.int("group", 1) : 1;
  if (groups === 1) return at;
  // The weight counts the channels of one group, and which group that is goes by the filter.
  const filter = indicesOver(read, positions.length, [slot.axis]).at;
  const group = (i: number) => Math.floor(((positions[filter[i] as number] as number) * groups) / (dims[slot.axis] as number));
  return at.map((c, i) => group(i) * (dims[weightAxis] as number) + c);
}

interface Read {
  readonly use: Use;
  readonly weights: SlotVectors;
}

/** The weights that read a group, by the place where it is measured. */
function readsOf(w: Weighing, group: Group): readonly { readonly place: Carrier; readonly reads: readonly Read[] }[] {
  const all = w.weights.consumers(group);
  return placesOf(group, w.context.coupling, w.at).map((place) => ({
    place,
    reads: place.readers.flatMap(({ slot, node, index }) =>
      all
        .filter((v) => v.slot === slot && v.reads.some((u) => u.node === node && u.index === index))
        .map((weights) => ({ use: { node, index }, weights })),
    ),
  }));
}

/** The smallest double stands in for a layer without any weight but 0. */
function floorOf(gains: readonly Float64Array[]): number {
  let max = 0;
  for (const of of gains) for (const g of of) max = Math.max(max, Math.abs(g));
  return Math.max(LEAST_GAIN * max, Number.MIN_VALUE);
}
