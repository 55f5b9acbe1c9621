/**
 * How to go back through an operator: what a slope of the error at its output is at its inputs. One entry per operator; what has none
 * is not passed, and nothing is guessed.
 *
 * @see Griewank, Walther, "Evaluating Derivatives", 2nd ed., SIAM 2008, ch. 3, for going back; gradients of each operator are its definition's.
 */
import { float, int } from "../graph/attribute.js";
import type { Node, Value } from "../graph/graph.js";
import type { Types } from "../graph/infer.js";
import { padsOf } from "../graph/ops/pad.js";
import { cutsOf } from "../graph/ops/slice.js";
import { readWindow } from "../graph/ops/window.js";
import type { Tensor } from "../graph/tensor.js";
import type { Attributes, Builder } from "./builder.js";
import { backToInput, convolutionOf } from "./convolution.js";

/** An operator as it is passed: what it gives, and the way back. */
export interface Passed {
  readonly value: Value;
  /** Slopes at the inputs that are activations, in the order of `inputs`; undefined where there is none. */
  back(g: Value): readonly (Value | undefined)[];
}

/** A node of the user's graph, of known extents: samples come first, and their number may be another in each run. */
export interface Passing {
  readonly node: Node;
  readonly types: Types;
  /** Whether input `i` depends on the samples. */
  isActivation(i: number): boolean;
}

/** What it takes to go through a node: builds it from its activations (other inputs are constants). A sentence where it cannot. */
export type Rule = (p: Passing) => string | ((b: Builder, inputs: readonly Value[]) => Passed);

/** The way through `node`, or why there is none. */
export function passageOf(p: Passing): string | ((b: Builder, inputs: readonly Value[]) => Passed) {
  const rule = p.node.isStandard ? RULES[p.node.opType] : undefined;
  return rule ? rule(p) : `the way back through ${p.node.qualifiedType} is not known`;
}

/** Extents of input `i`, or of the output; undefined unless all are numbers. */
function dimsOf({ node, types }: Passing, i: number | "output"): readonly number[] | undefined {
  const value = i === "output" ? node.outputs[0] : node.inputs[i];
  const shape = value && types.shape(value);
  return shape?.every((d): d is number => typeof d === "number") ? shape : undefined;
}

const UNKNOWN = "its extents are not known";

const elementwise =
  (how: (p: Passing) => string | ((b: Builder, x: Value) => { value: Value; slope: (b: Builder) => Value })): Rule =>
  (p) => {
    const made = how(p);
    if (typeof made === "string") return made;
    return (b, [x]) => {
      const { value, slope } = made(b, x as Value);
      return { value, back: (g) => [b.node("Mul", [g, slope(b)])] };
    };
  };

const relu = elementwise(() => (b, x) => {
  const value = b.node("Relu", [x]);
  return { value, slope: () => b.indicator(b.node("Greater", [value, b.scalar(0)])) };
});

const clip = elementwise((p) => {
  const bound = (i: number, name: string, otherwise: number): number | undefined => {
    const input = p.node.inputs[i];
    if (!input) return p.node.float(name, otherwise);
    return input.constant ? Number(input.constant.numbers()[0]) : undefined;
  };
  const [low, high] = [bound(1, "min", Number.NEGATIVE_INFINITY), bound(2, "max", Number.POSITIVE_INFINITY)];
  if (low === undefined || high === undefined) return "its bounds are computed in the graph";
  return (b, x) => {
    const limit = (n: number) => (Number.isFinite(n) ? b.scalar(n) : undefined);
    const value = b.node("Clip", [x, limit(low), limit(high)]);
    const inside = [
      ...(Number.isFinite(low) ? [b.indicator(b.node("Greater", [x, b.scalar(low)]))] : []),
      ...(Number.isFinite(high) ? [b.indicator(b.node("Less", [x, b.scalar(high)]))] : []),
    ];
    return { value, slope: () => inside.reduce((a, c) => b.node("Mul", [a, c]), b.scalar(1)) };
  };
});

