/** Runners on WebGPU take turns, since two threads that use its one device at once crash the process. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { Tensor } from "../../src/graph/tensor.js";
import { openHost } from "../../src/runtime/host.js";
import type { Provider, Runner } from "../../src/runtime/runner.js";
import { runtimeWhose } from "./stand-in.js";

const folder = mkdtempSync(join(tmpdir(), "onnx-prune-turns-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const X = Tensor.floats([1, 1, 3, 3], new Float32Array(9));
const open = (provider: Provider, run: string): Promise<Runner> =>
  openHost({ provider, package: runtimeWhose({ run }), install: "", otherwise: "", threads: 1 });

/** Fails if another thread is inside: a folder can be made once. */
const alone = (name: string) => `
  const fs = require("node:fs"), path = ${JSON.stringify(join(folder, name))};
  fs.mkdirSync(path);
  await new Promise((resume) => setTimeout(resume, 30));
  fs.rmdirSync(path);
  return {};`;

/** Ends only when another thread is inside too. */
const together = (own: string, others: string) => `
  const fs = require("node:fs");
  fs.mkdirSync(${JSON.stringify(join(folder, own))});
  for (let i = 0; !fs.existsSync(${JSON.stringify(join(folder, others))}); i++) {
    if (i === 3000) throw new Error("nobody came");
    await new Promise((resume) => setTimeout(resume, 10));
  }
  return {};`;

/** How runs on two runners end that were asked for at once. */
async function ends(provider: Provider, bodies: readonly string[], runs: readonly number[]): Promise<readonly string[]> {
  const runners = await Promise.all(bodies.map((run) => open(provider, run)));
  const sessions = await Promise.all(runners.map((r) => r.load({ bytes: new Uint8Array(1) })));
  const settled = await Promise.allSettled(runs.map((i) => sessions[i]?.run({ X })));
  await Promise.all(runners.map((r) => r.close()));
  return settled.map((r) => r.status);
}

describe("two runners in one process", () => {
  it("run one after the other on WebGPU", async () => {
    expect(await ends("webgpu", [alone("inside"), alone("inside")], [0, 1, 0, 1])).toEqual(Array(4).fill("fulfilled"));
  });

  it("run at once on other providers", async () => {
    expect(await ends("cpu", [together("a", "b"), together("b", "a")], [0, 1])).toEqual(["fulfilled", "fulfilled"]);
  });

  it("go on when the thread of one ends in the middle of its turn", async () => {
    const [dying, other] = await Promise.all([open("webgpu", "process.exit(3)"), open("webgpu", alone("after"))]);
    const [first, second] = await Promise.all([dying, other].map((r) => r.load({ bytes: new Uint8Array(1) })));
    const [died, ran] = await Promise.allSettled([first?.run({ X }), second?.run({ X })]);
    expect(died).toMatchObject({ status: "rejected", reason: { code: "RUNTIME_CRASHED" } });
    expect(ran?.status).toBe("fulfilled");
    await other.close();
  });
});
