/** One source bound to inputs of the model: which of its samples, and how each becomes tensors. */
import { DataError } from "../errors.js";
import type { Tensor } from "../graph/tensor.js";
import { castTo, checkedFinite, checkedShape, fitImage, pixelsOf } from "./fit.js";
import { type OpenOptions, openSource } from "./open.js";
import { applyPreprocess, findPreprocess, type Preprocess, readPreprocess } from "./preprocess.js";
import type { SampleOptions } from "./samples.js";
import type { InputShape, PixelSource, Source } from "./source.js";
import { parseWhere, selectIndices, whereText } from "./where.js";

export interface Part {
  /** The `where`, with the split that was taken. */
  readonly text: string;
  readonly source: Source;
  readonly inputs: readonly InputShape[];
  /** Sample k of the selection is sample `indices[k]` of the source. */
  readonly indices: readonly number[];
  /** The preprocessing that is applied; undefined when tensors are fed as they are. */
  readonly preprocess: Preprocess | undefined;
  prepare(i: number): Promise<Readonly<Record<string, Tensor>>>;
}

export async function openPart(
  text: string,
  inputs: readonly InputShape[],
  options: SampleOptions,
  { note, noteUnlabelled }: Pick<OpenOptions, "note" | "noteUnlabelled">,
): Promise<Part> {
  const where = await parseWhere(text);
  const { seed = 0, symbols = {}, skipBad = false } = options;
  const source = await openSource(where, { inputs, seed, symbols, skipBad, note, noteUnlabelled });
  const indices = where.slice === undefined ? Array.from({ length: source.count }, (_, i) => i) : selectIndices(where.slice, source.count);
  const { preprocess, convert } = await conversion(source, inputs, options, note);
  const prepare = (i: number) => inSample(source.nameOf(i), () => convert(i));
  const split = where.split ?? source.split;
  return { text: whereText(split === undefined ? where : { ...where, split }), source, inputs, indices, preprocess, prepare };
}

interface Conversion {
  readonly preprocess: Preprocess | undefined;
  readonly convert: Part["prepare"];
}

/** How sample `i` of `source` becomes tensors that fit `inputs`, each with a leading axis. */
async function conversion(
  source: Source,
  inputs: readonly InputShape[],
  options: SampleOptions,
  note: (text: string) => void,
): Promise<Conversion> {
  const explicit = options.preprocess === undefined ? undefined : await readPreprocess(options.preprocess);
  const [input] = inputs;
  if (input === undefined) throw new DataError("DATA_INPUTS", "The model has no inputs to feed.");
  if (source.kind === "pixels") {
    if (inputs.length > 1) {
      throw new DataError(
        "DATA_INPUTS",
        `Images fill one input, but the model has ${inputs.length}: ${inputs.map((i) => i.name).join(", ")}.`,
        {
          hint: "Give one source per input by name.",
        },
      );
    }
    const preprocess = explicit ?? (await preprocessBeside(source, input, note));
    const convert = async (i: number) => ({
      [input.name]: fitImage(applyPreprocess(await source.read(i), preprocess, input.dtype), input),
    });
    return { preprocess, convert };
  }
  if (explicit && options.inputs.length === 1 && source.format !== "random") {
    const convert = async (i: number) => {
      const stored = pixelsOf((await source.read(i))[input.name] as Tensor);
      return { [input.name]: checkedFinite(fitImage(applyPreprocess(stored, explicit, input.dtype), input), input) };
    };
    return { preprocess: explicit, convert };
  }
  const beside = source.format === "random" ? undefined : await findPreprocess(source.beside);
  if (beside && !explicit) note(`${beside.file} is not applied to ${source.format} data; pass it as --preprocess if it should be.`);
  const convert = async (i: number) => {
    const tensors = await source.read(i);
    const fitted = inputs.map((input) => {
      const t = checkedShape(castTo(tensors[input.name] as Tensor, input, note), input);
      return [input.name, checkedFinite(t, input)] as const;
    });
    return Object.fromEntries(fitted);
  };
  return { preprocess: undefined, convert };
}

async function preprocessBeside(source: PixelSource, input: InputShape, note: (text: string) => void): Promise<Preprocess> {
  const found = await findPreprocess(source.beside);
  if (found) {
    note(`Preprocessing is taken from ${found.file}.`);
    return found.options;
  }
  if (input.dtype === "uint8") {
    note(`No preprocessing is given: input "${input.name}" (uint8) is fed the stored pixels.`);
    return {};
  }
  throw new DataError(
    "PREPROCESS_MISSING",
    `Nothing says how the pixels of ${source.nameOf(0)} become the ${input.dtype} input "${input.name}": a wrong guess would spoil every number.`,
    {
      at: { value: input.name },
      hint: `Pass --preprocess with what the model was trained with, e.g. '{"scale": ${1 / 255}, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}' ('{}' for raw 0..255), or put it beside the data as preprocess.json.`,
    },
  );
}

/** Puts the sample's name before messages that lack it. */
async function inSample<T>(name: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof DataError) || error.message.includes(name)) throw error;
    throw new DataError(error.code, `${name}: ${error.message}`, {
      ...(error.hint ? { hint: error.hint } : {}),
      at: { ...error.at, file: name },
      cause: error,
    });
  }
}