const same: Rule =
  () =>
  (_, [x]) => ({ value: x as Value, back: (g) => [g] });

const dropout: Rule = (p) => {
  if (p.node.outputs[1]?.useCount) return "its mask is read";
  return p.node.inputs[2] ? "it may be training" : same(p);
};

const add: Rule = (p) => {
  const out = dimsOf(p, "output");
  if (!out) return UNKNOWN;
  for (const i of [0, 1]) {
    const dims = dimsOf(p, i);
    if (p.isActivation(i) && !(dims && dims.length === out.length && dims.every((d, a) => d === out[a])))
      return "it broadcasts an activation";
  }
  const constant = [0, 1].find((i) => !p.isActivation(i));
  if (constant === undefined) return (b, xs) => ({ value: b.node("Add", xs), back: (g) => [g, g] });
  const tensor = p.node.inputs[constant]?.constant;
  if (!tensor) return "what it adds is computed in the graph";
  return (b, [x]) => ({ value: b.node("Add", [x, b.floats(tensor.dims, numbersOf(tensor))]), back: (g) => [g] });
};

const numbersOf = (t: Tensor) => Float64Array.from(t.numbers(), Number);

/** With the statistics it was trained to: y = s·x + t per channel. */
const batchNormalization: Rule = (p) => {
  const { node } = p;
  const out = dimsOf(p, "output");
  const parts = [1, 2, 3, 4].map((i) => node.inputs[i]?.constant);
  if (!out) return UNKNOWN;
  if (node.int("training_mode", 0) !== 0 || node.outputs.slice(1).some((o) => o)) return "it may be training";
  if (!parts.every((t): t is Tensor => t !== undefined)) return "its statistics are computed in the graph";
  const [scale, shift, mean, variance] = parts.map(numbersOf) as [Float64Array, Float64Array, Float64Array, Float64Array];
  const s = scale.map((x, c) => x / Math.sqrt((variance[c] as number) + node.float("epsilon", 1e-5)));
  const t = shift.map((x, c) => x - (s[c] as number) * (mean[c] as number));
  const dims = [scale.length, ...out.slice(2).map(() => 1)];
  return (b, [x]) => {
    const by = b.floats(dims, s);
    return { value: b.node("Add", [b.node("Mul", [x, by]), b.floats(dims, t)]), back: (g) => [b.node("Mul", [g, by])] };
  };
};

/** Attributes of windows, as they are. */
function windowAttributes({ node }: Passing): Attributes {
  const names = ["kernel_shape", "strides", "pads", "dilations", "ceil_mode", "auto_pad", "count_include_pad"];
  return Object.fromEntries(names.flatMap((n) => (node.attributes.has(n) ? [[n, node.attributes.get(n)]] : []))) as Attributes;
}

const maxPool: Rule = (p) => {
  const dims = dimsOf(p, 0);
  if (!dims) return UNKNOWN;
  if (p.node.outputs[1]) return "its indices are read";
  return (b, [x]) => {
    const [value, indices] = b.nodes("MaxPool", [x], windowAttributes(p), 2) as [Value, Value];
    return {
      value,
      back: (g) => {
        const flat = b.reshape(b.node("Sub", [x, x]), [-1]);
        const sum = b.node("ScatterElements", [flat, b.reshape(indices, [-1]), b.reshape(g, [-1])], {
          axis: int(0),
          reduction: { kind: "string", value: "add" },
        });
        return [b.reshape(sum, [-1, ...dims.slice(1)])];
      },
    };
  };
};

