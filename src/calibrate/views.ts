/**
 * More to see in the same images: each is also shown mirrored and moved. What a trained network gives for its own training images is
 * surer than for any other, and weights corrected by those alone suit them too well; views it was not trained on so often do not have that.
 */
import { ConfigError } from "../errors.js";
import { random } from "../graph/random.js";
import { Tensor } from "../graph/tensor.js";
import { digest } from "./fingerprint.js";
import type { Samples } from "./samples.js";

/** Share of its extent by which a view is moved at most. */
const MOST_MOVED = 1 / 8;

export interface ViewOptions {
  /** Views of each sample, itself included; at least 1. */
  readonly count: number;
  readonly seed?: number;
}

/**
 * Each of `samples` followed by `count` − 1 views of it: mirrored left to right (every other view), and moved by up to an eighth of its
 * extents, what comes in at the border being the border repeated. Inputs that are no images ([N, 1|3, H, W] or [N, H, W, 1|3]) stay as
 * they are.
 *
 * @throws ConfigError VIEWS_RANGE for a count that is no whole number from 1; VIEWS_NO_IMAGES where no input is an image.
 */
export async function viewsOf(samples: Samples, { count, seed = 0 }: ViewOptions): Promise<Samples> {
  if (!Number.isInteger(count) || count < 1) {
    throw new ConfigError("VIEWS_RANGE", `A whole number of views of each sample, at least 1, is expected, but ${count} came.`);
  }
  if (count === 1) return samples;
  if (!(await hasImages(samples))) {
    throw new ConfigError(
      "VIEWS_NO_IMAGES",
      `${count} views of each sample are asked for, but no input of ${samples.source} is an image.`,
      {
        hint: "Images are [N, C, H, W] or [N, H, W, C] with 1 or 3 channels. Leave --views out, or give 1.",
      },
    );
  }
  const { labels } = samples;
  return {
    ...samples,
    count: samples.count * count,
    labels: labels && Int32Array.from({ length: labels.length * count }, (_, i) => labels[Math.floor(i / count)] as number),
    source: `${samples.source}, ${count} views of each`,
    fingerprint: digest([samples.fingerprint, `views ${count}/${seed}`]),
    async batch(from, to) {
      const first = Math.floor(from / count);
      const views = Array.from({ length: to - from }, (_, i) => ({ of: Math.floor((from + i) / count), number: (from + i) % count }));
      return shown(await samples.batch(first, Math.ceil(to / count)), first, views, seed);
    },
  };
}

/**
 * Each of `samples` as its view `number` shows it: what `viewsOf` has of that number, without the others. 0: the samples themselves. Inputs
 * that are no images stay as they are.
 */
export function viewOf(samples: Samples, number: number, seed = 0): Samples {
  if (number === 0) return samples;
  return {
    ...samples,
    source: `${samples.source}, view ${number} of each`,
    fingerprint: digest([samples.fingerprint, `view ${number}/${seed}`]),
    async batch(from, to) {
      const views = Array.from({ length: to - from }, (_, i) => ({ of: from + i, number }));
      return shown(await samples.batch(from, to), from, views, seed);
    },
  };
}

/** Views of what `batch` has, whose first sample is number `first`. */
function shown(
  batch: Readonly<Record<string, Tensor>>,
  first: number,
  views: readonly { readonly of: number; readonly number: number }[],
  seed: number,
): Record<string, Tensor> {
  return Object.fromEntries(
    Object.entries(batch).map(([name, t]) => {
      if (t.dims.length === 0) return [name, t];
      const image = imageOf(t);
      const size = t.bytes.length / (t.dims[0] as number);
      const out = new Uint8Array(size * views.length);
      for (const [i, { of, number }] of views.entries()) {
        const one = t.bytes.subarray((of - first) * size, (of - first + 1) * size);
        out.set(image && number > 0 ? seen(one, image, number, `views/${seed}/${of}/${number}`) : one, i * size);
      }
      return [name, Tensor.ofBytes(t.dtype, [views.length, ...t.dims.slice(1)], out)];
    }),
  );
}

/** Whether any input is an image, told by the first sample. */
export async function hasImages(samples: Samples): Promise<boolean> {
  return Object.values(await samples.batch(0, 1)).some(isImage);
}

/** Whether `t` holds images, one or three channels each. */
export function isImage(t: Tensor): boolean {
  return imageOf(t) !== undefined;
}

/** How an image lies in memory: planes of height × width pixels of so many bytes. */
interface Image {
  readonly planes: number;
  readonly height: number;
  readonly width: number;
  readonly pixel: number;
}

function imageOf({ dims, dtype, byteLength, size }: Tensor): Image | undefined {
  const [, a, b, c] = dims as readonly [number, number, number, number];
  const element = byteLength / size;
  if (dims.length !== 4 || dtype === "string" || !Number.isInteger(element)) return undefined;
  if (a === 1 || a === 3) return { planes: a, height: b, width: c, pixel: element };
  if (c === 1 || c === 3) return { planes: 1, height: a, width: b, pixel: c * element };
  return undefined;
}

function seen(from: Uint8Array, { planes, height, width, pixel }: Image, number: number, seed: string): Uint8Array {
  const uniform = random(seed);
  const move = (extent: number) => {
    const most = Math.floor(extent * MOST_MOVED);
    return Math.floor(uniform() * (2 * most + 1)) - most;
  };
  const [down, right] = [move(height), move(width)];
  const inside = (i: number, extent: number) => Math.min(extent - 1, Math.max(0, i));
  const isMirrored = number % 2 === 1;
  const columns = Array.from({ length: width }, (_, x) => inside((isMirrored ? width - 1 - x : x) - right, width) * pixel);
  const out = new Uint8Array(from.length);
  for (let p = 0; p < planes; p++) {
    for (let y = 0; y < height; y++) {
      const row = (p * height + inside(y - down, height)) * width * pixel;
      let at = (p * height + y) * width * pixel;
      for (const column of columns) {
        for (let b = 0; b < pixel; b++) out[at++] = from[row + column + b] as number;
      }
    }
  }
  return out;
}
