/** What two layers cost less than one, by rank. */
import { extract } from "../../graph/clone.js";
import type { Cost } from "../../graph/cost.js";
import type { Model, Value } from "../../graph/graph.js";
import { infer, type Types } from "../../graph/infer.js";
import { sizeOf } from "../../graph/rearrange.js";
import { kernelsOf } from "../../score/low-rank/factors.js";
import type { Timing } from "../pass.js";
import type { Candidate, Division } from "./candidates.js";
import { put } from "./emit.js";

/** Below 0 where they cost more. */
export type Savings = (candidate: Candidate, division: Division) => (rank: number) => number;

/** Of a node more in the file, roughly: names and attributes. */
const NODE_BYTES = 200;

/** Of multiply-accumulates (`costs` of the model), parameters or bytes. */
export function savings(measure: "macs" | "params" | "bytes", costs: Cost): Savings {
  const macs = new Map(costs.byNode.map((c) => [c.node, c.macs]));
  return ({ layer: { node }, outputs, inputs, kernel }, { split, spread }) => {
    const weights = outputs * inputs * sizeOf(kernel);
    // Multiply-accumulates of one weight: the positions of what the layer gives.
    const positions = (macs.get(node) ?? 0) / weights;
    const element = (node.inputs[1]?.constant?.byteLength ?? 0) / weights;
    const unit = measure === "macs" ? positions : measure === "bytes" ? element : 1;
    const { first, second } = kernelsOf(kernel, split);
    const perRank = inputs * sizeOf(first) * (measure === "macs" ? spread : 1) + outputs * sizeOf(second);
    const fixed = measure === "bytes" ? NODE_BYTES : 0;
    return (rank) => unit * (weights - rank * perRank) - fixed;
  };
}

/** Of time. What there is to be timed is worked out once, though times become known bit by bit. */
export class Timings {
  readonly #model: Model;
  #types: Types | undefined;
  readonly #layers = new Map<string, unknown>();

  constructor(model: Model) {
    this.#model = model;
  }

  savings(timing: Timing): Savings {
    this.#types ??= infer(this.#model, { bind: timing.inputs });
    const types = this.#types;
    return (candidate, division) => {
      const X = candidate.layer.input;
      const extents = types.shape(X);
      // A layer whose extents nobody knows cannot be timed.
      if (!extents?.every((d) => typeof d === "number")) return () => 0;
      const inputs = { [X.name]: extents as readonly number[] };
      const name = candidate.layer.node.outputs[0]?.name;
      const time = (key: string, make: () => Model) => {
        let found = this.#layers.get(key);
        if (found === undefined) {
          found = timing.layers(make(), inputs);
          this.#layers.set(key, found);
        }
        return timing.milliseconds(found);
      };
      const whole = time(`${name}`, () => this.#alone(candidate, types));
      return (rank) =>
        whole -
        time(`${name} ${division.split} ${rank}`, () => {
          const part = this.#alone(candidate, types);
          put(part, shapeOf(candidate, division, rank));
          return part;
        });
    };
  }

  #alone({ layer: { node } }: Candidate, types: Types): Model {
    return extract(this.#model, [node], [node.outputs[0] as Value], new Set(), (v) => types.type(v));
  }
}

/** Factors of zeros: of what takes time the numbers are no part. */
function shapeOf({ layer, outputs, inputs, kernel }: Candidate, { split }: Division, rank: number) {
  const { first, second } = kernelsOf(kernel, split);
  return {
    output: layer.node.outputs[0]?.name as string,
    inputs,
    outputs,
    kernel,
    split,
    rank,
    first: new Float64Array(rank * inputs * sizeOf(first)),
    second: new Float64Array(outputs * rank * sizeOf(second)),
  };
}
