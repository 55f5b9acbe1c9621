/** Writers of small data files, by the formats' own documents; the counterparts of the readers under test. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll } from "vitest";
import type { InputShape } from "../../src/calibrate/samples.js";

const made: string[] = [];
afterAll(() => {
  for (const folder of made.splice(0)) rmSync(folder, { recursive: true, force: true });
});

/** A fresh folder, removed when the test file is done. */
export function folder(): string {
  const path = mkdtempSync(join(tmpdir(), "onnx-prune-data-"));
  made.push(path);
  return path;
}

/** Writes `content` as `name` in `where`, packed when the name ends in .gz; gives the path. */
export function file(where: string, name: string, content: Uint8Array | string): string {
  const path = join(where, name);
  writeFileSync(path, name.endsWith(".gz") ? gzipSync(content) : content);
  return path;
}

/** CIFAR records: the label bytes, then byte `3072·i + k` of a counting pattern, mod 251. */
export function cifar(labels: readonly (readonly number[])[]): Uint8Array {
  return Buffer.concat(labels.map((l, i) => Buffer.from([...l, ...Array.from({ length: 3072 }, (_, k) => (i * 3072 + k) % 251)])));
}

export function idx(dims: readonly number[], data: readonly number[]): Uint8Array {
  const head = Buffer.alloc(4 + 4 * dims.length);
  head.writeUInt16BE(8, 1);
  head[2] = 8;
  head[3] = dims.length;
  for (const [a, d] of dims.entries()) head.writeUInt32BE(d, 4 + 4 * a);
  return Buffer.concat([head, Buffer.from(data)]);
}

export function npy(descr: string, shape: readonly number[], data: Uint8Array, fortran = false): Uint8Array {
  const tuple = shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(", ")})`;
  let text = `{'descr': '${descr}', 'fortran_order': ${fortran ? "True" : "False"}, 'shape': ${tuple}, }`;
  text = `${text.padEnd(64 * Math.ceil((text.length + 11) / 64) - 11)}\n`;
  const head = Buffer.from("\x93NUMPY\x01\x00\x00\x00", "latin1");
  head.writeUInt16LE(text.length, 8);
  return Buffer.concat([head, Buffer.from(text, "latin1"), data]);
}

export function bytesOf(data: ArrayBufferView): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

export const RAW = { preprocess: "{}" } as const;

export function input(shape: InputShape["shape"], dtype: InputShape["dtype"] = "float32", name = "input"): { inputs: InputShape[] } {
  return { inputs: [{ name, dtype, shape }] };
}
