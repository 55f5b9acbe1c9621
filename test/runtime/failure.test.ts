import { describe, expect, it } from "vitest";
import { failure } from "../../src/runtime/failure.js";

describe("ONNX Runtime's words", () => {
  it.each([
    ["load", "bad allocation: std::bad_alloc", "RUNTIME_OUT_OF_MEMORY"],
    ["run", "Failed to allocate memory for requested buffer of size 17179869184", "RUNTIME_OUT_OF_MEMORY"],
    ["run", "CUDNN failure 3: CUDNN_STATUS_BAD_PARAM", "RUNTIME_CUDA"],
    ["load", "Failed to get a WebGPU adapter: No supported adapters", "RUNTIME_PROVIDER"],
    ["load", "Failed to get a WebGPU device: limits", "RUNTIME_PROVIDER"],
    ["run", "Program Add requires f16 but the device does not support it.", "RUNTIME_NO_KERNEL"],
    [
      "run",
      "Binding size (300000000) of [Buffer] is larger than the maximum storage buffer binding size (134217728).",
      "RUNTIME_OUT_OF_MEMORY",
    ],
    ["load", "no available backend found. ERR: [dml] backend not found.", "RUNTIME_PROVIDER"],
    ["load", "External data path escapes model directory: ../ext.bin", "MODEL_EXTERNAL_DATA"],
    ["load", "Model data size exceeds maximum supported size (2GB).", "MODEL_TOO_LARGE"],
    ["run", "Non tensor type is temporarily not supported", "RUNTIME_DTYPE"],
    ["run", "something never heard of", "RUNTIME_FAILED"],
  ] as const)("%s: %s", (what, said, code) => {
    const original = new Error(said);
    const error = failure(original, { what, provider: "cpu" });
    expect(error.code).toBe(code);
    expect(error.cause).toBe(original);
    expect(error.message).toContain(said);
  });
});
