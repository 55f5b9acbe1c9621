/** ONNX Runtime's plain-text errors, as typed errors of ours. The original is kept as `cause`. */
import { DataError, type ErrorPlace, ModelError, type OnnxPruneError, RuntimeError, UnsupportedError } from "../errors.js";

/** What was being done when ONNX Runtime failed. */
export interface Doing {
  readonly what: "load" | "run";
  readonly provider: string;
  readonly file?: string;
}

type Make = new (code: string, message: string, options: { hint?: string; at?: ErrorPlace; cause?: unknown }) => OnnxPruneError;
interface Rule {
  readonly when: RegExp;
  readonly make: Make;
  readonly code: string;
  /** What went wrong in one sentence; `$1` is the first group of `when`. */
  readonly says: string;
  readonly hint?: string;
  /** The first group of `when` names a value of the model. */
  readonly names?: "value";
}

const BATCH = "Use a smaller batch, or close other programs that use this memory.";
const OLDER = "Export the model for an older opset, or install a newer onnxruntime-node.";

/** Read from the top; the first match counts. Texts are those of ONNX Runtime 1.30 (native and wasm). */
const RULES: readonly Rule[] = [
  {
    when: /Failed to load shared library|no available backend found|WebGPU adapter|executionProviders\[\d+\] is unsupported|CUDA driver version|no CUDA-capable device/i,
    make: RuntimeError,
    code: "RUNTIME_PROVIDER",
    says: "The execution provider could not be started.",
  },
  {
    when: /Failed to allocate memory|bad_?alloc|out of memory|BFCArena|Cannot enlarge memory|Array buffer allocation failed/i,
    make: RuntimeError,
    code: "RUNTIME_OUT_OF_MEMORY",
    says: "There was not enough memory.",
    hint: BATCH,
  },
  {
    when: /CUDA (?:failure|error)|CUDNN|CUBLAS/i,
    make: RuntimeError,
    code: "RUNTIME_CUDA",
    says: "CUDA failed.",
    hint: "Check `nvidia-smi`, or run with --ep cpu.",
  },
  {
    when: /input '(.+?)' is missing in 'feeds'/,
    make: DataError,
    code: "FEED_MISSING",
    says: 'The model\'s input "$1" was not given.',
    names: "value",
  },
  {
    when: /invalid output name: ?(.*?)\.?$/m,
    make: DataError,
    code: "FETCH_UNKNOWN",
    says: 'The model has no output "$1".',
    names: "value",
  },
  { when: /Unexpected input data type/, make: DataError, code: "FEED_DTYPE", says: "An input has the wrong element type." },
  {
    when: /(?:Invalid rank for input|Got invalid dimensions for input): (\S+)/,
    make: DataError,
    code: "FEED_SHAPE",
    says: 'The data given for input "$1" does not have the shape the model declares.',
    names: "value",
  },
  {
    when: /File doesn't exist|ENOENT|No such file|NO_SUCHFILE/i,
    make: ModelError,
    code: "MODEL_NOT_FOUND",
    says: "The model, or external data it names, does not exist.",
  },
  {
    when: /escapes (?:model|both model) directory|External data|external initializer|external_data|GetExtDataFromTensorProto/i,
    make: ModelError,
    code: "MODEL_EXTERNAL_DATA",
    says: "The model's external data could not be read.",
    hint: "Keep external data files in the folder of the model, under the names the model gives them.",
  },
  {
    when: /exceeds maximum supported size|2GB/i,
    make: ModelError,
    code: "MODEL_TOO_LARGE",
    says: "The model is above protobuf's limit of 2 GiB.",
    hint: "Save it with external data.",
  },
  {
    when: /protobuf parsing failed|Protobuf parsing failed|Model data pointer is null|INVALID_PROTOBUF|Failed to load model because|byteLength.*must be|size of the model/i,
    make: ModelError,
    code: "MODEL_UNREADABLE",
    says: "The model is not an ONNX file, or is truncated.",
  },
  {
    when: /No Op registered for (\S+)|is not a registered function\/op/,
    make: UnsupportedError,
    code: "RUNTIME_NO_OP",
    says: "ONNX Runtime does not know an op of the model.",
    hint: OLDER,
  },
  {
    when: /No opset import for domain|only \*guarantees\* support|Unsupported model IR version|Unknown model file format version|IR_VERSION/i,
    make: UnsupportedError,
    code: "RUNTIME_VERSION",
    says: "ONNX Runtime does not support the model's opset or IR version.",
    hint: OLDER,
  },
  {
    when: /NOT_IMPLEMENTED|Could not find an implementation for|Failed to find kernel/,
    make: UnsupportedError,
    code: "RUNTIME_NO_KERNEL",
    says: "ONNX Runtime has no kernel for an op of the model with these types.",
    hint: OLDER,
  },
  {
    when: /Tensor\.type is not supported|unsupported type|Unsupported data type|Unsupported tensor type|unsupported data type|Non tensor type|data type is not supported|not a supported type/i,
    make: UnsupportedError,
    code: "RUNTIME_DTYPE",
    says: "ONNX Runtime's JavaScript bindings do not carry a type of the model's inputs or outputs.",
    hint: "Export the model with float32 or float16 tensors as inputs and outputs; inside the graph other types are fine.",
  },
  {
    when: /ShapeInferenceError|TypeInferenceError|Type Error|not acyclic|is not a graph input, initializer|does not match expected size|INVALID_GRAPH|This is an invalid model|Invalid model/i,
    make: ModelError,
    code: "MODEL_REFUSED",
    says: "ONNX Runtime refused the graph.",
  },
  {
    when: /Session already disposed|session has been released|invalid session id/i,
    make: RuntimeError,
    code: "SESSION_RELEASED",
    says: "The session was released before this call.",
  },
];

/** The typed error for what ONNX Runtime threw; RUNTIME_FAILED where the text is not known. */
export function failure(original: Error, doing: Doing): OnnxPruneError {
  const text = tidy(original.message);
  const at: ErrorPlace = doing.file === undefined ? {} : { file: doing.file };
  for (const rule of RULES) {
    const match = rule.when.exec(original.message);
    if (!match) continue;
    const value = rule.names ? match[1] : undefined;
    return new rule.make(rule.code, `${rule.says.replace("$1", () => match[1] ?? "")} ONNX Runtime (${doing.provider}) says: ${text}`, {
      at: value === undefined ? at : { ...at, value },
      cause: original,
      ...(rule.hint === undefined ? {} : { hint: rule.hint }),
    });
  }
  return new RuntimeError("RUNTIME_FAILED", `ONNX Runtime (${doing.provider}) could not ${doing.what} the model: ${text}`, {
    at,
    cause: original,
  });
}

/** On one line, and without the source position and C++ signature that native assertions start with. */
function tidy(message: string): string {
  return message
    .replace(/^\/onnxruntime_src\/.*? was false\. /s, "")
    .replace(/\s+/g, " ")
    .trim();
}
