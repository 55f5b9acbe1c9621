/**
 * The contract of every operator: what `infer` and `evaluate` say is what ONNX Runtime does, unoptimised, for the cases in ops/.
 *
 * Each case is also inferred with symbols: every extent n > 1 and every element n of an integer vector is hidden behind a
 * symbol, and what comes out, with the numbers put back, must again be what ONNX Runtime gives.
 */
import { readdirSync } from "node:fs";
import { InferenceSession, type Tensor as OrtTensor } from "onnxruntime-node";
import { describe, expect, it } from "vitest";
import { encode, joinChunks } from "../src/graph/codec.js";
import { type Dim, evaluate } from "../src/graph/dim.js";
import { type DType, isFloat, isInteger } from "../src/graph/dtype.js";
import { Graph, Model, Node, type TensorType, Value } from "../src/graph/graph.js";
import type { CostContext, InferContext, Inferred, OpSpec } from "../src/graph/op.js";
import { specs as gpuOnly } from "../src/graph/ops/gpu-only.js";
import { allSpecs } from "../src/graph/ops/index.js";
import { Tensor } from "../src/graph/tensor.js";
import type { OpCase } from "./ops/case.js";

const nameOf = (c: { type: string; domain?: string }): string => (c.domain ? `${c.domain}.${c.type}` : c.type);

/** Specs that no case can reach, with the reason. */
const WITHOUT_CASE: Readonly<Record<string, string>> = {
  If: "has subgraphs: graph/infer.test.ts",
  Loop: "has a subgraph: graph/infer.test.ts",
  Scan: "has a subgraph: graph/infer.test.ts",
  SequenceConstruct: "gives no tensor",
  SequenceInsert: "gives no tensor",
  SplitToSequence: "gives no tensor",
  SequenceEmpty: "gives no tensor",
  SequenceLength: "reads no tensor",
  ImageDecoder: "ONNX Runtime has no kernel: graph/infer.test.ts",
  ...Object.fromEntries(gpuOnly.map((s) => [nameOf(s), "has no CPU kernel: ops-gpu-only.test.ts"])),
};

const specs = (await load<{ specs?: readonly OpSpec[] }>("../src/graph/ops/")).flatMap((m) => m.specs ?? []);
const cases = (await load<{ cases?: readonly OpCase[] }>("./ops/")).flatMap((m) => m.cases ?? []);

async function load<T>(folder: string): Promise<T[]> {
  const url = new URL(folder, import.meta.url);
  const files = readdirSync(url).filter((f) => f.endsWith(".ts") && f !== "index.ts");
  return Promise.all(files.map((f) => import(new URL(f, url).href) as Promise<T>));
}

describe("the registry of operators", () => {
  it("holds every spec of every file in ops/", () => {
    expect(allSpecs.map(nameOf).sort()).toEqual(specs.map(nameOf).sort());
  });

  it("has a case for every spec that infers", () => {
    const covered = new Set(cases.map((c) => nameOf({ type: c.op, ...(c.domain ? { domain: c.domain } : {}) })));
    const missing = specs.filter((s) => s.infer && !covered.has(nameOf(s))).map(nameOf);
    expect(missing.filter((name) => !(name in WITHOUT_CASE))).toEqual([]);
  });
});

for (const c of cases) {
  for (const opset of typeof c.opset === "number" ? [c.opset] : c.opset) {
    it(`${c.domain ? `${c.domain}.` : ""}${c.op} at opset ${opset}: ${c.name}`, () => check(c, opset));
  }
}

async function check(c: OpCase, opset: number): Promise<void> {
  const spec = specs.find((s) => s.type === c.op && (s.domain ?? "") === (c.domain ?? ""));
  if (!spec) throw new Error(`No spec for ${c.op}.`);
  const { model, node } = build(c, opset);
  const ort = await runInOrt(model);
  checkInference(c, spec, node, opset, ort);
  checkSymbols(c, spec, node, opset, ort);
  checkUnknownRanks(c, spec, node, opset, ort);
  checkValues(c, spec, node, opset, ort);
  if (c.macs !== undefined) {
    const op: CostContext = { ...context(c, node, opset), outputShape: (i) => ort[i]?.dims };
    expect(spec.macs?.(op)).toBe(c.macs);
  }
}

