/** The methods by name. */
import { annealFixed, annealShape } from "./anneal.js";
import { independentMarginals, sequentialResidual } from "./approximate.js";
import type { Problem, Selection } from "./problem.js";

export const METHODS = ["im", "sr", "sa-fixed", "sa-shape"] as const;
export type Method = (typeof METHODS)[number];

/** @throws UnsupportedError ROW_COLUMN_INFEASIBLE. */
export function solve(problem: Problem, method: Method, seed: number | string): Selection {
  // Columns alone: they do not share cells, so the lightest are the optimum.
  if (method === "im") return independentMarginals(problem);
  if (method === "sr" || problem.minRows >= problem.m) return sequentialResidual(problem);
  return method === "sa-fixed" ? annealFixed(problem, { seed }) : annealShape(problem, { seed });
}
