/**
 * idx files of unsigned bytes (MNIST, EMNIST, Fashion-MNIST): images [N, H, W] and, beside them, labels [N].
 * @see http://yann.lecun.com/exdb/mnist/ (format at the end of the page)
 */
import { basename, dirname, join } from "node:path";
import { DataError } from "../../errors.js";
import { type Bytes, kindOf, openBytes } from "../file.js";
import { contentFingerprint, digest } from "../fingerprint.js";
import type { OpenOptions } from "../open.js";
import { foldersBeside } from "../preprocess.js";
import type { PixelSource } from "../source.js";

/** True for a file that begins like idx of unsigned bytes. */
export function isIdx(head: Uint8Array): boolean {
  return head[0] === 0 && head[1] === 0 && head[2] === 8 && head[3] !== undefined && head[3] >= 1 && head[3] <= 4;
}

/** The images of `bytes`, and the labels found beside them. @throws DataError when lengths or counts disagree. */
export async function openIdx(
  bytes: Bytes,
  { skipBad, noteUnlabelled }: Pick<OpenOptions, "skipBad" | "noteUnlabelled">,
): Promise<PixelSource> {
  const { dims, offset, cut } = await header(bytes);
  if (dims.length !== 3) {
    throw new DataError("DATA_IDX", `${bytes.file} is an idx file of dims [${dims}], expected images [count, height, width].`, {
      at: { file: bytes.file },
      hint: dims.length === 1 ? "This looks like the labels; give the images file, its labels are found beside it." : "Convert it to .npy.",
    });
  }
  const [declared, height, width] = dims as [number, number, number];
  const count = cut ? Math.max(0, Math.min(declared, Math.floor((bytes.size - offset) / (height * width)))) : declared;
  if (cut && (!skipBad || count === 0)) throw cut;
  const labels = await labelsBeside(bytes.file, declared, noteUnlabelled);
  const missing = Array.from({ length: declared - count }, (_, k) => `${bytes.file} image ${count + k}`);
  return {
    kind: "pixels",
    format: "MNIST idx",
    count,
    labels: labels?.slice(0, count),
    bad: missing.map((sample) => ({ sample, why: (cut as DataError).message })),
    beside: foldersBeside(bytes.file, "file"),
    uniform: true,
    nameOf: (i) => `${bytes.file} image ${i}`,
    fileOf: () => bytes.file,
    fingerprint: async (indices) => digest([await contentFingerprint([bytes]), indices.join()]),
    read: async (i) => ({ channels: 1, height, width, planar: true, data: await bytes.read(offset + i * height * width, height * width) }),
  };
}

/** `cut`: what to say when the file has not the length it declares. */
async function header(bytes: Bytes): Promise<{ dims: number[]; offset: number; cut: DataError | undefined }> {
  const head = await bytes.read(0, Math.min(20, bytes.size));
  const rank = head[3] ?? 0;
  const offset = 4 + 4 * rank;
  if (!isIdx(head) || head.length < offset) {
    throw new DataError("DATA_IDX", `${bytes.file} does not begin like an idx file of unsigned bytes (00 00 08 and the rank).`, {
      at: { file: bytes.file },
      hint: "Only unsigned bytes are read; convert other element types to .npy.",
    });
  }
  const view = new DataView(head.buffer, head.byteOffset, head.length);
  const dims = Array.from({ length: rank }, (_, a) => view.getUint32(4 + 4 * a));
  const needed = offset + dims.reduce((a, b) => a * b, 1);
  let cut: DataError | undefined;
  if (needed !== bytes.size) {
    cut = new DataError("DATA_TRUNCATED", `${bytes.file} declares dims [${dims}], ${needed} bytes, but has ${bytes.size}.`, {
      at: { file: bytes.file },
      hint: "The file is cut off or damaged; fetch it again.",
    });
  }
  return { dims, offset, cut };
}

/** `…images-idx3-ubyte.gz` has its labels in `…labels-idx1-ubyte.gz`, packed or not. */
async function labelsBeside(images: string, count: number, note: (text: string) => void): Promise<Int32Array | undefined> {
  const name = basename(images).replace("images", "labels").replace("idx3", "idx1").replace(/\.gz$/, "");
  if (name !== basename(images).replace(/\.gz$/, "")) {
    for (const candidate of [name, `${name}.gz`]) {
      const file = join(dirname(images), candidate);
      if ((await kindOf(file)) !== "file") continue;
      const bytes = await openBytes(file);
      const { dims, offset, cut } = await header(bytes);
      if (cut) throw cut;
      if (dims.length !== 1 || dims[0] !== count) {
        throw new DataError("DATA_LABELS", `${file} has dims [${dims}], but ${images} has ${count} images.`, {
          at: { file },
          hint: "Images and labels are of different sets; put the matching pair side by side.",
        });
      }
      return Int32Array.from(await bytes.read(offset, count));
    }
  }
  note(`No labels beside ${images} (looked for ${name}): accuracy cannot be measured.`);
  return undefined;
}
