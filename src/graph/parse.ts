/**
 * ONNX text to Model: the language of onnx.parser (docs/Syntax.md of the ONNX repository) and the additions that
 * print.ts lists. A tensor written `{...}` gets the data described in parse-tensor.ts.
 */
import { ModelError } from "../errors.js";
import type { Attribute, AttributeKind } from "./attribute.js";
import type { Dim } from "./dim.js";
import { Graph, type LocalFunction, Model, Node, Value, type ValueType } from "./graph.js";
import { Lexer, type Token } from "./parse-lexer.js";
import { parseTensor } from "./parse-tensor.js";
import { typeText } from "./print.js";
import type { Tensor } from "./tensor.js";
import { ATTRIBUTE_KINDS, dtypeOfName, numberOf, openDim, SPECIAL_FLOAT, startsType, TYPE_CONSTRUCTORS, unquote } from "./text-syntax.js";

export interface ParseOptions {
  /**
   * Called for each thing the text says and a Model has no place for: doc_string, metadata_props, domain and
   * model_version of a model, default values of function attributes. Without it such text is an error.
   */
  readonly ignored?: (what: string) => void;
}

/**
 * The model that `text` describes. Node outputs are typed only where the text declares them.
 * A `?` extent becomes a symbol of its own, "?name[axis]", as when a model file is decoded.
 *
 * @throws ModelError MODEL_TEXT_SYNTAX with line, column, what was expected and what came (names must be new where they
 * are defined, and defined above where they are read); MODEL_TEXT_METADATA, see ParseOptions.
 */
export function parse(text: string, options: ParseOptions = {}): Model {
  return new Parser(text, options).model();
}

/** A name with where it stands, for messages. */
interface Name {
  readonly text: string;
  readonly token: Token;
}
interface Declaration extends Name {
  readonly type: ValueType | undefined;
}

class Parser {
  readonly #lex: Lexer;
  readonly #ignored: (what: string) => void;
  /** The graph being read, and those around it, outermost first. */
  readonly #scopes: Graph[] = [];
  #initializersAreConstant = false;

  constructor(text: string, options: ParseOptions) {
    this.#lex = new Lexer(text);
    this.#ignored = options.ignored ?? refuseMetadata;
  }

