// Numbers and moments as people write them; times are always those of a named zone, never of the browser.
// @ts-check

const page = document.documentElement.dataset;
export const LOCALE = page.locale || navigator.language;
export const ZONE = page.zone || "UTC";

/** @type {Map<string, Intl.NumberFormat | Intl.DateTimeFormat>} */
const kept = new Map();

/** A zone as browsers name it: a fixed offset such as UTC+10:00 is +10:00. @param {string} zone */
export const clockOf = (zone) => {
  const fixed = /^\s*(?:UTC|GMT)?([+-])(\d{1,2}):?(\d\d)?\s*$/i.exec(zone);
  return fixed ? `${fixed[1]}${fixed[2].padStart(2, "0")}:${fixed[3] ?? "00"}` : zone;
};

/** @param {string} locale @param {Intl.DateTimeFormatOptions} told */
function dates(locale, told) {
  const options = told.timeZone ? { ...told, timeZone: clockOf(told.timeZone) } : told;
  const key = `d${locale}${JSON.stringify(options)}`;
  let made = /** @type {Intl.DateTimeFormat | undefined} */ (kept.get(key));
  if (!made) {
    made = new Intl.DateTimeFormat(locale, options);
    kept.set(key, made);
  }
  return made;
}

/**
 * A number with its unit.
 * @param {number | null | undefined} value @param {string} [unit] @param {string} [locale] @param {number} [digits] most decimals
 */
export function number(value, unit = "", locale = LOCALE, digits = 6) {
  if (value === null || value === undefined) return "–";
  const key = `n${locale}${digits}`;
  let made = /** @type {Intl.NumberFormat | undefined} */ (kept.get(key));
  if (!made) {
    made = new Intl.NumberFormat(locale, { maximumFractionDigits: digits });
    kept.set(key, made);
  }
  return unit ? `${made.format(value)}\u00a0${unit}` : made.format(value);
}

/** About three figures that count. @param {number | null | undefined} value @param {string} [unit] @param {string} [locale] */
export function short(value, unit = "", locale = LOCALE) {
  const size = Math.abs(value ?? 0);
  return number(value, unit, locale, size >= 100 ? 0 : size >= 10 ? 1 : 2);
}

/** A day. @param {string} iso @param {string} [zone] @param {string} [locale] */
export function day(iso, zone = ZONE, locale = LOCALE) {
  return dates(locale, { timeZone: zone, day: "numeric", month: "short", year: "numeric" }).format(new Date(iso));
}

/** A time of day. @param {string} iso @param {string} [zone] @param {string} [locale] */
export function clock(iso, zone = ZONE, locale = LOCALE) {
  return dates(locale, { timeZone: zone, hour: "2-digit", minute: "2-digit" }).format(new Date(iso));
}

/** Day and time of day. @param {string} iso @param {string} [zone] @param {string} [locale] */
export function moment(iso, zone = ZONE, locale = LOCALE) {
  return `${day(iso, zone, locale)}, ${clock(iso, zone, locale)}`;
}

/** How a zone is called at a moment, such as BST. @param {string} zone @param {string} [at] @param {string} [locale] */
export function zoneLabel(zone, at = new Date().toISOString(), locale = LOCALE) {
  const parts = dates(locale, { timeZone: zone, timeZoneName: "short" }).formatToParts(new Date(at));
  return parts.find((part) => part.type === "timeZoneName")?.value ?? zone;
}

/**
 * What a clock in `zone` shows at a moment, as a chart takes it: ISO without an offset.
 * @param {string} iso @param {string} [zone]
 */
export function wall(iso, zone = ZONE) {
  const options = /** @type {Intl.DateTimeFormatOptions} */ ({
    timeZone: zone, year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23",
  });
  const parts = Object.fromEntries(dates("en-CA", options).formatToParts(new Date(iso)).map((part) => [part.type, part.value]));
  return `${parts.year}-${parts.month}-${parts.day}T${parts.hour}:${parts.minute}:${parts.second}`;
}

/** A length of time in plain words. @param {number} seconds */
export function span(seconds) {
  const units = /** @type {[number, string][]} */ ([[86_400, "day"], [3600, "hour"], [60, "minute"], [1, "second"]]);
  const [size, name] = units.find(([one]) => seconds >= one) ?? [1, "second"];
  const count = Math.floor(seconds / size);
  return `${number(count)} ${name}${count === 1 ? "" : "s"}`;
}
