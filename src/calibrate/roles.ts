/**
 * Who does what: samples that statistics are taken from never verify.
 *
 *   data and calibrate          as given; a record that is in both is refused (DATA_OVERLAP)
 *   data with splits            train calibrates, test (else val) verifies
 *   data of one split           divided: a class-balanced part calibrates, at most half; the rest verifies
 *   calibrate alone             nothing verifies
 *
 * Where nothing needs calibration, nothing is held back.
 */
import { ConfigError, DataError } from "../errors.js";
import type { Note } from "../graph/note.js";
import { kindOf } from "./file.js";
import { openPopulation, type Population, type WhereOf } from "./population.js";
import { choose, onceEach, type SampleOptions, type Samples, samplesOf } from "./samples.js";
import { checkCount } from "./select.js";
import { layoutOf } from "./splits.js";
import { parseWhere, type Where, whereText } from "./where.js";

export interface RoleOptions extends SampleOptions {
  /** Held-out samples, to verify and report with; `limit`, `balanced` and `shuffle` are about these. */
  readonly data?: WhereOf | undefined;
  /** What statistics are taken from. */
  readonly calibrate?: WhereOf | undefined;
  /** How many samples calibrate: equally many of every class where there are labels. Default 256. */
  readonly calibrateSamples?: number | undefined;
  /** Whether anything will look at activations: a criterion that needs "activations", "gradients" or "labels". */
  readonly needsCalibration: boolean;
}

export interface Roles {
  readonly calibration?: Samples;
  readonly data?: Samples;
  /** How the roles came about; also in the `notes` of the samples they are about. */
  readonly notes: readonly Note[];
}

const CALIBRATE_SAMPLES = 256;

/**
 * Opens samples for both roles. The choice is a function of the sources, the options and the seed.
 * @throws ConfigError DATA_OVERLAP when data and calibrate share records, DATA_TOO_FEW when there is nothing to divide; what
 *   openSamples throws.
 */
export async function openRoles(options: RoleOptions): Promise<Roles> {
  const { data, calibrate, needsCalibration } = options;
  checkCount(options.calibrateSamples ?? CALIBRATE_SAMPLES);
  const say = onceEach(options.onNote);
  const open = { ...options, onNote: say };
  if (!needsCalibration) {
    const unused: Note[] =
      calibrate === undefined
        ? []
        : [{ code: "CALIBRATE_UNUSED", about: "--calibrate", why: "no pass here looks at activations: nothing was calibrated" }];
    return result(undefined, data === undefined ? undefined : await held(await population(data, open), open, unused), unused, say);
  }
  if (calibrate !== undefined) return bothGiven(calibrate, data, open);
  if (data === undefined) return { notes: [] };
  const splits = await splitRoles(data);
  if (!splits) return divided(data, open);
  const why = `${textOf(data)} has splits: "train" calibrates, "${splits.verifies}" verifies`;
  const notes: Note[] = [{ code: "DATA_SPLITS", about: "--data", why }];
  const calibration = await calibrating(await population(splits.train, open), open);
  return result(calibration, await held(await population(splits.held, open), open, notes), notes, say);
}

/**
 * Samples to gather statistics from, where nothing is verified: those of train where there are splits; `calibrateSamples` of them,
 * balanced by class, or all.
 */
export async function openCalibration(where: WhereOf, options: SampleOptions & Pick<RoleOptions, "calibrateSamples">): Promise<Samples> {
  const from = await population(await trainingSplit(where), options);
  return options.calibrateSamples === undefined ? held(from, options) : calibrating(from, options);
}

async function bothGiven(calibrate: WhereOf, data: WhereOf | undefined, options: RoleOptions): Promise<Roles> {
  // Made-up data are of another stream than those of --data; nothing else here reads this seed.
  const from = await population(await trainingSplit(calibrate), { ...options, seed: (options.seed ?? 0) + 2 ** 16 });
  if (data === undefined) {
    const notes: Note[] = [
      { code: "NO_HELD_OUT", about: "accuracy", why: "only --calibrate was given: no samples are left to measure accuracy on" },
    ];
    return result(await calibrating(from, options, notes), undefined, notes, options.onNote);
  }
  const to = await population(data, options);
  await refuseOverlap(from, to);
  return result(await calibrating(from, options), await held(to, options), [], options.onNote);
}

/** One split in two parts. A class gives at most half of its samples (a single one to either), so that all are verified. */
async function divided(where: WhereOf, options: RoleOptions): Promise<Roles> {
  const { seed = 0, calibrateSamples = CALIBRATE_SAMPLES, skipBad = false, shuffle = false } = options;
  const whole = await population(where, options);
  const limit = Math.min(calibrateSamples, Math.floor(whole.count / 2));
  if (limit < 1) {
    throw new ConfigError("DATA_TOO_FEW", `${whole.text} selects ${whole.count} sample, which cannot both calibrate and verify.`, {
      hint: "Give more samples, or others to calibrate with (--calibrate).",
    });
  }
  const all = Array.from({ length: whole.count }, (_, k) => k);
  const even = whole.labels !== undefined;
  const chosen = choose(whole, all, { limit, balanced: even, seed, skipBad, shuffle }, (has) => Math.ceil(has / 2));
  const calibrates = new Set(chosen.taken);
  const rest = all.filter((k) => !calibrates.has(k));
  const kept = choose(whole, rest, options);
  const why = `${whole.text} is one split, so it is divided by --seed: ${calibrates.size} samples${even ? ", balanced by class," : ""} calibrate, the other ${rest.length} verify; --calibrate chooses`;
  const notes: Note[] = [{ code: "DATA_DIVIDED", about: "--data", why }];
  // Samples whose labels cannot be used are among the rest, which reports them.
  const calibration = await samplesOf(whole, { ...chosen, bad: [] }, options);
  const data = await samplesOf(whole, { ...kept, notes: [...notes, ...kept.notes] }, options);
  return result(calibration, data, notes, options.onNote);
}

