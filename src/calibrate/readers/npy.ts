/**
 * numpy arrays: .npy read row by row from the file, .npz (stored or deflated) with one array per key.
 * @see https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
 */
import { crc32 } from "node:zlib";
import { unzipSync } from "fflate";
import { DataError } from "../../errors.js";
import { byteLengthOf, type DType } from "../../graph/dtype.js";
import { Tensor } from "../../graph/tensor.js";
import { type Bytes, inMemory } from "../file.js";

/** An array whose rows (along axis 0) are read one at a time. Big-endian and Fortran-ordered files come out as usual. */
export interface RowArray {
  readonly file: string;
  readonly dtype: DType;
  readonly dims: readonly number[];
  /** What to say of the rows that are declared and not there: `dims` counts those that are. Only when that was asked for. */
  readonly cut?: { readonly rows: number; readonly why: string };
  /** Row `i` with dims [1, …]; of an array of rank 0, the element itself for every `i`. */
  row(i: number): Promise<Tensor>;
}

const DTYPES: Readonly<Record<string, DType>> = {
  b1: "bool",
  u1: "uint8",
  i1: "int8",
  u2: "uint16",
  i2: "int16",
  u4: "uint32",
  i4: "int32",
  u8: "uint64",
  i8: "int64",
  f2: "float16",
  f4: "float32",
  f8: "float64",
};

export function isNpy(head: Uint8Array): boolean {
  return head[0] === 0x93 && Buffer.from(head.subarray(1, 6)).toString("latin1") === "NUMPY";
}

export function isZip(head: Uint8Array): boolean {
  return head[0] === 0x50 && head[1] === 0x4b && (head[2] === 3 || head[2] === 5);
}

/**
 * Reads the header of a .npy file. `skipBad`: of a file that is cut off, the whole rows are taken.
 * @throws DataError for pickled, structured or text arrays and for a wrong length.
 */
export async function openNpy(bytes: Bytes, skipBad = false): Promise<RowArray> {
  const { text, offset } = await header(bytes);
  const descr = /'descr'\s*:\s*'([<>|=])(\w+)'/.exec(text);
  const order = /'fortran_order'\s*:\s*(True|False)/.exec(text)?.[1];
  const shape = /'shape'\s*:\s*\(([\d\s,]*)\)/.exec(text)?.[1];
  if (shape === undefined || order === undefined) throw badNpy(bytes.file, `its header reads ${text.trim()}`);
  const dtype = descr ? DTYPES[descr[2] as string] : undefined;
  if (dtype === undefined) throw badNpy(bytes.file, `its elements are not plain numbers (${text.trim()})`);
  const declared = shape
    .split(",")
    .map((t) => t.trim())
    .filter((t) => t !== "")
    .map(Number);
  const width = byteLengthOf(dtype, 1);
  const needed = offset + declared.reduce((a, b) => a * b, width);
  const cut = needed === bytes.size ? undefined : truncated(bytes, `${dtype} [${declared}]`, needed);
  const rowBytes = declared.slice(1).reduce((a, b) => a * b, width);
  const whole = Math.floor((bytes.size - offset) / rowBytes);
  // In Fortran order what is cut off is the end of every row.
  if (cut && (!skipBad || order === "True" || declared.length === 0 || whole < 1 || bytes.size > needed)) throw cut;
  const dims = cut ? [whole, ...declared.slice(1)] : declared;
  const size = dims.reduce((a, b) => a * b, 1);
  const count = dims[0] ?? 1;
  const rest = dims.length === 0 ? [] : [1, ...dims.slice(1)];
  const rowSize = count === 0 ? 0 : size / count;
  const big = descr?.[1] === ">" && width > 1;
  const data = { bytes, offset, width, count, rowSize, dims };
  const gather = order === "True" && dims.length > 1 ? await fortranRows(data) : undefined;
  const row = async (i: number): Promise<Tensor> => {
    const at = dims.length === 0 ? 0 : i;
    const content = gather ? gather(at) : await bytes.read(offset + at * rowSize * width, rowSize * width);
    return Tensor.ofBytes(dtype, rest, big ? swapped(content, width) : content);
  };
  const missing = cut && { cut: { rows: (declared[0] as number) - whole, why: cut.message } };
  return { file: bytes.file, dtype, dims, row, ...missing };
}

function truncated({ file, size }: Bytes, what: string, needed: number): DataError {
  return new DataError("DATA_TRUNCATED", `${file} declares ${what}, ${needed} bytes, but has ${size}.`, {
    at: { file },
    hint: "The file is cut off or damaged; write it again with numpy.save.",
  });
}

/**
 * The arrays of a .npz by key, decompressed once into memory; keys that `wanted` refuses are skipped.
 * @throws DataError for a damaged archive.
 */
