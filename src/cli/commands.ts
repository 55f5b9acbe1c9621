/** Every command of this version; the first needs no name. */

import { applyCommand } from "./apply.js";
import { calibrateCommand } from "./calibrate.js";
import type { Command } from "./command.js";
import { compareCommand } from "./compare.js";
import { inspectCommand } from "./inspect.js";
import { mergeCommand } from "./merge.js";
import { passesCommand } from "./passes.js";
import { planCommand } from "./plan.js";
import { pruneCommand } from "./prune.js";
import { tuneCommand } from "./tune.js";
import { verifyCommand } from "./verify.js";

export const commands: readonly Command[] = [
  pruneCommand,
  inspectCommand,
  calibrateCommand,
  mergeCommand,
  planCommand,
  applyCommand,
  tuneCommand,
  verifyCommand,
  compareCommand,
  passesCommand,
];
