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
  /** What to do next; may depend on the provider. */
  readonly hint?: string | ((provider: string) => string);
  /** The first group of `when` names a value of the model. */
  readonly names?: "value";
}

const OLDER = "Export the model for an older opset, or install a newer onnxruntime-node.";
const ON_CPU = "Until then use --ep cpu.";

/** Read from the top; the first match counts. Texts are those of ONNX Runtime 1.30 (native and wasm). */
const RULES: readonly Rule[] = [
  {
    when: /no CUDA-capable device|all CUDA-capable devices are busy/i,
    make: RuntimeError,
    code: "RUNTIME_PROVIDER",
    says: "CUDA finds no device.",
    hint: `Check \`nvidia-smi\` and that CUDA_VISIBLE_DEVICES is not empty; start a container with --gpus all. ${ON_CPU}`,
  },
  {
    when: /invalid device ordinal|Invalid device id/i,
    make: RuntimeError,
    code: "RUNTIME_PROVIDER",
    says: "CUDA has no device of that number.",
    hint: "`nvidia-smi -L` lists the devices, from 0; those that CUDA_VISIBLE_DEVICES names are counted anew. Give one with --device.",
  },
  {
    when: /CUDA driver version is insufficient|unsupported display driver|forward compatibility was attempted|not supported (?:in|by) the installed CUDA driver/i,
    make: RuntimeError,
    code: "RUNTIME_PROVIDER",
    says: "The NVIDIA driver does not fit the CUDA libraries.",
    hint: `Install a newer driver: \`nvidia-smi\` tells the highest CUDA version of the one that is there. ${ON_CPU}`,
  },
  {
    when: /no kernel image is available/i,
    make: RuntimeError,
    code: "RUNTIME_PROVIDER",
    says: "ONNX Runtime's CUDA library has no code for this GPU.",
    hint: "The GPU is older or newer than those it was built for. Use --ep cpu.",
  },
  {
    when: /Failed to load shared library|no available backend found|WebGPU (?:adapter|device\.|device:)|executionProviders\[\d+\] is unsupported/i,
    make: RuntimeError,
    code: "RUNTIME_PROVIDER",
    says: "The execution provider could not be started.",
  },
  {
    when: /Failed to allocate memory|bad_?alloc|out of memory|BFCArena|Available memory of|ALLOC_FAILED|Cannot enlarge memory|Array buffer allocation failed|exceeds the max buffer size|maximum storage buffer binding size|maxStorageBufferBindingSize/i,
    make: RuntimeError,
    code: "RUNTIME_OUT_OF_MEMORY",
    says: "There was not enough memory.",
    hint: (provider) =>
      provider === "cpu" || provider === "wasm"
        ? "Use a smaller --batch, or close other programs that use this memory."
        : "Use a smaller --batch, or free the device's memory (`nvidia-smi` shows who holds it); --ep cpu uses the main memory.",
  },
  {
    when: /device lost|DeviceLost|CUDA failure (?:214|700|702|70[4-9]|71[0-9]|999)\b/i,
    make: RuntimeError,
    code: "RUNTIME_DEVICE_LOST",
    says: "The device stopped working in the middle of a run.",
    hint: "Run again; if it happens again, look for the driver's messages (`dmesg`, Xid), and use --ep cpu.",
  },
  {
    when: /(?:CUDA|CUDNN|CUDNN_FE|CUBLAS|CURAND|CUFFT) (?:failure|error)|CUDNN_STATUS|CUBLAS_STATUS/i,
    make: RuntimeError,
    code: "RUNTIME_CUDA",
    says: "CUDA failed.",
    hint: "Check `nvidia-smi`, or run with --ep cpu.",
  },
  {
    when: /requires f16 but the device does not support it/,
    make: UnsupportedError,
    code: "RUNTIME_NO_KERNEL",
    says: "The device has no float16 arithmetic, which the model needs.",
    hint: "Use --ep cpu.",
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
    when: /NOT_IMPLEMENTED|Provider type for \S+ node with name .* is not set|Could not find an implementation for|Failed to find kernel/,
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
    const hint = typeof rule.hint === "function" ? rule.hint(doing.provider) : rule.hint;
    const value = rule.names ? match[1] : undefined;
    return new rule.make(rule.code, `${rule.says.replace("$1", () => match[1] ?? "")} ONNX Runtime (${doing.provider}) says: ${text}`, {
      at: value === undefined ? at : { ...at, value },
      cause: original,
      ...(hint === undefined ? {} : { hint }),
    });
  }
  return new RuntimeError("RUNTIME_FAILED", `ONNX Runtime (${doing.provider}) could not ${doing.what} the model: ${text}`, {
    at,
    cause: original,
  });
}

/**
 * On one line, and without what native assertions surround the words with: source positions, C++ signatures, and in CUDA's
 * the name of the host.
 */
function tidy(message: string): string {
  return message
    .replace(/^\/onnxruntime_src\/.*? was false\. /s, "")
    .replace(/.*onnxruntime::CudaCall\(.*?\[with .*?\] (?=\w+ failure )/s, "")
    .replace(/ ; GPU=(-?\d+) ; hostname=.*? ; file=.*? ; line=\d+ ; expr=(.*?);\s*$/s, " (GPU $1, $2)")
    .replace(/(?<=Status Message: )\S+\.(?:cc|h):\d+ .*?(?=Failed to allocate memory|Available memory of)/s, "")
    .replace(/\s+/g, " ")
    .trim();
}