/** A model of one node whose inputs are all initializers. */
function build(c: OpCase, opset: number): { model: Model; node: Node } {
  const graph = new Graph("case");
  const node = new Node(c.op, { name: "node", ...(c.domain ? { domain: c.domain } : {}) });
  c.inputs.forEach((t, i) => {
    node.setInput(i, t && graph.addInitializer(`input${i}`, t));
  });
  for (const [name, a] of Object.entries(c.attributes ?? {})) node.setAttribute(name, a);
  for (let i = 0; i < (c.outputs ?? 1); i++) node.addOutput(new Value(`output${i}`));
  graph.appendNode(node);
  for (const o of node.outputs) if (o) graph.addOutput(o);
  const model = new Model(graph);
  model.irVersion = 10;
  model.opsets.set("", opset);
  if (c.domain) model.opsets.set(c.domain, 1);
  return { model, node };
}

async function runInOrt(model: Model): Promise<Tensor[]> {
  const session = await InferenceSession.create(joinChunks(encode(model)), {
    graphOptimizationLevel: "disabled",
    intraOpNumThreads: 1,
    logSeverityLevel: 3,
    extra: { session: { intra_op: { allow_spinning: "0" } } },
  });
  try {
    const results = await session.run({});
    return session.outputNames.map((name) => fromOrt(results[name] as OrtTensor));
  } finally {
    await session.release();
  }
}

function fromOrt(t: OrtTensor): Tensor {
  if (t.type === "string")
    return Tensor.ofStrings(
      t.dims,
      (t.data as string[]).map((s) => new TextEncoder().encode(s)),
    );
  const data = t.data as Float32Array;
  return Tensor.ofBytes(t.type as DType, t.dims, new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice());
}

interface View {
  shape(dims: readonly number[], i: number): readonly Dim[] | undefined;
  content(values: readonly number[]): readonly Dim[] | undefined;
  readonly constants: boolean;
}

const PLAIN: View = { shape: (dims) => dims, content: (values) => values, constants: true };

/** What infer is told about the inputs. */
function context(c: OpCase, node: Node, opset: number, view: View = PLAIN): InferContext {
  const input = (i: number): Tensor | undefined => c.inputs[i];
  const isShown = (i: number) => !c.hidden?.includes(i);
  const type = (i: number): TensorType | undefined => {
    const t = input(i);
    return t && { kind: "tensor", dtype: t.dtype, shape: view.shape(t.dims, i) };
  };
  return {
    node,
    opset: c.domain ? 1 : opset,
    type,
    shape: (i) => type(i)?.shape,
    constant: (i) => (isShown(i) && (view.constants || isOperand(c, i)) ? input(i) : undefined),
    content: (i) => {
      const t = input(i);
      return t && isShown(i) && isVector(t) ? view.content(t.ints()) : undefined;
    },
    fresh: (output, axis) => `?${output}_${axis}`,
    body: () => [],
  };
}

/** Short vectors and scalars are what axes, scales and shapes are given in: constants even where data is symbolic. */
const isOperand = (c: OpCase, i: number): boolean => i > 0 && (c.inputs[i]?.dims.length ?? 2) <= 1;
const isVector = (t: Tensor): boolean => (isInteger(t.dtype) || t.dtype === "bool") && t.dims.length <= 1;

function inferred(spec: OpSpec, op: InferContext): readonly (Inferred | undefined)[] {
  if (!spec.infer) throw new Error(`${spec.type} has no infer.`);
  return spec.infer(op);
}

function checkInference(c: OpCase, spec: OpSpec, node: Node, opset: number, ort: readonly Tensor[]): void {
  const got = inferred(spec, context(c, node, opset));
  ort.forEach((t, i) => {
    const type = got[i]?.type as TensorType | undefined;
    if (c.hidden) {
      expect(type?.dtype).toBe(t.dtype);
      agree(type?.shape, t.dims, new Map());
    } else expect(type).toEqual({ kind: "tensor", dtype: t.dtype, shape: t.dims });
    agree(got[i]?.content, t.dims.length <= 1 && t.dtype !== "string" ? t.ints() : [], new Map());
  });
}

