/** What a reader gives: samples by index, before selection, preprocessing and stacking. */
import type { Dim } from "../graph/dim.js";
import type { DType } from "../graph/dtype.js";
import type { Tensor } from "../graph/tensor.js";
import type { Pixels } from "./pixels.js";

/** An input of the model that data have to fill. Axis 0 counts samples. */
export interface InputShape {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly Dim[];
}

/** A sample, or a part of a source, that cannot be used. */
export interface Bad {
  readonly sample: string;
  readonly why: string;
}

interface Common {
  /** The reader's name for people: "CIFAR-10 binary". */
  readonly format: string;
  readonly count: number;
  /** Class numbers, one per sample, -1 where a sample has none; undefined when the source has none. */
  readonly labels: Int32Array | undefined;
  /** Labels must lie below this number, where the format says so. */
  readonly classes?: number;
  /** Where preprocess.json may be. */
  readonly beside: readonly string[];
  /** What to call sample `i` in messages: file and index, or the image file. */
  nameOf(i: number): string;
  /** The file (or folder) sample `i` is in, with which `nameOf` begins; undefined when the data are in none. */
  fileOf(i: number): string | undefined;
  /** A hash of what is read for the samples `indices`, the same wherever the files are. What it covers: fingerprint.ts. */
  fingerprint(indices: readonly number[]): Promise<string>;
  /** The split of a folder these samples are, where it has several. */
  readonly split?: string;
  /** What could not be opened at all and is left out of `count`; only when that was asked for. */
  readonly bad?: readonly Bad[];
  /** All samples are of one shape and any stored bytes are valid: if the first can be used, so can the others. */
  readonly uniform?: boolean;
}

/** Images, which preprocessing turns into the one input of the model. */
export interface PixelSource extends Common {
  readonly kind: "pixels";
  /** @throws DataError naming the sample. */
  read(i: number): Promise<Pixels>;
}

/** Arrays that already are what the model wants, by input name, each with a leading axis of extent 1. */
export interface TensorSource extends Common {
  readonly kind: "tensors";
  /** Samples have no common batch axis: each is the whole of all inputs and cannot be stacked. */
  readonly whole?: boolean;
  /** @throws DataError naming the sample. */
  read(i: number): Promise<Readonly<Record<string, Tensor>>>;
}

export type Source = PixelSource | TensorSource;
