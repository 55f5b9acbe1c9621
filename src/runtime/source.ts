/** A model in memory as something a runner loads. */
import { encode, encodedSize, joinChunks } from "../graph/codec.js";
import type { Model } from "../graph/graph.js";
import type { ModelSource } from "./runner.js";

/** Protobuf messages end at 2 GiB; past this, weights travel as external data. */
const LARGEST_MESSAGE = 1.9 * 2 ** 30;

/** The bytes of `model` for one load (they are handed over, not copied again), with its large tensors beside it when one message cannot hold them. */
export function sourceOf(model: Model): ModelSource {
  if (encodedSize(model) < LARGEST_MESSAGE) return { bytes: joinChunks(encode(model)), handedOver: true };
  const encoded = encode(model, { external: { location: "weights" } });
  const data = joinChunks(encoded.external ?? { chunks: [], byteLength: 0 });
  return { bytes: joinChunks(encoded), external: [{ path: "weights", data }], handedOver: true };
}
