/** The element types of ONNX tensors: names, wire numbers, widths, and the typed array each is viewed through. */

/** Names follow TensorProto.DataType, spelled as onnxruntime spells them. */
export type DType =
  | "undefined"
  | "float32"
  | "uint8"
  | "int8"
  | "uint16"
  | "int16"
  | "int32"
  | "int64"
  | "string"
  | "bool"
  | "float16"
  | "float64"
  | "uint32"
  | "uint64"
  | "complex64"
  | "complex128"
  | "bfloat16"
  | "float8e4m3fn"
  | "float8e4m3fnuz"
  | "float8e5m2"
  | "float8e5m2fnuz"
  | "uint4"
  | "int4"
  | "float4e2m1"
  | "float8e8m0"
  | "uint2"
  | "int2";

/** Index = TensorProto.DataType number. */
const WIRE: readonly DType[] = [
  "undefined",
  "float32",
  "uint8",
  "int8",
  "uint16",
  "int16",
  "int32",
  "int64",
  "string",
  "bool",
  "float16",
  "float64",
  "uint32",
  "uint64",
  "complex64",
  "complex128",
  "bfloat16",
  "float8e4m3fn",
  "float8e4m3fnuz",
  "float8e5m2",
  "float8e5m2fnuz",
  "uint4",
  "int4",
  "float4e2m1",
  "float8e8m0",
  "uint2",
  "int2",
];

const BITS: Readonly<Record<DType, number>> = {
  undefined: 0,
  string: 0,
  float32: 32,
  uint8: 8,
  int8: 8,
  uint16: 16,
  int16: 16,
  int32: 32,
  int64: 64,
  bool: 8,
  float16: 16,
  float64: 64,
  uint32: 32,
  uint64: 64,
  complex64: 64,
  complex128: 128,
  bfloat16: 16,
  float8e4m3fn: 8,
  float8e4m3fnuz: 8,
  float8e5m2: 8,
  float8e5m2fnuz: 8,
  uint4: 4,
  int4: 4,
  float4e2m1: 4,
  float8e8m0: 8,
  uint2: 2,
  int2: 2,
};

/** The dtype of a TensorProto.DataType number; undefined for a number newer than this table. */
export function dtypeOfWire(n: number): DType | undefined {
  return WIRE[n];
}

export function wireOfDtype(d: DType): number {
  return WIRE.indexOf(d);
}

/** Bits per element; 0 for string and undefined. Sub-byte types are packed little-end first, padded to a byte at the end. */
export function bitsOf(d: DType): number {
  return BITS[d];
}

/** Bytes of `count` packed elements. */
export function byteLengthOf(d: DType, count: number): number {
  return Math.ceil((count * BITS[d]) / 8);
}

export function isFloat(d: DType): boolean {
  return d.startsWith("float") || d.startsWith("bfloat");
}

export function isInteger(d: DType): boolean {
  return d.startsWith("int") || d.startsWith("uint");
}
