/** Which columns of a Parquet table are images, labels and tensors, and which of them fill the model. */
import type { SchemaTree } from "hyparquet";
import { ConfigError, DataError } from "../../errors.js";
import type { DType } from "../../graph/dtype.js";
import { closest } from "../../suggest.js";
import type { OpenOptions } from "../open.js";
import type { InputShape } from "../source.js";
import type { ParquetFile } from "./parquet-file.js";

/** What can be read of a column. `dtype` is that of the numbers, however deep in lists. */
export type Column =
  | { readonly name: string; readonly kind: "image"; readonly struct: boolean }
  | { readonly name: string; readonly kind: "numbers"; readonly dtype: DType; readonly isList: boolean }
  | { readonly name: string; readonly kind: "text" }
  | { readonly name: string; readonly kind: "other"; readonly what: string };

export interface Binding {
  /** By input name. */
  readonly inputs: ReadonlyMap<string, Column>;
  readonly label: Column | undefined;
  /** Names of the classes in their order, where a Hugging Face schema lists them. */
  readonly classNames: readonly string[] | undefined;
}

/** What a label column is called, best first, when no schema tells. */
const LABELS = ["label", "labels", "fine_label", "class", "target", "y"];

/**
 * Columns for `inputs` and labels. `chosen` decides where it names one (by input, or "image" for the only input, or "label").
 * Else an input takes the column of its name; the only input also the only image column, or the only column of lists. Labels are
 * the column that the Hugging Face schema makes a ClassLabel, or one of the usual names.
 * @throws ConfigError DATA_COLUMNS for a choice that is not there; DataError DATA_COLUMNS when none or several fit.
 */
export function bindColumns(
  file: ParquetFile,
  inputs: readonly InputShape[],
  chosen: Readonly<Record<string, string>>,
  { note, noteUnlabelled }: Pick<OpenOptions, "note" | "noteUnlabelled">,
): Binding {
  const columns = file.columns.map(columnOf);
  const features = featuresOf(file);
  const names = inputs.map((i) => i.name);
  const only = inputs.length === 1 ? names[0] : undefined;
  for (const key of Object.keys(chosen)) {
    const near = closest(key, [...names, "image", "label"]);
    if (names.includes(key) || key === "label" || key === "labels" || (key === "image" && only !== undefined)) continue;
    throw new ConfigError("DATA_COLUMNS", `"${key}=${chosen[key]}" chooses a column for "${key}", which is no input of the model.`, {
      hint: `Choose for label${only === undefined ? "" : ", image"} or an input: ${names.join(", ")}.${near ? ` Did you mean "${near}"?` : ""}`,
    });
  }
  const named = (name: string) => columns.find((c) => c.name === name);
  const asked = (name: string) => named(name) ?? notThere(file, name, columns);

  const label = labelColumn();
  const free = columns.filter((c) => c !== label);
  const bound = new Map<string, Column>();
  for (const name of names) {
    const choice = chosen[name] ?? (name === only ? chosen["image"] : undefined);
    const column = choice === undefined ? (named(name) ?? (name === only ? likely() : undefined)) : asked(choice);
    if (column === undefined) throw unbound(name);
    if (column.kind !== "image" && column.kind !== "numbers") {
      throw new DataError(
        "DATA_COLUMNS",
        `Column "${column.name}" of ${file.file} holds ${whatOf(column)}, which cannot be fed to "${name}".`,
        {
          at: { file: file.file, value: name },
          hint: "Images are binary (or a struct with bytes), tensors are numbers or lists of numbers.",
        },
      );
    }
    if (column.name !== name) note(`${file.file}: the column "${column.name}" is fed to the input "${name}".`);
    bound.set(name, column);
  }
  return { inputs: bound, label, classNames: label && features.get(label.name)?.names };

  function labelColumn(): Column | undefined {
    const choice = names.includes("label") ? chosen["labels"] : (chosen["label"] ?? chosen["labels"]);
    const isLabel = (c: Column) => (c.kind === "numbers" && !c.isList) || c.kind === "text";
    if (choice !== undefined) {
      const column = asked(choice);
      if (isLabel(column)) return column;
      throw new DataError("DATA_COLUMNS", `Column "${choice}" of ${file.file} holds ${whatOf(column)}, not labels.`, {
        at: { file: file.file },
        hint: "Labels are class numbers, or names.",
      });
    }
    const could = columns.filter((c) => isLabel(c) && !names.includes(c.name));
    const declared = could.filter((c) => features.has(c.name));
    const usual = LABELS.flatMap((l) => could.filter((c) => c.name === l))[0];
    const found = declared.length === 1 ? declared[0] : usual;
    if (found === undefined) {
      const several = declared.length > 1 ? ` (${declared.map((c) => c.name).join(", ")} could be)` : "";
      noteUnlabelled(
        `${file.file} has no column of labels${several}: accuracy cannot be measured. Choose one with ${file.file}#label=<column>.`,
      );
    } else if (declared.length > 1)
      note(`${file.file}: labels are taken from "${found.name}" of ${declared.map((c) => c.name).join(", ")}.`);
    return found;
  }

  function likely(): Column | undefined {
    const images = free.filter((c) => c.kind === "image");
    if (images.length > 0) return images.length === 1 ? images[0] : undefined;
    const lists = free.filter((c) => c.kind === "numbers" && c.isList);
    return lists.length === 1 ? lists[0] : undefined;
  }

  function unbound(name: string): DataError {
    const list = columns.map((c) => `${c.name} (${whatOf(c)})`).join(", ") || "none";
    return new DataError("DATA_COLUMNS", `${file.file} has no column for the input "${name}" of the model; it has ${list}.`, {
      at: { file: file.file, value: name },
      hint: `Choose one: ${file.file}#${name}=<column>.`,
    });
  }
}

