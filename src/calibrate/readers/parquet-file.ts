/**
 * One Parquet file, read in blocks of rows: a row group, or a range of its pages where the file has an index of them.
 * Only the columns asked for are read.
 * @see https://parquet.apache.org/docs/file-format/
 */
import { brotliDecompressSync, gunzipSync } from "node:zlib";
import { type Compressors, type FileMetaData, parquetMetadataAsync, parquetReadObjects, parquetSchema, type SchemaTree } from "hyparquet";
import { compressors } from "hyparquet-compressors";
import { DataError } from "../../errors.js";
import type { Bytes } from "../file.js";

// Node's own are faster, and check what gzip says of its content.
const codecs: Compressors = { ...compressors, GZIP: (packed) => gunzipSync(packed), BROTLI: (packed) => brotliDecompressSync(packed) };

export type Row = Readonly<Record<string, unknown>>;

/** Rows [from, to) of the file, all in one row group. */
export interface Block {
  readonly group: number;
  readonly from: number;
  readonly to: number;
}

export interface ParquetFile {
  readonly file: string;
  readonly bytes: Bytes;
  readonly rows: number;
  readonly groups: readonly Block[];
  /** Top-level columns. */
  readonly columns: readonly SchemaTree[];
  /** Key-value metadata. */
  readonly metadata: ReadonlyMap<string, string>;
  /** The block that row `i` is read in, for these columns. */
  blockOf(i: number, columns: readonly string[]): Block;
  /** Uncompressed bytes of a block in these columns, as the file states them. */
  sizeOf(block: Block, columns: readonly string[]): number;
  /** @throws DataError DATA_PARQUET naming file, row group and rows. */
  read(block: Block, columns: readonly string[]): Promise<Row[]>;
  /** "file row group g row r", r counted in the file. */
  nameOf(i: number): string;
}

/** Blocks are about this large where pages can be read on their own. */
const BLOCK_BYTES = 16 * 2 ** 20;

/** @throws DataError DATA_PARQUET when the footer is missing, damaged, or of encrypted columns. */
export async function openParquetFile(bytes: Bytes): Promise<ParquetFile> {
  const { file } = bytes;
  const source = { byteLength: bytes.size, slice: (from: number, to?: number) => arrayBuffer(bytes, from, to ?? bytes.size) };
  let metadata: FileMetaData;
  let columns: readonly SchemaTree[];
  try {
    metadata = await parquetMetadataAsync(source, { geoparquet: false });
    columns = parquetSchema(metadata).children;
  } catch (cause) {
    throw damaged(file, "", cause);
  }
  const groups: Block[] = [];
  let rows = 0;
  for (const [group, { num_rows }] of metadata.row_groups.entries()) {
    groups.push({ group, from: rows, to: rows + Number(num_rows) });
    rows += Number(num_rows);
  }
  if (!(rows >= 0 && rows < 2 ** 31) || groups.some((g) => !(g.to >= g.from))) {
    throw damaged(file, "", new Error(`it declares ${rows} rows`));
  }
  const groupOf = (i: number) => groups[lastAtMost(groups, i, (g) => g.from)] as Block;
  const chunksOf = (group: number, names: readonly string[]) =>
    metadata.row_groups[group]?.columns.filter((c) => names.includes(c.meta_data?.path_in_schema[0] ?? "")) ?? [];
  const bytesOf = (group: number, names: readonly string[]) =>
    chunksOf(group, names).reduce((sum, c) => sum + Number(c.meta_data?.total_uncompressed_size ?? 0), 0);
  const sizeOf = (block: Block, names: readonly string[]) => {
    const { from, to } = groups[block.group] as Block;
    return Math.ceil((bytesOf(block.group, names) * (block.to - block.from)) / Math.max(1, to - from));
  };
  return {
    file,
    bytes,
    rows,
    groups,
    columns,
    metadata: new Map((metadata.key_value_metadata ?? []).map(({ key, value = "" }) => [key, value])),
    sizeOf,
    blockOf: (i, names) => {
      const whole = groupOf(i);
      const isIndexed = chunksOf(whole.group, names).every((c) => c.offset_index_offset !== undefined);
      const pieces = isIndexed ? Math.ceil(sizeOf(whole, names) / BLOCK_BYTES) : 1;
      const step = Math.ceil((whole.to - whole.from) / Math.max(1, pieces));
      const from = whole.from + Math.floor((i - whole.from) / step) * step;
      return { group: whole.group, from, to: Math.min(from + step, whole.to) };
    },
    read: async ({ group, from, to }, names) => {
      let found: Row[];
      try {
        found = await parquetReadObjects({
          file: source,
          metadata,
          columns: [...names],
          rowStart: from,
          rowEnd: to,
          compressors: codecs,
          utf8: false,
          useOffsetIndex: true,
          geoparquet: false,
        });
      } catch (cause) {
        throw damaged(file, `, row group ${group}, rows ${from} to ${to - 1}`, cause);
      }
      if (found.length === to - from) return found;
      throw damaged(file, `, row group ${group}`, new Error(`it has ${found.length} of the rows ${from} to ${to - 1}`));
    },
    nameOf: (i) => `${file} row group ${groupOf(i).group} row ${i}`,
  };
}

/**
 * Rows of several files, some blocks of which stay in memory: those used last, up to `CACHE_BYTES`, and never fewer than one.
 * Blocks are read one after the other, so that many askers at a time do not hold many.
 */
export function cachedRows(columns: readonly string[]): (file: ParquetFile, i: number) => Promise<Row> {
  const cache = new Map<string, { readonly size: number; readonly rows: Promise<Row[]> }>();
  let last: Promise<unknown> = Promise.resolve();
  return async (file, i) => {
    const block = file.blockOf(i, columns);
    const key = `${block.from} ${file.file}`;
    let entry = cache.get(key);
    if (entry) cache.delete(key);
    else {
      const rows = last.then(() => file.read(block, columns));
      last = rows.catch(() => undefined);
      entry = { size: file.sizeOf(block, columns), rows };
    }
    // A Map keeps the order of insertion: what is used goes to its end.
    cache.set(key, entry);
    let held = [...cache.values()].reduce((sum, e) => sum + e.size, 0);
    for (const [oldest, { size }] of cache) {
      if (held <= CACHE_BYTES || oldest === key) break;
      cache.delete(oldest);
      held -= size;
    }
    return (await entry.rows)[i - block.from] as Row;
  };
}

const CACHE_BYTES = 128 * 2 ** 20;

/** The last of `sorted` whose `start` is at most `i`, by its place. Empty ones, which start where the next does, are passed over. */
export function lastAtMost<T>(sorted: readonly T[], i: number, start: (item: T) => number): number {
  let low = 0;
  let high = sorted.length;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (start(sorted[middle] as T) <= i) low = middle;
    else high = middle;
  }
  return low;
}

async function arrayBuffer(bytes: Bytes, from: number, to: number): Promise<ArrayBuffer> {
  const part = await bytes.read(from, to - from);
  const isWhole = part.byteOffset === 0 && part.byteLength === part.buffer.byteLength;
  return (isWhole ? part.buffer : part.slice().buffer) as ArrayBuffer;
}

function damaged(file: string, where: string, cause: unknown): DataError {
  if (cause instanceof DataError && cause.code !== "DATA_TRUNCATED") return cause;
  return new DataError("DATA_PARQUET", `${file}${where}: this is not readable Parquet: ${(cause as Error).message}.`, {
    at: { file },
    hint: "The file is cut off, damaged or encrypted; fetch or write it again. --skip-bad (skipBad) leaves out row groups that cannot be read.",
    cause,
  });
}
