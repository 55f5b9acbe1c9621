/** Model files to disk: whatever happens, there is the old model or the new one, each with its data. */
import { createHash } from "node:crypto";
import { existsSync, readdirSync, rmSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { ModelError, OnnxPruneError } from "../errors.js";
import { encode, encodedSize } from "../graph/codec.js";
import type { Model } from "../graph/graph.js";
import { dataFilesOf } from "./read.js";
import { discard, type Pending, placeOf, settle, writePending } from "./replace.js";

export interface WriteOptions {
  /**
   * Keep weights in `<name>.<hash of them>.data` beside the model. Default: when the model had external data, or would have
   * 1.9 GiB or more (protobuf ends at 2).
   */
  readonly external?: boolean;
  /** Tensors of fewer bytes stay in the model (default 1024). */
  readonly threshold?: number;
}

export interface Written {
  /** The files, the model first. */
  readonly files: readonly string[];
  /** Bytes of all files. */
  readonly byteLength: number;
  /** Files in which the model that was replaced kept its weights, under names that other models may use too: they were left. */
  readonly left: readonly string[];
}

const MAX_INLINE = Math.floor(1.9 * 2 ** 30);

/**
 * Writes a model, over the file it was read from if need be. A link stays and what it leads to is replaced.
 *
 * All files are complete on disk under temporary names before any takes its place, and the data has a name of its own, so
 * that until the very rename of the model, the old one still has its own data. Data files that earlier writes to the
 * same name left are removed then; those of any other name stay. A model in memory with tensors there must be read again.
 *
 * @throws ModelError MODEL_UNWRITABLE when the file system refuses; nothing is left behind then.
 */
export async function writeModel(path: string, model: Model, options: WriteOptions = {}): Promise<Written> {
  const place = placeOf(path);
  const pending: Pending[] = [];
  try {
    const external = options.external ?? (model.usesExternalData || encodedSize(model) >= MAX_INLINE);
    const data = external ? await writeData(place, model, options.threshold) : undefined;
    if (data) pending.push(data.file);
    const encoded = encode(model, data ? { external: data.options } : {});
    pending.push(await writePending(place, encoded.chunks));
    const old = await dataFilesOf(place);
    // The data first: a model must never name data that is not there.
    settle(pending);
    removeOldData(place, data?.options.location);
    return {
      files: data ? [path, join(dirname(path), data.options.location)] : [path],
      byteLength: encoded.byteLength + (data?.byteLength ?? 0),
      left: old.filter((file) => file !== data?.file.path && existsSync(file)),
    };
  } catch (cause) {
    discard(pending);
    if (cause instanceof OnnxPruneError) throw cause;
    throw new ModelError("MODEL_UNWRITABLE", `Cannot write model "${path}": ${cause instanceof Error ? cause.message : String(cause)}.`, {
      at: { file: path },
      cause,
      hint: "Check that the folder exists, is writable, and has room.",
    });
  }
}

interface Data {
  readonly file: Pending;
  readonly byteLength: number;
  /** How the model is to be encoded to name it. */
  readonly options: { readonly location: string; readonly threshold?: number };
}

/** Writes the large tensors; undefined when there are none. */
async function writeData(place: string, model: Model, threshold: number | undefined): Promise<Data | undefined> {
  const optionsOf = (hash: string) => ({ location: `${basename(place)}.${hash}.data`, ...(threshold === undefined ? {} : { threshold }) });
  const { external } = encode(model, { external: optionsOf("") });
  if (!external || external.byteLength === 0) return undefined;
  const hash = createHash("sha256");
  function* hashed(chunks: Iterable<Uint8Array>): Generator<Uint8Array> {
    for (const chunk of chunks) {
      for (let at = 0; at < chunk.length; at += HASHED) hash.update(chunk.subarray(at, at + HASHED));
      yield chunk;
    }
  }
  const { temporary } = await writePending(join(dirname(place), `${basename(place)}.data`), hashed(external.chunks));
  const options = optionsOf(hash.digest("hex").slice(0, 8));
  return { file: { temporary, path: join(dirname(place), options.location) }, byteLength: external.byteLength, options };
}

/** One update() takes at most 2 GiB. */
const HASHED = 2 ** 28;

/** Removes what only models written to `place` before can have named. */
function removeOldData(place: string, current: string | undefined): void {
  const name = basename(place);
  for (const file of readdirSync(dirname(place))) {
    if (file === current || !file.startsWith(`${name}.`) || !/^\.[0-9a-f]{8}\.data$/.test(file.slice(name.length))) continue;
    rmSync(join(dirname(place), file), { force: true });
  }
}
