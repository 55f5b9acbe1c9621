/** Raw images: decoded through sharp; resized, cropped, turned to gray or colour as torchvision does. */
import type Sharp from "sharp";
import { DataError } from "../errors.js";

/** One image of numbers. `planar`: [C, H, W], else interleaved [H, W, C]. uint8 values are 0..255. */
export interface Pixels {
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  readonly planar: boolean;
  readonly data: Uint8Array | Float32Array;
}

/** An extent of a square, or [height, width]. */
export type Extent = number | readonly [number, number];

/**
 * The image in `encoded` as interleaved RGB, 8 bits: gray is replicated, CMYK converted, alpha dropped, 16 bits cut to 8.
 * As in torchvision, EXIF orientation and embedded profiles are not applied. CMYK goes through a standard profile, where Pillow
 * takes 255 − ink: tens of grey levels apart. `name` is for messages.
 * @throws DataError DATA_IMAGE when the bytes are no image, or damaged; SHARP_MISSING when sharp is not installed.
 */
export async function decodeImage(encoded: Uint8Array, name: string): Promise<Pixels> {
  const sharp = await loadSharp();
  try {
    const { data, info } = await sharp(encoded, { failOn: "error", ignoreIcc: true })
      .removeAlpha()
      .toColourspace("srgb")
      .raw({ depth: "uchar" })
      .toBuffer({ resolveWithObject: true });
    const rgb = info.channels === 1 ? replicate(data) : data;
    return { channels: 3, height: info.height, width: info.width, planar: false, data: rgb };
  } catch (error) {
    throw new DataError("DATA_IMAGE", `${name} cannot be decoded as an image: ${(error as Error).message.trim()}.`, {
      at: { file: name },
      hint: "Remove or replace the file, or skip damaged samples (skipBad), which counts and reports them.",
      cause: error,
    });
  }
}

/**
 * The image with `to` pixels on its shorter side (a number) or exactly [height, width], planar.
 *
 * Bilinear with antialiasing as Pillow computes it, because that is what torchvision's Resize does and most models were
 * trained with; sharp's kernels differ from it by several grey levels. uint8 results were equal to Pillow 13.0 to the bit where
 * it runs the horizontal pass first, and within one grey level where it swaps the passes.
 * @see Pillow, src/libImaging/Resample.c
 */
export function resize(image: Pixels, to: Extent): Pixels {
  const [height, width] = typeof to === "number" ? shorterSide(image, to) : to;
  if (height === image.height && width === image.width) return image;
  const { channels } = image;
  const at = strides(image);
  const like = arrayLike(image.data);
  const data = new like(channels * height * width);
  const narrow = new like(image.height * width);
  const across = taps(image.width, width);
  const down = taps(image.height, height);
  for (let c = 0; c < channels; c++) {
    const plane = image.data.subarray(c * at.channel);
    for (let y = 0; y < image.height; y++) resample(plane, y * image.width * at.pixel, at.pixel, across, narrow, y * width, 1);
    for (let x = 0; x < width; x++) resample(narrow, x, width, down, data, c * height * width + x, width);
  }
  return { channels, height, width, planar: true, data };
}

/** For each place of the output: the first input it reads, and the weight of each from there. */
interface Tap {
  readonly first: number;
  readonly weights: Float64Array;
}

/** A triangle as wide as the step, at least one pixel to each side. */
function taps(from: number, to: number): Tap[] {
  const step = from / to;
  const reach = Math.max(step, 1);
  return Array.from({ length: to }, (_, o) => {
    const centre = (o + 0.5) * step;
    const first = Math.max(0, Math.trunc(centre - reach + 0.5));
    const end = Math.min(from, Math.trunc(centre + reach + 0.5));
    const weights = Float64Array.from({ length: end - first }, (_, k) => Math.max(0, 1 - Math.abs((first + k - centre + 0.5) / reach)));
    const total = weights.reduce((a, b) => a + b, 0);
    return { first, weights: weights.map((w) => w / total) };
  });
}

/** One line of `from` into one line of `to`; `at` and `step` locate the line in each. */
function resample(
  from: Pixels["data"],
  at: number,
  step: number,
  line: readonly Tap[],
  to: Pixels["data"],
  toAt: number,
  toStep: number,
): void {
  const whole = from instanceof Uint8Array;
  for (const [o, { first, weights }] of line.entries()) {
    let sum = 0;
    for (let k = 0; k < weights.length; k++) {
      // Pillow multiplies bytes by weights in fixed point of 22 bits.
      const weight = whole ? Math.trunc((weights[k] as number) * 2 ** 22 + 0.5) : (weights[k] as number);
      sum += (from[at + (first + k) * step] as number) * weight;
    }
    to[toAt + o * toStep] = whole ? Math.min(255, Math.floor((sum + 2 ** 21) / 2 ** 22)) : sum;
  }
}

