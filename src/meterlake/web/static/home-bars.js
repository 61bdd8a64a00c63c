// What a period and the one before it look like as bars: pure functions from answers to traces.
// @ts-check
import { token } from "./chart.js";
import { clock, short, zoneLabel } from "./format.js";
import { dayName } from "./home-periods.js";

/**
 * @typedef {{start: string, seconds: number, value: number | null, quality?: string, filled?: number,
 *   expected?: number, estimated?: number}} Value
 * @typedef {{unit: string, values: Value[], passport: any}} Listing
 * @typedef {{key: number, label: string, start: string, seconds: number, value: number | null,
 *   estimated: number, missing: number, running: boolean}} Bar
 */

const ESTIMATES = new Set(["derived", "estimated", "projected"]);
/** Share of the room of a bar that each of two beside each other takes. */
const HALF = 0.42;
/** Bars beyond so many are drawn without one of the period before beside each: that is a line. */
const MANY = 40;

/** A colour, written #rrggbb, that what is behind it shines through. @param {string} color @param {number} share */
export function faded(color, share) {
  const parts = [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
  return parts.some(Number.isNaN) ? color : `rgba(${parts.join(",")},${share})`;
}

/** Whether its time is not over yet. @param {Value} value */
const running = (value) => Date.parse(value.start) + value.seconds * 1000 > Date.now();

/**
 * Bars of a listing; `key` says which bars of two periods belong together: seconds since the start of a day, or
 * the place in the period.
 * @param {Listing | null} listing
 * @param {import("./home-periods.js").Kind} kind
 * @param {string} zone
 * @param {string} locale
 * @returns {Bar[]}
 */
export function barsOf(listing, kind, zone, locale) {
  if (!listing || !listing.values.length) return [];
  const first = Date.parse(listing.values[0].start);
  return listing.values.map((value, at) => {
    const filled = value.filled ?? (value.value === null ? 0 : 1);
    const guessed = value.estimated ?? (ESTIMATES.has(value.quality ?? "") ? 1 : 0);
    const expected = Math.max(value.expected ?? 1, filled);
    return {
      key: kind === "day" ? (Date.parse(value.start) - first) / 1000 : at,
      label: kind === "day" ? clock(value.start, zone) : dayName(kind, value.start.slice(0, 10), locale),
      start: value.start,
      seconds: value.seconds,
      value: value.value,
      estimated: filled ? guessed / filled : 0,
      missing: expected && !running(value) ? (expected - filled) / expected : 0,
      running: running(value),
    };
  });
}

/**
 * Bars up to the last that has a value; what comes after is still to come and not missing.
 * @param {Bar[]} bars
 */
export function untilNow(bars) {
  let last = bars.length;
  while (last && bars[last - 1].value === null) last -= 1;
  return bars.slice(0, last);
}

/**
 * Sum of the values that there are; null where there is none.
 * @param {Bar[]} bars
 */
export function sum(bars) {
  const known = bars.filter((bar) => bar.value !== null);
  return known.length ? known.reduce((total, bar) => total + Number(bar.value), 0) : null;
}

/**
 * A name for each key, no two of them alike: an hour that a clock shows twice says by which.
 * @param {Bar[][]} many
 * @param {string} zone
 * @param {string} locale
 */
export function labelsOf(many, zone, locale) {
  /** @type {Map<number, Bar>} */
  const bars = new Map();
  for (const bar of many.flat()) if (!bars.has(bar.key)) bars.set(bar.key, bar);
  /** @type {Map<string, number>} */
  const times = new Map();
  for (const bar of bars.values()) times.set(bar.label, (times.get(bar.label) ?? 0) + 1);
  /** @type {Map<number, string>} */
  const labels = new Map();
  for (const bar of [...bars.values()].sort((one, other) => one.key - other.key)) {
    const doubled = (times.get(bar.label) ?? 0) > 1;
    labels.set(bar.key, doubled ? `${bar.label} ${zoneLabel(zone, bar.start, locale)}` : bar.label);
  }
  return labels;
}

/**
 * Traces of a period: what was taken in, above the axis; what was given out, below; the period before beside it.
 * @param {{axis: Bar[], now: Bar[], out: Bar[], before: Bar[], outBefore: Bar[]}} bars what is still to come is in `axis` alone
 * @param {{unit: string, color: string, zone: string, locale: string, names: {now: string, before: string}}} told
 */
export function tracesOf(bars, told) {
  const labels = labelsOf([bars.axis, bars.before, bars.outBefore], told.zone, told.locale);
  const x = (/** @type {Bar[]} */ some) => some.map((bar) => labels.get(bar.key));
  const many = labels.size > MANY;
  const paired = bars.before.some((bar) => bar.value !== null) && !many;
  const top = Math.max(0, ...[...bars.now, ...bars.before].map((bar) => Number(bar.value ?? 0))) || 1;
  const traces = [];
  const gaps = bars.now.filter((bar) => bar.missing > 0);
  if (gaps.length) traces.push(missing(gaps, x(gaps), top));
  const beside = { ...told, x, many, paired };
  if (bars.before.length) traces.push(before(bars.before, 1, told.names.before, beside));
  if (bars.outBefore.length) traces.push(before(bars.outBefore, -1, `${told.names.before}, exported`, beside));
  traces.push(current(bars.now, 1, told.names.now, told.color, beside));
  if (bars.out.length) traces.push(current(bars.out, -1, `${told.names.now}, exported`, "--export", beside));
  return { traces, order: [...labels.values()], many };
}

/** A band over the height of the chart; it has no values, so it is not in the table. @param {Bar[]} gaps @param {any[]} x @param {number} top */
function missing(gaps, x, top) {
  return {
    type: "bar", orientation: "v", name: "Missing", x, y0: top, dy: top * 1e-9, width: 1, showlegend: false,
    marker: {
      color: "rgba(0,0,0,0)", line: { width: 0 },
      pattern: {
        shape: "x", size: 7, fgcolor: token("--missing"), bgcolor: "rgba(0,0,0,0)", fillmode: "replace",
        solidity: gaps.map((bar) => 0.08 + 0.2 * bar.missing),
      },
    },
    customdata: gaps.map((bar) => `${bar.label}: ${bar.missing < 1 ? `${Math.round(bar.missing * 100)} % ` : ""}missing`),
    hovertemplate: "%{customdata}<extra></extra>",
  };
}

/** @param {Bar} bar @param {string} name @param {any} told */
function said(bar, name, told) {
  const parts = [`${name}<br>${bar.label}: ${bar.value === null ? "nothing" : short(bar.value, told.unit, told.locale)}`];
  if (bar.estimated > 0) parts.push(bar.estimated < 1 ? `${Math.ceil(bar.estimated * 100)} % of it estimated` : "estimated");
  if (bar.value !== null && bar.missing > 0) parts.push(`${Math.ceil(bar.missing * 100)} % missing`);
  return parts.join("<br>");
}

/** @param {Bar[]} bars @param {number} sign @param {string} name @param {string} color @param {any} told */
function current(bars, sign, name, color, told) {
  return {
    type: "bar", name, x: told.x(bars), y: bars.map((bar) => (bar.value === null ? null : sign * bar.value)),
    ...(told.paired ? { offset: 0, width: HALF } : { width: told.many ? 1 : 2 * HALF }),
    marker: {
      color: token(color), line: { width: 0 },
      pattern: {
        shape: bars.map((bar) => (bar.estimated > 0 ? "/" : "")), size: 6, fillmode: "overlay",
        fgcolor: token("--surface"), fgopacity: 1, solidity: bars.map((bar) => 0.25 + 0.25 * bar.estimated),
      },
    },
    customdata: bars.map((bar) => said(bar, name, told)), hovertemplate: "%{customdata}<extra></extra>",
  };
}

/** @param {Bar[]} bars @param {number} sign @param {string} name @param {any} told */
function before(bars, sign, name, told) {
  const y = bars.map((bar) => (bar.value === null ? null : sign * bar.value));
  const shared = {
    name, x: told.x(bars), y, customdata: bars.map((bar) => said(bar, name, told)),
    hovertemplate: "%{customdata}<extra></extra>",
  };
  if (told.many) {
    return { ...shared, type: "scatter", mode: "lines", line: { color: token("--muted"), width: 1.25, shape: "hvh" }, connectgaps: false };
  }
  return { ...shared, type: "bar", offset: -HALF, width: HALF, marker: { color: token("--muted"), opacity: 0.38, line: { width: 0 } } };
}