/** Extents that are known, or are once the symbols have values, must be the expected ones. */
function agree(got: readonly Dim[] | undefined, expected: readonly number[], symbols: ReadonlyMap<string, number>): void {
  if (!got) return;
  const values = got.map((d, i) => evaluate(d, symbols) ?? expected[i]);
  expect(values).toEqual([...expected]);
}

function checkSymbols(c: OpCase, spec: OpSpec, node: Node, opset: number, ort: readonly Tensor[]): void {
  if (c.symbolic === false) return;
  const symbols = new Map<string, number>();
  const hide = (n: number): Dim => {
    // Symbols stand for extents, of at least 1 and not astronomic; a 1 stays visible, for it broadcasts.
    if (n <= 1 || n > 2 ** 20) return n;
    symbols.set(`s${n}`, n);
    return `s${n}`;
  };
  const views: View[] = [
    { shape: (dims) => dims.map(hide), content: (v) => v, constants: false },
    { shape: (dims, i) => (i === 0 ? dims.map(hide) : dims), content: (v) => v, constants: true },
    { shape: (dims) => dims, content: (v) => v.map(hide), constants: false },
  ];
  for (const view of views) {
    const op = context(c, node, opset, view);
    // Elements behind symbols are not constants.
    const seen =
      view === views[2] ? { ...op, constant: (i: number) => (isVector(c.inputs[i] as Tensor) ? undefined : op.constant(i)) } : op;
    inferred(spec, { ...seen, constant: (i) => (c.inputs[i] ? seen.constant(i) : undefined) }).forEach((got, i) => {
      const t = ort[i];
      if (!t || got?.type.kind !== "tensor") return;
      expect(got.type.dtype).toBe(t.dtype);
      agree(got.type.shape, t.dims, symbols);
      if (t.dims.length <= 1 && t.dtype !== "string") agree(got.content, t.ints(), symbols);
    });
  }
}

function checkUnknownRanks(c: OpCase, spec: OpSpec, node: Node, opset: number, ort: readonly Tensor[]): void {
  const nothing: View = { shape: () => undefined, content: () => undefined, constants: false };
  const op: InferContext = { ...context(c, node, opset, nothing), constant: () => undefined };
  inferred(spec, op).forEach((got, i) => {
    const t = ort[i];
    if (!t || got?.type.kind !== "tensor") return;
    expect(got.type.dtype).toBe(t.dtype);
    agree(got.type.shape, t.dims, new Map());
  });
  const untyped: InferContext = { ...op, type: () => undefined };
  expect(() => inferred(spec, untyped)).not.toThrow();
}

function checkValues(c: OpCase, spec: OpSpec, node: Node, opset: number, ort: readonly Tensor[]): void {
  if (!spec.evaluate) return;
  const got = spec.evaluate(context(c, node, opset), c.inputs);
  if (c.evaluates === false && !got) return;
  if (!got) throw new Error(`${c.op} does not evaluate this case; say evaluates: false if it should not.`);
  ort.forEach((t, i) => {
    const y = got[i];
    expect({ dtype: y?.dtype, dims: y?.dims }).toEqual({ dtype: t.dtype, dims: t.dims });
    if (y) compare(y, t, c.absolute ?? 0);
  });
}

function compare(got: Tensor, expected: Tensor, absolute: number): void {
  if (expected.dtype === "string") {
    expect(got.strings).toEqual(expected.strings);
    return;
  }
  if (!isFloat(expected.dtype)) {
    expect([...got.bytes]).toEqual([...expected.bytes]);
    return;
  }
  const [a, b] = [got.numbers(), expected.numbers()];
  const wrong: string[] = [];
  for (let i = 0; i < b.length; i++) {
    const [p, q] = [a[i] as number, b[i] as number];
    const isClose = Object.is(p, q) || p === q || Math.abs(p - q) <= absolute + 1e-6 * Math.max(Math.abs(p), Math.abs(q));
    if (!isClose) wrong.push(`[${i}] ${p} instead of ${q}`);
  }
  expect(wrong).toEqual([]);
}
