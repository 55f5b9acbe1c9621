/**
 * ONNX test data: folders test_data_set_k with input_j.pb, each a TensorProto with its batch axis.
 * @see https://github.com/onnx/onnx/blob/main/docs/OnnxBackendTest.md
 */
import { basename, dirname } from "node:path";
import { DataError, OnnxPruneError } from "../../errors.js";
import { tensorOf } from "../../graph/codec-tensor.js";
import type { Tensor } from "../../graph/tensor.js";
import { openBytes, readAll } from "../file.js";
import { contentFingerprint, digest } from "../fingerprint.js";
import { foldersBeside } from "../preprocess.js";
import type { Bad, InputShape, TensorSource } from "../source.js";

interface Row {
  readonly set: string;
  /** Index along axis 0 of the set's tensors; undefined when the set is one sample. */
  readonly row: number | undefined;
}

/**
 * The samples in `sets`: the rows along axis 0, if all inputs of all sets have one and the same extent there; otherwise each
 * set is one sample that cannot be stacked with others.
 *
 * Tensors are bound by name when all names are inputs of the model, else in the order of the files.
 * @throws DataError for files that are no TensorProto (with `skipBad` their set is left out) and for a count that differs from the model's inputs.
 */
export async function openTestData(
  sets: readonly { readonly name: string; readonly files: readonly string[] }[],
  { inputs, skipBad }: { readonly inputs: readonly InputShape[]; readonly skipBad: boolean },
): Promise<TensorSource> {
  const rows: Row[] = [];
  const readable: string[] = [];
  const bad: Bad[] = [];
  let first: DataError | undefined;
  let whole = false;
  for (const set of sets) {
    let tensors: Tensor[];
    try {
      tensors = Object.values(await readSet(set, inputs)).filter((t) => t.dims.length > 0);
    } catch (error) {
      if (!(error instanceof DataError) || !skipBad) throw error;
      first ??= error;
      bad.push({ sample: set.name, why: error.message });
      continue;
    }
    readable.push(set.name);
    const batch = tensors[0]?.dims[0] ?? 1;
    const sameBatch = tensors.every((t) => t.dims[0] === batch);
    whole ||= !sameBatch;
    for (let row = 0; row < (sameBatch ? batch : 1); row++) rows.push({ set: set.name, row: sameBatch && batch > 1 ? row : undefined });
  }
  if (readable.length === 0 && first) throw first;
  // One set without a batch axis means that axis 0 is none in the others either.
  const samples = whole ? readable.map((set): Row => ({ set, row: undefined })) : rows;
  const filesOf = new Map(sets.map((s) => [s.name, s]));
  return {
    kind: "tensors",
    format: "ONNX test data",
    count: samples.length,
    labels: undefined,
    beside: foldersBeside((sets[0] as { name: string }).name, "folder"),
    whole,
    bad,
    nameOf: (i) => {
      const { set, row } = samples[i] as Row;
      return row === undefined ? set : `${set} row ${row}`;
    },
    fileOf: (i) => samples[i]?.set,
    fingerprint: async (indices) => {
      const used = [...new Set(indices.map((i) => (samples[i] as Row).set))].sort();
      const files = used.flatMap((set) => filesOf.get(set)?.files ?? []);
      const rows = indices.map((i) => `${used.indexOf((samples[i] as Row).set)}/${(samples[i] as Row).row ?? "all"}`);
      return digest([await contentFingerprint(await Promise.all(files.map(openBytes))), rows.join()]);
    },
    read: async (i) => {
      const { set, row } = samples[i] as Row;
      const tensors = await readSet(filesOf.get(set) as (typeof sets)[number], inputs);
      if (row === undefined) return tensors;
      return Object.fromEntries(Object.entries(tensors).map(([name, t]) => [name, t.dims.length === 0 ? t : t.take(0, [row])]));
    },
  };
}

async function readSet(
  set: { readonly name: string; readonly files: readonly string[] },
  inputs: readonly InputShape[],
): Promise<Record<string, Tensor>> {
  if (set.files.length !== inputs.length) {
    throw new DataError(
      "DATA_INPUTS",
      `${set.name} has ${set.files.length} input files, but the model has ${inputs.length} inputs: ${inputs.map((i) => i.name).join(", ")}.`,
      {
        at: { file: set.name },
        hint: "Expected input_0.pb, input_1.pb, … in the order of the model's inputs.",
      },
    );
  }
  const found = await Promise.all(set.files.map(readTensor));
  const byName = new Map(found.map((f) => [f.name, f.tensor]));
  const namesAreInputs = byName.size === inputs.length && inputs.every((i) => byName.has(i.name));
  return Object.fromEntries(inputs.map((input, k) => [input.name, (namesAreInputs ? byName.get(input.name) : found[k]?.tensor) as Tensor]));
}

async function readTensor(file: string): Promise<{ name: string; tensor: Tensor }> {
  try {
    const { name, tensor } = tensorOf(await readAll(file), basename(file), {});
    // Touching the data here keeps errors of the codec with the file they belong to.
    if (tensor.dtype !== "string") tensor.bytes;
    return { name, tensor };
  } catch (error) {
    if (!(error instanceof OnnxPruneError) || error instanceof DataError) throw error;
    throw new DataError("DATA_PB", `${file} is not a tensor of ONNX test data: ${error.message}`, {
      at: { file },
      hint: `A TensorProto is expected (numpy_helper.from_array); sequences and optionals are not read. Check ${dirname(file)}.`,
      cause: error,
    });
  }
}
