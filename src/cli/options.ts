/** The options of a pass, read off its schema: for `onnx-prune passes <name>` and docs/passes.md. */
import { z } from "zod";

export interface OptionRow {
  readonly name: string;
  readonly type: string;
  /** JSON; "" for an option without default. */
  readonly fallback: string;
  readonly describe: string;
}

/** One row per option, in the schema's order. */
export function optionRows(schema: z.ZodType): OptionRow[] {
  const json = z.toJSONSchema(schema, { io: "input", unrepresentable: "any" });
  return Object.entries(json.properties ?? {}).map(([name, property]) => {
    const p = property as z.core.JSONSchema.JSONSchema;
    return { name, type: typeText(p), fallback: p.default === undefined ? "" : JSON.stringify(p.default), describe: p.description ?? "" };
  });
}

function typeText(p: z.core.JSONSchema.JSONSchema): string {
  if (p.enum) return p.enum.map((v) => JSON.stringify(v)).join(" | ");
  if (p.const !== undefined) return JSON.stringify(p.const);
  const either = p.anyOf ?? p.oneOf;
  if (either) return either.map((e) => typeText(e as z.core.JSONSchema.JSONSchema)).join(" | ");
  if (p.type === "array") return `${typeText((p.items ?? {}) as z.core.JSONSchema.JSONSchema)}[]`;
  if (p.type === "number" || p.type === "integer") return `${p.type}${rangeText(p)}`;
  return [p.type ?? "any"].flat().join(" | ");
}

function rangeText(p: z.core.JSONSchema.JSONSchema): string {
  const bounds = [
    p.exclusiveMinimum === undefined ? "" : `> ${p.exclusiveMinimum}`,
    p.minimum === undefined || p.minimum === Number.MIN_SAFE_INTEGER ? "" : `≥ ${p.minimum}`,
    p.exclusiveMaximum === undefined ? "" : `< ${p.exclusiveMaximum}`,
    p.maximum === undefined || p.maximum === Number.MAX_SAFE_INTEGER ? "" : `≤ ${p.maximum}`,
  ].filter((b) => b !== "");
  return bounds.length === 0 ? "" : ` ${bounds.join(", ")}`;
}
