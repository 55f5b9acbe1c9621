/** An operator between two layers: what may leave of them, and the proof that what is left computes what the oracle does. */
import { expect } from "vitest";
import { findGroups } from "../../src/graph/coupling/groups.js";
import { modelOf } from "./build.js";
import { prove, randomRemoval } from "./oracle.js";

export interface OpRow {
  readonly name: string;
  readonly opset: number;
  /** Inputs, outputs and constants, then nodes. */
  readonly graph: string;
  /** Groups and their widths. */
  readonly groups: readonly string[];
  /** IR version, where the opset needs one. */
  readonly ir?: number;
  /** Tolerance where float32 cancels: the runtime computes angles or norms. */
  readonly tolerance?: number;
}

/** [2, 4, 3] features times a [3, 6] matrix, and a [6, 2] matrix behind. */
export const matrices = (constants: string, body: string, shape = "2,4,3") =>
  `g (float[${shape}] x) => (float[] y) <float[3,6] a = {...}, float[6,2] b = {...}${constants && `, ${constants}`}> {
    h = MatMul (x, a) ${body} y = MatMul (u, b) }`;

/** A 1×1 convolution to 6 channels before, and one from them behind, of an 8×8 image. */
export const convolutions = (constants: string, body: string, inputs = "", image = "1,3,8,8") =>
  `g (float[${image}] x${inputs}) => (float[] y) <float[6,3,1,1] a = {...}, float[2,6,1,1] b = {...}${constants && `, ${constants}`}> {
    h = Conv (x, a) ${body} y = Conv (u, b) }`;

/** Groups are as listed, and random removals compute what the oracle does. */
export async function proveRow({ opset, graph, groups, ir, tolerance = 1e-5 }: OpRow): Promise<void> {
  const model = modelOf(graph, opset);
  if (ir) model.irVersion = ir;
  const c = findGroups(model);
  expect(c.groups.map((g) => `${g.name} ${g.choices.length}`)).toEqual(groups);
  if (groups.length === 0) return;
  for (const ratio of [0.5, 0.75, undefined]) {
    const removed = randomRemoval(c, `${graph.length}:${ratio}`, ratio);
    if (ratio) expect(removed.size).toBeGreaterThan(0);
    const proof = await prove(c, removed);
    expect({ ratio, maxRel: proof.maxRel, isClose: proof.maxRel <= tolerance }).toMatchObject({ isClose: true });
    if (removed.size > 0) expect(proof.drift).toBeGreaterThan(0);
  }
}
