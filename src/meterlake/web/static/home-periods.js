// Calendar arithmetic on plain dates ("2026-01-31"); no clock and no zone takes part in it.
// @ts-check
import { wall } from "./format.js";

/** @typedef {"day" | "week" | "month" | "year"} Kind */

const DAY_MS = 86_400_000;

/** @param {string} day */
const utc = (day) => new Date(`${day}T00:00:00Z`);

/** @param {Date} date */
const text = (date) => date.toISOString().slice(0, 10);

/**
 * The date `n` days after `day`.
 * @param {string} day
 * @param {number} n
 */
export function addDays(day, n) {
  return text(new Date(utc(day).getTime() + n * DAY_MS));
}

/**
 * Days from one date to another.
 * @param {string} from
 * @param {string} to
 */
export function daysBetween(from, to) {
  return Math.round((utc(to).getTime() - utc(from).getTime()) / DAY_MS);
}

/**
 * The period of a kind that holds a date: its first date, and the one after its last. A week is the seven days that
 * end with the date.
 * @param {Kind} kind
 * @param {string} day
 * @returns {[string, string]}
 */
export function periodOf(kind, day) {
  const [year, month] = day.split("-").map(Number);
  if (kind === "day") return [day, addDays(day, 1)];
  if (kind === "week") return [addDays(day, -6), addDays(day, 1)];
  if (kind === "month") return [text(new Date(Date.UTC(year, month - 1, 1))), text(new Date(Date.UTC(year, month, 1)))];
  return [`${year}-01-01`, `${year + 1}-01-01`];
}

/**
 * A date in the period after (or before) that of `day`.
 * @param {Kind} kind
 * @param {string} day
 * @param {1 | -1} way
 */
export function move(kind, day, way) {
  if (kind === "week") return addDays(day, 7 * way);
  const [from, to] = periodOf(kind, day);
  return way > 0 ? to : periodOf(kind, addDays(from, -1))[0];
}

/**
 * The period in words.
 * @param {Kind} kind
 * @param {[string, string]} period
 * @param {string} locale
 */
export function named(kind, [from, to], locale) {
  const told = (/** @type {Intl.DateTimeFormatOptions} */ options) =>
    new Intl.DateTimeFormat(locale, { timeZone: "UTC", ...options });
  if (kind === "day") return told({ weekday: "long", day: "numeric", month: "long", year: "numeric" }).format(utc(from));
  if (kind === "month") return told({ month: "long", year: "numeric" }).format(utc(from));
  if (kind === "year") return told({ year: "numeric" }).format(utc(from));
  return told({ day: "numeric", month: "short", year: "numeric" }).formatRange(utc(from), utc(addDays(to, -1)));
}

/**
 * A date in words, as short as its place in a period allows.
 * @param {Kind} kind
 * @param {string} day
 * @param {string} locale
 */
export function dayName(kind, day, locale) {
  /** @type {Intl.DateTimeFormatOptions} */
  const options =
    kind === "year" ? { month: "short" } : kind === "week" ? { weekday: "short", day: "numeric" } : { day: "numeric", month: "short" };
  return new Intl.DateTimeFormat(locale, { timeZone: "UTC", ...options }).format(utc(day));
}

/** The date that a clock in `zone` shows now. @param {string} zone */
export function dayIn(zone) {
  return wall(new Date().toISOString(), zone).slice(0, 10);
}
