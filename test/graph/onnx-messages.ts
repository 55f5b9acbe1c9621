/** ONNX messages by protobufjs and the vendored schema: a reader and writer that shares no code with ours. */
import { readdirSync, readFileSync } from "node:fs";
import protobuf from "protobufjs";

const schema = readFileSync(new URL("../../src/graph/proto/onnx.proto", import.meta.url), "utf8");
const { root } = protobuf.parse(schema);

/** Bytes of a message given as a plain object. */
export function message(type: string, value: Record<string, unknown>): Uint8Array {
  const t = root.lookupType(`onnx.${type}`);
  return new Uint8Array(t.encode(t.fromObject(value)).finish());
}

/** A message as a plain object: absent fields absent, int64 as numbers, enums as numbers. */
export function object(type: string, bytes: Uint8Array): Record<string, unknown> {
  const t = root.lookupType(`onnx.${type}`);
  return t.toObject(t.decode(bytes), { longs: Number });
}

/** A model around a graph, importing opset 17 unless told otherwise. */
export function modelOf(graph: Record<string, unknown>, rest: Record<string, unknown> = {}): Uint8Array {
  return message("ModelProto", { irVersion: 8, opsetImport: [{ domain: "", version: 17 }], graph, ...rest });
}

/** One delimited field as raw bytes, for messages that protobufjs would not write. */
export function field(number: number, content: Uint8Array | string): Uint8Array {
  const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
  return Uint8Array.from([...varint(number * 8 + 2), ...varint(bytes.length), ...bytes]);
}

function varint(n: number): number[] {
  return n < 128 ? [n] : [(n % 128) + 128, ...varint(Math.floor(n / 128))];
}

/** A ValueInfoProto of a float tensor; string dims are symbols, undefined ones unknown. */
export function floatValue(name: string, ...dims: (number | string | undefined)[]): Record<string, unknown> {
  const dim = dims.map((d) => (typeof d === "number" ? { dimValue: d } : d === undefined ? {} : { dimParam: d }));
  return { name, type: { tensorType: { elemType: 1, shape: { dim } } } };
}

const folder = new URL("../fixtures/topologies/", import.meta.url);

/** The small networks of test/fixtures/topologies. */
export const topologies: readonly string[] = readdirSync(folder)
  .filter((f) => f.endsWith(".onnx"))
  .map((f) => f.slice(0, -".onnx".length));

/** Bytes of a fixture, e.g. "glu.onnx". */
export function fixture(name: string): Uint8Array {
  return new Uint8Array(readFileSync(new URL(name, folder)));
}
