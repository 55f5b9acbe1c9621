// The tables of README.md, from results.json.

/** Relative error up to which a pruned net counts as equal to its oracle. */
const TOLERANCE = 1e-4;
const GOAL = 0.95;

export function tables(results, commit) {
  const exported = results.filter((r) => r.ok);
  return [
    `Measured at commit ${commit}.\n`,
    summary(results),
    failures(exported),
    times(exported),
    rest(exported),
    sideBySide(exported),
    ...libraries(exported).map(([library, nets]) => `### ${library}\n\n${netTable(nets)}`),
  ]
    .filter((part) => part !== "")
    .join("\n");
}

const best = (a) => (a?.ok ? (a.folded ?? a) : undefined);
const shareOf = (a) => (best(a) ? best(a).weights.prunable / (best(a).weights.all || 1) : 0);
const freeOf = (a) => (best(a) ? best(a).axes.free / (best(a).axes.all || 1) : 0);
const errorOf = (p) => Math.max(0, ...p.equality.map((e) => Number(e.maxRel)));
const driftOf = (p) => Math.max(0, ...p.equality.map((e) => Number(e.drift ?? 0)));
const wasSeen = (p) => p?.ok && driftOf(p) > 0;
const isEqual = (p) => wasSeen(p) && errorOf(p) <= TOLERANCE;
const isOther = (name) => name.includes("@");

function summary(results) {
  const rows = [
    ["torchvision, the 85 of Torch-Pruning's example", results.filter((r) => r.family === "torchvision" && !isOther(r.name))],
    ["torchvision, video and further families", results.filter((r) => r.family === "torchvision-more" && !isOther(r.name))],
    ["timm", results.filter((r) => r.family === "timm" && !isOther(r.name))],
    ["transformers", results.filter((r) => r.family === "transformers" && !isOther(r.name))],
    ["of these, the other exporter too", results.filter((r) => isOther(r.name))],
  ].filter(([, nets]) => nets.length > 0);
  return table(
    [
      "nets",
      "in the zoo",
      "exported",
      "analysed",
      `≥ ${100 * GOAL} % of weights`,
      "pruned at 0.5 MACs",
      "equal ≤ 1e-4",
      "not equal",
      "refused",
      "not run",
    ],
    rows.map(([title, nets]) => {
      const ok = nets.filter((n) => n.ok);
      const run = ok.filter((n) => n.prune);
      const done = run.filter((n) => n.prune.ok);
      const wrong = run.filter((n) => n.prune.code === "VERIFY_NOT_EQUAL" || (wasSeen(n.prune) && !isEqual(n.prune)));
      return [
        title,
        nets.length,
        ok.length,
        ok.filter((n) => n.analyse?.ok).length,
        ok.filter((n) => shareOf(n.analyse) >= GOAL).length,
        done.length,
        run.filter((n) => isEqual(n.prune)).length,
        wrong.length,
        run.length - done.length - wrong.filter((n) => !n.prune.ok).length,
        ok.length - run.length,
      ];
    }),
  );
}

function failures(results) {
  const failed = results.flatMap((r) => [
    ...(r.analyse && !r.analyse.ok ? [[r.name, "analysis", said(r.analyse)]] : []),
    ...(r.prune && !r.prune.ok ? [[r.name, "pruning", said(r.prune)]] : []),
    ...(r.prune?.ok && !wasSeen(r.prune) ? [[r.name, "proof", "the oracle gives what the whole net gives: nothing was seen"]] : []),
  ]);
  return failed.length === 0 ? "" : `### What did not go through\n\n${table(["net", "step", "what it said"], failed)}`;
}

function said({ code, error, message }) {
  return `${code ?? error}: ${String(message).replace(/\s+/g, " ").replaceAll("|", "\\|").slice(0, 240)}`;
}

function times(results) {
  const timed = results.filter((r) => r.time);
  if (timed.length === 0) return "";
  return `### Time from file to groups\n\nMedians of 5 fresh processes, in seconds of CPU (of the clock in brackets).\n\n${table(
    ["net", "onnx-prune", "Torch-Pruning, graph and groups", "groups, ours / theirs"],
    timed.map((r) => [
      r.name,
      `${r.time.cpuSeconds.toFixed(2)} (${r.time.seconds.toFixed(2)})`,
      r.rivalTime?.cpuSeconds === undefined
        ? (r.rivalTime?.why ?? "–")
        : `${r.rivalTime.cpuSeconds.toFixed(2)} (${r.rivalTime.seconds.toFixed(2)})`,
      `${r.time.groups} / ${r.rivalTime?.groups ?? "–"}`,
    ]),
  )}`;
}

