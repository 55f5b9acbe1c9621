/**
 * Statistics as a file: a .npz archive (numpy.load opens it) with `header.json`, and the sums as float64 arrays. The same sums
 * are the same bytes: names are in order, nothing is compressed, no time is recorded.
 */
import { unzipSync, zipSync } from "fflate";
import { z } from "zod";
import { DataError } from "../../errors.js";
import type { Frame, Sums } from "./accumulators.js";
import type { StatisticRequest } from "./request.js";
import type { Gathered, Summary } from "./summary.js";

const tap = { value: z.string(), axis: z.int().min(1) };
const variable = z.enum(["pixels", "gap", "gmp"]);
const whole = z.array(z.int().min(0));
const window = z.strictObject({ kernel: whole, strides: whole, pads: whole, dilations: whole });
const requestSchema: z.ZodType<StatisticRequest> = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("moments"), ...tap, variable, byClass: z.boolean() }),
  z.strictObject({ kind: z.literal("absolute"), ...tap }),
  z.strictObject({ kind: z.literal("active"), ...tap }),
  z.strictObject({ kind: z.literal("range"), ...tap }),
  z.strictObject({ kind: z.literal("histogram"), ...tap, variable, byClass: z.boolean(), bins: z.int().min(1) }),
  z.strictObject({ kind: z.literal("samples"), ...tap, variable: z.enum(["gap", "gmp"]), limit: z.int().min(1) }),
  z.strictObject({ kind: z.literal("gram"), ...tap, pool: z.int().min(1).optional() }),
  z.strictObject({
    kind: z.literal("patches"),
    ...tap,
    window,
    channels: z.tuple([z.int().min(0), z.int().min(1)]).optional(),
    every: z.int().min(1).optional(),
  }),
]) as z.ZodType<StatisticRequest>;

const headerSchema = z.strictObject({
  format: z.literal(1),
  identity: z.strictObject({
    model: z.string(),
    data: z.string(),
    samples: z.int(),
    classes: z.int(),
    batch: z.int(),
    chunk: z.int(),
    chunks: z.int(),
  }),
  statistics: z.array(
    z.strictObject({
      request: requestSchema,
      dtype: z.enum(["float32", "float16", "float64", "bfloat16"]),
      channels: z.int(),
      rank: z.int(),
      /** −1: not known. */
      extents: z.array(z.int()),
      nonNegative: z.boolean(),
      /** Of each subtree of chunks: its level and index, and how many arrays it has. */
      trees: z.array(z.strictObject({ level: z.int(), index: z.int(), arrays: z.int() })),
    }),
  ),
});
type Header = z.output<typeof headerSchema>;

export function writeStatistics({ identity, gathered }: Summary): Uint8Array {
  const entries: Record<string, Uint8Array> = {};
  const statistics = gathered.map(({ request, frame, trees }, i): Header["statistics"][number] => {
    if (frame.tap.pivot) entries[`${i}/pivot.npy`] = npy(Float64Array.from(frame.tap.pivot));
    if (frame.first) {
      entries[`${i}/first-min.npy`] = npy(frame.first.min);
      entries[`${i}/first-max.npy`] = npy(frame.first.max);
    }
    for (const { level, index, sum } of trees) {
      for (const [j, a] of sum.entries()) entries[`${i}/${level}-${index}/${j}.npy`] = npy(a);
    }
    return {
      // In the schema's order of keys, whoever wrote the request.
      request: requestSchema.parse(request),
      dtype: frame.tap.dtype as "float32",
      channels: frame.channels,
      rank: frame.tap.rank,
      extents: frame.tap.extents.map((e) => e ?? -1),
      nonNegative: frame.nonNegative,
      trees: trees.map(({ level, index, sum }) => ({ level, index, arrays: sum.length })),
    };
  });
  const header: Header = { format: 1, identity, statistics };
  const files = { "header.json": new TextEncoder().encode(`${JSON.stringify(header)}\n`), ...entries };
  return zipSync(files, { level: 0, mtime: EPOCH });
}

/** The first time a zip file can hold. */
const EPOCH = new Date(1980, 0, 1);

/**
 * @param where named in errors
 * @throws DataError STATISTICS_FILE when the bytes are not what writeStatistics makes.
 */
export function readStatistics(bytes: Uint8Array, where: string): Summary {
  let files: Record<string, Uint8Array>;
  let header: Header;
  try {
    files = unzipSync(bytes);
    header = headerSchema.parse(JSON.parse(new TextDecoder().decode(files["header.json"])));
  } catch (cause) {
    throw damaged(
      where,
      cause instanceof z.ZodError ? (cause.issues[0]?.message ?? "its header is none") : (cause as Error).message,
      cause,
    );
  }
  const array = (name: string): Float64Array => {
    const found = files[name];
    if (!found) throw damaged(where, `"${name}" is missing`);
    return numbers(found, where, name);
  };
  const gathered = header.statistics.map((s, i): Gathered => {
    const pivot = files[`${i}/pivot.npy`] ? Float32Array.from(array(`${i}/pivot.npy`)) : undefined;
    const first = files[`${i}/first-min.npy`] ? { min: array(`${i}/first-min.npy`), max: array(`${i}/first-max.npy`) } : undefined;
    const extents = s.extents.map((e) => (e < 0 ? undefined : e));
    const frame: Frame = {
      channels: s.channels,
      classes: header.identity.classes,
      tap: { name: s.request.value, dtype: s.dtype, axis: s.request.axis, rank: s.rank, extents, pivot },
      nonNegative: s.nonNegative,
      first,
    };
    const trees = s.trees.map(({ level, index, arrays }) => ({
      level,
      index,
      sum: Array.from({ length: arrays }, (_, j) => array(`${i}/${level}-${index}/${j}.npy`)) as Sums,
    }));
    return { request: s.request, frame, trees };
  });
  return { identity: header.identity, gathered };
}

function damaged(where: string, why: string, cause?: unknown): DataError {
  return new DataError("STATISTICS_FILE", `"${where}" is no statistics file: ${why}.`, {
    cause,
    at: { file: where },
    hint: "Make one with `onnx-prune calibrate`, or `onnx-prune merge` of several.",
  });
}

/** Format 1.0 of numpy's arrays, rank 1, little-endian float64; the header is padded so that the data begin at a multiple of 64. */
function npy(data: Float64Array): Uint8Array {
  const text = `{'descr': '<f8', 'fortran_order': False, 'shape': (${data.length},), }`;
  const length = Math.ceil((10 + text.length + 1) / 64) * 64;
  const out = new Uint8Array(length + data.byteLength);
  out.set([0x93, ...new TextEncoder().encode("NUMPY"), 1, 0, (length - 10) & 255, (length - 10) >> 8]);
  out.set(new TextEncoder().encode(`${text.padEnd(length - 11)}\n`), 10);
  const view = new DataView(out.buffer);
  data.forEach((x, i) => {
    view.setFloat64(length + 8 * i, x, true);
  });
  return out;
}

function numbers(file: Uint8Array, where: string, name: string): Float64Array {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const start = 10 + (file.length > 10 ? view.getUint16(8, true) : 0);
  const count = (file.length - start) / 8;
  if (!Number.isInteger(count) || count < 0) throw damaged(where, `"${name}" is cut off`);
  return Float64Array.from({ length: count }, (_, i) => view.getFloat64(start + 8 * i, true));
}
