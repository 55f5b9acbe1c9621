/** The command as a user has it: a child process, its streams, its exit code. */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll } from "vitest";
import { writeModel } from "../../src/export/write.js";
import { modelOf } from "../support/build.js";

export const root = fileURLToPath(new URL("../../", import.meta.url));
const bin = join(root, "bin/onnx-prune.js");
if (!existsSync(join(root, "dist/cli/main.js"))) throw new Error("These tests run the built command: npm run build");

const made: string[] = [];
afterAll(() => {
  for (const folder of made.splice(0)) rmSync(folder, { recursive: true, force: true });
});

/** A fresh folder, removed when the test file is done. */
export function folder(): string {
  const path = mkdtempSync(join(tmpdir(), "onnx-prune-cli-"));
  made.push(path);
  return path;
}

export interface Ran {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Starts the command in `cwd`, without a terminal and without stdin. */
export function start(args: readonly string[], cwd: string, environment: NodeJS.ProcessEnv = {}): ChildProcess {
  return spawn(process.execPath, [bin, ...args], { cwd, stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, ...environment } });
}

export async function run(args: readonly string[], cwd: string): Promise<Ran> {
  return ended(start(args, cwd));
}

export async function ended(child: ChildProcess): Promise<Ran> {
  const text = { stdout: "", stderr: "" };
  child.stdout?.setEncoding("utf8").on("data", (d: string) => {
    text.stdout += d;
  });
  child.stderr?.setEncoding("utf8").on("data", (d: string) => {
    text.stderr += d;
  });
  const code = await new Promise<number | null>((resolve) => child.on("close", resolve));
  return { code, ...text };
}

/** Two convolutions and a classifier: 16 and 24 channels that can go, 10 scores that cannot. */
export const SMALL = `
small (float[N,3,8,8] x) => (float[N,10] y)
<float[16,3,3,3] w1 = {...}, float[16] b1 = {...}, float[24,16,3,3] w2 = {...}, float[24] b2 = {...}, float[24,10] w3 = {...}, float[10] b3 = {...}, float[N,24,8,8] c2>
{
  ["conv1"] c1 = Conv <pads = [1, 1, 1, 1]> (x, w1, b1)
  r1 = Relu (c1)
  ["conv2"] c2 = Conv <pads = [1, 1, 1, 1]> (r1, w2, b2)
  r2 = Relu (c2)
  p = GlobalAveragePool (r2)
  f = Flatten (p)
  ["classifier"] y = Gemm (f, w3, b3)
}`;

/** A folder with `small.onnx`. */
export async function withModel(text: string = SMALL, name = "small.onnx"): Promise<string> {
  const path = folder();
  await writeModel(join(path, name), modelOf(text));
  return path;
}
