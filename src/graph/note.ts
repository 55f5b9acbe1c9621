/** Something a user may want to know: why a thing was left alone, what stood in for what. */
export interface Note {
  /** Stable code, e.g. "NO_BATCH_NORM". */
  readonly code: string;
  /** Node, value, group or pass the note is about. */
  readonly about: string;
  readonly why: string;
}