export async function openNpz(bytes: Bytes, wanted: (key: string) => boolean): Promise<{ arrays: Map<string, RowArray>; keys: string[] }> {
  const keys: string[] = [];
  const archive = await bytes.read(0, bytes.size);
  let files: Record<string, Uint8Array>;
  try {
    files = unzipSync(archive, {
      filter: ({ name }) => {
        if (!name.endsWith(".npy")) return false;
        keys.push(name.slice(0, -4));
        return wanted(name.slice(0, -4));
      },
    });
  } catch (error) {
    throw new DataError("DATA_ZIP", `${bytes.file} is not a complete zip archive: ${(error as Error).message}.`, {
      at: { file: bytes.file },
      hint: "The file is cut off or damaged; write it again with numpy.savez.",
      cause: error,
    });
  }
  // fflate checks lengths, not sums.
  const sums = checksums(archive);
  for (const [name, content] of Object.entries(files)) {
    if (sums.get(name) === crc32(content)) continue;
    throw new DataError("DATA_ZIP", `${bytes.file}: the content of ${name} does not have the checksum that the archive gives.`, {
      at: { file: bytes.file },
      hint: "The file is damaged; write or fetch it again (`unzip -t` checks it).",
    });
  }
  const arrays = new Map<string, RowArray>();
  for (const [name, content] of Object.entries(files))
    arrays.set(name.slice(0, -4), await openNpy(inMemory(`${bytes.file}/${name}`, content)));
  return { arrays, keys };
}

/**
 * CRC-32 by name, from the central directory.
 * @see PKWARE APPNOTE 4.3.12, 4.3.16
 */
function checksums(archive: Uint8Array): Map<string, number> {
  const view = new DataView(archive.buffer, archive.byteOffset, archive.length);
  const sums = new Map<string, number>();
  let at = archive.length - 22;
  while (at >= 0 && view.getUint32(at, true) !== 0x06054b50) at--;
  if (at < 0) return sums;
  const end = at;
  // 0xffffffff: the offset is in the zip64 end record, which its locator, just before, points to.
  let next = view.getUint32(end + 16, true);
  if (next === 0xffffffff) next = Number(view.getBigUint64(Number(view.getBigUint64(end - 12, true)) + 48, true));
  while (next + 46 <= end && view.getUint32(next, true) === 0x02014b50) {
    const [name, extra, comment] = [28, 30, 32].map((o) => view.getUint16(next + o, true)) as [number, number, number];
    // Bit 11 of the flags says UTF-8; without it fflate, too, takes bytes for characters.
    const encoding = view.getUint16(next + 8, true) & 0x800 ? "utf8" : "latin1";
    sums.set(Buffer.from(archive.subarray(next + 46, next + 46 + name)).toString(encoding), view.getUint32(next + 16, true));
    next += 46 + name + extra + comment;
  }
  return sums;
}

/** Class numbers of a label array [N] or [N, 1]. @throws DataError for other shapes and for values that are no class numbers. */
export async function labelsOf(array: RowArray): Promise<Int32Array> {
  const [count = 0, ...rest] = array.dims;
  if (array.dims.length === 0 || rest.some((d) => d !== 1)) {
    throw new DataError("DATA_LABELS", `Labels in ${array.file} have dims [${array.dims}], expected [count].`, {
      at: { file: array.file },
      hint: rest.length === 1 ? "One-hot labels: store argmax(axis=1)." : "Store one class number per sample.",
    });
  }
  const out = new Int32Array(count);
  for (let i = 0; i < count; i++) {
    const v = (await array.row(i)).scalar();
    if (!Number.isInteger(v)) {
      throw new DataError("DATA_LABELS", `Label ${i} in ${array.file} is ${v}, expected a class number.`, {
        at: { file: array.file },
        hint: "Store labels as integers.",
      });
    }
    out[i] = v;
  }
  return out;
}

async function header(bytes: Bytes): Promise<{ text: string; offset: number }> {
  const head = await bytes.read(0, Math.min(12, bytes.size));
  if (!isNpy(head) || head.length < 12) throw badNpy(bytes.file, "it does not begin with the magic bytes of numpy");
  const view = new DataView(head.buffer, head.byteOffset, head.length);
  const wide = (head[6] as number) >= 2;
  const start = wide ? 12 : 10;
  const length = wide ? view.getUint32(8, true) : view.getUint16(8, true);
  return { text: Buffer.from(await bytes.read(start, length)).toString("utf8"), offset: start + length };
}

interface Data {
  readonly bytes: Bytes;
  readonly offset: number;
  readonly width: number;
  readonly count: number;
  readonly rowSize: number;
  readonly dims: readonly number[];
}

/** Fortran order scatters a row over the whole file, so that is read once. Axis 0 varies fastest. */
async function fortranRows({ bytes, offset, width, count, rowSize, dims }: Data): Promise<(i: number) => Uint8Array> {
  const content = await bytes.read(offset, count * rowSize * width);
  return (i) => {
    const out = new Uint8Array(rowSize * width);
    const index = new Array<number>(dims.length).fill(0);
    index[0] = i;
    for (let k = 0; k < rowSize; k++) {
      let at = 0;
      for (let a = dims.length - 1; a >= 0; a--) at = at * (dims[a] as number) + (index[a] as number);
      out.set(content.subarray(at * width, (at + 1) * width), k * width);
      for (let a = dims.length - 1; a > 0; a--) {
        index[a] = (index[a] as number) + 1;
        if ((index[a] as number) < (dims[a] as number)) break;
        index[a] = 0;
      }
    }
    return out;
  };
}

function swapped(bytes: Uint8Array, width: number): Uint8Array {
  const out = bytes.slice();
  for (let i = 0; i < out.length; i += width) out.subarray(i, i + width).reverse();
  return out;
}

function badNpy(file: string, why: string): DataError {
  return new DataError("DATA_NPY", `${file} is not a numpy array of numbers: ${why}.`, {
    at: { file },
    hint: "Save arrays of bool, (u)int8..64 or float16..64 with numpy.save or numpy.savez; pickled objects are never read.",
  });
}
