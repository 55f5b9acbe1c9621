/**
 * Moves that keep balances: which cells lose how many channels in each move, so that all parts of every balance lose
 * equally many, whatever number of moves is taken.
 *
 * A balance says that its parts (the channels of each group of a convolution, the dims of each head) keep equally many.
 * Channels with the same duties in all balances are a *cell*. A layer between two grouped convolutions has cells that are
 * the crossings of their groups: rows and columns of a table whose sums must stay even. Taking the same share of every
 * cell always would; where shares are no whole numbers they are rounded, and that rounding exists (an integral flow
 * through the table), for the fractional one does.
 */

/** One part of one balance: how many positions a channel of each cell has there. */
export interface Part {
  /** Cell index -> positions per channel. */
  readonly times: ReadonlyMap<number, number>;
  /** Positions of the part, those that always stay included. */
  readonly extent: number;
}

/** Balances as lists of parts, over cells of the given sizes. */
export interface BalancedCells {
  readonly sizes: readonly number[];
  readonly balances: readonly (readonly Part[])[];
}

/** A step of the search that fixes one cell's loss counts as one; beyond this a move is given up. */
const MOST_STEPS = 20_000;

/**
 * For each cell how many of its channels have left after 0, 1, 2 … moves. As many moves as can be found, of at least one
 * channel each; the last takes all, where nothing is frozen. undefined where there is none but to take all at once.
 */
export function balancedMoves({ sizes, balances }: BalancedCells): readonly (readonly number[])[] | undefined {
  const losses = (part: Part) => [...part.times].reduce((n, [cell, times]) => n + times * (sizes[cell] as number), 0);
  const isEven = balances.every((parts) => parts.every((p) => losses(p) === losses(parts[0] as Part)));
  const whole = balances.map((parts) => (isEven ? losses(parts[0] as Part) : (parts[0] as Part).extent));
  const most = whole.reduce(gcd, 0);
  for (let moves = most; moves > 1; moves--) {
    if (most % moves !== 0) continue;
    const found = movesOf(
      sizes,
      balances,
      whole.map((n) => n / moves),
      moves,
      isEven,
    );
    if (found) return found;
  }
  return undefined;
}

function movesOf(
  sizes: readonly number[],
  balances: readonly (readonly Part[])[],
  perMove: readonly number[],
  moves: number,
  isEven: boolean,
): number[][] | undefined {
  const rows = balances.flatMap((parts, b) => parts.map(({ times }) => ({ times, target: perMove[b] as number })));
  const taken = sizes.map(() => [0]);
  for (let m = 0; m < moves; m++) {
    const left = sizes.map((n, c) => n - (taken[c] as number[])[m]!);
    // The share of what is left, rounded: then what is left after it can be shared as well.
    const low = left.map((n) => (isEven ? Math.floor(n / (moves - m)) : 0));
    const high = left.map((n) => (isEven ? Math.ceil(n / (moves - m)) : n));
    const loss = solve(low, high, rows);
    if (!loss) return isEven || m === 0 ? undefined : taken;
    loss.forEach((n, c) => {
      const t = taken[c] as number[];
      t.push((t[m] as number) + n);
    });
  }
  return taken;
}

interface Row {
  readonly times: ReadonlyMap<number, number>;
  readonly target: number;
}

/** Numbers between `low` and `high`, one per cell, with which every row sums to its target. */
function solve(low: readonly number[], high: readonly number[], rows: readonly Row[]): number[] | undefined {
  return flow(low, high, rows) ?? search(low, high, rows);
}

/**
 * Where every cell lies in just two rows, of two sides: augmenting paths from rows that lack to columns that lack.
 * undefined where the rows are not of that kind, or there is no solution.
 */
