/** Runs one pass on a copy, and checks the copy's invariants when it changed. */
import { ConfigError } from "../errors.js";
import { assertValid } from "../graph/check.js";
import { cloneModel } from "../graph/clone.js";
import type { Model } from "../graph/graph.js";
import { infer } from "../graph/infer.js";
import type { Note } from "../graph/note.js";
import type { Budget } from "../score/target.js";
import type { Figures, Pass, PassContext, Slices } from "./pass.js";

export interface PassResult {
  /** The changed copy, or the very model that was given. */
  readonly model: Model;
  readonly changed: boolean;
  readonly notes: readonly Note[];
  readonly figures: readonly Figures[];
  readonly budget?: Budget | undefined;
  /** Undefined where nothing changed, and of passes that remove no channels. */
  readonly slices?: Slices | undefined;
}

/** What a pass may be told besides its options. */
export type Circumstances = Partial<Pick<PassContext<unknown>, "seed" | "statistics" | "decision" | "asked">>;

/**
 * `model` after `pass`; `model` itself is never touched.
 *
 * @throws ConfigError when the options do not fit the pass's schema; BrokenGraphError (naming the pass, the invariant
 *   and the graph before and after) when the result breaks an invariant that held before.
 */
export function runPass(pass: Pass, model: Model, options: unknown = {}, circumstances: Circumstances = {}): PassResult {
  const notes: Note[] = [];
  const next = cloneModel(model);
  const checked = parseOptions(pass, options);
  const figures: Figures[] = [];
  let slices: Slices | undefined;
  let budget: Budget | undefined;
  const context: PassContext<unknown> = {
    seed: 0,
    ...circumstances,
    options: checked,
    note: (n) => notes.push(n),
    figures: (rows) => figures.push(...rows),
    budget: (of) => {
      budget = of;
    },
    removed: (of) => {
      slices = of;
    },
  };
  if (!pass.run(next, context)) return { model, changed: false, notes, figures, budget };
  checkPassed(pass.name, model, next);
  return { model: next, changed: true, notes, figures, budget, slices };
}

/** @throws BrokenGraphError when `after`, made from `before` by the step called `name`, breaks an invariant that held before. */
export function checkPassed(name: string, before: Model, after: Model): void {
  assertValid(name, before, after, { reinfer: contradictions });
}

/** The options of a pass or criterion, with defaults. @throws ConfigError naming the option and what it takes. */
export function parseOptions(owner: { readonly name: string; readonly options: Pass["options"] }, given: unknown): unknown {
  const parsed = owner.options.safeParse(given ?? {});
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const where = issue?.path.length ? `option "${issue.path.join(".")}" of ${owner.name}` : `the options of ${owner.name}`;
  throw new ConfigError("PASS_OPTIONS", `${where}: ${issue?.message ?? "not accepted"}.`, {
    hint: `\`onnx-prune passes ${owner.name}\` lists its options.`,
  });
}

/** Invariant 5: what re-inference finds against declared types, as sentences. */
function contradictions(model: Model): string[] {
  const text = (t: { kind: string; shape?: readonly unknown[] | undefined; dtype?: string }) =>
    t.kind === "tensor" ? `${t.dtype}[${t.shape?.join(", ") ?? "?"}]` : t.kind;
  return infer(model).conflicts.map((c) => `"${c.value.name}" is declared ${text(c.declared)}, but its producer makes ${text(c.inferred)}`);
}
