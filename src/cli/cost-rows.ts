/** What two graphs cost, side by side. */
import type { CostFigures } from "../report.js";
import { bytes, scaled, whole } from "./table.js";

/** Rows of name, first, second, second / first. */
export function costRows(a: CostFigures, b: CostFigures): string[][] {
  const row = (name: string, x: number, y: number, show: (n: number) => string) => [name, show(x), show(y), x > 0 ? times(y / x) : ""];
  return [
    row("parameters", a.parameters, b.parameters, whole),
    row("MACs (batch 1)", a.macs, b.macs, scaled),
    row("bytes", a.bytes, b.bytes, bytes),
    row("peak activations", a.activationBytes, b.activationBytes, bytes),
    row("nodes", a.nodes, b.nodes, whole),
  ];
}

export function times(x: number): string {
  return `${x.toFixed(3)}×`;
}
