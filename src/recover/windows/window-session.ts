/** The graph in which ONNX Runtime runs the layers of a window, and goes back through them. */

import { internal } from "../../errors.js";
import { Builder } from "../../gradient/builder.js";
import { backToBias, backToInput, backToWeight, convolutionOf, convolved } from "../../gradient/convolution.js";
import { type Passed, passageOf } from "../../gradient/rules.js";
import { ints } from "../../graph/attribute.js";
import type { Node, Value } from "../../graph/graph.js";
import type { Types } from "../../graph/infer.js";
import { Tensor } from "../../graph/tensor.js";
import type { Runner, Session } from "../../runtime/runner.js";
import { sourceOf } from "../../runtime/source.js";
import type { Layer, Weights } from "../../score/layers.js";
import { type Activations, absorbedBy, passing } from "./units.js";

/** Layers that are fitted together to one value. */
export interface Window {
  readonly from: Value;
  readonly to: Value;
  /** In graph order. */
  readonly nodes: readonly Node[];
  readonly fitted: readonly Layer[];
}

export interface WindowForm {
  readonly window: Window;
  readonly types: Types;
  readonly activations: Activations;
  /** The original's value that is fitted to. */
  readonly target: Value;
  /** Axis of its channels, and those of them that are left; undefined: all. */
  readonly axis: number;
  readonly kept: readonly number[] | undefined;
}

/** One batch: what the window reads, and what it should give (the original's value, of the channels that are left). */
export interface WindowBatch {
  readonly x: Tensor;
  readonly target: Tensor;
}

/** Of each fitted layer, by how much the error of one batch grows per unit of each weight and bias. */
export interface Slopes {
  readonly error: number;
  readonly layers: readonly { readonly weight: ArrayLike<number>; readonly bias: ArrayLike<number> | undefined }[];
}

/** Weights are fed to every run: they change from one to the next. */
export class WindowSession {
  readonly #session: Session;
  readonly #fitted: readonly Layer[];

  private constructor(session: Session, fitted: readonly Layer[]) {
    [this.#session, this.#fitted] = [session, fitted];
  }

  static async open(runner: Runner, form: WindowForm): Promise<WindowSession> {
    return new WindowSession(await runner.load(sourceOf(modelOf(form))), form.window.fitted);
  }

  /** Sum of squared differences of what is read of the window's end. */
  async error(batch: WindowBatch, weights: readonly Weights[]): Promise<number> {
    const { error } = await this.#session.run(this.#feeds(batch, weights), ["error"]);
    return Number((error as Tensor).numbers()[0]);
  }

  /** Slopes of half that error. */
  async slopes(batch: WindowBatch, weights: readonly Weights[]): Promise<Slopes> {
    const got = await this.#session.run(this.#feeds(batch, weights));
    const numbers = (name: string) => got[name]?.numbers() as ArrayLike<number> | undefined;
    return {
      error: Number(numbers("error")?.[0]),
      layers: this.#fitted.map((_, i) => ({ weight: numbers(`weight_slope_${i}`) as ArrayLike<number>, bias: numbers(`bias_slope_${i}`) })),
    };
  }

  release(): Promise<void> {
    return this.#session.release();
  }

  #feeds({ x, target }: WindowBatch, weights: readonly Weights[]): Record<string, Tensor> {
    const feeds: Record<string, Tensor> = { x, target };
    for (const [i, layer] of this.#fitted.entries()) {
      const { weight, bias } = weights[i] as Weights;
      feeds[`weight_${i}`] = Tensor.fromNumbers("float32", weightDims(layer), weight);
      if (layer.hasBias) feeds[`bias_${i}`] = Tensor.fromNumbers("float32", [bias.length], bias);
    }
    return feeds;
  }
}

/** As `Layer.read` has them: [outputs, inputs of a group, …kernel]. */
export function weightDims({ node, groups, rows, columns, taps, channelsLast }: Layer): number[] {
  const kernel = channelsLast ? [] : (node.inputs[1]?.constant?.dims.slice(2) ?? []);
  return [groups * rows, columns / taps, ...kernel];
}

