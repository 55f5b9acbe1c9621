import { execFile } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import typescript from "typescript";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { RuntimeError } from "../../src/errors.js";
import { Tensor } from "../../src/graph/tensor.js";
import { openHost } from "../../src/runtime/host.js";
import { INSTALL_NODE } from "../../src/runtime/node.js";
import { PROBE_MODEL, probe, probeY } from "../../src/runtime/probe.js";
import { type Openers, openRunner } from "../../src/runtime/provider.js";
import type { Provider, Runner } from "../../src/runtime/runner.js";
import { standIn } from "./stand-in.js";
import { probeModel } from "./tiny-models.js";

const RIGHT = probeY(1);
const FINE = probeY(4097);
/** Inputs rounded to 11 bits, as TF32 does. */
const ROUNDED = FINE.map((y) => Math.round(y * (1 - 2 ** -12)));

/** A runner that gives `coarse` for the probe's small integers, and `fine` for its large ones. */
function fake(provider: Provider, coarse: readonly number[], closed: Provider[] = [], fine: readonly number[] = FINE): Runner {
  return {
    provider,
    runtime: "onnxruntime-fake 1.0.0",
    load: async () => ({
      inputs: [],
      outputs: [],
      run: async ({ X }) => {
        const y = Math.max(...(X?.numbers() ?? [])) > 10 ? fine : coarse;
        return { Y: Tensor.floats([y.length], y) };
      },
      time: async () => new Float64Array(),
      release: async () => {},
    }),
    close: async () => {
      closed.push(provider);
    },
  };
}
const missing = async (): Promise<Runner> => {
  throw new RuntimeError("RUNTIME_MISSING", "The package is not installed.", { hint: "install it" });
};

describe("the probe", () => {
  it("carries the model its recipe makes", () => {
    expect(Buffer.from(probeModel()).toString("base64")).toBe(PROBE_MODEL);
  });

  it("accepts the real CPU provider", async () => {
    const runner = await openRunner("cpu", { threads: 1 });
    await probe(runner);
    await runner.close();
  });

  it.each([
    ["TF32, to 11 bits", ROUNDED, "CUDA computes with less than float32"],
    ["float32", FINE, undefined],
  ])("says what a provider that computes in %s lacks", async (_, fine, says) => {
    const said = await probe(fake("cuda", RIGHT, [], fine));
    if (says === undefined) expect(said).toBeUndefined();
    else expect(said).toContain(says);
  });

  it("refuses a provider that is right for small numbers only", async () => {
    await expect(probe(fake("cuda", RIGHT, [], [...FINE.slice(1), 0]))).rejects.toMatchObject({
      code: "RUNTIME_WRONG_NUMBERS",
    });
  });

  it("refuses a provider that computes wrong numbers, and closes it", async () => {
    const closed: Provider[] = [];
    const open: Openers = {
      cpu: missing,
      cuda: async () => fake("cuda", [9, ...RIGHT.slice(1)], closed),
      webgpu: missing,
      wasm: missing,
    };
    await expect(openRunner("cuda", { open })).rejects.toMatchObject({
      code: "RUNTIME_WRONG_NUMBERS",
      message: `CUDA (onnxruntime-fake 1.0.0) computes wrong numbers: a 2x2 convolution should give ${RIGHT.join(" ")}, and gave 9 ${RIGHT.slice(1).join(" ")}.`,
    });
    expect(closed).toEqual(["cuda"]);
  });
});

