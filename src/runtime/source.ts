/** A model in memory as something a runner loads. */
import { encode, encodedSize, joinChunks } from "../graph/codec.js";
import type { Model } from "../graph/graph.js";
import type { LoadOptions, ModelSource, Runner, Session } from "./runner.js";

/** Protobuf messages end at 2 GiB; past this, weights travel as external data. */
const LARGEST_MESSAGE = 1.9 * 2 ** 30;

/** The bytes of `model` for one load (they are handed over, not copied again), with its large tensors beside it when one message cannot hold them. */
export function sourceOf(model: Model): ModelSource {
  if (encodedSize(model) < LARGEST_MESSAGE) return { bytes: joinChunks(encode(model)), handedOver: true };
  const encoded = encode(model, { external: { location: "weights" } });
  const data = joinChunks(encoded.external ?? { chunks: [], byteLength: 0 });
  return { bytes: joinChunks(encoded), external: [{ path: "weights", data }], handedOver: true };
}

/** Runs `work` with sessions of both models, loaded alike (by default optimised as a deployment would be). */
export async function withBoth<T>(
  runner: Runner,
  [first, second]: readonly [Model, Model],
  work: (first: Session, second: Session) => Promise<T>,
  options: LoadOptions = {},
): Promise<T> {
  const a = await runner.load(sourceOf(first), options);
  try {
    const b = await runner.load(sourceOf(second), options);
    try {
      return await work(a, b);
    } finally {
      await b.release();
    }
  } finally {
    await a.release();
  }
}
