/** Makes removed parameters huge: if one of them still reaches an output, the output shows it. */
import type { Kept } from "../graph/coupling/choices.js";
import type { Coupling } from "../graph/coupling/groups.js";
import { type Edited, editRemoved } from "./parameters.js";

/** Large enough to show after any layer, small enough not to overflow in a few. */
const HUGE = 1e6;
/** float16 ends at 65504. */
const HUGE_HALF = 1e4;

/**
 * A copy of the model in which every parameter on a removed channel is huge. Its oracle (a Gather of what is kept before
 * every sum) must compute what the original's does: a member that a group misses shows as an error of the same size.
 */
export function poison(coupling: Coupling, kept: Kept): Edited {
  return editRemoved(coupling, kept, (dtype) => (dtype === "float16" ? HUGE_HALF : HUGE));
}
