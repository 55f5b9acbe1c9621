/** Columns of text, and numbers as people read them. */

export interface Column {
  readonly title: string;
  readonly align?: "left" | "right";
}

/** Rows under titles (left out when all are empty), columns two spaces apart, no space at line ends. */
export function table(columns: readonly Column[], rows: readonly (readonly string[])[], indent = "  "): string {
  const lines = columns.some((c) => c.title !== "") ? [columns.map((c) => c.title), ...rows] : rows;
  const widths = columns.map((_, i) => Math.max(...lines.map((l) => widthOf(l[i] ?? ""))));
  return lines
    .map((line) => {
      const cells = columns.map((c, i) => {
        const text = line[i] ?? "";
        const space = " ".repeat((widths[i] as number) - widthOf(text));
        return c.align === "right" ? space + text : text + space;
      });
      return `${indent}${cells.join("  ").trimEnd()}\n`;
    })
    .join("");
}

/** Columns a text takes, colours aside. Everything we print is one column per character. */
function widthOf(text: string): number {
  return [...text.replace(COLOURS, "")].length;
}
const COLOURS = new RegExp(`${String.fromCharCode(27)}\\[[0-9;]*m`, "g");

/** 1234567 as "1,234,567". */
export function whole(n: number): string {
  return Math.round(n)
    .toString()
    .replace(/\B(?=(\d{3})+$)/g, ",");
}

/** Four significant digits with a decimal prefix: "41.2 M". */
export function scaled(n: number): string {
  for (const [size, prefix] of [
    [1e12, "T"],
    [1e9, "G"],
    [1e6, "M"],
    [1e3, "k"],
  ] as const)
    if (n >= size) return `${(n / size).toPrecision(4)} ${prefix}`;
  return whole(n);
}

/** Bytes with a binary prefix: "3.28 MiB". */
export function bytes(n: number): string {
  for (const [size, unit] of [
    [2 ** 30, "GiB"],
    [2 ** 20, "MiB"],
    [2 ** 10, "KiB"],
  ] as const)
    if (n >= size) return `${(n / size).toFixed(2)} ${unit}`;
  return `${whole(n)} B`;
}

export function milliseconds(ms: number): string {
  return ms >= 1000 ? `${(ms / 1000).toFixed(2)} s` : `${ms.toPrecision(3)} ms`;
}

export function percent(fraction: number, digits = 2): string {
  return `${(100 * fraction).toFixed(digits)} %`;
}

/** 3.1e-7 */
export function tiny(x: number): string {
  return x === 0 ? "0" : x.toExponential(1);
}

/** `text`, or its beginning and "…". */
export function shortened(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, length - 1)}…`;
}
