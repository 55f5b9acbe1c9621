/** Data with a fault, one for each way in which each reader's can be wrong. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { zipSync } from "fflate";
import { parquetWriteBuffer } from "hyparquet-writer";
import sharp from "sharp";
import type { SampleOptions } from "../../src/calibrate/samples.js";
import type { DType } from "../../src/graph/dtype.js";
import { bytesOf, cifar, file, idx, input, npy, RAW } from "./write.js";

export interface Fault {
  readonly of: string;
  /** Makes the data in a fresh folder; gives the where. */
  readonly make: (folder: string) => string | Promise<string>;
  readonly model: Pick<SampleOptions, "inputs" | "preprocess" | "classes">;
  readonly code: string;
  /** What the message must name: the file and, where one is to blame, the sample. */
  readonly names: readonly (string | RegExp)[];
  /** Samples that are left with skipBad, and how many are reported; absent: nothing can be saved, and the error stays. */
  readonly rest?: readonly [count: number, bad: number];
}

const image = { ...input(["N", 3, 4, 4]), ...RAW };
export const color = { ...input(["N", 3, 32, 32]), ...RAW };
const gray = { ...input(["N", 1, 2, 2]), ...RAW };
export const pairs = (dtype: DType = "float32") => input(["N", 2], dtype, "x");
const floats = (...values: number[]) => bytesOf(Float32Array.from(values));
export const array = (values: number[]) => npy("<f4", [values.length / 2, 2], floats(...values));
const png = (size = 4) =>
  sharp({ create: { width: size, height: size, channels: 3, background: "red" } })
    .png()
    .toBuffer();
const jpeg = () =>
  sharp({ create: { width: 64, height: 64, channels: 3, background: "red" } })
    .jpeg()
    .toBuffer();

/** A class folder with a good image, and `bad` after it. */
async function images(where: string, name: string, bad: Uint8Array): Promise<string> {
  mkdirSync(join(where, "class"));
  file(join(where, "class"), "a.png", await png());
  file(join(where, "class"), name, bad);
  return where;
}

function cut(content: Uint8Array, bytes: number): Uint8Array {
  return content.subarray(0, content.length - bytes);
}

function npz(arrays: Record<string, Uint8Array>, level: 0 | 6 = 0): Uint8Array {
  return zipSync(Object.fromEntries(Object.entries(arrays).map(([k, v]) => [`${k}.npy`, v])), { level });
}

/** TensorProto: dims (field 1) [rows, 2], data_type (2), raw_data (9). */
function pb(rows: number, type: number, data: Uint8Array): Uint8Array {
  return Buffer.concat([Uint8Array.of(8, rows, 8, 2, 16, type, 74, data.length), data]);
}

function sets(where: string, contents: readonly Uint8Array[]): string {
  for (const [k, content] of contents.entries()) {
    mkdirSync(join(where, `test_data_set_${k}`));
    file(join(where, `test_data_set_${k}`), "input_0.pb", content);
  }
  return where;
}

function parquet(columns: Parameters<typeof parquetWriteBuffer>[0]["columnData"]): Uint8Array {
  return new Uint8Array(parquetWriteBuffer({ columnData: columns, rowGroupSize: 2 }));
}

const half = (n: number) => Array.from({ length: n }, (_, i) => i / 2);

