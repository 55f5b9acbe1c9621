import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { Tensor } from "../../src/graph/tensor.js";
import { cudaProblem, cudnnHint, forbidTf32 } from "../../src/runtime/cuda.js";
import { openHost } from "../../src/runtime/host.js";
import { openNodeRunner } from "../../src/runtime/node.js";
import { type Openers, openRunner } from "../../src/runtime/provider.js";
import type { Provider, Runner } from "../../src/runtime/runner.js";
import { runtimeWhose } from "./stand-in.js";

const dist = join("/app", "node_modules", "onnxruntime-node", "dist");
const linux = { platform: "linux", arch: "x64", exists: () => true } as const;

describe("CUDA's libraries", () => {
  it("are refused off linux/x64", () => {
    expect(cudaProblem(dist, { platform: "darwin", arch: "arm64" })?.message).toBe(
      "onnxruntime-node has CUDA on linux/x64 only, and this is darwin/arm64.",
    );
  });

  it.each([
    ["cuda", "libonnxruntime_providers_shared.so and libonnxruntime_providers_cuda.so", () => false],
    ["the one for CUDA", "libonnxruntime_providers_cuda.so", (p: string) => p.includes("shared")],
    ["the shared one", "libonnxruntime_providers_shared.so", (p: string) => !p.includes("shared")],
  ])("that are missing (%s) are named, with where they belong and how to get them", (_, files, exists) => {
    const problem = cudaProblem(dist, { ...linux, exists });
    expect(problem?.message).toBe(`CUDA needs ${files}, not found in /app/node_modules/onnxruntime-node/bin/napi-v6/linux/x64.`);
    expect(problem?.hint).toMatchInlineSnapshot(
      `"Install onnxruntime-node with NuGet reachable and without ONNXRUNTIME_NODE_INSTALL=skip, or copy runtimes/linux-x64/native/libonnxruntime_providers_{shared,cuda}.so out of the NuGet package Microsoft.ML.OnnxRuntime.Gpu.Linux of the same version (a zip) into /app/node_modules/onnxruntime-node/bin/napi-v6/linux/x64. CUDA 12 and its cuDNN must be on LD_LIBRARY_PATH."`,
    );
  });

  // The linker's words are what process.dlopen threw for the library of ONNX Runtime 1.30 without, and with, what it needs.
  it.each([
    ["libcublasLt.so.12", "Install the runtime of the CUDA toolkit, and put its folder on LD_LIBRARY_PATH"],
    ["libcudnn.so.9", "Install cuDNN 9, and put its folder on LD_LIBRARY_PATH"],
    ["libcuda.so.1", "It comes with the NVIDIA driver: install one, or, in a container, start it with --gpus all."],
  ])("that need %s, which the linker does not find, are not tried", (absent, hint) => {
    const link = () => `${absent}: cannot open shared object file: No such file or directory`;
    const problem = cudaProblem(dist, { ...linux, link });
    expect(problem).toMatchObject({
      code: "RUNTIME_PROVIDER",
      message: `CUDA needs ${absent}, which the dynamic linker does not find.`,
    });
    expect(problem?.hint).toContain(hint);
    expect(problem?.hint).toContain("--ep cpu");
  });

  it("for which the linker finds everything are tried", () => {
    expect(cudaProblem(dist, { ...linux, link: (p) => `${p}: undefined symbol: Provider_GetHost` })).toBeUndefined();
  });

  it("are asked of the real linker where nobody stands in for it", () => {
    // Neither file is there, which says so in other words than a library that it needs.
    expect(cudaProblem(dist, linux)?.message).toContain("libonnxruntime_providers_cuda.so, which the dynamic linker does not find");
    expect(cudnnHint((name) => `${name}: cannot open shared object file: No such file or directory`)).toContain("Install cuDNN 9");
    expect(cudnnHint(() => "Module did not self-register")).toBeUndefined();
  });

  it("compute without TF32, unless the user set the variable", () => {
    const environment: NodeJS.ProcessEnv = {};
    forbidTf32(environment);
    expect(environment).toEqual({ NVIDIA_TF32_OVERRIDE: "0" });
    const chosen = { NVIDIA_TF32_OVERRIDE: "1" };
    forbidTf32(chosen);
    expect(chosen).toEqual({ NVIDIA_TF32_OVERRIDE: "1" });
  });
});

