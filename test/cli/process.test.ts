/** The command as a process: signals, closed pipes, our own bugs. */
import { spawn } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { ended, root, run, start, withModel } from "./run.js";

describe("the process", () => {
  it.each([
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const)("%s ends the run with %i and leaves the old output as it was", async (signal, code) => {
    const cwd = await withModel();
    writeFileSync(join(cwd, "out.onnx"), "old");
    const child = start([join(root, "models/cifar10_resnet20.onnx"), "out.onnx", "--pass", "l1", "--macs", "0.5", "--ep", "cpu"], cwd);
    // Timing both graphs takes seconds: the run is in the middle of it when its first line appears.
    child.stderr?.on("data", (d: Buffer) => {
      if (String(d).includes("latency")) child.kill(signal);
    });
    expect((await ended(child)).code).toBe(code);
    expect(readdirSync(cwd).sort()).toEqual(["out.onnx", "small.onnx"]);
    expect(readFileSync(join(cwd, "out.onnx"), "utf8")).toBe("old");
  });

  it("wrong usage ends with 2, said on stderr", async () => {
    const { code, stdout, stderr } = await run(["in.onnx", "out.onnx", "--pas", "l1"], await withModel());
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toContain("Did you mean --pass?");
  });

  it("a reader that closes stdout early is no failure", async () => {
    const child = start(["passes", "similar"], await withModel());
    child.stdout?.destroy();
    const { code, stderr } = await ended(child);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  });

  it("an exception nobody expected exits with 70, asks for a report, and shows the stack", async () => {
    const cwd = await withModel();
    writeFileSync(
      join(cwd, "bad.mjs"),
      'export default { name: "bad", summary: "fail", effect: "exact", options: { safeParse: (data) => ({ success: true, data }) }, run() { throw new TypeError("surprise"); } };\n',
    );
    const { code, stdout, stderr } = await run(["small.onnx", "out.onnx", "--pass", "./bad.mjs"], cwd);
    expect({ code, stdout }).toEqual({ code: 70, stdout: "" });
    expect(stderr).toMatch(/UNEXPECTED {2}TypeError: surprise\n +at [\s\S]*Please report/);
  });

  it("a process killed at any moment leaves the old output or the new one, and the next run tidies up", { timeout: 120_000 }, async () => {
    const cwd = await withModel();
    const args = ["small.onnx", "out.onnx", "--pass", "l1", "--ratio", "0.5", "--no-latency", "--ep", "cpu", "--quiet"];
    const started = performance.now();
    expect((await run(args, cwd)).code).toBe(0);
    const took = performance.now() - started;
    const whole = readFileSync(join(cwd, "out.onnx"));
    for (let k = 1; k <= 6; k++) {
      writeFileSync(join(cwd, "out.onnx"), "old");
      const child = start(args, cwd);
      setTimeout(() => child.kill("SIGKILL"), (took * k) / 6);
      await ended(child);
      const now = readFileSync(join(cwd, "out.onnx"));
      expect(now.equals(whole) || now.toString() === "old").toBe(true);
    }
    expect((await run(args, cwd)).code).toBe(0);
    expect(readdirSync(cwd).sort()).toEqual(["out.onnx", "small.onnx"]);
    expect(readFileSync(join(cwd, "out.onnx")).equals(whole)).toBe(true);
  });

  // A limit on the size of files stands for a full disk; with its signal ignored, writing fails as it does there.
  it.skipIf(process.platform === "win32")("a full disk exits with 1, and the old output stays", async () => {
    const cwd = await withModel();
    writeFileSync(join(cwd, "out.onnx"), "old");
    const model = join(root, "models/cifar10_resnet20.onnx");
    const line = `trap '' XFSZ; ulimit -f 100; exec "$0" "$1" "$2" out.onnx --pass remove-identity --pass l1 --ratio 0.9 --no-latency --ep cpu --quiet`;
    const child = spawn("sh", ["-c", line, process.execPath, join(root, "bin/onnx-prune.js"), model], {
      cwd,
      stdio: ["ignore", "pipe", "pipe"],
    });
    const { code, stderr } = await ended(child);
    expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringContaining("MODEL_UNWRITABLE") });
    expect(readdirSync(cwd).sort()).toEqual(["out.onnx", "small.onnx"]);
    expect(readFileSync(join(cwd, "out.onnx"), "utf8")).toBe("old");
  });

  it("output that cannot be written exits with 1 and leaves nothing behind", async () => {
    const cwd = await withModel();
    const { code, stderr } = await run(
      ["small.onnx", "none/out.onnx", "--pass", "l1", "--ratio", "0.5", "--no-latency", "--ep", "cpu"],
      cwd,
    );
    expect(code).toBe(1);
    expect(stderr).toContain("MODEL_UNWRITABLE");
    expect(readdirSync(cwd)).toEqual(["small.onnx"]);
  });
});