describe("auto", () => {
  const works = (provider: Provider) => async () => fake(provider, RIGHT);

  it("takes CUDA first where it works", async () => {
    const notes: string[] = [];
    const open: Openers = { cpu: works("cpu"), cuda: works("cuda"), webgpu: missing, wasm: works("wasm") };
    const runner = await openRunner("auto", { open, onNote: (n) => notes.push(n) });
    expect(runner.provider).toBe("cuda");
    expect(notes).toEqual(["Running on CUDA (onnxruntime-fake 1.0.0)."]);
  });

  it("takes the CPU next and says why CUDA was not used", async () => {
    const notes: string[] = [];
    const open: Openers = { cpu: works("cpu"), cuda: async () => fake("cuda", [0]), webgpu: missing, wasm: works("wasm") };
    const runner = await openRunner("auto", { open, onNote: (n) => notes.push(n) });
    expect(runner.provider).toBe("cpu");
    expect(notes).toEqual([
      `Running on CPU (onnxruntime-fake 1.0.0). CUDA was not used: CUDA (onnxruntime-fake 1.0.0) computes wrong numbers: a 2x2 convolution should give ${RIGHT.join(" ")}, and gave 0.`,
    ]);
  });

  it("takes wasm where the native package is missing", async () => {
    const runner = await openRunner("auto", { open: { cpu: missing, cuda: missing, webgpu: missing, wasm: works("wasm") } });
    expect(runner.provider).toBe("wasm");
  });

  it("fails with the install advice where nothing works", async () => {
    await expect(openRunner("auto", { open: { cpu: missing, cuda: missing, webgpu: missing, wasm: missing } })).rejects.toMatchObject({
      code: "RUNTIME_NONE",
      hint: INSTALL_NODE,
      message:
        "No runtime works here. CUDA was not used: The package is not installed. CPU was not used: The package is not installed. WebAssembly was not used: The package is not installed.",
    });
  });

  it("does not try WebGPU, whatever it finds", async () => {
    const open: Openers = { cpu: missing, cuda: missing, webgpu: works("webgpu"), wasm: works("wasm") };
    expect((await openRunner("auto", { open })).provider).toBe("wasm");
  });

  it("says when the provider it took computes in less than float32", async () => {
    const notes: string[] = [];
    const cuda = async () => fake("cuda", RIGHT, [], ROUNDED);
    const open: Openers = { cpu: missing, cuda, webgpu: missing, wasm: missing };
    await openRunner("auto", { open, onNote: (n) => notes.push(n) });
    await openRunner("cuda", { open, onNote: (n) => notes.push(n) });
    expect(notes[0]).toMatch(/^Running on CUDA \(onnxruntime-fake 1\.0\.0\)\. CUDA computes with less than float32/);
    expect(notes[1]).toMatch(/^CUDA computes with less than float32/);
  });

  it("does not hide a bug of ours behind the next provider", async () => {
    const broken = async (): Promise<Runner> => {
      throw new TypeError("bug");
    };
    await expect(openRunner("auto", { open: { cpu: works("cpu"), cuda: broken, webgpu: missing, wasm: missing } })).rejects.toThrow("bug");
  });

  it("finds a provider on this machine and names it", async () => {
    const notes: string[] = [];
    const runner = await openRunner("auto", { threads: 1, onNote: (n) => notes.push(n) });
    expect(notes).toHaveLength(1);
    expect(notes[0]).toMatch(/^Running on (CUDA|CPU) \(onnxruntime-node /);
    await runner.close();
  });
});

describe("a runtime package", () => {
  const options = { provider: "cpu", install: INSTALL_NODE, otherwise: "use another", threads: 1 } as const;

  it("that is not installed gives exactly the install advice", async () => {
    const error: unknown = await openHost({ ...options, package: "onnxruntime-nowhere" }).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(RuntimeError);
    expect(error).toMatchObject({ code: "RUNTIME_MISSING", hint: "ONNXRUNTIME_NODE_INSTALL=skip npm i onnxruntime-node" });
  });

  it("that does not load says so with the way out", async () => {
    const broken = standIn("throw new Error('libc.musl is not GLIBC_2.28\\nRequire stack:');");
    await expect(openHost({ ...options, package: broken })).rejects.toMatchObject({
      code: "RUNTIME_UNLOADABLE",
      hint: "use another",
      message: expect.stringContaining("libc.musl is not GLIBC_2.28"),
    });
    await expect(openHost({ ...options, package: standIn("process.exit(7)") })).rejects.toMatchObject({
      message: expect.stringContaining("its thread ended with code 7"),
    });
  });

  it.each([
    ["whose thread ends", "process.exit(3)", "ended unexpectedly with code 3"],
    [
      "that throws where nobody catches",
      "setImmediate(() => { throw new Error('segment lost') }); return new Promise(() => {})",
      "segment lost",
    ],
  ])("%s rejects every call that waits, and those that come", async (_, create, says) => {
    const runner = await openHost({
      ...options,
      package: standIn(`module.exports = { env: { versions: { node: "0" } }, InferenceSession: { create() { ${create} } } };`),
    });
    const waiting = await Promise.allSettled([runner.load({ bytes: probeModel() }), runner.load({ bytes: probeModel() })]);
    for (const w of waiting) {
      expect(w).toMatchObject({ status: "rejected", reason: { code: "RUNTIME_CRASHED", message: expect.stringContaining(says) } });
    }
    await expect(runner.load({ bytes: probeModel() })).rejects.toMatchObject({ code: "RUNTIME_CRASHED" });
    await runner.close();
  });
});

describe("as plain JavaScript, in a process of its own", () => {
  const out = join(import.meta.dirname, "../../node_modules/.cache/onnx-prune-runtime-test");
  beforeAll(() => {
    const src = join(import.meta.dirname, "../../src");
    for (const folder of ["", "runtime", "graph"]) {
      mkdirSync(join(out, folder), { recursive: true });
      for (const file of readdirSync(join(src, folder)).filter((f) => f.endsWith(".ts"))) {
        const { outputText } = typescript.transpileModule(readFileSync(join(src, folder, file), "utf8"), {
          compilerOptions: { target: typescript.ScriptTarget.ES2023, module: typescript.ModuleKind.ESNext, verbatimModuleSyntax: true },
        });
        writeFileSync(join(out, folder, file.replace(/ts$/, "js")), outputText);
      }
    }
    writeFileSync(join(out, "package.json"), '{ "type": "module" }');
  });
  afterAll(() => rmSync(out, { recursive: true, force: true }));

  const run = (body: string) => {
    const script = `import { openRunner } from ${JSON.stringify(pathToFileURL(join(out, "runtime/provider.js")).href)}; ${body}`;
    return promisify(execFile)(process.execPath, ["--input-type=module", "-e", script], { timeout: 60_000 });
  };

  it.each(["auto", "cpu", "wasm"])("%s: the process ends after close, and ONNX Runtime keeps quiet", async (ep) => {
    const { stdout, stderr } = await run(`const r = await openRunner("${ep}"); await r.close(); console.log(r.provider);`);
    expect(stdout).toMatch(ep === "auto" ? /^(cpu|cuda)\n$/ : `${ep}\n`);
    expect(stderr).toBe("");
  });

  it.each(["cpu", "wasm"])("%s: the process ends when close was forgotten", async (ep) => {
    expect(await run(`const r = await openRunner("${ep}"); console.log(r.provider);`)).toEqual({ stdout: `${ep}\n`, stderr: "" });
  });

  it.each([
    ["a load", `r.load({ path: "/nowhere" })`],
    ["a run", `s.time({ X }, 1e9)`],
  ])("process.exit() in the middle of %s ends the process as it says", async (_, call) => {
    // The native call would abort the process when it comes back into a thread that is no more.
    const script = `
      const { PROBE_MODEL } = await import(${JSON.stringify(pathToFileURL(join(out, "runtime/probe.js")).href)});
      const { Tensor } = await import(${JSON.stringify(pathToFileURL(join(out, "graph/tensor.js")).href)});
      const r = await openRunner("cpu");
      const s = await r.load({ bytes: Buffer.from(PROBE_MODEL, "base64") });
      const X = Tensor.floats([1, 6, 3, 3], new Float32Array(54));
      ${call}.catch(() => {});
      setTimeout(() => process.exit(5), 10);`;
    await expect(run(script)).rejects.toMatchObject({ code: 5, signal: null, stderr: "" });
  });
});