/** What ONNX Runtime 1.30's CUDA library throws; the first two were thrown here, by it, over a driver without a device. */
const call = (failure: string, expr: string) =>
  `/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_call.cc:154 std::conditional_t<THRW, void, onnxruntime::common::Status> onnxruntime::CudaCall(ERRTYPE, const char*, const char*, SUCCTYPE, const char*, const char*, int) [with ERRTYPE = cudaError; bool THRW = true; SUCCTYPE = cudaError; std::conditional_t<THRW, void, common::Status> = void] /onnxruntime_src/onnxruntime/core/providers/cuda/cuda_call.cc:146 std::conditional_t<THRW, void, onnxruntime::common::Status> onnxruntime::CudaCall(ERRTYPE, const char*, const char*, SUCCTYPE, const char*, const char*, int) [with ERRTYPE = cudaError; bool THRW = true; SUCCTYPE = cudaError; std::conditional_t<THRW, void, common::Status> = void] ${failure} ; GPU=-1 ; hostname=secret-host ; file=/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_execution_provider.cc ; line=352 ; expr=${expr}; \n\n`;
const NO_DEVICE = call("CUDA failure 100: no CUDA-capable device is detected", "cudaSetDevice(info_.device_id)");
const OLD_DRIVER = call("CUDA failure 35: CUDA driver version is insufficient for CUDA runtime version", "cudaSetDevice(info_.device_id)");
const NO_SUCH_DEVICE = call("CUDA failure 101: invalid device ordinal", "cudaSetDevice(info_.device_id)");
const NO_KERNEL = call("CUDA failure 209: no kernel image is available for execution on the device", "cudaGetLastError()");
const NOT_LOADED = "OrtSessionOptionsAppendExecutionProvider_Cuda: Failed to load shared library";
const ARENA =
  "Non-zero status code returned while running Conv node. Name:'conv1' Status Message: /onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:376 void* onnxruntime::BFCArena::AllocateRawInternal(size_t, bool, onnxruntime::Stream*, bool, onnxruntime::WaitNotificationFn) Failed to allocate memory for requested buffer of size 8388608000\n";
const OUT_OF_MEMORY = call("CUDA failure 2: out of memory", "cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking)");
const DIED = call("CUDA failure 700: an illegal memory access was encountered", "cudaStreamSynchronize(stream)");

const open = (provider: Provider, bodies: { create?: string; run?: string }): Promise<Runner> =>
  openHost({ provider, package: runtimeWhose(bodies), install: "", otherwise: "", threads: 1 });
const throwing = (text: string) => `throw new Error(${JSON.stringify(text)})`;

describe("a GPU that cannot be used", () => {
  const CASES = [
    ["no device", NO_DEVICE, "CUDA finds no device.", "CUDA_VISIBLE_DEVICES is not empty; start a container with --gpus all."],
    ["no device of that number", NO_SUCH_DEVICE, "CUDA has no device of that number.", "`nvidia-smi -L` lists the devices, from 0"],
    ["a driver that is too old", OLD_DRIVER, "The NVIDIA driver does not fit the CUDA libraries.", "Install a newer driver"],
    ["another generation", NO_KERNEL, "ONNX Runtime's CUDA library has no code for this GPU.", "Use --ep cpu."],
    ["libraries that do not load", NOT_LOADED, "The execution provider could not be started.", "NuGet"],
  ] as const;

  it.each(CASES)("(%s) ends --ep cuda with what to do", async (_, said, says, hint) => {
    const openers = { cuda: () => open("cuda", { create: throwing(said) }) } as unknown as Openers;
    const error: unknown = await openRunner("cuda", { open: openers }).catch((e: unknown) => e);
    expect(error).toMatchObject({ code: "RUNTIME_PROVIDER", exitCode: 1, hint: expect.stringContaining(hint) });
    expect((error as Error).message).toContain(says);
    expect((error as Error).message).not.toMatch(/onnxruntime_src|secret-host|CudaCall/);
  });

  it.each(CASES)("(%s) leaves --ep auto on the CPU, with the reason in the note", async (_, said, says) => {
    const notes: string[] = [];
    const openers = {
      cuda: () => open("cuda", { create: throwing(said) }),
      cpu: () => openNodeRunner({ threads: 1 }),
    } as unknown as Openers;
    const runner = await openRunner("auto", { open: openers, onNote: (n) => notes.push(n) });
    expect(runner.provider).toBe("cpu");
    expect(notes).toEqual([expect.stringMatching(/^Running on CPU \(onnxruntime-node .*\)\. CUDA was not used: /)]);
    expect(notes[0]).toContain(says);
    await runner.close();
  });

  it("says ONNX Runtime's words on one line, without source positions and the host's name", async () => {
    const runner = await open("cuda", { create: throwing(NO_DEVICE) });
    await expect(runner.load({ bytes: new Uint8Array(1) })).rejects.toMatchObject({
      message:
        "CUDA finds no device. ONNX Runtime (cuda) says: CUDA failure 100: no CUDA-capable device is detected (GPU -1, cudaSetDevice(info_.device_id))",
    });
    await runner.close();
  });
});

