// The load of today beside that of yesterday and of the same day last week, and what flows right now.
// @ts-check
import { chart, plotly, token } from "./chart.js";
import { MOST, curve, moved, onDay, secondOf, tail, today, totals } from "./fleet-curve.js";
import { choice, flow, named, scaleOf, sorted } from "./fleet-flow.js";
import { follow } from "./follow.js";
import { clock, number, short, wall } from "./format.js";
import { widget } from "./widget.js";

const AGAIN_MS = 60_000;
const FRESH_MS = 3_600_000;
const QUIET_MS = 120_000;
const HALF = 0.5;
const BEAT_MS = 1000;
/** @type {WeakMap<any[], any>} */
const kept = new WeakMap();

/** @param {HTMLElement} section @param {string} zone */
export function load(section, zone) {
  const find = (/** @type {string} */ role) => /** @type {HTMLElement} */ (section.querySelector(`[data-role="${role}"]`));
  const how = { zone, step: section.dataset.step ?? "interval" };
  const state = { channel: /** @type {string | null} */ (null), day: "", days: /** @type {any[][]} */ ([]), live: /** @type {any[]} */ ([]) };
  /** @type {((channel: string | null) => void)[]} */
  const listeners = [];
  /** @type {any} */
  let plot = null;
  let asking = false;
  let drawnAt = 0;

  const shown = widget(find("chart"), {
    load: async (signal) => {
      state.day = today(zone);
      asking = true;
      state.days = await Promise.all([0, -1, -7].map((days) => {
        const day = moved(state.day, days);
        return totals(day, days ? moved(day, 1) : new Date().toISOString(), how, signal);
      })).finally(() => (asking = false));
      if (!known().length) tell(null);
      return state;
    },
    isEmpty: () => !known().length,
    emptyText: "Nothing was read yet in this week. The curve begins with the first quarter of an hour.",
    draw: async (_, body) => {
      choose(state.channel && known().includes(state.channel) ? state.channel : known()[0], false);
      const { layout, label } = made();
      plot = await chart(body, traces, layout, { label, zone });
    },
  });

  const tell = (/** @type {string | null} */ channel) => listeners.forEach((listener) => listener(channel));
  const known = () => sorted(state.days.flat().filter((row) => row.value !== null).map((row) => row.channel));

  /** @param {string} channel @param {boolean} [draw] */
  function choose(channel, draw = true) {
    state.channel = channel;
    choice(find("channels"), known(), channel, choose);
    now();
    tell(channel);
    if (draw) redraw();
  }

  const made = () => drawn(state, zone);
  const traces = () => made().traces;

  function redraw() {
    if (plot && known().length) plot.update(traces, made().layout);
  }

  function now() {
    const found = state.channel ? flowing(state) : null;
    const text = found && state.channel ? `${flow(found.watts, state.channel)} ${when(found, zone)}` : "";
    if (find("now").textContent !== text) find("now").textContent = text;
  }

  async function again() {
    if (document.hidden || asking) return;
    if (today(zone) !== state.day || !plot) {
      shown.refresh();
      return;
    }
    asking = true;
    try {
      const from = tail(zone);
      const fresh = await totals(from, new Date().toISOString(), how);
      const since = Date.parse(fresh[0]?.start ?? from);
      const begin = from.length > 10 ? Date.parse(from) : since;
      state.days[0] = [...state.days[0].filter((row) => Date.parse(row.start) < begin), ...fresh];
      redraw();
    } catch {
      // the curve stays as it is; the next minute tries again
    } finally {
      asking = false;
    }
  }

  follow("/v1/live/fleet/events", {}, {
    onState: (data) => {
      state.live = data.values;
      now();
      if (Date.now() - drawnAt < BEAT_MS) return;
      drawnAt = Date.now();
      redraw();
    },
  });
  plotly().catch(() => {}); // it is on its way while the totals are asked for; the chart says where it fails
  setInterval(again, AGAIN_MS);
  shown.refresh();
  return (/** @type {(channel: string | null) => void} */ listener) => {
    listeners.push(listener);
    listener(state.channel);
  };
}

/** Curves of the channel that is shown, worked out once for the same rows. @param {any} state */
function curves(state) {
  return state.days.map((/** @type {any[]} */ rows) => {
    let made = kept.get(rows);
    if (made?.channel !== state.channel) {
      made = { channel: state.channel, ...curve(rows, state.channel) };
      kept.set(rows, made);
    }
    return made;
  });
}

/**
 * What flows now in the channel that is shown; null where nothing came for an hour. Where not all meters sent
 * something in that hour it is reckoned up to all, unless they are too few.
 * @param {any} state
 */
