/** Why an axis or an index is kept: the sentence, and the node that asked for it. */
export interface Reason {
  readonly text: string;
  readonly node?: string | undefined;
}