/** The middle of the image, rounded to pixels as torchvision does. @throws DataError when the image is smaller than `to`. */
export function centerCrop(image: Pixels, to: Extent): Pixels {
  const [height, width] = typeof to === "number" ? [to, to] : to;
  if (height > image.height || width > image.width) {
    throw new DataError("DATA_CROP", `An image of ${image.height}x${image.width} is smaller than the centre crop of ${height}x${width}.`, {
      hint: `Add "resize" to the preprocessing: it runs before "centerCrop".`,
    });
  }
  const top = roundHalfEven((image.height - height) / 2);
  const left = roundHalfEven((image.width - width) / 2);
  const { channels, planar } = image;
  const data = new (arrayLike(image.data))(channels * height * width);
  const rows = planar ? channels : 1;
  const step = planar ? 1 : channels;
  let at = 0;
  for (let c = 0; c < rows; c++) {
    for (let y = 0; y < height; y++) {
      const from = ((c * image.height + top + y) * image.width + left) * step;
      data.set(image.data.subarray(from, from + width * step), at);
      at += width * step;
    }
  }
  return { channels, height, width, planar, data };
}

/** The image with one channel (ITU-R 601 luma, in Pillow's integer arithmetic) or three (replicated). */
export function toChannels(image: Pixels, channels: 1 | 3): Pixels {
  if (image.channels === channels) return image;
  const { height, width } = image;
  const n = height * width;
  if (channels === 3 && image.channels === 1) {
    const data = new (arrayLike(image.data))(3 * n);
    for (let c = 0; c < 3; c++) data.set(image.data, c * n);
    return { channels, height, width, planar: true, data };
  }
  if (image.channels !== 3 || !(image.data instanceof Uint8Array)) {
    throw new DataError(
      "DATA_CHANNELS",
      `Only uint8 RGB can be turned to gray, not ${image.channels} channels of ${image.data.constructor.name}.`,
      {
        hint: `Leave "channels" out of the preprocessing to keep what is stored.`,
      },
    );
  }
  const d = image.data;
  const at = strides(image);
  const data = new Uint8Array(n);
  for (let i = 0; i < n; i++) {
    const [r, g, b] = [0, 1, 2].map((c) => d[c * at.channel + i * at.pixel] as number) as [number, number, number];
    data[i] = (r * 19595 + g * 38470 + b * 7471 + 32768) >> 16;
  }
  return { channels, height, width, planar: true, data };
}

/** Distances in `data` between channels, and between neighbouring pixels in reading order. */
export function strides(image: Pixels): { readonly channel: number; readonly pixel: number } {
  return image.planar ? { channel: image.height * image.width, pixel: 1 } : { channel: 1, pixel: image.channels };
}

function replicate(gray: Uint8Array): Uint8Array {
  const out = new Uint8Array(gray.length * 3);
  for (let i = 0; i < gray.length; i++) out.fill(gray[i] as number, 3 * i, 3 * i + 3);
  return out;
}

/** torchvision's `_compute_resized_output_size`: the longer side is truncated. */
function shorterSide(image: Pixels, to: number): [number, number] {
  const { height, width } = image;
  return height <= width ? [to, Math.trunc((to * width) / height)] : [Math.trunc((to * height) / width), to];
}

/** Python's round(), which torchvision uses for the corner of a crop. */
function roundHalfEven(x: number): number {
  const floor = Math.floor(x);
  if (x - floor !== 0.5) return Math.round(x);
  return floor % 2 === 0 ? floor : floor + 1;
}

/** sharp is an optional peer (20 MB of native code): loaded only when an image file must be decoded. */
async function loadSharp(): Promise<typeof Sharp> {
  try {
    return (await import("sharp")).default;
  } catch (error) {
    throw new DataError(
      "SHARP_MISSING",
      `Decoding image files needs the package "sharp", which cannot be loaded: ${(error as Error).message}`,
      {
        hint: "Install it beside onnx-prune (`npm install sharp`), or give the data as .npy, .npz, CIFAR or MNIST files.",
        cause: error,
      },
    );
  }
}

/** Pixels come as bytes (also of a Node Buffer, whose own constructor is deprecated) or floats. */
function arrayLike(data: Pixels["data"]): Uint8ArrayConstructor {
  return (data instanceof Uint8Array ? Uint8Array : data.constructor) as Uint8ArrayConstructor;
}
