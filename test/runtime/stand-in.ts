/** Modules that stand in for a runtime package: what ONNX Runtime does where it cannot be made to do it here. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll } from "vitest";

let folder: string | undefined;
let count = 0;
afterAll(() => {
  if (folder !== undefined) rmSync(folder, { recursive: true });
});

/** The path of a CommonJS module with this text. */
export function standIn(text: string): string {
  folder ??= mkdtempSync(join(tmpdir(), "onnx-prune-stand-in-"));
  const path = join(folder, `runtime-${++count}.cjs`);
  writeFileSync(path, text);
  return path;
}

/** The path of a runtime whose `create` and `run` have these bodies; `create` by default gives a session. */
export function runtimeWhose({ create, run = "return {}" }: { create?: string; run?: string }): string {
  return standIn(`
    class Tensor { constructor(type, data, dims) { Object.assign(this, { type, data, dims }); } }
    const shape = (name, dims) => ({ name, isTensor: true, type: "float32", shape: dims });
    const session = {
      inputMetadata: [shape("X", [1, 1, 3, 3])], outputMetadata: [shape("Y", [1, 2, 2, 2])], outputNames: ["Y"],
      async run(feeds) { ${run} },
      async release() {},
    };
    module.exports = {
      Tensor,
      env: { versions: { node: "0.0.0" } },
      InferenceSession: { async create(model, options) { ${create ?? "return session"} } },
    };`);
}
