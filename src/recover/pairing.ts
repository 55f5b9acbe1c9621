/** Which value of the original stands beside a value of the pruned model, and which of its channels are kept. */
import type { Model, Value } from "../graph/graph.js";
import { infer } from "../graph/infer.js";
import type { Slices } from "../passes/pass.js";

export interface Pair {
  /** Of the original. */
  readonly value: Value;
  /** Channels of it that the pruned model has, in its order; undefined: all. */
  readonly kept: readonly number[] | undefined;
}

export interface Pairing {
  readonly original: Model;
  /** The partner of `value`, a value of the pruned model with its channels on `axis`; or why it has none. */
  of(value: Value, axis: number): Pair | string;
}

/** Values of the same name. `removal` tells what is kept; without it only values of equal extents are partners. */
export function pairingOf(original: Model, pruned: Model, removal?: Slices): Pairing {
  const [whole, small] = [infer(original), infer(pruned)];
  return {
    original,
    of({ name }, axis) {
      const value = original.graph.value(name);
      const mine = pruned.graph.value(name);
      const [dims, left] = [value && whole.shape(value), mine && small.shape(mine)];
      if (!value || !dims) return `the original has no "${name}"`;
      if (!left || dims.length !== left.length) return `"${name}" has another rank in the original`;
      const kept = removal ? keptOf(removal, name, axis) : undefined;
      if (typeof kept === "string") return kept;
      const channels = kept?.length ?? dims[axis];
      if (channels !== left[axis]) return `${left[axis]} channels of "${name}" are left, and it is not known which of ${dims[axis]}`;
      if (dims.some((d, a) => a > 0 && a !== axis && d !== left[a] && typeof d === "number" && typeof left[a] === "number"))
        return `"${name}" lost more than channels`;
      return { value, kept };
    },
  };
}

/** `step` pairs a model with one that was made before, which `before` pairs with its own original: the way all through. */
export function composed(before: Pairing, step: Pairing): Pairing {
  return {
    original: before.original,
    of(value, axis) {
      const last = step.of(value, axis);
      if (typeof last === "string") return last;
      const first = before.of(last.value, axis);
      if (typeof first === "string") return first;
      const { kept } = first;
      return { value: first.value, kept: last.kept && kept ? last.kept.map((i) => kept[i] as number) : (last.kept ?? kept) };
    },
  };
}

function keptOf({ source, coupling, kept }: Slices, name: string, axis: number) {
  const value = source.graph.value(name);
  const axes = value && coupling.typing.axesOf(value);
  const channels = axes?.[axis];
  if (!axes || !channels) return `the axes of "${name}" are not known`;
  if (axes.some((a) => kept.isFamily(a))) return `"${name}" keeps other channels in other rows`;
  if (axes.some((a, i) => i !== axis && kept.isCut(a))) return `"${name}" lost more than channels`;
  return kept.indices(channels);
}