  model(): Model {
    const model = new Model(new Graph());
    if (this.#lex.sees("<")) this.#modelHeader(model);
    this.#initializersAreConstant = model.irVersion < 4;
    model.graph = this.#graph();
    while (this.#lex.peek().kind !== "end") model.functions.push(this.#function());
    return model;
  }

  #modelHeader(model: Model): void {
    this.#header((key, token) => {
      if (key === "ir_version") model.irVersion = this.#int();
      else if (key === "opset_import") this.#opsets(model.opsets);
      else if (key === "producer_name") model.producerName = this.#string();
      else if (key === "producer_version") model.producerVersion = this.#string();
      else if (key === "domain" || key === "doc_string") this.#ignored(`${key} "${this.#string()}"`);
      else if (key === "model_version") this.#ignored(`${key} ${this.#int()}`);
      else if (key === "metadata_props") this.#metadata();
      else this.#lex.fail("ir_version, opset_import, producer_name, producer_version or another field of a model", token);
    });
  }

  #metadata(): void {
    this.#list("[", "]", () => {
      const key = this.#string();
      this.#lex.expect(":");
      this.#ignored(`metadata "${key}": "${this.#string()}"`);
    });
  }

  /** `<key: value, …>`; `read` consumes the value. */
  #header(read: (key: string, token: Token) => void): void {
    this.#list("<", ">", () => {
      const token = this.#lex.next();
      if (token.kind !== "word") this.#lex.fail("the name of a header field", token);
      this.#lex.expect(":");
      read(token.text, token);
    });
  }

  #opsets(into: Map<string, number>): void {
    this.#list("[", "]", () => {
      const domain = this.#string();
      this.#lex.expect(":");
      into.set(domain === "ai.onnx" ? "" : domain, this.#int());
    });
  }

  #function(): LocalFunction {
    let domain = "";
    let overload = "";
    const opsets = new Map<string, number>();
    if (this.#lex.sees("<")) {
      this.#header((key, token) => {
        if (key === "domain") domain = this.#string();
        else if (key === "overload") overload = this.#string();
        else if (key === "opset_import") this.#opsets(opsets);
        else if (key === "doc_string") this.#ignored(`doc_string "${this.#string()}"`);
        else this.#lex.fail("domain, opset_import, overload or doc_string of a function", token);
      });
    }
    const name = this.#name("the name of a function").text;
    const attributes = this.#lex.sees("<") ? this.#formalAttributes(name) : [];
    const { graph: body, inputs, outputs } = this.#graphAfterName(name);
    const names = (list: readonly Name[]) => list.map((n) => n.text);
    return {
      domain,
      name,
      overload,
      inputs: names(inputs),
      outputs: names(outputs),
      attributes,
      defaults: new Map(),
      opsets,
      body,
      origin: undefined,
    };
  }

  #formalAttributes(functionName: string): string[] {
    return this.#list("<", ">", () => {
      const { text } = this.#name("the name of an attribute");
      if (this.#lex.sees(":") || this.#lex.sees("=")) {
        this.#attributeValue(`${functionName}.${text}`);
        this.#ignored(`the default value of attribute "${text}" of function "${functionName}"`);
      }
      return text;
    });
  }

  #graph(): Graph {
    return this.#graphAfterName(this.#name("the name of a graph").text).graph;
  }

  #graphAfterName(name: string): { graph: Graph; inputs: readonly Name[]; outputs: readonly Name[] } {
    const graph = new Graph(name);
    graph.initializersAreConstant = this.#initializersAreConstant;
    this.#scopes.push(graph);
    const inputs = this.#list("(", ")", () => {
      const input = this.#declaration();
      const value = graph.addInput(this.#newValue(graph, input, input.type));
      if (this.#lex.accept("=")) graph.attachInitializer(value, this.#initializer(input));
      return input;
    });
    this.#lex.expect("=>");
    const outputs = this.#list("(", ")", () => this.#declaration());
    const types = new Map<string, ValueType>();
    for (const { text, type } of outputs) if (type) types.set(text, type);
    if (this.#lex.sees("<")) this.#initializersAndTypes(graph, types);
    this.#lex.expect("{");
    while (!this.#lex.accept("}")) this.#node(graph, types);
    for (const { text, token } of outputs)
      graph.addOutput(this.#resolve(text) ?? this.#lex.fail("an output that the graph defines", token));
    // Outputs and declared types may also be those of an input or an initializer, which has a type already.
    for (const [value, type] of types) {
      const v = graph.value(value);
      if (v) v.type ??= type;
    }
    this.#scopes.pop();
    return { graph, inputs, outputs };
  }

  #initializersAndTypes(graph: Graph, types: Map<string, ValueType>): void {
    this.#list("<", ">", () => {
      const entry = this.#declaration();
      if (this.#lex.accept("=")) {
        const input = graph.value(entry.text);
        const value = input?.isInput && !input.initializer ? input : this.#newValue(graph, entry, undefined);
        graph.attachInitializer(value, this.#initializer(entry));
      } else if (entry.type) types.set(entry.text, entry.type);
    });
  }

  #initializer({ text, token, type }: Declaration): Tensor {
    return this.#tensorOf(type, token, text);
  }

  #node(graph: Graph, types: ReadonlyMap<string, ValueType>): void {
    const name = this.#label();
    const outputs = this.#names("=");
    this.#lex.expect("=");
    const node = this.#operator(name);
    const seed = outputs.find((o) => o.text !== "")?.text ?? node.opType;
    this.#attributes(node, seed);
    this.#lex.expect("(");
    this.#names(")").forEach(({ text, token }, i) => {
      node.setInput(i, text === "" ? undefined : (this.#resolve(text) ?? this.#lex.fail("a value that is defined above", token)));
    });
    this.#lex.expect(")");
    if (node.attributes.size === 0) this.#attributes(node, seed);
    for (const o of outputs) node.addOutput(o.text === "" ? undefined : this.#newValue(graph, o, types.get(o.text)));
    graph.appendNode(node);
  }

  /** `[name]` before a node. */
  #label(): string {
    if (!this.#lex.accept("[")) return "";
    const { text } = this.#name("the name of a node");
    this.#lex.expect("]");
    return text;
  }

  /** `Conv`, `com.microsoft.FusedConv`, `"my-domain".Op:overload`. */
  #operator(name: string): Node {
    const parts = [this.#name("the type of an operator").text];
    while (this.#lex.accept(".")) parts.push(this.#name("the type of an operator").text);
    const overload = this.#lex.accept(":") ? this.#name("an overload").text : "";
    const opType = parts.pop() as string;
    return new Node(opType, { name, domain: parts.join("."), overload });
  }

  /** Names that may be left out: `x, , y`, `x, "", y`; a comma before the end adds nothing. */
  #names(end: string): Name[] {
    const names: Name[] = [];
    while (!this.#lex.sees(end)) {
      if (this.#lex.sees(",")) names.push({ text: "", token: this.#lex.peek() });
      else names.push(this.#name("the name of a value"));
      if (!this.#lex.accept(",")) break;
    }
    return names;
  }

  #attributes(node: Node, seed: string): void {
    if (!this.#lex.sees("<")) return;
    this.#list("<", ">", () => {
      const { text, token } = this.#name("the name of an attribute");
      if (node.attributes.has(text)) this.#lex.fail("an attribute that is not given yet", token);
      node.setAttribute(text, this.#attributeValue(`${seed}.${text}`));
    });
  }

  /** `: kind = value` or `= value`. */
  #attributeValue(seed: string): Attribute {
    const kind = this.#lex.accept(":") ? this.#attributeKind() : undefined;
    this.#lex.expect("=");
    const first = this.#lex.peek();
    if (!this.#lex.sees("[")) {
      const value = this.#single(seed, kind);
      if (value.kind === "reference") return kind ? { ...value, of: kind } : value;
      return kind && value.kind !== kind ? this.#lex.fail(`a value of kind ${kind}`, first) : value;
    }
    const element = kind && singular(kind);
    if (kind && element === undefined) this.#lex.fail(`a single value of kind ${kind}`, first);
    const items: Attribute[] = [];
    this.#list("[", "]", () => {
      const token = this.#lex.peek();
      const item = this.#single(`${seed}.${items.length}`, element);
      const want = element ?? items[0]?.kind;
      if (want && item.kind !== want) this.#lex.fail(`a value of kind ${want}`, token);
      items.push(item);
    });
    return (
      listOf(items, kind) ??
      this.#lex.fail(items.length === 0 ? 'a kind for the empty list, such as ": ints"' : "plain values in a list", first)
    );
  }

  #attributeKind(): AttributeKind {
    const token = this.#lex.next();
    const kind = ATTRIBUTE_KINDS.find((k) => k === token.text);
    return kind ?? this.#lex.fail(`an attribute kind (${ATTRIBUTE_KINDS.join(", ")})`, token);
  }

  #single(seed: string, kind: string | undefined): Attribute {
    if (this.#lex.accept("@")) return { kind: "reference", value: this.#name("the name of an attribute").text };
    const token = this.#lex.peek();
    const opensGraph = this.#lex.peek(1).kind === "mark" && this.#lex.peek(1).text === "(";
    if (token.kind === "string" && !opensGraph) return { kind: "string", value: this.#string() };
    if (token.kind === "int" && kind !== "float") return { kind: "int", value: this.#int() };
    if (isNumber(token) && !opensGraph) {
      this.#lex.next();
      return { kind: "float", value: Math.fround(numberOf(token.text) ?? this.#lex.fail("a number", token)) };
    }
    if (token.kind === "word" && dtypeOfName(token.text)) {
      const type = this.#type();
      if (!this.#lex.sees("=") && !this.#lex.sees("{")) this.#name('the name of a tensor, "=" or "{"');
      this.#lex.accept("=");
      return { kind: "tensor", value: this.#tensorOf(type, token, seed) };
    }
    if (token.kind === "string" || (token.kind === "word" && !startsType(token.text))) return { kind: "graph", value: this.#graph() };
    return this.#lex.fail("the value of an attribute");
  }

  /** The data after a tensor type; `seed` decides what `{...}` stands for. */
  #tensorOf(type: ValueType | undefined, token: Token, seed: string): Tensor {
    const dims = type?.kind === "tensor" ? type.shape : undefined;
    const known = dims?.filter((d) => typeof d === "number");
    if (type?.kind !== "tensor" || known === undefined || known.length !== dims?.length) {
      return this.#lex.fail("a tensor type with numbers for extents, such as float[2,3], before data", token);
    }
    return parseTensor(this.#lex, type.dtype, known, seed);
  }

  /** `type? name`. `token` is where it starts. */
  #declaration(): Declaration {
    const token = this.#lex.peek();
    const type = token.kind === "word" && startsType(token.text) ? this.#type() : undefined;
    const name = this.#name("the name of a value");
    return { text: name.text, token: name.token, type: type && named(type, name.text) };
  }

  #type(): ValueType {
    const word = this.#lex.next();
    const dtype = word.kind === "word" ? dtypeOfName(word.text) : undefined;
    if (dtype) return { kind: "tensor", dtype, shape: this.#shape() };
    if (word.kind !== "word" || !TYPE_CONSTRUCTORS.has(word.text)) this.#lex.fail("a type, such as float[N,3]", word);
    // Element types, key types and the names in opaque(domain, name) all print as they are read.
    const parts = this.#list("(", ")", () => {
      if (word.text === "opaque") return this.#dotted();
      return typeText(this.#type());
    });
    return { kind: "other", text: `${word.text}(${parts.join(", ")})` };
  }

  #dotted(): string {
    let text = this.#name("the name of an opaque type").text;
    while (this.#lex.accept(".")) text += `.${this.#name("the name of an opaque type").text}`;
    return text;
  }

  /** Nothing is a scalar, `[]` an unknown rank. */
  #shape(): readonly Dim[] | undefined {
    if (!this.#lex.sees("[")) return [];
    const dims = this.#list("[", "]", () => this.#dim());
    return dims.length === 0 ? undefined : dims;
  }

  #dim(): Dim {
    if (this.#lex.accept("?")) return OPEN;
    const token = this.#lex.peek();
    if (token.kind !== "int") return this.#name("an extent: a number, a name or ?").text;
    const extent = this.#int();
    return extent < 0 ? this.#lex.fail("an extent of at least 0", token) : extent;
  }

  /** A word or a string. */
  #name(expected: string): Name {
    const token = this.#lex.peek();
    if (token.kind !== "word" && token.kind !== "string") return this.#lex.fail(expected);
    this.#lex.next();
    return { text: token.kind === "word" ? token.text : unquote(token.text), token };
  }

  #string(): string {
    const token = this.#lex.next();
    return token.kind === "string" ? unquote(token.text) : this.#lex.fail('a string in "…"', token);
  }

  /** Saturated at ±2^53, as Attribute keeps integers. */
  #int(): number {
    const token = this.#lex.next();
    if (token.kind !== "int") return this.#lex.fail("an integer", token);
    return Math.min(Math.max(Number(token.text), -Number.MAX_SAFE_INTEGER), Number.MAX_SAFE_INTEGER);
  }

  #newValue(graph: Graph, { text, token }: Name, type: ValueType | undefined): Value {
    if (graph.value(text)) this.#lex.fail(`a name that graph "${graph.name}" does not define yet`, token);
    return new Value(text, type);
  }

  #resolve(name: string): Value | undefined {
    for (let i = this.#scopes.length - 1; i >= 0; i--) {
      const value = this.#scopes[i]?.value(name);
      if (value) return value;
    }
    return undefined;
  }

  /** `open item, item, … close`, possibly empty. */
  #list<T>(open: string, close: string, item: () => T): T[] {
    this.#lex.expect(open);
    const items: T[] = [];
    if (this.#lex.accept(close)) return items;
    do items.push(item());
    while (this.#lex.accept(","));
    if (!this.#lex.accept(close)) this.#lex.fail(`"," or "${close}"`);
    return items;
  }
}

/** The extent `?`, until the name of its value is known. */
const OPEN = "?";

function named(type: ValueType, name: string): ValueType {
  if (type.kind !== "tensor" || !type.shape?.includes(OPEN)) return type;
  return { ...type, shape: type.shape.map((d, axis) => (d === OPEN ? openDim(name, axis) : d)) };
}

function refuseMetadata(what: string): never {
  throw new ModelError("MODEL_TEXT_METADATA", `The text has ${what}, which a model read from text cannot keep.`, {
    hint: "Remove it from the text, or pass parse() an `ignored` callback to be told of it instead.",
  });
}

function isNumber(token: Token): boolean {
  return token.kind === "int" || token.kind === "float" || (token.kind === "word" && SPECIAL_FLOAT.test(token.text));
}

/** "int" for "ints"; undefined for a kind that is no list. */
function singular(kind: AttributeKind): string | undefined {
  return kind.endsWith("s") ? kind.slice(0, -1) : undefined;
}

/** Items of one kind as a list attribute; undefined for an empty list without `kind`, and for references. */
function listOf(items: readonly Attribute[], kind: AttributeKind | undefined): Attribute | undefined {
  const values = <K extends Attribute["kind"]>(k: K) =>
    items.flatMap((a) => (a.kind === k ? [a.value as Extract<Attribute, { kind: K }>["value"]] : []));
  switch (kind ?? `${items[0]?.kind}s`) {
    case "ints":
      return { kind: "ints", value: values("int") };
    case "floats":
      return { kind: "floats", value: values("float") };
    case "strings":
      return { kind: "strings", value: values("string") };
    case "tensors":
      return { kind: "tensors", value: values("tensor") };
    case "graphs":
      return { kind: "graphs", value: values("graph") };
    default:
      return undefined;
  }
}
