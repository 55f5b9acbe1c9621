/** Maximum flow, by Dinic's algorithm, on small dense networks with real capacities. */

/** Arcs in pairs: arc e and its reverse e ^ 1. */
export class Network {
  readonly #first: Int32Array;
  readonly #next: number[] = [];
  readonly #to: number[] = [];
  readonly #room: number[] = [];

  constructor(nodes: number) {
    this.#first = new Int32Array(nodes).fill(-1);
  }

  /** An arc with room `there` and, in the other direction, `back`. */
  connect(from: number, to: number, there: number, back = 0): void {
    this.#add(from, to, there);
    this.#add(to, from, back);
  }
  #add(from: number, to: number, room: number): void {
    this.#next.push(this.#first[from] as number);
    this.#first[from] = this.#to.length;
    this.#to.push(to);
    this.#room.push(room);
  }

  /** The value of a flow from `s` to `t`: at most that of every cut, and within rounding of the least. Uses the network up. */
  flow(s: number, t: number): number {
    const n = this.#first.length;
    const level = new Int32Array(n);
    const at = new Int32Array(n);
    const queue = new Int32Array(n);
    const largest = this.#room.reduce((m, x) => Math.max(m, x), 0);
    const tiny = 1e-12 * largest;

    const label = (): boolean => {
      level.fill(-1);
      level[s] = 0;
      queue[0] = s;
      for (let head = 0, tail = 1; head < tail; head++) {
        const v = queue[head] as number;
        for (let e = this.#first[v] as number; e >= 0; e = this.#next[e] as number) {
          const w = this.#to[e] as number;
          if ((level[w] as number) >= 0 || (this.#room[e] as number) <= tiny) continue;
          level[w] = (level[v] as number) + 1;
          queue[tail++] = w;
        }
      }
      return (level[t] as number) >= 0;
    };
    const push = (v: number, limit: number): number => {
      if (v === t) return limit;
      let sent = 0;
      for (; (at[v] as number) >= 0; at[v] = this.#next[at[v] as number] as number) {
        const e = at[v] as number;
        const w = this.#to[e] as number;
        const room = this.#room[e] as number;
        if (level[w] !== (level[v] as number) + 1 || room <= tiny) continue;
        const got = push(w, Math.min(limit - sent, room));
        if (got <= 0) continue;
        this.#room[e] = room - got;
        this.#room[e ^ 1] = (this.#room[e ^ 1] as number) + got;
        sent += got;
        if (limit - sent <= tiny) return sent;
      }
      return sent;
    };
    let total = 0;
    while (label()) {
      at.set(this.#first);
      const got = push(s, Number.POSITIVE_INFINITY);
      if (!(got > 0)) break;
      total += got;
    }
    return total;
  }
}
