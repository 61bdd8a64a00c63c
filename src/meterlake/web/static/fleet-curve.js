// A day's load from the totals of the fleet: mean power by part of the day, and how much of it is in.
// @ts-check
import { ask } from "./ask.js";
import { wall } from "./format.js";

const HOUR_S = 3600;
const QUARTER_S = 900;
const TAIL_MS = 2 * HOUR_S * 1000;
/** Below this share of readings the sum is reckoned up to all, and drawn as such. */
export const MOST = 0.9;
/** Below this nothing can be said. */
const LEAST = 0.3;

/** A day later or earlier. @param {string} day @param {number} days */
export function moved(day, days) {
  const at = new Date(`${day}T12:00:00Z`);
  at.setUTCDate(at.getUTCDate() + days);
  return at.toISOString().slice(0, 10);
}

/** Today in a zone. @param {string} zone */
export const today = (zone) => wall(new Date().toISOString(), zone).slice(0, 10);

/** Totals of a time, as the API has them. @param {string} from @param {string} to @param {{zone: string, step: string}} how @param {AbortSignal} [signal] */
export async function totals(from, to, how, signal) {
  const asked = { from, to, zone: how.zone };
  try {
    return (await ask("/v1/fleet", { ...asked, step: how.step }, { signal })).values;
  } catch (error) {
    // some meters were read in longer intervals then
    if (how.step === "interval" || /** @type {any} */ (error).status !== 400) throw error;
    return (await ask("/v1/fleet", { ...asked, step: "interval" }, { signal })).values;
  }
}

/** Where a refreshed part of the totals begins. @param {string} zone */
export function tail(zone) {
  const at = new Date(Math.floor((Date.now() - TAIL_MS) / (HOUR_S * 1000)) * HOUR_S * 1000);
  return wall(at.toISOString(), zone).slice(0, 10) === today(zone) ? at.toISOString() : today(zone);
}

/**
 * The curve of a channel: by time of day the mean power (W, or L/h) and the share of readings that it rests on.
 * Where too few are there, it is reckoned up to all; an hour that a clock shows twice is one part.
 * @param {any[]} rows their starts are those of a clock in the zone of the page @param {string | null} channel
 */
export function curve(rows, channel) {
  const own = rows.filter((row) => row.channel === channel && row.seconds <= HOUR_S);
  const length = Math.max(QUARTER_S, ...own.map((row) => row.seconds));
  /** @type {Map<number, {amount: number, filled: number, expected: number, shifts: Set<string>}>} */
  const parts = new Map();
  for (const row of own) {
    const at = Math.floor(secondOf(row.start) / length) * length;
    const part = parts.get(at) ?? { amount: 0, filled: 0, expected: 0, shifts: new Set() };
    parts.set(at, part);
    part.amount += row.value ?? 0;
    part.filled += row.filled * row.seconds;
    part.expected += row.expected * row.seconds;
    part.shifts.add(row.start.slice(19));
  }
  const points = [...parts].sort(([a], [b]) => a - b).map(([at, part]) => {
    const share = part.expected ? part.filled / part.expected : 0;
    const watts = (part.amount * 1000 * HOUR_S) / (length * part.shifts.size);
    const meters = part.expected / (length * part.shifts.size);
    return { at, share, meters, watts: share < LEAST ? null : share < MOST ? watts / share : watts };
  });
  return { points, length };
}

/** Second of the day that a clock shows. @param {string} local ISO of its zone */
export const secondOf = (local) => Number(local.slice(11, 13)) * HOUR_S + Number(local.slice(14, 16)) * 60 + Number(local.slice(17, 19));

/** A second of the day as a chart takes it. @param {string} day @param {number} second */
export function onDay(day, second) {
  const two = (/** @type {number} */ n) => String(n).padStart(2, "0");
  return `${day}T${two(Math.floor(second / HOUR_S))}:${two(Math.floor((second % HOUR_S) / 60))}:${two(second % 60)}`;
}