const averagePool: Rule = (p) => {
  const [dims, out] = [dimsOf(p, 0), dimsOf(p, "output")];
  if (!dims || !out) return UNKNOWN;
  const kernel = p.node.ints("kernel_shape", []);
  const { begins, ends, autoPad } = readWindow(p.node, kernel);
  const isPadded = autoPad.startsWith("SAME") || [...begins, ...ends].some((n) => n > 0);
  if (p.node.int("ceil_mode", 0) !== 0 || (isPadded && (p.node.int("count_include_pad", 0) === 0 || autoPad !== "NOTSET")))
    return "its windows do not all count the same";
  const taps = kernel.reduce((n, k) => n * k, 1);
  const spread = convolutionOf(p.node, [1, 1, ...kernel], dims.slice(2), out.slice(2));
  return (b, [x]) => ({
    value: b.node("AveragePool", [x], windowAttributes(p)),
    back: (g) => {
      const share = b.floats([1, 1, ...kernel], new Float64Array(taps).fill(1 / taps));
      const alone = b.reshape(g, [-1, 1, ...out.slice(2)]);
      return [b.reshape(backToInput(b, spread, share, alone), [-1, ...dims.slice(1)])];
    },
  });
};

const globalAveragePool: Rule = (p) => {
  const dims = dimsOf(p, 0);
  if (!dims) return UNKNOWN;
  const positions = dims.slice(2).reduce((n, d) => n * d, 1);
  return (b, [x]) => ({
    value: b.node("GlobalAveragePool", [x]),
    back: (g) => [b.node("Add", [b.node("Sub", [x, x]), b.node("Mul", [g, b.scalar(1 / positions)])])],
  });
};

const concat: Rule = (p) => {
  const rank = dimsOf(p, "output")?.length;
  const parts = p.node.inputs.map((_, i) => dimsOf(p, i));
  if (rank === undefined || !parts.every((d) => d !== undefined)) return UNKNOWN;
  if (p.node.inputs.some((_, i) => !p.isActivation(i))) return "it joins a constant";
  const stated = p.node.int("axis", 1);
  const axis = stated < 0 ? stated + rank : stated;
  if (axis === 0) return "it joins samples";
  return (b, xs) => ({
    value: b.node("Concat", xs, { axis: int(axis) }),
    back: (g) => {
      let from = 0;
      return parts.map((d) => {
        const to = from + ((d as readonly number[])[axis] as number);
        const part = b.node("Slice", [g, b.ints([from]), b.ints([to]), b.ints([axis])]);
        from = to;
        return part;
      });
    },
  });
};

/** Whatever keeps the elements in their order, and samples first. */
const reshaped: Rule = (p) => {
  const [dims, out] = [dimsOf(p, 0), dimsOf(p, "output")];
  if (!dims || !out) return UNKNOWN;
  if (dims[0] !== out[0]) return "samples are no axis of their own after it";
  return (b, [x]) => ({ value: b.reshape(x as Value, [-1, ...out.slice(1)]), back: (g) => [b.reshape(g, [-1, ...dims.slice(1)])] });
};

const slice: Rule = (p) => {
  const [dims, out] = [dimsOf(p, 0), dimsOf(p, "output")];
  const { axes, cuts } = cutsOf(p.types.context(p.node), dims?.length ?? 0);
  if (!dims || !out || !axes || !cuts) return UNKNOWN;
  const picks = axes.map((axis, i) => {
    const { start, step } = cuts[i] as (typeof cuts)[number];
    const extent = dims[axis] as number;
    const from = Number(start) < 0 ? Number(start) + extent : Number(start);
    return { axis, step, from: Math.max(0, Math.min(extent, from)), length: out[axis] as number, extent };
  });
  const real = picks.filter((c) => c.length !== c.extent || c.step !== 1);
  if (real.some((c) => c.axis === 0)) return "it picks samples";
  if (real.some((c) => c.step < 1 || c.length === 0)) return "it turns an axis round, or takes nothing of it";
  return (b, [x]) => {
    const list = (of: (c: (typeof real)[number]) => number) => b.ints(real.map(of));
    const ends = list((c) => c.from + (c.length - 1) * c.step + 1);
    const value =
      real.length === 0 ? (x as Value) : b.node("Slice", [x, list((c) => c.from), ends, list((c) => c.axis), list((c) => c.step)]);
    return {
      value,
      back: (g) => {
        let now = [...out];
        let slope = g;
        for (const { axis, step, from, length, extent } of real) {
          const padded = (v: Value, rank: number, at: number, after: number, before = 0) => {
            const pads = new Array<number>(2 * rank).fill(0);
            [pads[at], pads[rank + at]] = [before, after];
            return b.node("Pad", [v, b.ints(pads)]);
          };
          if (step > 1) {
            // Zeros between: [.., length, 1, ..] grows to [.., length, step, ..].
            const apart = [-1, ...now.slice(1, axis + 1), 1, ...now.slice(axis + 1)];
            slope = padded(b.reshape(slope, apart), apart.length, axis + 1, step - 1);
            now = now.with(axis, length * step);
            slope = b.reshape(slope, [-1, ...now.slice(1)]);
          }
          const spread = length * step;
          // A negative pad crops the zeros that stand beyond the last element.
          slope = padded(slope, now.length, axis, extent - from - spread, from);
          now = now.with(axis, extent);
        }
        return [slope];
      },
    };
  };
};