/** Reasons of all nets together: the mean, over the nets, of the share of weights that they keep whole. */
function rest(results) {
  const analysed = results.filter((r) => r.analyse?.ok);
  const of = (pick, all) => {
    const reasons = new Map();
    for (const r of analysed) {
      const a = best(r.analyse);
      for (const { why, amount } of pick(a)) {
        const entry = reasons.get(why) ?? { why, sum: 0, nets: [] };
        const share = amount / (all(a) || 1);
        entry.sum += share;
        entry.nets.push([r.name, share]);
        reasons.set(why, entry);
      }
    }
    return [...reasons.values()]
      .sort((a, b) => b.sum - a.sum)
      .slice(0, 14)
      .map(({ why, sum, nets }) => {
        const [name, share] = nets.sort((a, b) => b[1] - a[1])[0];
        return [why.replaceAll("|", "/"), percent(sum / analysed.length), nets.length, `${name} ${percent(share)}`];
      });
  };
  const head = ["why", "mean share", "nets", "most in"];
  return [
    `### Weights of which nothing can leave, by the reasons of their two axes\n\n${table(
      head,
      of(
        (a) => a.rest,
        (a) => a.weights.all,
      ),
    )}`,
    `### Input and output axes of weights that are kept whole\n\nIn parameters, half of a weight for each of its two axes; axes of the net's own inputs and outputs left out.\n\n${table(
      head,
      of(
        (a) => a.wholeAxes,
        (a) => a.axes.all,
      ),
    )}`,
  ].join("\n");
}

function sideBySide(results) {
  const both = results.filter((r) => r.rival);
  if (both.length === 0) return "";
  const count = (verdict) => both.filter((r) => r.rival.verdict === verdict).length;
  const counted = ["equal", "wrong", "crash", "timeout", "nothing removed", "not judged"].map((v) => `${count(v)} ${v}`).join(", ");
  const ours = both.filter((r) => isEqual(r.prune)).length;
  return `### Torch-Pruning on the same nets\n\nOf ${both.length} nets: Torch-Pruning ${counted}; onnx-prune ${ours} equal.\n\n${table(
    ["net", "Torch-Pruning", "MACs left", "error", "onnx-prune", "MACs left", "error"],
    both.map((r) => [
      r.name,
      `${r.rival.verdict}${r.rival.why ? `: ${r.rival.why.replace(/\s+/g, " ").replaceAll("|", "\\|").slice(0, 110)}` : ""}`,
      r.rival.macs === undefined ? "–" : r.rival.macs.toFixed(2),
      r.rival.error === undefined ? "–" : r.rival.error.toExponential(0),
      isEqual(r.prune) ? "equal" : r.prune ? (r.prune.code ?? r.prune.error ?? "not seen") : "not run",
      r.prune?.ok ? r.prune.macs.toFixed(2) : "–",
      r.prune?.ok ? errorOf(r.prune).toExponential(0) : "–",
    ]),
  )}`;
}

function libraries(results) {
  const of = new Map();
  for (const r of results) of.set(r.family, [...(of.get(r.family) ?? []), r]);
  return [...of];
}

function netTable(nets) {
  return table(
    ["net", "export", "groups", "channels", "weights", "axes", "rest, mostly", "analysis", "MACs", "error", "drift"],
    nets.map((r) => {
      const a = best(r.analyse);
      const p = r.prune;
      return [
        `${r.name.replace(/^[^/]*\//, "")}${r.reduced ? ` (${r.reduced})` : ""}${r.analyse?.folded ? ", folded first" : ""}`,
        r.exporter,
        a?.groups ?? "–",
        a?.channels ?? "–",
        a ? percent(shareOf(r.analyse)) : "–",
        a ? percent(freeOf(r.analyse)) : "–",
        (a?.rest[0]?.amount ?? 0) > 0.0005 * (a?.weights.all ?? 0) ? a.rest[0].why.replaceAll("|", "/") : "",
        r.analyse?.ok ? `${r.analyse.cpuSeconds.toFixed(2)} s` : "–",
        p?.ok ? p.macs.toFixed(3) : (p?.code ?? p?.error ?? "–"),
        p?.ok ? errorOf(p).toExponential(1) : "–",
        p?.ok ? driftOf(p).toExponential(0) : "–",
      ];
    }),
  );
}

function percent(x) {
  return `${(100 * x).toFixed(1)} %`;
}

function table(head, rows) {
  const line = (cells) => `| ${cells.join(" | ")} |`;
  return `${[line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n")}\n`;
}
