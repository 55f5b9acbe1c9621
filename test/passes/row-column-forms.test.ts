import { expect, test } from "vitest";
import { cloneModel } from "../../src/graph/clone.js";
import type { Model } from "../../src/graph/graph.js";
import { infer } from "../../src/graph/infer.js";
import { random } from "../../src/graph/random.js";
import { Tensor } from "../../src/graph/tensor.js";
import { Emitter } from "../../src/passes/row-column/emit.js";
import { FORMS, formsOf, storedOf, type Work, windowsOf } from "../../src/passes/row-column/forms.js";
import { findNode, modelOf } from "../support/build.js";
import { difference, run } from "../support/run.js";

interface Case {
  readonly model: Model;
  readonly work: (model: Model) => Work;
  readonly text: string;
}

/** One to three spatial axes, any stride, pad, dilation and number of groups; columns leave singly, by channel or by tap; sometimes rows. */
function randomConv(seed: number): Case {
  const next = random(`conv ${seed}`);
  const upTo = (n: number, from = 1) => from + Math.floor(next() * (n - from + 1));
  const rank = next() < 0.75 ? 2 : next() < 0.6 ? 1 : 3;
  const axes = Array.from({ length: rank }, (_, i) => i);
  const groups = next() < 0.7 ? 1 : upTo(3, 2);
  const channels = upTo(5);
  const filters = groups * upTo(4);
  const kernel = axes.map(() => (next() < 0.25 ? 1 : upTo(rank === 3 ? 3 : 4)));
  const auto = next() < 0.15 ? ["SAME_UPPER", "SAME_LOWER", "VALID"][upTo(3) - 1] : undefined;
  // ONNX Runtime does not dilate under auto_pad.
  const dilations = axes.map(() => (next() < 0.6 || auto ? 1 : 2));
  const strides = axes.map(() => (next() < 0.6 ? 1 : upTo(3)));
  const reach = axes.map((i) => ((kernel[i] as number) - 1) * (dilations[i] as number) + 1);
  const pads = [...axes, ...axes].map((i) => upTo(reach[i] as number, 0));
  // An input that may be smaller than the kernel, as long as one window fits.
  const extents = axes.map((i) => {
    const padded = auto ? 0 : (pads[i] as number) + (pads[i + rank] as number);
    return Math.max(1, (reach[i] as number) - padded) + upTo(4, 0);
  });
  const isSymbolic = next() < 0.3 && !auto?.startsWith("SAME");
  const declared = isSymbolic ? axes.map((i) => ["h", "w", "d"][i]) : extents;
  const attributes = [
    auto ? `auto_pad = "${auto}"` : `pads = [${pads}]`,
    `strides = [${strides}]`,
    `dilations = [${dilations}]`,
    `group = ${groups}`,
    ...(next() < 0.5 ? [`kernel_shape = [${kernel}]`] : []),
  ];
  const hasBias = next() < 0.6;
  const bias = hasBias ? ", b" : "";
  const text = `g (float[2,${channels * groups},${declared}] x) => (float[2,${filters},${axes.map((i) => `o${i}`)}] y)
    <float[${filters},${channels},${kernel}] w = {...}${hasBias ? `, float[${filters}] b = {...}` : ""}>
    { c = Conv <${attributes.join(", ")}> (x, w${bias}) y = Relu (c) }`;
  const taps = kernel.reduce((a, b) => a * b, 1);
  const share = next();
  const kind = next();
  const whole = { channel: Array.from({ length: channels * groups }, next), tap: Array.from({ length: taps }, next) };
  const kept = Uint8Array.from({ length: groups * channels * taps }, (_, at) => {
    const by = kind < 0.3 ? whole.channel[Math.floor(at / taps)] : kind < 0.6 ? whole.tap[at % taps] : next();
    return Number((by as number) < share);
  });
  const removedRows =
    groups === 1 && next() < 0.4
      ? Array.from({ length: filters }, (_, i) => i)
          .filter(() => next() < 0.5)
          .slice(1)
      : [];
  const model = modelOf(text);
  const work = (m: Model): Work => ({
    node: findNode(m, "c"),
    groups,
    filters,
    channels,
    kernel,
    kept,
    removedRows,
    rowAxis: 0,
    columnAxis: 1,
  });
  return { model: shaped(model, Object.fromEntries(axes.map((i) => [["h", "w", "d"][i], extents[i]]))), work, text };
}

