/** The criteria that can stand after --pass, in the order in which help lists them. */
import { bnScale } from "./bn-scale.js";
import type { Criterion } from "./criterion.js";
import { fpgm } from "./fpgm.js";
import { l1, l2 } from "./norm.js";
import { random } from "./random.js";
import { similar } from "./similar.js";

/** Each checks its own options (Criterion.options) before `prepare` sees them. */
export const criteria: readonly Criterion[] = [l1, l2, bnScale, fpgm, similar, random] as readonly Criterion[];
