/** The command as a process: signals, closed pipes, our own bugs. */
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