function randomMatrix(seed: number): Case {
  const next = random(`matrix ${seed}`);
  const [k, n] = [2 + Math.floor(next() * 6), 2 + Math.floor(next() * 5)];
  const isGemm = next() < 0.5;
  const isTransposed = isGemm && next() < 0.5;
  const rank3 = !isGemm && next() < 0.5;
  const text = isGemm
    ? `g (float[3,${k}] x) => (float[3,${n}] y) <float[${isTransposed ? `${n},${k}` : `${k},${n}`}] w = {...}, float[${n}] b = {...}>
      { c = Gemm <transB = ${Number(isTransposed)}, alpha = 0.5, beta = 2.0> (x, w, b) y = Relu (c) }`
    : `g (float[${rank3 ? "2,3" : "3"},${k}] x) => (float[${rank3 ? "2,3" : "3"},${n}] y) <float[${k},${n}] w = {...}> { c = MatMul (x, w) y = Relu (c) }`;
  const share = next();
  const kept = Uint8Array.from({ length: k }, () => Number(next() < share));
  const removedRows = Array.from({ length: n }, (_, i) => i)
    .filter(() => next() < 0.4)
    .slice(1);
  const rowAxis = isTransposed ? 0 : 1;
  const work = (m: Model): Work => ({
    node: findNode(m, "c"),
    groups: 1,
    filters: n,
    channels: k,
    kernel: [],
    kept,
    removedRows,
    rowAxis,
    columnAxis: 1 - rowAxis,
  });
  return { model: shaped(modelOf(text), {}), work, text };
}

const extentOf = new WeakMap<Model, Record<string, number | undefined>>();
/** With types on every value, as slicing leaves a model. */
function shaped(model: Model, extents: Record<string, number | undefined>): Model {
  const types = infer(model);
  for (const v of model.graph.values) v.type = types.type(v);
  extentOf.set(model, extents);
  return model;
}

/** The same graph with zeros: the definition of what every form must compute. */
function masked({ model, work }: Case): Model {
  const next = cloneModel(model);
  const { node, kept, groups, filters, removedRows, rowAxis } = work(next);
  const tensor = node.inputs[1]?.constant as Tensor;
  const numbers = Float64Array.from(tensor.numbers());
  const n = kept.length / groups;
  for (let i = 0; i < filters; i++) {
    const from = Math.floor((i * groups) / filters) * n;
    for (let j = 0; j < n; j++) if (!kept[from + j] || removedRows.includes(i)) numbers[rowAxis === 0 ? i * n + j : j * filters + i] = 0;
  }
  next.graph.setConstant(node.inputs[1] as never, Tensor.fromNumbers(tensor.dtype, tensor.dims, numbers));
  return next;
}

test("every form of 300 random convolutions and 100 matrices computes what the masked layer does", { timeout: 120_000 }, async () => {
  const seen = new Map<string, number>();
  let worst = 0;
  for (let seed = 0; seed < 400; seed++) {
    const one = seed < 300 ? randomConv(seed) : randomMatrix(seed);
    const reference = masked(one);
    const extents = extentOf.get(one.model) ?? {};
    const options = { seed, extent: (s: string) => extents[s] };
    const want = await run(reference, options);
    const windows = windowsOf(one.work(reference), one.model.graph.inputs[0]?.shape);
    for (const form of formsOf(one.work(reference), windows)) {
      const candidate = cloneModel(reference);
      const emitter = new Emitter(candidate.graph, (v) => v.shape);
      emitter.emit(one.work(candidate), form);
      emitter.finish();
      // Declared extents of what was rewritten must be right, and those of the interface are kept.
      expect(infer(candidate).conflicts).toEqual([]);
      const error = difference(want, await run(candidate, options));
      if (!(error <= 1e-5)) throw new Error(`seed ${seed}, ${form}: ${error}\n${one.text}`);
      worst = Math.max(worst, error);
      seen.set(form, (seen.get(form) ?? 0) + 1);
      const weights = candidate.graph.initializers.filter((v) => v.constant?.dtype === "float32" && v.constant.dims.length > 1);
      const stored = weights.filter((v) => v.uses().some((u) => u.index === 1 && ["Conv", "Gemm", "MatMul"].includes(u.node.opType)));
      expect(stored.reduce((n, v) => n + (v.constant?.size ?? 0), 0)).toBe(storedOf(one.work(reference), form));
    }
    const { groups, filters, removedRows, kept } = one.work(reference);
    const cells =
      (filters - removedRows.length) *
      Math.max(
        1,
        kept.reduce((n, x) => n + x, 0),
      );
    if (groups === 1 && seed < 300) expect(storedOf(one.work(reference), "lowered")).toBe(cells);
  }
  expect(worst).toBeGreaterThan(0);
  for (const form of FORMS) expect(seen.get(form), form).toBeGreaterThan(form === "boxes" || form === "trim" ? 30 : 200);
});
