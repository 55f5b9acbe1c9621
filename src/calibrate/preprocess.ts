/**
 * From stored pixels to what a model wants: the schema of preprocess.json, where it is found, and its arithmetic.
 *
 * Order: channels, resize, centerCrop, resizeAfterCrop, then y = (x·scale − mean) / std, then layout and dtype.
 * Each of the three steps of the formula is rounded to float32, as torchvision's ToTensor and Normalize do.
 */
import { basename, dirname, join, resolve } from "node:path";
import { z } from "zod";
import { ConfigError, DataError } from "../errors.js";
import type { DType } from "../graph/dtype.js";
import { Tensor } from "../graph/tensor.js";
import { kindOf, readText } from "./file.js";
import { centerCrop, type Pixels, resize, strides, toChannels } from "./pixels.js";

const extent = z.union([z.int().positive(), z.tuple([z.int().positive(), z.int().positive()])]);
const perChannel = z.union([z.number(), z.array(z.number()).min(1)]).transform((v) => (typeof v === "number" ? [v] : v));

/** preprocess.json. Every key may be left out; `{}` feeds the stored values 0..255 in NCHW. */
export const preprocessSchema = z.strictObject({
  /** Order of axes of the model's input. Default NCHW. */
  layout: z.enum(["NCHW", "NHWC"]).optional(),
  /** Channel order of the model's input. Default: what is stored, RGB or gray. */
  channels: z.enum(["RGB", "BGR", "gray"]).optional(),
  /** Pixels of the shorter side, or [height, width] exactly. */
  resize: extent.optional(),
  /** Side of the square to cut from the middle, or [height, width]. */
  centerCrop: extent.optional(),
  /** A second resize, of the cropped square, or to [height, width]. */
  resizeAfterCrop: extent.optional(),
  /** Factor on the stored value, before the mean is taken off. Default 1. */
  scale: z.number().positive().optional(),
  /** One number, or one per channel in the model's channel order. Default 0. */
  mean: perChannel.optional(),
  /** One number, or one per channel in the model's channel order. Default 1. */
  std: perChannel.refine((v) => v.every((s) => s !== 0), "must not be 0").optional(),
  /** Element type the model is fed; only checked against the model. */
  dtype: z.enum(["float32", "float16", "float64", "uint8", "int8", "uint16", "int16", "int32", "int64"]).optional(),
  comment: z.string().optional(),
});

/** What preprocess.json holds: see the fields of `preprocessSchema`. */
export type PreprocessOptions = z.input<typeof preprocessSchema>;
export type Preprocess = z.output<typeof preprocessSchema>;

/** The free-text spellings of a model card (`<model>.json`), exactly as documented. */
const cardSchema = preprocessSchema.extend({
  layout: z.enum(["NCHW", "NHWC", "NCHW RGB", "NCHW BGR", "NCHW gray", "NHWC RGB", "NHWC BGR", "NHWC gray"]).optional(),
  scale: z.union([z.number().positive(), z.enum(["x", "x/255"])]).optional(),
});
const expectedSchema = z.object({ center_crop: extent.optional(), resize_after_crop: extent.optional() }).optional();

/**
 * Reads `given`: the options themselves, their JSON text, or a path to preprocess.json or to a model card
 * (a JSON with the key "preprocess", whose layout may read "NCHW RGB" and whose scale "x/255").
 * @throws ConfigError PREPROCESS_INVALID naming the key and what it may be.
 */
export async function readPreprocess(given: string | PreprocessOptions): Promise<Preprocess> {
  if (typeof given !== "string") return check(given, "preprocess options");
  if (given.trim().startsWith("{")) return check(parseJson(given, "--preprocess"), "--preprocess");
  if ((await kindOf(given)) !== "file") {
    throw new ConfigError("PREPROCESS_INVALID", `--preprocess must be JSON or the path of a JSON file, got "${given}", which is neither.`, {
      hint: `For example --preprocess '{"scale": 0.00392156862745098, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}'.`,
    });
  }
  return check(parseJson(await readText(given), given), given);
}

