/** What the moves of the random generator have in common. */
import type { Builder } from "./random-graph.js";

/** Reads a value, and sometimes others, and gives new values, or nothing where it does not fit. */
export type Move = (b: Builder, v: string) => string[] | undefined;
export type Dims = readonly number[];

export const replaced = (s: Dims, axis: number, d: number): number[] => s.map((x, a) => (a === axis ? d : x));
/** Any axis but the batch. */
export const someAxis = (b: Builder, s: Dims): number => b.int(1, s.length - 1);
export const spelled = (b: Builder, axis: number, rank: number): number => (b.chance(0.3) ? axis - rank : axis);
