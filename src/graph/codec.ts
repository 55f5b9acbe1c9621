/**
 * ONNX files to and from the IR.
 *
 * The one idea: an object of the IR remembers the slice of the file it was decoded from (its origin), and writing edits
 * that slice. So whatever we do not model, or do not even know, survives, and a model nobody changed is written back byte
 * for byte. Weights are slices of the input from end to end; they are never copied.
 *
 *   proto/wire.ts    splits a message into fields       codec-decode.ts   names to references
 *   proto/edit.ts    a message with some fields changed codec-encode.ts   the way back
 *   codec-tensor.ts  where the bytes of a tensor are    codec-type.ts     shapes and types
 */
import { ModelError } from "../errors.js";
import { decodeModel } from "./codec-decode.js";
import { encodeModel } from "./codec-encode.js";
import { type ExternalData, ExternalFile, encodeTensor as encodeTensorItem, type TensorSource, tensorOf } from "./codec-tensor.js";
import type { Model } from "./graph.js";
import type { Chunks } from "./proto/edit.js";
import type { Tensor } from "./tensor.js";

export type { ExternalData };

/** `external` reads tensors kept in other files, when needed; `onExternal` hears of each while decoding. */
export type DecodeOptions = TensorSource;

export interface EncodeOptions {
  /** Put tensors of at least `threshold` bytes (default 1024) into a second file, which the model calls `location`. */
  readonly external?: { readonly location: string; readonly threshold?: number };
}

/** A model as bytes to be written in order. Each walk over `chunks` reads tensors that are not in memory when their turn comes, and keeps none. */
export interface Encoded {
  readonly chunks: Iterable<Uint8Array>;
  readonly byteLength: number;
  readonly external?: ExternalBytes;
}
/** The second file. `chunks` can be walked once; it reads each tensor when its turn comes and keeps none. */
export interface ExternalBytes {
  readonly location: string;
  readonly byteLength: number;
  readonly chunks: Iterable<Uint8Array>;
}

/** Protobuf readers refuse messages of more bytes. */
const MAX_MESSAGE = 2 ** 31 - 1;
const DEFAULT_THRESHOLD = 1024;

/**
 * The model in a file's bytes. The bytes are referred to, not copied: they must not change while the model is in use.
 *
 * Node order is made topological. Names are resolved, across subgraphs too; trailing and inner empty names are holes.
 *
 * @throws ModelError when the bytes are not ONNX (MODEL_NOT_ONNX, MODEL_MALFORMED), contradict themselves
 *   (MODEL_DUPLICATE_NAME, MODEL_UNDEFINED_VALUE, MODEL_CYCLE, TENSOR_BAD_LENGTH, TENSOR_BAD_DIMS, TENSOR_BAD_EXTERNAL), or nest
 *   without end (MODEL_TOO_DEEP).
 * @throws UnsupportedError UNSUPPORTED_IR_VERSION for files newer than this code.
 */
export function decode(bytes: Uint8Array, options: DecodeOptions = {}): Model {
  return decodeModel(bytes, options);
}

/**
 * The model as bytes; those of a model as it was decoded are the bytes it was decoded from.
 * Tensors that were in external files come inside unless `options.external` says otherwise.
 *
 * @throws ModelError MODEL_TOO_LARGE when the model itself would exceed 2 GiB, which protobuf cannot read.
 */
export function encode(model: Model, options: EncodeOptions = {}): Encoded {
  const file = externalFile(options);
  const message = encodeModel(model, file);
  if (message.byteLength > MAX_MESSAGE) {
    throw new ModelError(
      "MODEL_TOO_LARGE",
      `The model would have ${message.byteLength} bytes, but an ONNX file has at most ${MAX_MESSAGE}.`,
      {
        hint: "Keep the weights in external data: writeModel(path, model, { external: true }).",
      },
    );
  }
  const chunks = { [Symbol.iterator]: () => message.bytes() };
  const encoded = { chunks, byteLength: message.byteLength };
  if (!file) return encoded;
  return { ...encoded, external: { location: file.location, byteLength: file.byteLength, chunks: file.bytes() } };
}

/** Bytes that encode() would give, external data included, without reading any tensor. */
export function encodedSize(model: Model, options: EncodeOptions = {}): number {
  const file = externalFile(options);
  return encodeModel(model, file).byteLength + (file?.byteLength ?? 0);
}

/** One of the files of an encoded model as one array: the model file, or its external data. */
export function joinChunks({ chunks, byteLength }: { chunks: Iterable<Uint8Array>; byteLength: number }): Uint8Array {
  const out = new Uint8Array(byteLength);
  let at = 0;
  for (const c of chunks) {
    out.set(c, at);
    at += c.length;
  }
  return out;
}

/** A tensor file, as ONNX test-data folders hold them (input_0.pb). @throws ModelError as decode(). */
export function decodeTensor(bytes: Uint8Array): { name: string; tensor: Tensor } {
  return tensorOf(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length), "the tensor", {});
}

/** The bytes of a tensor file. */
export function encodeTensor(tensor: Tensor, name = ""): Uint8Array {
  const item = encodeTensorItem(tensor, name, undefined, undefined);
  if (item instanceof Uint8Array) return item;
  return joinChunks({ chunks: (item as Chunks).bytes(), byteLength: (item as Chunks).byteLength });
}

function externalFile(options: EncodeOptions): ExternalFile | undefined {
  return options.external && new ExternalFile(options.external.location, options.external.threshold ?? DEFAULT_THRESHOLD);
}