function flow(low: readonly number[], high: readonly number[], rows: readonly Row[]): number[] | undefined {
  const of: number[][] = low.map(() => []);
  for (const [r, { times }] of rows.entries()) {
    for (const [cell, n] of times) {
      if (n !== 1) return undefined;
      (of[cell] as number[]).push(r);
    }
  }
  if (of.some((r) => r.length !== 2)) return undefined;
  const side = sides(of, rows.length);
  if (!side) return undefined;
  const loss = [...low];
  const lack = rows.map(({ times, target }) => target - [...times.keys()].reduce((n, c) => n + (low[c] as number), 0));
  if (lack.some((n) => n < 0)) return undefined;
  const cells: number[][] = rows.map(() => []);
  of.forEach((r, c) => {
    for (const row of r) (cells[row] as number[]).push(c);
  });
  for (const start of rows.keys()) {
    while (side[start] === 0 && (lack[start] as number) > 0) {
      const via = new Map<number, number>();
      const queue = [start];
      let end = -1;
      for (let i = 0; i < queue.length && end < 0; i++) {
        const row = queue[i] as number;
        for (const c of cells[row] as number[]) {
          const next = (of[c] as number[]).find((r) => r !== row) as number;
          const grows = side[row] === 0;
          if (next === start || via.has(next) || (grows ? loss[c] === high[c] : loss[c] === low[c])) continue;
          via.set(next, c);
          queue.push(next);
          if (side[next] === 1 && (lack[next] as number) > 0) {
            end = next;
            break;
          }
        }
      }
      if (end < 0) return undefined;
      (lack[end] as number)--;
      (lack[start] as number)--;
      for (let row = end; row !== start; ) {
        const c = via.get(row) as number;
        loss[c] = (loss[c] as number) + (side[row] === 1 ? 1 : -1);
        row = (of[c] as number[]).find((r) => r !== row) as number;
      }
    }
  }
  return lack.every((n) => n === 0) ? loss : undefined;
}

/** Rows as two sides so that every cell joins one of each; undefined where there is no such order. */
function sides(of: readonly (readonly number[])[], count: number): number[] | undefined {
  const next: number[][] = Array.from({ length: count }, () => []);
  for (const [a, b] of of as readonly (readonly [number, number])[]) {
    (next[a] as number[]).push(b);
    (next[b] as number[]).push(a);
  }
  const side = new Array<number>(count).fill(-1);
  for (let root = 0; root < count; root++) {
    if (side[root] !== -1) continue;
    side[root] = 0;
    const stack = [root];
    while (stack.length > 0) {
      const r = stack.pop() as number;
      for (const n of next[r] as number[]) {
        if (side[n] === side[r]) return undefined;
        if (side[n] === -1) {
          side[n] = 1 - (side[r] as number);
          stack.push(n);
        }
      }
    }
  }
  return side;
}

/** Row by row with backtracking, for few cells or rows of any kind. */
function search(low: readonly number[], high: readonly number[], rows: readonly Row[]): number[] | undefined {
  const loss = [...low];
  const isFixed = low.map(() => false);
  let steps = 0;
  const lackOf = ({ times, target }: Row) => target - [...times].reduce((n, [c, k]) => n + k * (loss[c] as number), 0);
  const isOpen = (row: Row) => {
    const lack = lackOf(row);
    if (lack < 0) return false;
    const room = [...row.times].reduce((n, [c, k]) => n + (isFixed[c] ? 0 : k * ((high[c] as number) - (low[c] as number))), 0);
    return lack <= room;
  };
  const fill = (r: number): boolean => {
    const row = rows[r];
    if (!row) return true;
    const free = [...row.times].filter(([c]) => !isFixed[c]);
    for (const [c] of free) isFixed[c] = true;
    const choose = (i: number, lack: number): boolean => {
      if (++steps > MOST_STEPS) return false;
      const cell = free[i];
      if (!cell) return lack === 0 && rows.slice(r + 1).every(isOpen) && fill(r + 1);
      const [c, k] = cell;
      const room = (high[c] as number) - (low[c] as number);
      for (let n = Math.min(room, Math.floor(lack / k)); n >= 0; n--) {
        loss[c] = (low[c] as number) + n;
        if (choose(i + 1, lack - k * n)) return true;
      }
      loss[c] = low[c] as number;
      return false;
    };
    const lack = lackOf(row);
    if (lack >= 0 && choose(0, lack)) return true;
    for (const [c] of free) isFixed[c] = false;
    return false;
  };
  return fill(0) ? loss : undefined;
}

function gcd(a: number, b: number): number {
  return b === 0 ? a : gcd(b, a % b);
}
