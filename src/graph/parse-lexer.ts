/** Tokens of ONNX text, one at a time, with positions for error messages. */
import { ModelError } from "../errors.js";

export interface Token {
  /** `text` of a string is what stands between its quotes, escapes still in it; of the end, empty. */
  readonly kind: "word" | "string" | "int" | "float" | "mark" | "end";
  readonly text: string;
  /** Offset of the first character. */
  readonly at: number;
}

// One alternative per kind, in the order of KINDS. A number may be special (-inf): a word only when unsigned, so that
// a value may be called "inf".
const TOKEN =
  /([A-Za-z_][A-Za-z0-9_]*)|"((?:[^"\\]|\\[\s\S])*)"|(-?\d+(?:\.\d*(?:[eE][+-]?\d+)?|[eE][+-]?\d+)|-[A-Za-z]+)|(-?\d+)|(=>|\.\.\.|[<>(){}[\],:=@?.])/y;
const KINDS = ["word", "string", "float", "int", "mark"] as const;
const BLANK = /(?:\s|#[^\n]*)*/y;

export class Lexer {
  readonly #text: string;
  #at = 0;
  #ahead: Token[] = [];

  constructor(text: string) {
    this.#text = text;
  }

  /** The token `n` places ahead, not consumed. */
  peek(n = 0): Token {
    while (this.#ahead.length <= n) this.#ahead.push(this.#scan());
    return this.#ahead[n] as Token;
  }

  next(): Token {
    return this.#ahead.shift() ?? this.#scan();
  }

  /** Consumes the mark or word `text` if it comes next. */
  accept(text: string): boolean {
    if (!this.sees(text)) return false;
    this.next();
    return true;
  }

  /** True when the mark or word `text` comes next. */
  sees(text: string): boolean {
    const t = this.peek();
    return (t.kind === "mark" || t.kind === "word") && t.text === text;
  }

  expect(text: string): void {
    if (!this.accept(text)) this.fail(`"${text}"`);
  }

  /** @throws ModelError MODEL_TEXT_SYNTAX: `expected` was wanted where `token` (default: the next one) stands. */
  fail(expected: string, token: Token = this.peek()): never {
    throw this.#error(token.at, expected, shown(token));
  }

  #error(at: number, expected: string, got: string): ModelError {
    const before = this.#text.slice(0, at);
    const line = before.split("\n").length;
    const column = at - before.lastIndexOf("\n");
    return new ModelError("MODEL_TEXT_SYNTAX", `Line ${line}, column ${column}: expected ${expected}, got ${got}.`, {
      hint: "The syntax is that of onnx.parser, described in docs/Syntax.md of the ONNX repository.",
    });
  }

  #scan(): Token {
    BLANK.lastIndex = this.#at;
    BLANK.exec(this.#text);
    const at = BLANK.lastIndex;
    if (at >= this.#text.length) {
      this.#at = at;
      return { kind: "end", text: "", at };
    }
    TOKEN.lastIndex = at;
    const match = TOKEN.exec(this.#text);
    if (!match) {
      const got = this.#text[at] as string;
      throw got === '"' ? this.#error(at, 'a closing "', "the end of the text") : this.#error(at, "a token of ONNX text", `"${got}"`);
    }
    this.#at = TOKEN.lastIndex;
    const group = match.findIndex((text, i) => i > 0 && text !== undefined);
    return { kind: KINDS[group - 1] as Token["kind"], text: match[group] as string, at };
  }
}

function shown(token: Token): string {
  if (token.kind === "end") return "the end of the text";
  const text = token.text.length > 40 ? `${token.text.slice(0, 40)}…` : token.text;
  return token.kind === "string" ? `the string "${text}"` : `"${text}"`;
}
