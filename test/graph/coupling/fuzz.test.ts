/**
 * Random graphs: whatever a plan removes, the sliced graph computes what the oracle computes.
 *
 * More seeds, or other ones: FUZZ_SEEDS=2000 FUZZ_FROM=1000 npx vitest run test/graph/coupling/fuzz.test.ts, or for many,
 * in several processes and resumable, bench/fuzz/run.mjs.
 * A failure is printed as the smallest graph found that still fails, in ONNX text.
 */
import { expect, test } from "vitest";
import { type Outcome, report, tryRecipe } from "../../support/fuzz.js";
import { randomRecipe } from "../../support/random-graph.js";

const SEEDS = Number(process.env["FUZZ_SEEDS"] ?? 500);
const FROM = Number(process.env["FUZZ_FROM"] ?? 1);

/** Failures that are cut down; the others are only named. */
const SHRUNK = 12;

test(`${SEEDS} random graphs, pruned at random, compute what the oracle computes`, { timeout: 60_000 + SEEDS * 2000 }, async () => {
  const count: Record<Outcome["kind"], number> = { equal: 0, unchanged: 0, overflow: 0, wrong: 0, crash: 0, unrunnable: 0 };
  const failures: string[] = [];
  for (let seed = FROM; seed < FROM + SEEDS; seed++) {
    const recipe = randomRecipe(seed);
    const outcome = await tryRecipe(recipe, seed);
    count[outcome.kind]++;
    if (!("why" in outcome)) continue;
    failures.push(
      failures.length < SHRUNK ? await report(recipe, seed, outcome) : `seed ${seed}: ${outcome.kind}: ${outcome.why.split("\n")[0]}`,
    );
  }
  console.log(`fuzz: ${JSON.stringify(count)}`);
  expect(failures.join("\n\n")).toBe("");
  // A generator that only made frozen graphs would prove nothing.
  expect(count.equal).toBeGreaterThan(SEEDS / 2);
});
