import { expect, test } from "vitest";
import { Tensor } from "../../src/graph/tensor.js";
import { openNodeRunner } from "../../src/runtime/node.js";
import type { Runner, Session } from "../../src/runtime/runner.js";
import { randomFeeds } from "../../src/verify/feeds.js";
import { checkProvider } from "../../src/verify/provider-check.js";
import { modelOf } from "../support/build.js";

const model = modelOf("g (float[2, 3] x) => (float[2, 4] y) <float[3, 4] w = {...}> { a = MatMul (x, w) y = Relu (a) }");

/** A runner of the CPU that calls itself another provider, and changes what comes out. */
async function otherProvider(change: (x: number) => number): Promise<Runner> {
  const cpu = await openNodeRunner({ threads: 1 });
  return {
    ...cpu,
    provider: "webgpu",
    runtime: "stand-in 1.0",
    load: async (...load) => {
      const session: Session = await cpu.load(...load);
      return {
        inputs: session.inputs,
        outputs: session.outputs,
        time: (feeds, runs) => session.time(feeds, runs),
        release: () => session.release(),
        run: async (feeds, fetch) =>
          Object.fromEntries(
            Object.entries(await session.run(feeds, fetch)).map(([name, t]) => [
              name,
              Tensor.floats(t.dims, Float32Array.from(t.numbers(), change)),
            ]),
          ),
      };
    },
    close: () => cpu.close(),
  };
}

test("a provider that computes what the CPU computes passes, one that rounds differently too", async () => {
  for (const change of [(x: number) => x, (x: number) => x * (1 + 1e-4)]) {
    const runner = await otherProvider(change);
    expect(await checkProvider(runner, model, randomFeeds(model, 1))).toBeUndefined();
    await runner.close();
  }
});

test("one whose kernels are wrong is found out, although both graphs of a run would agree on it", async () => {
  const runner = await otherProvider((x) => x + 1);
  await expect(checkProvider(runner, model, randomFeeds(model, 1))).rejects.toMatchObject({
    code: "RUNTIME_WRONG_NUMBERS",
    exitCode: 1,
    message: expect.stringMatching(/^stand-in 1\.0 \(webgpu\) computes other numbers than the CPU: output "y"/),
  });
  await runner.close();
});

test("without a CPU provider there is a note", async () => {
  const runner = await otherProvider((x) => x);
  const none = () => openNodeRunner({ provider: "cuda" });
  expect(await checkProvider(runner, model, randomFeeds(model, 1), none)).toMatchObject({ code: "PROVIDER_ALONE" });
  await runner.close();
});