/** The preprocess.json in one of `folders`, first come first served; undefined when there is none. */
export async function findPreprocess(
  folders: readonly string[],
): Promise<{ readonly file: string; readonly options: Preprocess } | undefined> {
  for (const folder of folders) {
    const file = join(folder, "preprocess.json");
    if ((await kindOf(file)) === "file") return { file, options: await readPreprocess(file) };
  }
  return undefined;
}

/**
 * Where preprocess.json is looked for: in the folder of the data, and above a folder that is a split by name (val/, train/, …).
 * Not above others, where it could belong to another data set.
 */
export function foldersBeside(path: string, kind: "file" | "folder"): string[] {
  const folder = kind === "file" ? dirname(path) : path;
  const isSplit = /^(train|val|valid|validation|test)$/i.test(basename(resolve(folder)));
  return isSplit ? [folder, join(folder, "..")] : [folder];
}

/**
 * One image as the model's input: dims [1, C, H, W] or [1, H, W, C] in `dtype`.
 * @throws DataError when a value cannot be held by `dtype`, or mean and std do not fit the channels.
 */
export function applyPreprocess(stored: Pixels, options: Preprocess, dtype: DType): Tensor {
  if (options.dtype !== undefined && options.dtype !== dtype) {
    throw new DataError("DATA_DTYPE", `The preprocessing is declared to give ${options.dtype}, but the model's input is ${dtype}.`, {
      hint: `Change "dtype" in the preprocessing (it is only a check), or use the model it was written for.`,
    });
  }
  let image = stored;
  if (options.channels !== undefined) image = toChannels(image, options.channels === "gray" ? 1 : 3);
  if (options.resize !== undefined) image = resize(image, options.resize);
  if (options.centerCrop !== undefined) image = centerCrop(image, options.centerCrop);
  if (options.resizeAfterCrop !== undefined) image = resize(image, options.resizeAfterCrop);

  const { channels, height, width } = image;
  const values = normalize(image, options, dtype);
  const dims = options.layout === "NHWC" ? [1, height, width, channels] : [1, channels, height, width];
  return dtype === "float32" ? Tensor.floats(dims, values) : Tensor.fromNumbers(dtype, dims, values);
}

/** (x·scale − mean) / std in the layout and channel order wanted. */
function normalize(image: Pixels, options: Preprocess, dtype: DType): Float32Array {
  const { channels, height, width, data } = image;
  const pixels = height * width;
  const from = strides(image);
  const to = options.layout === "NHWC" ? { channel: 1, pixel: channels } : { channel: pixels, pixel: 1 };
  const mean = spread(options.mean ?? [0], channels, "mean");
  const std = spread(options.std ?? [1], channels, "std");
  const scale = options.scale ?? 1;
  const out = new Float32Array(channels * pixels);
  for (let c = 0; c < channels; c++) {
    const source = options.channels === "BGR" ? channels - 1 - c : c;
    const m = Math.fround(mean[c] as number);
    const s = Math.fround(std[c] as number);
    const formula = (x: number) => Math.fround(Math.fround(Math.fround(x * scale) - m) / s);
    // 256 different values: a table is exact, and several times faster.
    const table = data instanceof Uint8Array ? Float32Array.from({ length: 256 }, (_, x) => formula(x)) : undefined;
    if (table) checkHolds(dtype, table);
    for (let i = 0; i < pixels; i++) {
      const x = data[source * from.channel + i * from.pixel] as number;
      out[c * to.channel + i * to.pixel] = table ? (table[x] as number) : formula(x);
    }
  }
  if (!(data instanceof Uint8Array)) checkHolds(dtype, out);
  return out;
}