it("that breaks off without a reason is asked whether cuDNN is there", async () => {
  // What the linker says here: no machine of the tests has cuDNN, unless it has a GPU.
  const expected = cudnnHint() ?? "Check `nvidia-smi`";
  const openers = { cuda: () => open("cuda", { create: throwing("CUDNN_STATUS_NOT_INITIALIZED") }) } as unknown as Openers;
  await expect(openRunner("cuda", { open: openers })).rejects.toMatchObject({
    code: "RUNTIME_CUDA",
    hint: expect.stringContaining(expected),
  });
});

describe("a device", () => {
  const none = {} as unknown as Openers;

  it.each(["cpu", "webgpu", "wasm"] as const)("cannot be chosen on %s", async (ep) => {
    await expect(openRunner(ep, { device: 1, open: none })).rejects.toMatchObject({ code: "DEVICE_WITHOUT_CUDA", exitCode: 2 });
  });

  it.each(["cuda", "auto"] as const)("chosen with --ep %s is the one CUDA is asked for", async (ep) => {
    const asked: unknown[] = [];
    const create = "throw new Error('CUDA failure 101: invalid device ordinal ' + JSON.stringify(options.executionProviders))";
    const cuda = (o: { device?: number | undefined }) => {
      asked.push(o.device);
      return openHost({ provider: "cuda", package: runtimeWhose({ create }), install: "", otherwise: "", threads: 1, device: o.device });
    };
    const openers = { cuda, cpu: () => openNodeRunner({ threads: 1 }) } as unknown as Openers;
    const notes: string[] = [];
    const found = await openRunner(ep, { device: 3, open: openers, onNote: (n) => notes.push(n) }).catch((e: unknown) => e);
    expect(asked).toEqual([3]);
    expect(ep === "auto" ? notes[0] : (found as Error).message).toContain('[{"name":"cuda","deviceId":3}]');
    if (ep === "auto") await (found as Runner).close();
  });
});

describe("a GPU that fails in the middle of a run", () => {
  const X = Tensor.floats([1, 1, 3, 3], new Float32Array(9));
  const failing = async (provider: Provider, said: string): Promise<unknown> => {
    const runner = await open(provider, { run: throwing(said) });
    const session = await runner.load({ bytes: new Uint8Array(1) });
    const error: unknown = await session.run({ X }).catch((e: unknown) => e);
    await runner.close();
    return error;
  };

  it.each([ARENA, OUT_OF_MEMORY, "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED"])(
    "for want of memory asks for a smaller batch",
    async (said) => {
      expect(await failing("cuda", said)).toMatchObject({
        code: "RUNTIME_OUT_OF_MEMORY",
        exitCode: 1,
        hint: expect.stringMatching(/smaller --batch.*nvidia-smi/),
      });
      expect(await failing("cpu", said)).toMatchObject({ hint: expect.not.stringContaining("nvidia-smi") });
    },
  );

  it("for want of memory names the node and the size, not the allocator's source", async () => {
    expect(await failing("cuda", ARENA)).toMatchObject({
      message:
        "There was not enough memory. ONNX Runtime (cuda) says: Non-zero status code returned while running Conv node. Name:'conv1' Status Message: Failed to allocate memory for requested buffer of size 8388608000",
    });
  });

  it.each([
    ["cuda", DIED],
    ["webgpu", "WebGPU device lost (2): A valid external Instance reference no longer exists."],
  ] as const)("for good says so (%s)", async (provider, said) => {
    expect(await failing(provider, said)).toMatchObject({ code: "RUNTIME_DEVICE_LOST", hint: expect.stringContaining("--ep cpu") });
  });

  it("in a library says which", async () => {
    const said = "CUDNN failure 3: CUDNN_STATUS_BAD_PARAM ; GPU=0 ; hostname=secret-host ; file=conv.cc ; line=1 ; expr=cudnnFind(); ";
    expect(await failing("cuda", said)).toMatchObject({
      code: "RUNTIME_CUDA",
      message: "CUDA failed. ONNX Runtime (cuda) says: CUDNN failure 3: CUDNN_STATUS_BAD_PARAM (GPU 0, cudnnFind())",
    });
  });
});
