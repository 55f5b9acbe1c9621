/** Clans: choices that came from one axis, however it was cut, exploded or merged since. A union-find over numbers. */
export class Clans {
  /** Clan 0 is that of composites, which are no choice themselves. */
  readonly #parent: number[] = [0];

  create(): number {
    this.#parent.push(this.#parent.length);
    return this.#parent.length - 1;
  }
  root(clan: number): number {
    let r = clan;
    while (this.#parent[r] !== r) r = this.#parent[r] as number;
    return r;
  }
  join(x: number, y: number): void {
    const p = this.root(x);
    const q = this.root(y);
    this.#parent[Math.max(p, q)] = Math.min(p, q);
    if (this.#switches.has(p) || this.#switches.has(q)) this.#switches.add(Math.min(p, q));
  }

  /** Clans whose choices switch whole rows of others: the groups of a convolution, heads. */
  readonly #switches = new Set<number>();
  markSwitch(clan: number): void {
    this.#switches.add(this.root(clan));
  }
  isSwitch(clan: number): boolean {
    return this.#switches.has(this.root(clan));
  }
}
