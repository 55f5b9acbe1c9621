/** Every error a user can meet: one class per kind, one code per cause, one wording. */

/** Where an error happened, in the user's terms. */
export interface ErrorPlace {
  readonly file?: string;
  readonly node?: string;
  readonly value?: string;
  readonly pass?: string;
}

/**
 * Base of all errors the library throws on purpose. `message` says what was expected, what came and where;
 * `hint` says what to do next; `code` is stable and documented in docs/errors.md.
 */
export abstract class OnnxPruneError extends Error {
  readonly code: string;
  readonly hint: string | undefined;
  readonly at: ErrorPlace;
  /** What was found before it failed, as plain data, e.g. the report of a run that lost too much accuracy. */
  readonly details: unknown;
  /** Process exit code of the command for this kind of error (design: product contract). */
  abstract readonly exitCode: 1 | 2 | 3 | 4 | 70;

  constructor(code: string, message: string, options: { hint?: string; at?: ErrorPlace; cause?: unknown; details?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = new.target.name;
    this.code = code;
    this.hint = options.hint;
    this.at = options.at ?? {};
    this.details = options.details;
  }
}

/** The model cannot be read, is not valid ONNX, or contradicts itself. */
export class ModelError extends OnnxPruneError {
  readonly exitCode = 1;
}
/** The data cannot be read or does not fit the model. */
export class DataError extends OnnxPruneError {
  readonly exitCode = 1;
}
/** Something valid that this version does not do. */
export class UnsupportedError extends OnnxPruneError {
  readonly exitCode = 1;
}
/** A runtime (ONNX Runtime native or wasm) is missing or refuses to work. */
export class RuntimeError extends OnnxPruneError {
  readonly exitCode = 1;
}
/** A plan that does not fit the model it is applied to. */
export class PlanError extends OnnxPruneError {
  readonly exitCode = 1;
}
/** Wrong usage: flags, options, configuration. */
export class ConfigError extends OnnxPruneError {
  readonly exitCode = 2;
}
/** Accuracy or budget not met. */
export class BudgetError extends OnnxPruneError {
  readonly exitCode = 3;
}
/** The equality check failed. */
export class VerificationError extends OnnxPruneError {
  readonly exitCode = 4;
}
/** Our bug. */
export class InternalError extends OnnxPruneError {
  readonly exitCode = 70;
}

/** Internal error with a standard hint; use where an invariant of our own code is broken. */
export function internal(message: string, at: ErrorPlace = {}): InternalError {
  return new InternalError("INTERNAL", message, {
    at,
    hint: "This is a bug in onnx-prune. Please report it with the model (or `onnx-prune inspect --json`) and the command line.",
  });
}
