/** The library: what the command does, as typed functions without process state. */

/** For the options of passes and criteria of your own. */
export { z } from "zod";
export { type BypassMetric, type BypassOptions, type BypassStep, bypassOrder, measureBypass } from "./calibrate/bypass.js";
export { type ModelInputs, modelInputs } from "./calibrate/model-inputs.js";
export type { PreprocessOptions } from "./calibrate/preprocess.js";
export { openRoles, type RoleOptions, type Roles } from "./calibrate/roles.js";
export { type Bad, openSamples, type SampleOptions, type Samples } from "./calibrate/samples.js";
export { type ViewOptions, viewsOf } from "./calibrate/views.js";
export { type CompareOptions, compare } from "./compare/compare.js";
export type * from "./compare/report.js";
export type { Thresholds } from "./compare/verdict.js";
export * from "./errors.js";
export { type ReadOptions, readModel } from "./export/read.js";
export { type WriteOptions, type Written, writeModel } from "./export/write.js";
export * from "./graph/index.js";
export { type Bypass, bypassBlocks } from "./passes/bypass-blocks.js";
export { definePass, type Figures, type Pass, type PassContext } from "./passes/pass.js";
export { type Entry, entries, findEntry, nameOf } from "./passes/registry.js";
export { applyPlan, type Removal } from "./passes/remove-filters.js";
export { type Circumstances, type PassResult, runPass } from "./passes/run-pass.js";
export {
  applyOnly,
  type Calibration,
  type GatherOptions,
  gather,
  type PassRequest,
  type ProgressEvent,
  type PruneOptions,
  type PruneResult,
  planOnly,
  prune,
  type TuneOptions,
  tune,
} from "./pipeline.js";
export { type Pair, type Pairing, pairingOf } from "./recover/pairing.js";
export { RECOVERY_METHODS, type Recovered, type RecoverOptions, type RecoveryMethod, recover } from "./recover/recover.js";
export type * from "./report.js";
export { openRunner } from "./runtime/provider.js";
export type { Feeds, LoadOptions, ModelSource, Port, Provider, Runner, Session } from "./runtime/runner.js";
export type { PlanResult } from "./score/budget.js";
export {
  type Criterion,
  defineCriterion,
  type Evidence,
  type Merge,
  type Ranking,
  type Refinement,
  type ScoringContext,
} from "./score/criterion.js";
export { type PruningPlan, parsePlan, printPlan } from "./score/plan.js";
export { findPools, type Pool } from "./score/pools.js";
export { measureOf, type Target } from "./score/target.js";
export { type BisectRequest, bisect, compareValues, differenceText, type ValuesCompared } from "./verify/bisect.js";
export { checkGroups, type GroupCheck, type GroupCheckOptions } from "./verify/check-groups.js";
export { CHECKS, type CheckName, type CheckRequest, type CheckResult, checkRemoval } from "./verify/checks.js";
export { checkEquality, type EqualityRequest } from "./verify/equality.js";
export { type ExtractOptions, extract } from "./verify/extract.js";
export { randomFeeds } from "./verify/feeds.js";
export { checkMinimality, type Minimality } from "./verify/minimality.js";
export { type Reduced, type ReduceOptions, reduceModel } from "./verify/reduce.js";
export { type RemovalReduction, reduceRemoval } from "./verify/reduce-removal.js";
export { version } from "./version.js";