export const FAULTS: readonly Fault[] = [
  { of: "nothing there", make: (f) => join(f, "nope"), model: pairs(), code: "DATA_UNREADABLE", names: ["nope"] },
  { of: "an empty file", make: (f) => file(f, "a.dat", ""), model: pairs(), code: "DATA_FORMAT", names: ["a.dat"] },
  { of: "an empty folder", make: (f) => f, model: image, code: "DATA_EMPTY", names: [] },
  { of: "a file of no known kind", make: (f) => file(f, "a.dat", "hello, world"), model: pairs(), code: "DATA_FORMAT", names: ["a.dat"] },

  // Gzip around any reader.
  ...(["CIFAR", "idx", "npy"] as const).map(
    (of): Fault => ({
      of: `${of}: gzip that is cut off`,
      make: (f) => {
        const content = of === "CIFAR" ? cifar([[1], [2]]) : of === "idx" ? idx([2, 2, 2], half(8)) : array(half(4));
        return file(f, "a.bin", cut(gzipSync(content), 10));
      },
      model: color,
      code: "DATA_GZIP",
      names: ["a.bin"],
    }),
  ),
  {
    of: "CIFAR: a gzip with a wrong byte",
    make: (f) => {
      const packed = gzipSync(cifar([[1], [2]]));
      packed[packed.length - 6] = (packed[packed.length - 6] as number) ^ 1;
      return file(f, "a.bin", packed);
    },
    model: color,
    code: "DATA_GZIP",
    names: ["a.bin"],
  },

  // CIFAR
  {
    of: "CIFAR: cut off",
    make: (f) => file(f, "a.bin", cut(cifar([[1], [2], [3]]), 7)),
    model: color,
    code: "DATA_TRUNCATED",
    names: ["a.bin", "2 CIFAR-10"],
    rest: [2, 1],
  },
  {
    of: "CIFAR: a label out of range",
    make: (f) => file(f, "cifar10.bin", cifar([[1], [77], [3]])),
    model: color,
    code: "DATA_LABELS",
    names: ["cifar10.bin record 1", "label 77", "0..9"],
    rest: [2, 1],
  },
  {
    of: "CIFAR: more classes than the model has",
    make: (f) => file(f, "a.bin", cifar([[1], [4], [3]])),
    model: { ...color, classes: 4 },
    code: "DATA_LABELS",
    names: ["a.bin record 1", "0..3"],
    rest: [2, 1],
  },
  {
    of: "CIFAR: a model of another shape",
    make: (f) => file(f, "a.bin", cifar([[1], [2]])),
    model: { ...input(["N", 3, 28, 28]), ...RAW },
    code: "DATA_SHAPE",
    names: ["a.bin record 0", "[3, 32, 32]", "[3, 28, 28]"],
  },
  {
    of: "CIFAR: an input that holds no such numbers",
    make: (f) => file(f, "a.bin", cifar([[1], [2]])),
    model: { ...input(["N", 3, 32, 32], "int8"), ...RAW },
    code: "DATA_DTYPE",
    names: ["a.bin record 0", "int8"],
  },

  // idx
  {
    of: "idx: cut off",
    make: (f) => file(f, "x-images-idx3-ubyte", cut(idx([3, 2, 2], half(12)), 5)),
    model: gray,
    code: "DATA_TRUNCATED",
    names: ["x-images-idx3-ubyte", "[3,2,2]"],
    rest: [1, 2],
  },
  {
    of: "idx: a label out of range",
    make: (f) => {
      file(f, "x-labels-idx1-ubyte", idx([3], [0, 9, 1]));
      return file(f, "x-images-idx3-ubyte", idx([3, 2, 2], half(12)));
    },
    model: { ...gray, classes: 3 },
    code: "DATA_LABELS",
    names: ["x-images-idx3-ubyte image 1", "label 9"],
    rest: [2, 1],
  },
  {
    of: "idx: labels of another set",
    make: (f) => {
      file(f, "x-labels-idx1-ubyte", idx([2], [0, 1]));
      return file(f, "x-images-idx3-ubyte", idx([3, 2, 2], half(12)));
    },
    model: gray,
    code: "DATA_LABELS",
    names: ["x-labels-idx1-ubyte", "3 images"],
  },

  // Images
  {
    of: "images: a PNG that is cut off",
    make: async (f) => images(f, "b.png", cut(await png(), 30)),
    model: image,
    code: "DATA_IMAGE",
    names: ["class/b.png"],
    rest: [1, 1],
  },
  {
    of: "images: a JPEG that is cut off",
    make: async (f) => images(f, "b.jpg", cut(await jpeg(), 200)),
    model: { ...image, preprocess: { resize: [4, 4] } },
    code: "DATA_IMAGE",
    names: ["class/b.jpg"],
    rest: [1, 1],
  },
  {
    of: "images: text called .jpg",
    make: (f) => images(f, "b.jpg", Buffer.from("no image")),
    model: image,
    code: "DATA_IMAGE",
    names: ["class/b.jpg"],
    rest: [1, 1],
  },
  {
    of: "images: an empty file",
    make: (f) => images(f, "b.png", new Uint8Array()),
    model: image,
    code: "DATA_IMAGE",
    names: ["class/b.png"],
    rest: [1, 1],
  },
  {
    of: "images: one of another size",
    make: async (f) => images(f, "b.png", await png(5)),
    model: image,
    code: "DATA_SHAPE",
    names: ["class/b.png", "[3, 5, 5]"],
    rest: [1, 1],
  },
  {
    of: "images: one too small for the crop",
    make: async (f) => images(f, "b.png", await png(3)),
    model: { ...image, preprocess: { centerCrop: 4 } },
    code: "DATA_CROP",
    names: ["class/b.png"],
    rest: [1, 1],
  },
  {
    of: "labels.csv: an image that is not there",
    make: async (f) => {
      file(f, "a.png", await png());
      return file(f, "labels.csv", "file,label\na.png,0\ngone.png,1\n");
    },
    model: image,
    code: "DATA_UNREADABLE",
    names: ["gone.png"],
    rest: [1, 1],
  },
  {
    of: "labels.csv: a label that is a word",
    make: async (f) => {
      file(f, "a.png", await png());
      return file(f, "labels.csv", "file,label\na.png,0\na.png,dog\n");
    },
    model: image,
    code: "DATA_LABELS",
    names: ["labels.csv, row 3", "dog"],
    rest: [1, 1],
  },

  // .npy
  {
    of: "npy: cut off",
    make: (f) => file(f, "a.npy", cut(array(half(8)), 6)),
    model: pairs(),
    code: "DATA_TRUNCATED",
    names: ["a.npy", "[4,2]"],
    rest: [3, 1],
  },
  {
    of: "npy: a header that is none",
    make: (f) => file(f, "a.npy", Buffer.from("\x93NUMPY\x01\x00\x09\x00no header", "latin1")),
    model: pairs(),
    code: "DATA_NPY",
    names: ["a.npy"],
  },
  {
    of: "npy: NaN",
    make: (f) => file(f, "a.npy", array([0, 1, 2, Number.NaN])),
    model: pairs(),
    code: "DATA_NOT_FINITE",
    names: ["a.npy sample 1", "Element 1", "NaN"],
    rest: [1, 1],
  },
  {
    of: "npy: infinity",
    make: (f) => file(f, "a.npy", array([0, 1, -Infinity, 0])),
    model: pairs(),
    code: "DATA_NOT_FINITE",
    names: ["a.npy sample 1", "-Infinity"],
    rest: [1, 1],
  },
  {
    of: "npy: a number too large for the input",
    make: (f) => file(f, "a.npy", npy("<f8", [2, 2], bytesOf(Float64Array.of(1, 2, 1e300, 4)))),
    model: pairs(),
    code: "DATA_NOT_FINITE",
    names: ["a.npy sample 1", "float32"],
    rest: [1, 1],
  },
  {
    of: "npy: rows of another shape",
    make: (f) => file(f, "a.npy", npy("<f4", [2, 3], floats(1, 2, 3, 4, 5, 6))),
    model: pairs(),
    code: "DATA_SHAPE",
    names: ["a.npy sample 0", "[3]", "[2]"],
  },
  {
    of: "npy: integers for floats",
    make: (f) => file(f, "a.npy", npy("<i4", [1, 2], bytesOf(Int32Array.of(1, 2)))),
    model: pairs(),
    code: "DATA_DTYPE",
    names: ["a.npy sample 0", "int32", "float32"],
  },
  {
    of: "npy: an integer too large for the input",
    make: (f) => file(f, "a.npy", npy("<i4", [2, 2], bytesOf(Int32Array.of(1, 2, 300, 4)))),
    model: pairs("int8"),
    code: "DATA_DTYPE",
    names: ["a.npy sample 1"],
    rest: [1, 1],
  },

  // .npz
  {
    of: "npz: cut off",
    make: (f) => file(f, "a.npz", cut(npz({ x: array(half(8)) }), 40)),
    model: pairs(),
    code: "DATA_ZIP",
    names: ["a.npz"],
  },
  {
    of: "npz: a wrong byte in a stored array",
    make: (f) => {
      const archive = npz({ x: array(half(8)) });
      archive[150] = (archive[150] as number) ^ 1;
      return file(f, "a.npz", archive);
    },
    model: pairs(),
    code: "DATA_ZIP",
    names: ["a.npz", "x.npy"],
  },
  {
    of: "npz: no array for the input",
    make: (f) => file(f, "a.npz", npz({ a: array(half(2)), b: array(half(2)) })),
    model: pairs(),
    code: "DATA_KEYS",
    names: ["a.npz", '"x"', "a, b"],
  },
  {
    of: "npz: fewer labels than samples",
    make: (f) => file(f, "a.npz", npz({ x: array(half(4)), y: npy("<i8", [1], bytesOf(BigInt64Array.of(0n))) })),
    model: pairs(),
    code: "DATA_COUNT",
    names: ["a.npz"],
  },
  {
    of: "npz: a label out of range",
    make: (f) => file(f, "a.npz", npz({ x: array(half(4)), y: npy("<i4", [2], bytesOf(Int32Array.of(0, -3))) }, 6)),
    model: pairs(),
    code: "DATA_LABELS",
    names: ["a.npz sample 1", "label -3"],
    rest: [1, 1],
  },
  {
    of: "npz: NaN",
    make: (f) => file(f, "a.npz", npz({ x: array([Number.NaN, 1, 2, 3]) })),
    model: pairs(),
    code: "DATA_NOT_FINITE",
    names: ["a.npz sample 0"],
    rest: [1, 1],
  },

  // ONNX test data
  {
    of: "pb: no TensorProto",
    make: (f) => sets(f, [pb(1, 1, floats(1, 2)), Buffer.from("no tensor")]),
    model: pairs(),
    code: "DATA_PB",
    names: ["test_data_set_1/input_0.pb"],
    rest: [1, 1],
  },
  {
    of: "pb: data of another length",
    make: (f) => sets(f, [pb(1, 1, floats(1, 2)), pb(3, 1, floats(1, 2))]),
    model: pairs(),
    code: "DATA_PB",
    names: ["test_data_set_1/input_0.pb"],
    rest: [1, 1],
  },
  {
    of: "pb: NaN",
    make: (f) => sets(f, [pb(2, 1, floats(1, 2, Number.NaN, 4))]),
    model: pairs(),
    code: "DATA_NOT_FINITE",
    names: ["test_data_set_0 row 1"],
    rest: [1, 1],
  },
  {
    of: "pb: another dtype",
    make: (f) => sets(f, [pb(1, 6, bytesOf(Int32Array.of(1, 2)))]),
    model: pairs(),
    code: "DATA_DTYPE",
    names: ["test_data_set_0", "int32"],
  },
  {
    of: "pb: a missing input",
    make: (f) => sets(f, [pb(1, 1, floats(1, 2))]),
    model: { inputs: [...pairs().inputs, ...input(["N", 2], "float32", "z").inputs] },
    code: "DATA_INPUTS",
    names: ["test_data_set_0", "x, z"],
  },

  // Parquet
  {
    of: "Parquet: cut off",
    make: (f) => file(f, "a.parquet", cut(parquet([{ name: "x", data: half(4), type: "FLOAT" }]), 20)),
    model: input(["N"], "float32", "x"),
    code: "DATA_PARQUET",
    names: ["a.parquet"],
  },
  {
    of: "Parquet: NaN",
    make: (f) => file(f, "a.parquet", parquet([{ name: "x", data: [0, 1, 2, Number.NaN], type: "FLOAT" }])),
    model: input(["N"], "float32", "x"),
    code: "DATA_NOT_FINITE",
    names: ["a.parquet row group 1 row 3"],
    rest: [3, 1],
  },
  {
    of: "Parquet: a null",
    make: (f) => file(f, "a.parquet", parquet([{ name: "x", data: [0, null, 2], type: "FLOAT", nullable: true }])),
    model: input(["N"], "float32", "x"),
    code: "DATA_NULL",
    names: ["a.parquet row group 0 row 1"],
    rest: [2, 1],
  },
  {
    of: "Parquet: a label out of range",
    make: (f) =>
      file(
        f,
        "a.parquet",
        parquet([
          { name: "x", data: half(3), type: "FLOAT" },
          { name: "label", data: [0, 1, 5], type: "INT32" },
        ]),
      ),
    model: { ...input(["N"], "float32", "x"), classes: 2 },
    code: "DATA_LABELS",
    names: ["a.parquet row group 1 row 2", "label 5"],
    rest: [2, 1],
  },
  {
    of: "Parquet: a cell that is no image",
    make: async (f) =>
      file(f, "a.parquet", parquet([{ name: "image", data: [new Uint8Array(await png()), Uint8Array.of(1, 2)], type: "BYTE_ARRAY" }])),
    model: image,
    code: "DATA_IMAGE",
    names: ["a.parquet row group 0 row 1"],
    rest: [1, 1],
  },
  {
    of: "Parquet: integers for floats",
    make: (f) => file(f, "a.parquet", parquet([{ name: "x", data: [1, 2], type: "INT32" }])),
    model: input(["N"], "float32", "x"),
    code: "DATA_DTYPE",
    names: ["a.parquet row group 0 row 0"],
  },

  // Random
  { of: "random: no count", make: () => "random:some", model: pairs(), code: "DATA_RANDOM", names: ["random:some"] },
];
