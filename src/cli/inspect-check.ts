/** --check: every group proven by taking one channel out of it. */
import { VerificationError } from "../errors.js";
import type { Coupling } from "../graph/coupling/groups.js";
import type { Model } from "../graph/graph.js";
import { openRunner } from "../runtime/provider.js";
import { differenceText } from "../verify/bisect.js";
import { checkGroups, type GroupCheck } from "../verify/check-groups.js";
import type { CheckResult } from "../verify/checks.js";
import { randomFeeds } from "../verify/feeds.js";
import type { Run } from "./command.js";
import { Progress } from "./progress.js";
import { shortened, table, tiny, whole } from "./table.js";
import type { Channel } from "./terminal.js";

/** Runs the checks of --check, with a bar on stderr. */
export async function checkedGroups(
  model: Model,
  coupling: Coupling,
  inputShapes: Readonly<Record<string, readonly number[]>> | undefined,
  { flags, signal, terminal }: Run,
): Promise<readonly GroupCheck[]> {
  const progress = new Progress(terminal.err);
  const note = flags.quiet ? {} : { onNote: (text: string) => terminal.err.write(`${text}\n`) };
  const runner = await openRunner(flags.ep ?? "auto", { threads: flags.threads, device: flags.device, ...note });
  try {
    return await checkGroups(runner, coupling, [randomFeeds(model, (flags.seed ?? 0) + 1, inputShapes)], {
      ...(flags.check === undefined || flags.check === "all" ? {} : { group: flags.check }),
      signal,
      ...(flags.quiet ? {} : { onProgress: (done: number, total: number) => progress.show({ phase: "check", done, total }) }),
    });
  } finally {
    progress.clear();
    await runner.close();
  }
}

export function checkedText(found: readonly GroupCheck[], out: Channel): string {
  if (found.length === 0) return "No group can lose a channel by itself.\n";
  const verdict = (ok: boolean) => (ok ? out.style("green", "ok  ") : out.style("red", "FAIL"));
  const error = (g: GroupCheck, check: CheckResult["check"]) => {
    const of = g.checks.find((c) => c.check === check);
    return of?.equality ? tiny(of.equality.maxRel) : "–";
  };
  const rows = found.map((g) => [
    verdict(g.ok),
    shortened(g.groups.join(", "), 60),
    whole(g.channels),
    error(g, "oracle"),
    error(g, "poison"),
    error(g, "zero"),
    minimalityText(g),
  ]);
  const right = (title: string) => ({ title, align: "right" as const });
  const columns = [
    { title: "" },
    { title: "group" },
    right("channels"),
    right("oracle"),
    right("poison"),
    right("zero"),
    { title: "minimal" },
  ];
  const skipped = new Map<string, string>();
  for (const c of found.flatMap((g) => g.checks)) if (c.skipped) skipped.set(`${c.check}: ${c.skipped}`, c.check);
  const notes = [...skipped.keys()].map((text) => `  –     ${text}\n`).join("");
  return `${out.style("bold", `${found.length} groups, each with the least number of channels taken out; relative errors`)}\n${table(columns, rows)}${notes}`;
}

function minimalityText({ minimality: { spare, tried, of } }: GroupCheck): string {
  if (spare.length > 0) return `could have stayed: ${(spare[0] ?? []).join(" ")}`;
  return tried < of ? `yes, in ${whole(tried)} of ${whole(of)} sets of slots` : `yes, in ${whole(of)} sets of slots`;
}

/** @throws VerificationError (exit 4) naming the first group that failed, with all results as details. */
export function requireGroups(found: readonly GroupCheck[]): void {
  const bad = found.find((g) => !g.ok);
  if (!bad) return;
  const equality = bad.checks.find((c) => c.equality?.ok === false)?.equality;
  const first = equality?.firstDifference;
  const why = equality
    ? `${equality.what}: relative error ${tiny(equality.maxRel)} is above ${tiny(equality.tolerance)}.${first ? ` ${differenceText(first)}` : ""}`
    : `${(bad.minimality.spare[0] ?? []).join(" ")} could have stayed`;
  throw new VerificationError("CHECK_GROUP", `Group ${bad.groups.map((g) => `"${g}"`).join(", ")} is not what it should be: ${why}`, {
    hint: "This is a bug in onnx-prune: please report it with the model. --exclude keeps a group whole meanwhile.",
    details: found,
    ...(first ? { at: { node: first.node, value: first.value } } : {}),
  });
}