function result(
  calibration: Samples | undefined,
  data: Samples | undefined,
  notes: readonly Note[],
  onNote: SampleOptions["onNote"],
): Roles {
  for (const { why } of notes) onNote?.(why);
  const all = [...notes, ...(calibration?.notes ?? []), ...(data?.notes ?? [])];
  return { ...(calibration ? { calibration } : {}), ...(data ? { data } : {}), notes: [...new Set(all)] };
}

function population(where: WhereOf, options: SampleOptions): Promise<Population> {
  return openPopulation(where, options, options.onNote ?? (() => undefined));
}

async function calibrating(
  from: Population,
  options: SampleOptions & Pick<RoleOptions, "calibrateSamples">,
  notes: readonly Note[] = [],
): Promise<Samples> {
  const { seed = 0, calibrateSamples = CALIBRATE_SAMPLES, skipBad = false, shuffle = false } = options;
  const all = Array.from({ length: from.count }, (_, k) => k);
  const chosen = choose(from, all, { limit: calibrateSamples, balanced: from.labels !== undefined, seed, skipBad, shuffle });
  return samplesOf(from, { ...chosen, notes: [...notes, ...chosen.notes] }, options);
}

async function held(to: Population, options: SampleOptions, notes: readonly Note[] = []): Promise<Samples> {
  const all = Array.from({ length: to.count }, (_, k) => k);
  const chosen = choose(to, all, options);
  return samplesOf(to, { ...chosen, notes: [...notes, ...chosen.notes] }, options);
}

/**
 * Judged on all that the two name, before limits: whether it is an error does not hang on a seed. The same picture in two files
 * is not noticed.
 */
async function refuseOverlap(calibrate: Population, data: Population): Promise<void> {
  const keys = new Set(await keysOf(calibrate));
  const verifying = await keysOf(data);
  const shared = verifying.flatMap((key, k) => (keys.has(key) ? [k] : []));
  if (shared.length === 0) return;
  throw new ConfigError(
    "DATA_OVERLAP",
    `${shared.length} of the ${data.count} samples of --data are in --calibrate too, the first: ${data.nameOf(shared[0] as number)}. What calibrates must not verify.`,
    {
      hint: "Give parts that do not overlap, e.g. --calibrate data[0:1000] --data data[1000:]; or --data alone, which is then divided.",
    },
  );
}

async function keysOf(of: Population): Promise<string[]> {
  const keys: string[] = [];
  for (let at = 0; at < of.count; at += 256) {
    keys.push(...(await Promise.all(Array.from({ length: Math.min(256, of.count - at) }, (_, k) => of.keyOf(at + k)))));
  }
  return keys;
}

/** The two roles as splits; undefined unless every source is a folder with train and test or val, and names no split. */
async function splitRoles(where: WhereOf): Promise<{ train: WhereOf; held: WhereOf; verifies: string } | undefined> {
  const found = new Map<string, { where: Where; splits: string[] }>();
  for (const [name, text] of Object.entries(typeof where === "string" ? { "": where } : where)) {
    const parsed = await parseWhere(text);
    found.set(name, { where: parsed, splits: await openSplits(parsed) });
  }
  const each = [...found.values()];
  const verifies = ["test", "val"].find((s) => each.every(({ splits }) => splits.includes(s)));
  if (verifies === undefined || !each.every(({ splits }) => splits.includes("train"))) return undefined;
  // A slice is about what verifies; all of train may calibrate.
  const train = (w: Where) => whereText({ ...w, split: "train", slice: undefined });
  const held = (w: Where) => whereText({ ...w, split: verifies });
  if (typeof where === "string")
    return { train: train((each[0] as { where: Where }).where), held: held((each[0] as { where: Where }).where), verifies };
  const map = (f: (w: Where) => string) => Object.fromEntries([...found].map(([name, { where }]) => [name, f(where)]));
  return { train: map(train), held: map(held), verifies };
}

/** The `where`, with train as the split of a folder that has splits and names none: what statistics are taken from. */
async function trainingSplit(where: WhereOf): Promise<WhereOf> {
  const one = async (text: string) => {
    const parsed = await parseWhere(text);
    return (await openSplits(parsed)).includes("train") ? whereText({ ...parsed, split: "train" }) : text;
  };
  if (typeof where === "string") return one(where);
  return Object.fromEntries(await Promise.all(Object.entries(where).map(async ([name, text]) => [name, await one(text)] as const)));
}

/** Splits of a folder of which none is named; none for anything else, and for what cannot be read: opening it says why. */
async function openSplits(where: Where): Promise<string[]> {
  if (where.reader === "random" || where.split !== undefined) return [];
  try {
    return (await kindOf(where.path)) === "folder" ? [...(await layoutOf(where)).splits.keys()] : [];
  } catch (error) {
    if (error instanceof DataError || error instanceof ConfigError) return [];
    throw error;
  }
}

function textOf(where: WhereOf): string {
  return typeof where === "string" ? where : Object.values(where).join(" ");
}
