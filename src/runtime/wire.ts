/** What travels between a runner and its worker thread. */
import type { InferenceSession } from "onnxruntime-common";
import { DataError, UnsupportedError } from "../errors.js";
import type { DType } from "../graph/dtype.js";
import { Tensor } from "../graph/tensor.js";

/** Packed little-endian bytes in a buffer of their own, or the elements of a string tensor. */
export interface WireTensor {
  readonly type: string;
  readonly dims: readonly number[];
  readonly data: Uint8Array | readonly string[];
}
export type WireTensors = Readonly<Record<string, WireTensor>>;

export interface WirePort {
  readonly name: string;
  /** Absent for what is not a tensor. */
  readonly type: string | undefined;
  readonly shape: readonly (number | string)[];
}

export type WireModel = string | { readonly bytes: Uint8Array; readonly external: readonly { path: string; data: Uint8Array }[] };

/** Each kind of request with its arguments and its answer. */
export interface Calls {
  load: {
    ask: {
      readonly session: number;
      readonly model: WireModel;
      readonly options: InferenceSession.SessionOptions;
      readonly fixed: WireTensors;
    };
    answer: { readonly inputs: readonly WirePort[]; readonly outputs: readonly WirePort[] };
  };
  run: {
    ask: { readonly session: number; readonly feeds: WireTensors; readonly fetch: readonly string[] | undefined };
    answer: WireTensors;
  };
  time: { ask: { readonly session: number; readonly feeds: WireTensors; readonly runs: number }; answer: Float64Array };
  release: { ask: { readonly session: number }; answer: undefined };
}
export type Kind = keyof Calls;
/** After this the thread ends by itself. */
export interface Close {
  readonly id: 0;
  readonly kind: "close";
}
export type Request = { [K in Kind]: { readonly id: number; readonly kind: K } & Calls[K]["ask"] }[Kind];

export type Reply =
  | { readonly id: number; readonly ok: true; readonly value: Calls[Kind]["answer"] }
  | { readonly id: number; readonly ok: false; readonly name: string; readonly message: string };
/** The worker's first message. */
export interface Ready {
  readonly version: string;
}

/** What a worker is told when it starts. */
export interface WorkerSettings {
  /** Absolute path of the runtime package's entry. */
  readonly module: string;
  readonly wasm: boolean;
  readonly threads: number;
  /** Two shared flags: [CLOSING] by the host, requests that still wait are then dropped; [BUSY] by the worker, around each request. */
  readonly state: Int32Array;
  /** Held by one thread at a time around each request: [0] is its number, 0 if free. Absent where threads need not wait. */
  readonly turn?: Int32Array;
  /** The number with which this thread takes its turn. */
  readonly thread: number;
}
export const CLOSING = 0;
export const BUSY = 1;

/** Element types ONNX Runtime's JavaScript bindings run; the spelling is ours too. */
const CARRIED: ReadonlySet<DType> = new Set<DType>([
  "float32",
  "float64",
  "float16",
  "int8",
  "uint8",
  "int16",
  "uint16",
  "int32",
  "uint32",
  "int64",
  "uint64",
  "bool",
  "string",
]);

/** int4 is not: `Tensor` takes it, `run` refuses it ("Tensor.type is not supported: int4", native and wasm 1.30). */
export function isCarried(dtype: DType): boolean {
  return CARRIED.has(dtype);
}

/**
 * The tensor with its bytes copied into a buffer that may be transferred: tensors share the buffer of the model file.
 * @throws UnsupportedError for a dtype ONNX Runtime does not take; DataError for strings that are not UTF-8.
 */
export function toWire(tensor: Tensor, name: string): WireTensor {
  if (!isCarried(tensor.dtype)) throw notCarried(tensor.dtype, name);
  const { dtype: type, dims } = tensor;
  if (type !== "string") return { type, dims, data: new Uint8Array(tensor.peek()) };
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  try {
    return { type, dims, data: tensor.strings.map((s) => decoder.decode(s)) };
  } catch (cause) {
    throw new DataError(
      "FEED_NOT_UTF8",
      `A string of tensor "${name}" is not valid UTF-8, so ONNX Runtime cannot take it from JavaScript.`,
      {
        at: { value: name },
        cause,
      },
    );
  }
}

export function fromWire(tensor: WireTensor): Tensor {
  if (tensor.data instanceof Uint8Array) return Tensor.ofBytes(tensor.type as DType, tensor.dims, tensor.data);
  const encoder = new TextEncoder();
  return Tensor.ofStrings(
    tensor.dims,
    tensor.data.map((s) => encoder.encode(s)),
  );
}

/** The buffers to move with a message; each once. */
export function buffersOf(tensors: WireTensors): ArrayBuffer[] {
  const buffers = new Set<ArrayBuffer>();
  for (const t of Object.values(tensors)) if (t.data instanceof Uint8Array) buffers.add(t.data.buffer as ArrayBuffer);
  return [...buffers];
}

export function notCarried(dtype: DType, name: string): UnsupportedError {
  const what = dtype === "undefined" ? "sequences, maps and optionals" : `${dtype} tensors`;
  return new UnsupportedError("RUNTIME_DTYPE", `ONNX Runtime's JavaScript bindings do not carry ${what}, and "${name}" is one.`, {
    at: { value: name },
    hint: "Export the model with float32 or float16 inputs and outputs; inside the graph other types are fine.",
  });
}
