/** The residual blocks of a model as plain data, and as text. */
import { blockCost } from "../graph/blocks/block-cost.js";
import { type DeclinedBlock, findBlocks } from "../graph/blocks/find.js";
import type { Cost } from "../graph/cost.js";
import type { Model } from "../graph/graph.js";
import type { Types } from "../graph/infer.js";
import { percent, shortened, table, whole } from "./table.js";
import type { Channel } from "./terminal.js";

export interface BlockFacts {
  /** As plans and remove-blocks take it. */
  readonly name: string;
  readonly entry: string;
  /** Labels of the nodes that leave with it. */
  readonly nodes: readonly string[];
  /** Absent for a block in a body. */
  readonly macs?: number;
  /** Share of the multiply-accumulates of the model. */
  readonly share?: number;
  readonly parameters: number;
  readonly removesActivation: boolean;
  /** The smallest block it lies in. */
  readonly within?: string;
}

export interface BlocksFacts {
  readonly found: readonly BlockFacts[];
  readonly declined: readonly DeclinedBlock[];
}

export function blocksFacts(model: Model, types: Types, cost: Cost): BlocksFacts {
  const { blocks, declined } = findBlocks(model, types);
  const found = blocks.map((b): BlockFacts => {
    const { macs, parameters } = blockCost(b, cost);
    return {
      name: b.name,
      entry: b.entry.name,
      nodes: b.nodes.map((n) => n.label),
      ...(macs === undefined ? {} : { macs, share: cost.macs > 0 ? macs / cost.macs : 0 }),
      parameters,
      removesActivation: b.removesActivation,
      ...(b.within === undefined ? {} : { within: b.within }),
    };
  });
  return { found, declined };
}

/** Sums that stay, shown; --json has all. */
const DECLINED_SHOWN = 8;

/** Empty where no sum looks like that of a block. */
export function blocksText({ found, declined }: BlocksFacts, out: Channel): string {
  if (found.length + declined.length === 0) return "";
  const blocks = table(
    [
      { title: "block" },
      { title: "nodes", align: "right" },
      { title: "MACs", align: "right" },
      { title: "parameters", align: "right" },
      { title: "" },
    ],
    found.map((b) => [
      shortened(b.name, 60),
      whole(b.nodes.length),
      b.share === undefined ? "in a body" : percent(b.share, 1),
      whole(b.parameters),
      b.within === undefined ? "" : `within ${shortened(b.within, 40)}`,
    ]),
  );
  const stay = table(
    [{ title: "" }, { title: "" }],
    declined.slice(0, DECLINED_SHOWN).map((d) => [shortened(d.at, 60), `stays: ${d.why}`]),
  );
  const more = declined.length > DECLINED_SHOWN ? `  and ${declined.length - DECLINED_SHOWN} more that stay (--json has all)\n` : "";
  const title = `${found.length} residual ${found.length === 1 ? "block" : "blocks"}`;
  return `${out.style("bold", title)}\n${found.length > 0 ? blocks : ""}${stay}${more}`;
}