function flowing(state) {
  const own = state.live.filter((/** @type {any} */ row) => row.channel === state.channel && row.meters && Date.now() - Date.parse(row.newest) < FRESH_MS);
  if (!own.length) return null;
  const sum = (/** @type {string} */ name) => own.reduce((/** @type {number} */ total, /** @type {any} */ row) => total + row[name], 0);
  const known = curves(state).map((one) => one.points.at(-1)?.meters ?? 0);
  const [sent, all] = [sum("meters"), Math.round(Math.max(...known))];
  const few = sent < all * HALF;
  const ends = own.map((/** @type {any} */ row) => Date.parse(row.newest) + row.seconds * 1000);
  const late = Date.now() - Math.max(...ends) > Math.max(QUIET_MS, 3000 * Math.min(...own.map((/** @type {any} */ row) => row.seconds)));
  const watts = all && !few ? (sum("power_w") * all) / sent : sum("power_w");
  return { watts, few, sent, all, at: late ? new Date(Math.max(...ends)).toISOString() : null };
}

/** @param {any} found what flows @param {string} zone */
function when(found, zone) {
  const who = found.few ? `, from ${number(found.sent)} of ${number(found.all)} meters` : "";
  return (found.at ? `at ${clock(found.at, zone)}` : "now") + who;
}

/** @param {any} state @param {string} zone */
function drawn(state, zone) {
  const { channel, day } = state;
  const [own, yesterday, week] = curves(state);
  const at = secondOf(wall(new Date().toISOString(), zone));
  const over = own.points.filter((/** @type {any} */ point) => point.at + own.length <= at);
  const live = flowing(state);
  const dotted = live !== null && !live.few && live.at === null;
  const every = [over, yesterday.points, week.points].flat().map((point) => point.watts ?? 0);
  const [size, unit] = scaleOf(Math.max(dotted ? live.watts : 0, ...every), channel);
  const told = { day, size, unit, zone };
  const traces = [
    line("The same day last week", week, told, { color: token("--muted"), width: 1.6, dash: "dot" }),
    line("Yesterday", yesterday, told, { color: token("--electricity"), width: 1.8, dash: "dash" }),
    line("Today", { ...own, points: over }, told, { color: token("--accent"), width: 3 }),
    partly({ ...own, points: over }, told),
  ];
  if (dotted) traces.push(...dot(live.watts, at, over.length ? { ...over[over.length - 1], length: own.length } : null, told));
  const layout = {
    showlegend: false, hovermode: "x unified",
    xaxis: { type: "date", range: [`${day}T00:00:00`, `${day}T23:59:59`], tickformat: "%H:%M", hoverformat: "%H:%M", dtick: narrow() ? 6 * 3_600_000 : 3 * 3_600_000, fixedrange: true },
    yaxis: { title: { text: unit }, rangemode: "tozero", fixedrange: true },
  };
  return { traces, layout, label: `Mean load of ${named(channel)} in ${unit}, today, yesterday and on the same day last week` };
}

const narrow = () => matchMedia("(max-width: 600px)").matches;

/** A line at the middle of the parts of the day. */
function line(/** @type {string} */ name, /** @type {any} */ { points, length }, /** @type {any} */ told, /** @type {any} */ stroke) {
  return {
    type: "scatter", mode: "lines", name, line: { shape: "spline", smoothing: 0.5, ...stroke }, connectgaps: false,
    x: points.map((/** @type {any} */ point) => onDay(told.day, point.at + length / 2)),
    y: points.map((/** @type {any} */ point) => (point.watts === null ? null : point.watts / told.size)),
    customdata: points.map((/** @type {any} */ point) => words(point, told)),
    hovertemplate: `%{customdata}<extra>${name}</extra>`,
  };
}

/** @param {any} point @param {any} told */
function words(point, told) {
  if (point.watts === null) return "too few readings";
  const value = short(point.watts / told.size, told.unit);
  return point.share < MOST ? `${value}, from ${Math.floor(point.share * 100)} % of the readings` : value;
}

/** What rests on a part of the readings is ringed. */
function partly(/** @type {any} */ { points, length }, /** @type {any} */ told) {
  const some = points.filter((/** @type {any} */ point) => point.watts !== null && point.share < MOST);
  return {
    type: "scatter", mode: "markers", name: "Today, from a part of the readings", hoverinfo: "skip",
    x: some.map((/** @type {any} */ point) => onDay(told.day, point.at + length / 2)),
    y: some.map((/** @type {any} */ point) => point.watts / told.size),
    marker: { symbol: "circle-open", size: 8, color: token("--accent"), line: { width: 2, color: token("--accent") } },
  };
}

/** What flows now, and the way to it. @param {number} watts @param {number} at @param {any} last @param {any} told */
function dot(watts, at, last, told) {
  const [x, y] = [onDay(told.day, at), watts / told.size];
  const now = {
    type: "scatter", mode: "markers", name: "Now", x: [x], y: [y],
    marker: { size: 12, color: token("--accent"), line: { width: 3, color: token("--surface") } },
    customdata: [`${short(y, told.unit)} at ${clock(new Date().toISOString(), told.zone)}`],
    hovertemplate: "%{customdata}<extra>Now</extra>",
  };
  if (!last || last.watts === null) return [now];
  const way = {
    type: "scatter", mode: "lines", name: "Since then", hoverinfo: "skip", line: { color: token("--accent"), width: 2, dash: "dot" },
    x: [onDay(told.day, last.at + last.length / 2), x], y: [last.watts / told.size, y],
  };
  return [way, now];
}
