/** Which execution provider ran which nodes: what a provider has no kernel for runs on the CPU, silently and with copies. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { internal } from "../errors.js";
import type { Feeds, LoadOptions, ModelSource, Runner } from "./runner.js";

/** Number of nodes by op type, by the name ONNX Runtime has for the provider: { WebGpuExecutionProvider: { Conv: 2 } }. */
export type Placement = Readonly<Record<string, Readonly<Record<string, number>>>>;

interface ProfileEvent {
  readonly cat?: string;
  readonly name?: string;
  readonly args?: { readonly provider?: string; readonly op_name?: string };
}

/**
 * Runs the model once and tells where its nodes ran, after the optimiser's rewriting (default: all of it): copies between
 * providers (MemcpyToHost …) and layout changes (Transpose) are among them. Undefined for wasm, which has one provider.
 * @throws what load and run throw.
 */
export async function placementOf(
  runner: Runner,
  model: ModelSource,
  feeds: Feeds,
  options: LoadOptions = {},
): Promise<Placement | undefined> {
  if (runner.provider === "wasm") return undefined;
  const folder = mkdtempSync(join(tmpdir(), "onnx-prune-profile-"));
  try {
    const session = await runner.load(model, { ...options, profile: join(folder, "run") });
    try {
      await session.run(feeds);
    } finally {
      await session.release();
    }
    const [file] = readdirSync(folder);
    if (file === undefined) throw internal(`${runner.runtime} wrote no profile.`);
    return counted(JSON.parse(readFileSync(join(folder, file), "utf8")) as readonly ProfileEvent[]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function counted(events: readonly ProfileEvent[]): Placement {
  const counts: Record<string, Record<string, number>> = {};
  for (const { cat, name, args } of events) {
    if (cat !== "Node" || !name?.endsWith("_kernel_time") || !args?.provider || !args.op_name) continue;
    counts[args.provider] = { ...counts[args.provider], [args.op_name]: (counts[args.provider]?.[args.op_name] ?? 0) + 1 };
  }
  return counts;
}
