/** A whole model file: the main graph, and what stands around it. */
import type { Attribute } from "./attribute.js";
import type { Graph, Origin } from "./graph.js";

/** A local function: a body whose formal parameters are names; node attributes may refer to its attributes. */
export interface LocalFunction {
  readonly domain: string;
  readonly name: string;
  readonly overload: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: readonly string[];
  /** Values that attributes have where a call gives none. Written from `origin` only. */
  readonly defaults: ReadonlyMap<string, Attribute>;
  readonly opsets: ReadonlyMap<string, number>;
  readonly body: Graph;
  readonly origin: Origin;
}

/** A whole file: the main graph and what stands around it. */
export class Model {
  graph: Graph;
  irVersion = 8;
  /** domain ("" for ai.onnx) -> opset version */
  readonly opsets = new Map<string, number>();
  readonly functions: LocalFunction[] = [];
  producerName = "";
  producerVersion = "";
  /** ModelProto this was decoded from: metadata, training info, configuration, unknown fields. */
  origin: Origin;
  /** Sha-256 (hex) of the file this model was read from. */
  sha256: string | undefined;
  /** True when the input kept tensors in external files: the output then does too. */
  usesExternalData = false;

  constructor(graph: Graph) {
    this.graph = graph;
  }
  /** Version of the default domain. */
  get opset(): number {
    return this.opsets.get("") ?? 1;
  }
}
