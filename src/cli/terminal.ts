/** Where the command writes: results to stdout, everything else to stderr. */
import { styleText } from "node:util";

type Style = Parameters<typeof styleText>[0];

/** One of the two streams, and what it can show. */
export interface Channel {
  write(text: string): void;
  readonly isTTY: boolean;
  readonly columns: number;
  style(style: Style, text: string): string;
}

export interface Terminal {
  readonly out: Channel;
  readonly err: Channel;
}

/** The part of a WriteStream that is used. */
interface Stream {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
}

/** Colours only where a person looks, and NO_COLOR (no-color.org) does not forbid them. */
export function channel(stream: Stream, environment: NodeJS.ProcessEnv): Channel {
  const isTTY = stream.isTTY === true;
  const isColoured = isTTY && !environment["NO_COLOR"] && environment["TERM"] !== "dumb";
  return {
    write: (text) => {
      stream.write(text);
    },
    isTTY,
    get columns() {
      return stream.columns ?? 80;
    },
    style: (style, text) => (isColoured ? styleText(style, text, { validateStream: false }) : text),
  };
}
