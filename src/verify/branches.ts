/** Branches that no feed chose are proven too: the same graphs with every If sent one way, then the other. */
import { OnnxPruneError } from "../errors.js";
import { cloneModel } from "../graph/clone.js";
import type { Graph, Model, Node } from "../graph/graph.js";
import type { Note } from "../graph/note.js";
import { Tensor } from "../graph/tensor.js";
import type { Equality } from "../report.js";
import type { Feeds, Runner } from "../runtime/runner.js";
import { sourceOf } from "../runtime/source.js";
import { checkEquality, type EqualityRequest } from "./equality.js";

/**
 * Compares the graphs of `request` on its first feed with all conditions true, and with all false; nothing where the
 * reference has no If. A way that the reference itself cannot go (branches guard cases) is told in a note.
 */
export async function checkBranches(
  runner: Runner,
  request: EqualityRequest,
): Promise<{ readonly results: readonly Equality[]; readonly notes: readonly Note[] }> {
  const results: Equality[] = [];
  const notes: Note[] = [];
  const feeds = request.feeds.slice(0, 1);
  for (const way of conditionals(request.reference).length > 0 ? (["then", "else"] as const) : []) {
    const [reference, candidate] = [withCondition(request.reference, way), withCondition(request.candidate, way)];
    const what = `${request.what}, every If taking its ${way}_branch`;
    if (await canRun(runner, reference, feeds[0] as Feeds)) {
      const original = request.original && withCondition(request.original, way);
      results.push(await checkEquality(runner, { what, reference, candidate, feeds, ...(original ? { original } : {}) }));
    } else
      notes.push({ code: "BRANCH_NOT_RUN", about: `the ${way}_branch of every If`, why: "with these inputs the original cannot take it" });
  }
  return { results, notes };
}

/** Of the main graph: within a branch, guards decide as the run has it. */
function conditionals(model: Model): Node[] {
  return model.graph.nodes.filter((n) => n.isStandard && n.opType === "If");
}

function withCondition(model: Model, way: "then" | "else"): Model {
  const forced = cloneModel(model);
  for (const node of conditionals(forced)) {
    const condition = (node.graph as Graph).addInitializer("condition", Tensor.fromNumbers("bool", [], [Number(way === "then")]));
    node.setInput(0, condition);
  }
  return forced;
}

async function canRun(runner: Runner, model: Model, feeds: Feeds): Promise<boolean> {
  try {
    const session = await runner.load(sourceOf(model), { optimization: "disabled" });
    try {
      await session.run(feeds);
      return true;
    } finally {
      await session.release();
    }
  } catch (error) {
    if (error instanceof OnnxPruneError) return false;
    throw error;
  }
}
