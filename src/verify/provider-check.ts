/** Whether a provider computes what the CPU does: two graphs that are wrong in the same way agree with each other. */
import { OnnxPruneError, RuntimeError } from "../errors.js";
import type { Model } from "../graph/graph.js";
import type { Note } from "../graph/note.js";
import type { Tensor } from "../graph/tensor.js";
import { openRunner } from "../runtime/provider.js";
import type { Feeds, Runner } from "../runtime/runner.js";
import { preActivation, relative } from "./equality.js";
import { runAll } from "./pieces.js";

/** Kernels of two providers sum in other orders, and TF32 keeps ten bits; a wrong kernel is off by far more. */
const TOLERANCE = 1e-2;

/**
 * Runs `model` on `runner` and on the CPU with the same feeds. Nothing to do where the runner is the CPU; a note where there is no
 * CPU provider to ask.
 *
 * @throws RuntimeError RUNTIME_WRONG_NUMBERS naming the output that differs.
 */
export async function checkProvider(
  runner: Runner,
  model: Model,
  feeds: Feeds,
  open: () => Promise<Runner> = () => openRunner("cpu"),
): Promise<Note | undefined> {
  if (runner.provider === "cpu") return undefined;
  let cpu: Runner;
  try {
    cpu = await open();
  } catch (error) {
    if (!(error instanceof OnnxPruneError)) throw error;
    return { code: "PROVIDER_ALONE", about: runner.runtime, why: "there is no CPU provider here to compare its numbers with" };
  }
  try {
    const options = { optimization: "disabled", constant: true } as const;
    const [want] = await runAll(cpu, model, [feeds], options);
    const [got] = await runAll(runner, model, [feeds], options);
    for (const [name, t] of Object.entries(want ?? {})) {
      const value = model.graph.value(name);
      const off = relative(got?.[name] as Tensor, t, value && preActivation(value) ? 1 : 0);
      if (off <= TOLERANCE) continue;
      throw new RuntimeError(
        "RUNTIME_WRONG_NUMBERS",
        `${runner.runtime} (${runner.provider}) computes other numbers than the CPU: output "${name}" of the unchanged model is off by ${off.toPrecision(2)} of its largest element.`,
        { at: { value: name }, hint: "Use --ep cpu, or update the driver of the device; the model was not written." },
      );
    }
    return undefined;
  } finally {
    await cpu.close();
  }
}