function modelOf({ window, types, activations }: WindowForm) {
  const b = new Builder();
  const values = new Map<Value, Value>([[window.from, b.input("x")]]);
  const passages: { readonly inputs: readonly Value[]; readonly output: Value; readonly passed: Passed }[] = [];
  const layerAt = new Map(window.fitted.map((l) => [l.node, l]));
  const inside = new Set(window.fitted.flatMap((l) => [...absorbedBy(l)]));
  const slopes: (() => void)[] = [];
  const built = (v: Value): Value => {
    const value = values.get(v);
    if (!value) throw internal(`"${v.name}" is read in a window before it is made.`);
    return value;
  };
  for (const node of window.nodes) {
    const layer = layerAt.get(node);
    if (!layer && inside.has(node)) continue;
    const inputs = layer ? [layer.input] : node.inputs.filter((v): v is Value => v !== undefined && activations.has(v));
    const output = layer ? layer.end : (node.outputs[0] as Value);
    const passage = layer ? throughLayer(layer, window.fitted.indexOf(layer), types, slopes) : passageOf(passing(node, types, activations));
    if (typeof passage === "string") throw internal(`${node.label}: ${passage}`);
    const passed = passage(b, inputs.map(built));
    values.set(output, passed.value);
    passages.push({ inputs, output, passed });
  }

  const wanted = b.input("target");
  const last = passages.at(-1);
  const isRectified =
    last !== undefined && last.output === window.to && window.to.producer?.isStandard === true && window.to.producer.opType === "Relu";
  const given = built(window.to);
  const off = b.node("Sub", [given, wanted]);
  b.give("error", b.total(b.node("Mul", [off, off])));

  const slopeAt = new Map<Value, Value>();
  const addTo = (v: Value, g: Value) => {
    const before = slopeAt.get(v);
    slopeAt.set(v, before ? b.node("Add", [before, g]) : g);
  };
  if (isRectified) {
    // Before the Relu, so that what gives nothing where something is wanted is not stuck there.
    const before = built((last as (typeof passages)[number]).inputs[0] as Value);
    const positive = (v: Value) => b.node("Greater", [v, b.scalar(0)]);
    const counts = b.indicator(b.node("Or", [positive(before), positive(wanted)]));
    addTo((last as (typeof passages)[number]).inputs[0] as Value, b.node("Mul", [b.node("Sub", [before, wanted]), counts]));
    passages.pop();
  } else addTo(window.to, off);
  /** Values before which nothing is fitted need no slope. */
  const needed = new Set<Value>();
  for (const { inputs, output } of passages) {
    const layer = window.fitted.some((l) => l.end === output);
    if (layer || inputs.some((v) => needed.has(v))) needed.add(output);
  }
  for (const { inputs, output, passed } of passages.reverse()) {
    const g = slopeAt.get(output);
    if (!g || !needed.has(output)) continue;
    const back = passed.back(g);
    for (const [i, v] of inputs.entries()) {
      const slope = back[i];
      if (slope && needed.has(v)) addTo(v, slope);
    }
  }
  for (const give of slopes) give();
  return b.model;
}

/** `index` among the fitted layers. `slopes` gets what gives theirs, once the way back is built. */
function throughLayer(layer: Layer, index: number, types: Types, slopes: (() => void)[]) {
  return (b: Builder, [x]: readonly Value[]): Passed => {
    const dims = weightDims(layer);
    const weight = b.input(`weight_${index}`);
    const bias = layer.hasBias ? b.input(`bias_${index}`) : undefined;
    const giving = (w: () => Value, c: () => Value) =>
      slopes.push(() => {
        b.give(`weight_slope_${index}`, w());
        if (bias) b.give(`bias_slope_${index}`, c());
      });
    const extents = (v: Value) => (types.shape(v) ?? []) as number[];
    if (layer.channelsLast) {
      const [M, C] = dims as [number, number];
      const product = b.node("MatMul", [x, b.node("Transpose", [weight], { perm: ints([1, 0]) })]);
      return {
        value: bias ? b.node("Add", [product, bias]) : product,
        back: (g) => {
          const flat = b.reshape(g, [-1, M]);
          giving(
            () => b.node("MatMul", [b.node("Transpose", [flat], { perm: ints([1, 0]) }), b.reshape(x as Value, [-1, C])]),
            () => b.total(flat, [0]),
          );
          return [b.node("MatMul", [g, weight])];
        },
      };
    }
    const c = convolutionOf(layer.node, dims, extents(layer.input).slice(2), extents(layer.node.outputs[0] as Value).slice(2));
    return {
      value: convolved(b, c, x as Value, weight, bias),
      back: (g) => {
        giving(
          () => backToWeight(b, c, x as Value, g),
          () => backToBias(b, c, g),
        );
        return [backToInput(b, c, weight, g)];
      },
    };
  };
}