function notThere(file: ParquetFile, name: string, columns: readonly Column[]): never {
  const near = closest(
    name,
    columns.map((c) => c.name),
  );
  throw new ConfigError(
    "DATA_COLUMNS",
    `${file.file} has no column "${name}"; it has ${columns.map((c) => c.name).join(", ") || "none"}.`,
    {
      at: { file: file.file },
      ...(near ? { hint: `Did you mean "${near}"?` } : {}),
    },
  );
}

function columnOf(tree: SchemaTree): Column {
  const { name } = tree.element;
  const bytes = tree.children.find((c) => c.element.name === "bytes");
  if (bytes && isBinary(bytes) && tree.element.converted_type !== "LIST") return { name, kind: "image", struct: true };
  let isList = false;
  let leaf = tree;
  while (leaf.children.length === 1) {
    isList ||= leaf.element.repetition_type === "REPEATED" || leaf.element.converted_type === "LIST";
    leaf = leaf.children[0] as SchemaTree;
  }
  isList ||= leaf.element.repetition_type === "REPEATED";
  if (leaf.children.length > 0) return { name, kind: "other", what: "a struct" };
  const dtype = dtypeOf(leaf);
  if (dtype) return { name, kind: "numbers", dtype, isList };
  if (isList) return { name, kind: "other", what: "lists of things that are no numbers" };
  if (isText(leaf)) return { name, kind: "text" };
  if (isBinary(leaf)) return { name, kind: "image", struct: false };
  return { name, kind: "other", what: leaf.element.logical_type?.type.toLowerCase() ?? leaf.element.type ?? "nothing that is read" };
}

function dtypeOf({ element }: SchemaTree): DType | undefined {
  const { type, logical_type, converted_type } = element;
  if (logical_type?.type === "INTEGER") return `${logical_type.isSigned ? "" : "u"}int${logical_type.bitWidth}` as DType;
  if (logical_type?.type === "FLOAT16") return "float16";
  const converted = /^(U?INT)_(8|16|32|64)$/.exec(converted_type ?? "");
  if (converted) return `${(converted[1] as string).toLowerCase()}${converted[2]}` as DType;
  if (logical_type !== undefined || converted_type !== undefined) return undefined;
  if (type === "BOOLEAN") return "bool";
  if (type === "INT32" || type === "INT64") return type.toLowerCase() as DType;
  if (type === "FLOAT") return "float32";
  return type === "DOUBLE" ? "float64" : undefined;
}

function isText({ element }: SchemaTree): boolean {
  return element.converted_type === "UTF8" || element.logical_type?.type === "STRING" || element.logical_type?.type === "ENUM";
}

function isBinary(tree: SchemaTree): boolean {
  const { element, children } = tree;
  return children.length === 0 && element.type === "BYTE_ARRAY" && !element.converted_type && !element.logical_type;
}

function whatOf(c: Column): string {
  if (c.kind === "numbers") return c.isList ? `lists of ${c.dtype}` : c.dtype;
  return c.kind === "image" ? "binary" : c.kind === "text" ? "text" : c.what;
}

/** ClassLabel features of the Hugging Face schema, by column. */
function featuresOf(file: ParquetFile): Map<string, { readonly names: readonly string[] | undefined }> {
  const out = new Map<string, { names: readonly string[] | undefined }>();
  let schema: unknown;
  try {
    schema = JSON.parse(file.metadata.get("huggingface") ?? "{}");
  } catch {
    // Metadata is a remark to us: a column can be chosen without it.
    return out;
  }
  const features = (schema as { info?: { features?: Record<string, { _type?: string; names?: unknown }> } }).info?.features ?? {};
  for (const [name, feature] of Object.entries(features)) {
    if (feature?._type !== "ClassLabel") continue;
    const { names } = feature;
    out.set(name, { names: Array.isArray(names) && names.every((n) => typeof n === "string") ? names : undefined });
  }
  return out;
}
