/** The criteria that can stand after --pass, in the order in which help lists them. */
import { bnScale } from "./bn-scale.js";
import type { Criterion } from "./criterion.js";
import { dominos } from "./dominos/dominos.js";
import { entropy, entropyGauss } from "./entropy.js";
import { fpgm } from "./fpgm.js";
import { mi } from "./mi.js";
import { l1, l2 } from "./norm.js";
import { obs } from "./obs/obs.js";
import { outputL1 } from "./output-l1.js";
import { random } from "./random.js";
import { removeBlocks } from "./remove-blocks.js";
import { similar } from "./similar.js";
import { wmi } from "./wmi.js";

/** Each checks its own options (Criterion.options) before `prepare` sees them. */
export const criteria: readonly Criterion[] = [
  l1,
  l2,
  bnScale,
  fpgm,
  similar,
  outputL1,
  obs,
  entropy,
  entropyGauss,
  mi,
  wmi,
  dominos,
  removeBlocks,
  random,
] as readonly Criterion[];
