/**
 * Random graphs: cleaning passes, one after the other, change nothing but rounding.
 * More seeds, or other ones: FUZZ_SEEDS=1000 FUZZ_FROM=1000 npx vitest run test/passes/fuzz.test.ts
 */
import { expect, test } from "vitest";
import { foldBatchNorm } from "../../src/passes/fold-batch-norm.js";
import { foldConstants } from "../../src/passes/fold-constants.js";
import type { Pass } from "../../src/passes/pass.js";
import { removeDead } from "../../src/passes/remove-dead.js";
import { removeIdentity } from "../../src/passes/remove-identity.js";
import { runPass } from "../../src/passes/run-pass.js";
import { relative } from "../support/oracle.js";
import { randomRecipe } from "../support/random-graph.js";
import { extentOf, modelOfRecipe } from "../support/recipe.js";
import { run } from "../support/run.js";

const SEEDS = Number(process.env["FUZZ_SEEDS"] ?? 60);
const FROM = Number(process.env["FUZZ_FROM"] ?? 1);
const passes: readonly Pass[] = [
  foldConstants,
  removeIdentity,
  foldBatchNorm,
  foldConstants,
  removeIdentity,
  removeDead,
] as readonly Pass[];

test(`${SEEDS} random graphs compute the same after every cleaning pass`, { timeout: 60_000 + SEEDS * 1000 }, async () => {
  const changed = new Map<string, number>();
  for (let seed = FROM; seed < FROM + SEEDS; seed++) {
    const recipe = randomRecipe(seed);
    const options = { seed, batch: recipe.dynamicBatch ? 3 : 2, extent: extentOf };
    let model = modelOfRecipe(recipe);
    const want = await run(model, options);
    // What an input rounded otherwise changes, some dozens of times over: some graphs amplify it.
    const noise = relative(await run(model, { ...options, jitter: 1e-7 }), want);
    for (const pass of passes) {
      const result = runPass(pass, model, pass.name === foldConstants.name ? { initializers: seed % 2 === 0 } : {});
      if (!result.changed) continue;
      model = result.model;
      changed.set(pass.name, (changed.get(pass.name) ?? 0) + 1);
      expect(relative(await run(model, options), want), `seed ${seed}, after ${pass.name}`).toBeLessThanOrEqual(Math.max(1e-5, 50 * noise));
    }
  }
  // A generator that leaves them nothing to do would prove nothing.
  expect(Math.min(changed.get("fold-constants") ?? 0, changed.get("remove-identity") ?? 0)).toBeGreaterThan(SEEDS / 10);
});
