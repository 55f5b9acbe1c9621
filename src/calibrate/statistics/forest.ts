/**
 * Sums that do not depend on who added them up. Floating-point addition is not associative, so the order is fixed: chunks of
 * samples are the leaves of a binary tree, and a node is always (left + right) of its two children, whichever process, shard
 * or merge brings them together. What is held of an unfinished tree are the largest whole subtrees: at most 2·log₂ n of them.
 */

/** A subtree: leaves [index·2^level, (index + 1)·2^level). */
export interface Subtree<T> {
  readonly level: number;
  readonly index: number;
  readonly sum: T;
}

export class Forest<T> {
  readonly #combine: (left: T, right: T) => T;
  readonly #trees = new Map<string, Subtree<T>>();

  /** `combine` makes the sum of two neighbours, left and right; it must not change them. */
  constructor(combine: (left: T, right: T) => T, trees: Iterable<Subtree<T>> = []) {
    this.#combine = combine;
    for (const t of trees) this.add(t);
  }

  /** Adds a subtree none of whose leaves is here yet; pairs of siblings become their parent. */
  add(tree: Subtree<T>): void {
    let { level, index, sum } = tree;
    for (;;) {
      const sibling = this.#trees.get(key(level, index ^ 1));
      if (!sibling) break;
      this.#trees.delete(key(level, index ^ 1));
      sum = index & 1 ? this.#combine(sibling.sum, sum) : this.#combine(sum, sibling.sum);
      level++;
      index >>= 1;
    }
    this.#trees.set(key(level, index), { level, index, sum });
  }

  /** Whether leaf `index` is in one of the subtrees. */
  has(index: number): boolean {
    for (const t of this.#trees.values()) if (index >> t.level === t.index) return true;
    return false;
  }

  /** The subtrees from left to right: the same for the same leaves. */
  trees(): Subtree<T>[] {
    return [...this.#trees.values()].sort((a, b) => a.index * 2 ** a.level - b.index * 2 ** b.level);
  }

  /** The sum of all leaves, subtrees from left to right; undefined when there are none. */
  total(): T | undefined {
    let total: T | undefined;
    for (const { sum } of this.trees()) total = total === undefined ? sum : this.#combine(total, sum);
    return total;
  }
}

const key = (level: number, index: number): string => `${level}/${index}`;
