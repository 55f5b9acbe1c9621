/** The tables of the zoo's README, from results. */
export function tables(results) {
  return `${results.length} nets\n`;
}