const RANGES: Partial<Record<DType, readonly [number, number]>> = {
  uint8: [0, 255],
  int8: [-128, 127],
  uint16: [0, 65535],
  int16: [-32768, 32767],
  int32: [-(2 ** 31), 2 ** 31 - 1],
  uint32: [0, 2 ** 32 - 1],
  int64: [-Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
  uint64: [0, Number.MAX_SAFE_INTEGER],
};

/** Rounding or wrapping pixels into an integer input would silently feed the model something else. */
function checkHolds(dtype: DType, values: Float32Array): void {
  if (dtype === "float32" || dtype === "float64" || dtype === "float16" || dtype === "bfloat16") return;
  const range = RANGES[dtype];
  const bad = range ? values.find((v) => !Number.isInteger(v) || v < range[0] || v > range[1]) : values[0];
  if (bad === undefined) return;
  throw new DataError("DATA_DTYPE", `Preprocessing gives values such as ${bad}, which the model's ${dtype} input cannot hold.`, {
    hint: `A model with integer input normalises by itself: pass --preprocess '{}' for raw 0..255, or {"mean": 128} for -128..127.`,
  });
}

function spread(values: readonly number[], channels: number, key: string): readonly number[] {
  if (values.length === channels) return values;
  if (values.length === 1) return new Array<number>(channels).fill(values[0] as number);
  throw new DataError(
    "DATA_CHANNELS",
    `"${key}" has ${values.length} entries, but the images have ${channels} channel${channels === 1 ? "" : "s"}.`,
    {
      hint: `Give one number per channel, or set "channels" to "RGB" or "gray".`,
    },
  );
}

function check(value: unknown, where: string): Preprocess {
  const isCard = typeof value === "object" && value !== null && "preprocess" in value;
  const parsed = cardSchema.safeParse(isCard ? value.preprocess : value);
  if (!parsed.success) {
    const text = parsed.error.issues.map((i) => `${i.path.join(".") || "value"}: ${i.message}`).join("; ");
    throw new ConfigError("PREPROCESS_INVALID", `The preprocessing in ${where} is not understood: ${text}.`, {
      at: { file: where },
      hint: `Keys: layout (NCHW | NHWC), channels (RGB | BGR | gray), resize, centerCrop, resizeAfterCrop (side or [height, width]), scale, mean, std, dtype. A model card may also spell layout "NCHW RGB" and scale "x/255".`,
    });
  }
  // A card writes down under "expected" how the images were cut when its accuracy was measured.
  const expected = isCard && "expected" in value ? expectedSchema.safeParse(value.expected).data : undefined;
  return preprocessSchema.parse(withoutUndefined(resolveCard(parsed.data, expected, where)));
}

function resolveCard(card: z.output<typeof cardSchema>, expected: z.output<typeof expectedSchema>, where: string): PreprocessOptions {
  const [layout, channels] = (card.layout ?? "").split(" ") as [PreprocessOptions["layout"] | "", PreprocessOptions["channels"]];
  if (channels !== undefined && card.channels !== undefined && channels !== card.channels) {
    throw new ConfigError(
      "PREPROCESS_INVALID",
      `The preprocessing in ${where} contradicts itself: layout "${card.layout}" and channels "${card.channels}".`,
      {
        at: { file: where },
        hint: `Leave the channel order out of "layout".`,
      },
    );
  }
  return {
    ...card,
    layout: layout === "" ? undefined : layout,
    channels: card.channels ?? channels,
    centerCrop: card.centerCrop ?? expected?.center_crop,
    resizeAfterCrop: card.resizeAfterCrop ?? expected?.resize_after_crop,
    scale: card.scale === "x/255" ? 1 / 255 : card.scale === "x" ? 1 : card.scale,
  };
}

function withoutUndefined<T extends object>(o: T): Partial<T> {
  return Object.fromEntries(Object.entries(o).filter(([, v]) => v !== undefined)) as Partial<T>;
}

function parseJson(text: string, where: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new ConfigError("PREPROCESS_INVALID", `${where} is not JSON: ${(error as Error).message}.`, {
      at: { file: where },
      hint: "In a shell, put single quotes around the JSON.",
      cause: error,
    });
  }
}
