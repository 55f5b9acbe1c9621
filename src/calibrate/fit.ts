/** Making data fit a model's input: dtype, rank, extents, and stacking to a batch. Never by inventing information. */
import { DataError } from "../errors.js";
import { bitsOf, isFloat, isInteger } from "../graph/dtype.js";
import { Tensor } from "../graph/tensor.js";
import type { Pixels } from "./pixels.js";
import type { InputShape } from "./source.js";

/** An array of [1, C, H, W], [1, H, W, C] or [1, H, W] as an image, for preprocessing that was asked for. */
export function pixelsOf(t: Tensor): Pixels {
  const [, a = 0, b = 0, c = 0] = t.dims;
  const isChannels = (d: number) => d === 1 || d === 3;
  const data = t.dtype === "uint8" ? (t.data as Uint8Array) : isFloat(t.dtype) ? Float32Array.from(t.numbers()) : undefined;
  if (data && t.dims.length === 3) return { channels: 1, height: a, width: b, planar: true, data };
  if (data && t.dims.length === 4 && isChannels(a)) return { channels: a, height: b, width: c, planar: true, data };
  if (data && t.dims.length === 4 && isChannels(c)) return { channels: c, height: a, width: b, planar: false, data };
  throw new DataError("DATA_SHAPE", `Preprocessing was asked for, but a sample of ${t.dtype} [${t.dims.slice(1)}] is no image.`, {
    hint: "Images are uint8 or floats of [C, H, W], [H, W, C] or [H, W] with 1 or 3 channels. Without --preprocess arrays are fed as they are.",
  });
}

/** The tensor in the input's dtype, where no information is invented: between floats, and between integers that hold the values. */
export function castTo(t: Tensor, input: InputShape, note: (text: string) => void): Tensor {
  if (t.dtype === input.dtype) return t;
  const say = () => note(`Data of ${t.dtype} are converted to ${input.dtype} for input "${input.name}".`);
  if (isFloat(t.dtype) && isFloat(input.dtype)) {
    say();
    return Tensor.fromNumbers(input.dtype, t.dims, t.numbers());
  }
  if (isInteger(t.dtype) && isInteger(input.dtype)) {
    const values = t.numbers();
    const cast = Tensor.fromNumbers(input.dtype, t.dims, values);
    const back = cast.numbers();
    if (values.every((v, i) => v === back[i])) {
      say();
      return cast;
    }
  }
  throw new DataError("DATA_DTYPE", `The data are ${t.dtype}, but input "${input.name}" of the model is ${input.dtype}.`, {
    at: { value: input.name },
    hint:
      t.dtype === "uint8" && isFloat(input.dtype)
        ? "For stored pixels pass --preprocess with the model's scale, mean and std ('{}' for raw 0..255)."
        : `Store the array as ${input.dtype}.`,
  });
}

/** @throws DataError for NaN and infinities, which would spread to every statistic and every comparison. */
export function checkedFinite(t: Tensor, input: InputShape): Tensor {
  if (!isFloat(t.dtype)) return t;
  const values = t.numbers();
  for (let i = 0; i < values.length; i++) {
    if (Number.isFinite(values[i])) continue;
    throw new DataError("DATA_NOT_FINITE", `Element ${i} of what is fed to "${input.name}" (${input.dtype}) is ${values[i]}.`, {
      at: { value: input.name },
      hint: `Repair the sample, or leave such samples out with --skip-bad (skipBad). A number too large for ${input.dtype} becomes infinite.`,
    });
  }
  return t;
}

/** An image for an input of rank 4; gray for [N, H, W]; flattened for [N, K]. */
export function fitImage(t: Tensor, input: InputShape): Tensor {
  const squeezed = t.dims.filter((d, axis) => axis === 0 || d !== 1);
  if (input.shape.length === 3 && squeezed.length === 3) return checkedShape(t.reshape(squeezed), input);
  if (input.shape.length === 2) return checkedShape(t.reshape([1, t.size]), input);
  return checkedShape(t, input);
}

/** @throws DataError unless rank and every known extent but the first agree. */
export function checkedShape(t: Tensor, input: InputShape): Tensor {
  const { shape } = input;
  const agrees = t.dims.length === shape.length && shape.every((d, axis) => axis === 0 || typeof d !== "number" || d === t.dims[axis]);
  if (agrees) return t;
  throw new DataError(
    "DATA_SHAPE",
    `The sample is [${t.dims.slice(1).join(", ")}], but input "${input.name}" of the model takes [${shape.slice(1).join(", ")}].`,
    {
      at: { value: input.name },
      hint: shapeHint(t.dims, shape),
    },
  );
}

function shapeHint(got: readonly number[], want: InputShape["shape"]): string {
  if (got.length !== 4 || want.length !== 4)
    return "Is this the data set of this model? Axis 0 counts samples; the rest must be the model's.";
  const [, c, h, w] = got as [number, number, number, number];
  const [, wc, wh, ww] = want;
  if (c === ww && h === wc && w === wh) return `The model is NHWC: set "layout": "NHWC" in the preprocessing.`;
  if (w === wc && c === wh && h === ww) return `The model is NCHW: set "layout": "NCHW" in the preprocessing.`;
  const steps: string[] = [];
  if (c === 3 && wc === 1) steps.push(`"channels": "gray"`);
  if (c === 1 && wc === 3) steps.push(`"channels": "RGB"`);
  if (typeof wh === "number" && typeof ww === "number" && (wh !== h || ww !== w)) {
    steps.push(wh === ww ? `"resize": ${wh} and "centerCrop": ${wh}` : `"resize": [${wh}, ${ww}]`);
  }
  return `Is this the data set of this model? If so, set ${steps.join(" and ") || "the layout"} in the preprocessing.`;
}

/**
 * The rows of one batch as one tensor, concatenated along axis 0; a single number that all share is not stacked.
 * @throws DataError naming the sample whose dims differ.
 */
export function stack(rows: readonly Tensor[], input: InputShape, names: readonly string[]): Tensor {
  const first = rows[0] as Tensor;
  if (rows.length === 1) return first;
  const odd = rows.findIndex((r) => r.dims.length !== first.dims.length || r.dims.some((d, axis) => axis > 0 && d !== first.dims[axis]));
  if (odd >= 0) {
    throw new DataError(
      "DATA_STACK",
      `${names[odd]} is [${rows[odd]?.dims.slice(1)}], but ${names[0]} is [${first.dims.slice(1)}]: they cannot be in one batch for input "${input.name}".`,
      {
        hint: `Bring images to one size ("resize" and "centerCrop" in the preprocessing), or use a batch of 1.`,
      },
    );
  }
  if (first.dims.length === 0) {
    const same = rows.every((r) => Buffer.compare(r.bytes, first.bytes) === 0);
    if (same) return first;
    throw new DataError("DATA_STACK", `Input "${input.name}" is a single number that differs between samples.`, {
      hint: "Use a batch of 1.",
    });
  }
  const dims = [rows.reduce((n, r) => n + (r.dims[0] as number), 0), ...first.dims.slice(1)];
  if (first.dtype === "string")
    return Tensor.ofStrings(
      dims,
      rows.flatMap((r) => r.strings),
    );
  if (bitsOf(first.dtype) < 8)
    return Tensor.fromNumbers(
      first.dtype,
      dims,
      rows.flatMap((r) => r.ints()),
    );
  const bytes = new Uint8Array(rows.reduce((n, r) => n + r.byteLength, 0));
  let at = 0;
  for (const r of rows) {
    bytes.set(r.bytes, at);
    at += r.byteLength;
  }
  return Tensor.ofBytes(first.dtype, dims, bytes);
}
