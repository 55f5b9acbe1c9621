/** Models of a few nodes, written with onnx-proto: a codec that is not ours, so these tests do not lean on it. */
import onnxProto from "onnx-proto";
import { probeB, probeW } from "../../src/runtime/probe.js";

const { onnx } = onnxProto;

export interface TinyTensor {
  readonly name: string;
  readonly dims: readonly number[];
  readonly type?: number;
  readonly floats?: readonly number[];
  readonly raw?: Uint8Array;
  readonly external?: { readonly location: string; readonly length: number };
}
export interface TinyPort {
  readonly name: string;
  readonly shape: readonly (number | string)[];
  readonly type?: number;
}
export interface TinyNode {
  readonly op: string;
  readonly in: readonly string[];
  readonly out: readonly string[];
  readonly ints?: Readonly<Record<string, readonly number[]>>;
  readonly int?: Readonly<Record<string, number>>;
  readonly domain?: string;
}
export interface TinyModel {
  readonly nodes: readonly TinyNode[];
  readonly inputs: readonly TinyPort[];
  readonly outputs: readonly TinyPort[];
  readonly weights?: readonly TinyTensor[];
  readonly opset?: number;
  readonly ir?: number;
}

/** TensorProto.DataType numbers. */
export const FLOAT = 1;

function valueInfo(p: TinyPort): onnxProto.onnx.IValueInfoProto {
  const dim = p.shape.map((d) => (typeof d === "number" ? { dimValue: d } : { dimParam: d }));
  return { name: p.name, type: { tensorType: { elemType: p.type ?? FLOAT, shape: { dim } } } };
}

function tensor(t: TinyTensor): onnxProto.onnx.ITensorProto {
  const head = { name: t.name, dims: [...t.dims], dataType: t.type ?? FLOAT };
  if (t.external) {
    const externalData = [
      { key: "location", value: t.external.location },
      { key: "offset", value: "0" },
      { key: "length", value: String(t.external.length) },
    ];
    return { ...head, externalData, dataLocation: onnx.TensorProto.DataLocation.EXTERNAL };
  }
  return { ...head, rawData: t.raw ?? new Uint8Array(Float32Array.from(t.floats ?? []).buffer) };
}

/** The bytes of an ONNX file. */
export function tinyModel(m: TinyModel): Uint8Array {
  const A = onnx.AttributeProto.AttributeType;
  const message = onnx.ModelProto.fromObject({
    irVersion: m.ir ?? 8,
    opsetImport: [{ domain: "", version: m.opset ?? 17 }],
    graph: {
      name: "tiny",
      node: m.nodes.map((n) => ({
        opType: n.op,
        domain: n.domain ?? "",
        input: [...n.in],
        output: [...n.out],
        attribute: [
          ...Object.entries(n.ints ?? {}).map(([name, ints]) => ({ name, type: A.INTS, ints: [...ints] })),
          ...Object.entries(n.int ?? {}).map(([name, i]) => ({ name, type: A.INT, i })),
        ],
      })),
      input: m.inputs.map(valueInfo),
      output: m.outputs.map(valueInfo),
      initializer: (m.weights ?? []).map(tensor),
    },
  });
  return onnx.ModelProto.encode(message).finish();
}

/** Y = X of one element type and shape. */
export function identityModel(type: number, shape: readonly (number | string)[] = ["N"]): Uint8Array {
  return tinyModel({
    nodes: [{ op: "Identity", in: ["X"], out: ["Y"] }],
    inputs: [{ name: "X", shape, type }],
    outputs: [{ name: "Y", shape, type }],
  });
}

/** Y = X·W with X [N, rows] and W [rows, columns]; a classifier of `columns` classes. */
export function matMulModel(rows: number, columns: number, weight: readonly number[], batch: number | string = "N"): Uint8Array {
  return tinyModel({
    nodes: [{ op: "MatMul", in: ["X", "W"], out: ["Y"] }],
    inputs: [{ name: "X", shape: [batch, rows] }],
    outputs: [{ name: "Y", shape: [batch, columns] }],
    weights: [{ name: "W", dims: [rows, columns], floats: weight }],
  });
}

/** A chain of `count` MatMul [size, size], so that one run takes long. */
export function slowModel(size: number, count: number): Uint8Array {
  const weight = Array.from({ length: size * size }, (_, i) => ((i * 7919) % 101) / 101 / size);
  return tinyModel({
    nodes: Array.from({ length: count }, (_, i) => ({
      op: "MatMul",
      in: [i === 0 ? "X" : `h${i - 1}`, "W"],
      out: [i === count - 1 ? "Y" : `h${i}`],
    })),
    inputs: [{ name: "X", shape: ["N", size] }],
    outputs: [{ name: "Y", shape: ["N", size] }],
    weights: [{ name: "W", dims: [size, size], floats: weight }],
  });
}

/**
 * The model src/runtime/probe.ts carries: Relu(Conv(X, W, B)) on [1, 6, 3, 3] with small integers, which every provider, TF32
 * and float16 included, computes exactly.
 */
export function probeModel(): Uint8Array {
  const w = Array.from({ length: 4 * 6 * 4 }, (_, n) => probeW(Math.floor(n / 24), Math.floor(n / 4) % 6, Math.floor(n / 2) % 2, n % 2));
  return tinyModel({
    nodes: [
      { op: "Conv", in: ["X", "W", "B"], out: ["C"] },
      { op: "Relu", in: ["C"], out: ["Y"] },
    ],
    inputs: [{ name: "X", shape: [1, 6, 3, 3] }],
    outputs: [{ name: "Y", shape: [1, 4, 2, 2] }],
    weights: [
      { name: "W", dims: [4, 6, 2, 2], floats: w },
      { name: "B", dims: [4], floats: [0, 1, 2, 3].map(probeB) },
    ],
  });
}