const pad: Rule = (p) => {
  const op = p.types.context(p.node);
  const dims = dimsOf(p, 0);
  if (!dims) return UNKNOWN;
  if (p.node.string("mode", "constant") !== "constant") return "it pads with what it reads";
  const given = op.opset < 11 ? p.node.ints("pads") : op.content(1);
  const pads = padsOf(op, dims.length, given, op.content(3) as readonly number[] | undefined);
  const [begin, end] = [pads?.begin, pads?.end];
  const isNumbers = (list: readonly unknown[] | undefined): list is number[] =>
    list?.every((n) => typeof n === "number" && n >= 0) === true;
  if (!isNumbers(begin) || !isNumbers(end)) return "it crops, or its pads are not known";
  if (begin[0] !== 0 || end[0] !== 0) return "it pads samples";
  const fill = p.node.inputs[2];
  if (fill && !fill.constant) return "what it pads with is computed in the graph";
  const value = fill?.constant ? Number(fill.constant.numbers()[0] ?? 0) : p.node.float("value", 0);
  return (b, [x]) => ({
    value: b.node("Pad", [x, b.ints([...begin, ...end]), b.scalar(value)]),
    back: (g) => {
      const axes = dims.flatMap((_, a) => (begin[a] || end[a] ? [a] : []));
      if (axes.length === 0) return [g];
      const from = axes.map((a) => begin[a] as number);
      return [b.node("Slice", [g, b.ints(from), b.ints(axes.map((a, i) => (from[i] as number) + (dims[a] as number))), b.ints(axes)])];
    },
  });
};

const leakyRelu = elementwise((p) => {
  const alpha = p.node.float("alpha", 0.01);
  return (b, x) => ({
    value: b.node("LeakyRelu", [x], { alpha: float(alpha) }),
    slope: () => b.node("Where", [b.node("Greater", [x, b.scalar(0)]), b.scalar(1), b.scalar(alpha)]),
  });
});

const sigmoid = elementwise(() => (b, x) => {
  const value = b.node("Sigmoid", [x]);
  return { value, slope: () => b.node("Mul", [value, b.node("Sub", [b.scalar(1), value])]) };
});

const tanh = elementwise(() => (b, x) => {
  const value = b.node("Tanh", [x]);
  return { value, slope: () => b.node("Sub", [b.scalar(1), b.node("Mul", [value, value])]) };
});

const RULES: Readonly<Record<string, Rule>> = {
  Add: add,
  AveragePool: averagePool,
  BatchNormalization: batchNormalization,
  Clip: clip,
  Concat: concat,
  Dropout: dropout,
  Flatten: reshaped,
  GlobalAveragePool: globalAveragePool,
  Identity: same,
  LeakyRelu: leakyRelu,
  MaxPool: maxPool,
  Pad: pad,
  Relu: relu,
  Reshape: reshaped,
  Sigmoid: sigmoid,
  Slice: slice,
  Squeeze: reshaped,
  Tanh: tanh,
  Unsqueeze: reshaped,
};

/** Operators the way back through which is known, convolutions and products of matrices apart. */
export const PASSED: readonly string[] = Object.keys(RULES);
