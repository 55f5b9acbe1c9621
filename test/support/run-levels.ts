/** Runs a model as ONNX Runtime optimises it at each level. */
import { cloneModel } from "../../src/graph/clone.js";
import type { Model } from "../../src/graph/graph.js";
import type { Feeds, Runner } from "../../src/runtime/runner.js";
import { sourceOf } from "../../src/runtime/source.js";

export const LEVELS = ["disabled", "basic", "extended", "all"] as const;

/** Bytes of all outputs at each level, as text. */
export async function bytesAtLevels(runner: Runner, model: Model, feeds: Feeds): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const optimization of LEVELS) {
    const session = await runner.load(sourceOf(cloneModel(model)), { optimization });
    const outputs = await session.run(feeds);
    found[optimization] = Object.entries(outputs)
      .map(([name, t]) => `${name} ${Buffer.from(t.bytes).toString("base64")}`)
      .join("\n");
    await session.release();
  }
  return found;
}
