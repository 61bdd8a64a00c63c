// What flows now: the cards, and the last hour as a curve that moves with each reading.
// @ts-check
import { ask } from "./ask.js";
import { chart, token } from "./chart.js";
import { follow } from "./follow.js";
import { clock, short, wall } from "./format.js";
import { dayIn, periodOf } from "./home-periods.js";
import { money } from "./home-money.js";
import { widget } from "./widget.js";

/**
 * @typedef {{channel: string, start: string, seconds: number, value: number, quality: string, unit: string}} Slot
 * @typedef {{id: string, zone: string, locale: string, utilities: string[],
 *   units: Record<string, string>}} Told
 */

const HOUR_S = 3600;
const DAY_S = 86_400;
/** Of intervals too long for an hour to show anything, so many are shown. */
const AT_LEAST = 12;
/** After so many of its intervals (and never before FRESH_S) the newest reading is not now any more. */
const FRESH = 3;
const FRESH_S = 120;
const COST_MS = 5_000;
const TICK_MS = 5_000;
const PARTS = { kWh: ["kW", "W", 1], "m³": ["m³/h", "L/h", 1] };

/** What flows in an hour: the number and its unit. @param {number} value @param {number} seconds @param {string} unit */
export function rate(value, seconds, unit) {
  const hourly = (value * HOUR_S) / seconds;
  const [large, small, least] = /** @type {any} */ (PARTS)[unit] ?? [`${unit}/h`, `${unit}/h`, 0];
  return Math.abs(hourly) < least ? { value: hourly * 1000, unit: small } : { value: hourly, unit: large };
}

/** A colour, written #rrggbb, that what is behind it shines through. @param {string} color @param {number} share */
function faded(color, share) {
  const parts = [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
  return parts.some(Number.isNaN) ? color : `rgba(${parts.join(",")},${share})`;
}

/** @param {string} channel */
const utilityOf = (channel) => channel.split(".")[0];

/** @param {HTMLElement} section the card of the live curve @param {HTMLElement} cards @param {Told} told */
export function now(section, cards, told) {
  const path = `/v1/live/service-points/${encodeURIComponent(told.id)}`;
  const state = { utility: told.utilities[0], seconds: HOUR_S };
  const find = (/** @type {string} */ name) => /** @type {HTMLElement} */ (section.querySelector(`[data-role="${name}"]`));
  /** @type {any} */
  let latest = null;
  /** @type {any} */
  let plot = null;
  let asked = 0;
  /** @type {() => void} */
  let stop = () => {};

  const curve = widget(find("chart"), {
    load: async (/** @type {AbortSignal} */ signal) => {
      if (asked !== state.seconds) latest = null;
      asked = state.seconds;
      return latest ?? ask(path, { seconds: state.seconds }, { signal });
    },
    isEmpty: (/** @type {any} */ data) => !slotsOf(data, state.utility).length,
    emptyText: "No reading came in lately. The curve starts with the next one.",
    draw: async (/** @type {any} */ data, /** @type {HTMLElement} */ body) => {
      latest = data;
      const { layout, label } = curveOf(data, state, told);
      plot = await chart(body, () => curveOf(latest, state, told).traces, layout, { label, zone: told.zone });
    },
  });

  async function moved() {
    const empty = !slotsOf(latest, state.utility).length;
    if (plot && !empty) {
      await plot.update(() => curveOf(latest, state, told).traces, curveOf(latest, state, told).layout);
    } else if (!empty) await curve.refresh();
    title();
  }

  function title() {
    const hours = state.seconds / HOUR_S;
    find("title").textContent = hours === 1 ? "The last hour" : `The last ${hours} hours`;
  }

  /** Look back as far as intervals of such a length need; whether that has changed. @param {any} data */
  function reach(data) {
    const own = data.values.filter((/** @type {any} */ row) => utilityOf(row.channel) === state.utility);
    const longest = Math.max(0, ...own.map((/** @type {any} */ row) => row.seconds));
    const wanted = Math.min(DAY_S, Math.max(HOUR_S, longest * AT_LEAST));
    const changed = wanted !== state.seconds && longest > 0;
    if (changed) state.seconds = wanted;
    return changed;
  }

  const costs = throttled(() => cost(cards, told), COST_MS);

  function listen() {
    stop();
    stop = follow(`${path}/events`, { seconds: state.seconds }, {
      onState: (/** @type {any} */ data) => {
        latest = data;
        cardsOf(cards, data, told);
        if (reach(data)) listen();
        else moved();
        costs();
      },
      onStatus: (/** @type {string} */ status) => chip(find("status"), status),
    });
  }

  section.addEventListener("click", (event) => {
    const button = /** @type {HTMLElement} */ (event.target).closest("[data-utility]");
    if (!button) return;
    state.utility = button.getAttribute("data-utility") ?? state.utility;
    for (const one of section.querySelectorAll("[data-utility]")) one.setAttribute("aria-pressed", String(one === button));
    if (latest && reach(latest)) listen();
    title();
    curve.refresh();
  });
  setInterval(() => {
    if (document.hidden || !latest) return;
    cardsOf(cards, latest, told);
    if (plot) moved();
  }, TICK_MS);
  curve.refresh();
  listen();
  costs();
}

/** @param {HTMLElement} place @param {string} status */
function chip(place, status) {
  const words = { live: "Live", waiting: "Connecting", lost: "Connection lost, trying again" };
  place.textContent = /** @type {any} */ (words)[status] ?? status;
  place.dataset.status = status;
  place.classList.toggle("stale", status === "lost" || (status === "waiting" && place.classList.contains("stale")));
}

/** Run `what` at most once in `wait` ms, and once more at the end. @param {() => void} what @param {number} wait */
function throttled(what, wait) {
  let last = 0;
  let timer = 0;
  return () => {
    const rest = last + wait - Date.now();
    if (timer) return;
    timer = window.setTimeout(() => {
      timer = 0;
      last = Date.now();
      what();
    }, Math.max(0, rest));
  };
}

/** @param {any} data @param {string} utility @returns {Slot[]} */
function slotsOf(data, utility) {
  return (data?.recent ?? []).filter((/** @type {Slot} */ slot) => utilityOf(slot.channel) === utility);
}

/** @param {any} data @param {{utility: string, seconds: number}} state @param {Told} told */
function curveOf(data, state, told) {
  const end = Date.now();
  const at = walls(end, told.zone);
  const slots = slotsOf(data, state.utility);
  const unit = told.units[state.utility];
  const [large] = /** @type {any} */ (PARTS)[unit] ?? [`${unit}/h`];
  const groups = [
    { name: "Used", sign: 1, color: token(`--${state.utility}`), some: slots.filter((slot) => !slot.channel.includes(".export")) },
    { name: "Exported", sign: -1, color: token("--export"), some: slots.filter((slot) => slot.channel.includes(".export")) },
  ].filter((group) => group.some.length);
  const traces = groups.map((group) => stepped(group, at, large, told));
  const ticks = ticksOf(end, state.seconds, at, told);
  const layout = {
    showlegend: groups.length > 1, hovermode: "closest",
    xaxis: {
      type: "date", range: [at(end - state.seconds * 1000), at(end)], tickvals: ticks.map((tick) => tick.at),
      ticktext: ticks.map((tick) => tick.text), tickangle: 0, fixedrange: true,
    },
    yaxis: { title: { text: large }, rangemode: "tozero", fixedrange: true, zeroline: true },
  };
  return { traces, layout, label: `${state.utility} in ${large} over the last ${state.seconds / HOUR_S} hours` };
}

/** Place of a moment as the clock of now shows it: on the night on which it is moved, the curve does not fold. */
function walls(/** @type {number} */ now, /** @type {string} */ zone) {
  const shift = Date.parse(`${wall(new Date(now).toISOString(), zone)}Z`) - Math.floor(now / 1000) * 1000;
  return (/** @type {number} */ ms) => new Date(ms + shift).toISOString().slice(0, 19);
}

/**
 * What of each interval no shorter one tells better, by time: a home may send half-hours and each half minute.
 * @param {Slot[]} slots
 */
export function uncovered(slots) {
  const pieces = [];
  /** @type {number[][]} */
  let told = [];
  for (const seconds of [...new Set(slots.map((slot) => slot.seconds))].sort((a, b) => a - b)) {
    const own = slots.filter((slot) => slot.seconds === seconds).map((slot) => ({ slot, at: Date.parse(slot.start) }));
    for (const { slot, at } of own) {
      let from = at;
      const end = at + seconds * 1000;
      for (const [a, b] of told) {
        if (b <= from || a >= end) continue;
        if (a > from) pieces.push({ slot, from, until: a });
        from = b;
      }
      if (from < end) pieces.push({ slot, from, until: end });
    }
    told = joined([...told, ...own.map(({ at }) => [at, at + seconds * 1000])]);
  }
  return pieces.sort((a, b) => a.from - b.from);
}

/** Spans as few as they can be, by time. @param {number[][]} spans */
function joined(spans) {
  const found = [];
  for (const [a, b] of spans.sort((one, other) => one[0] - other[0])) {
    const last = found.at(-1);
    if (last && a <= last[1]) last[1] = Math.max(last[1], b);
    else found.push([a, b]);
  }
  return found;
}

/** A line of steps, from the start of each interval to its end, broken where readings are missing. */
function stepped(/** @type {any} */ group, /** @type {(ms: number) => string} */ place, /** @type {string} */ unit, /** @type {Told} */ told) {
  const x = [];
  const y = [];
  const texts = [];
  let until = NaN;
  for (const { slot, from: start, until: end } of uncovered(group.some)) {
    const flow = (group.sign * slot.value * HOUR_S) / slot.seconds;
    if (start > until) {
      x.push(place(until));
      y.push(null);
      texts.push("");
    }
    until = end;
    const text = `${clock(slot.start, told.zone)}: ${short(Math.abs(flow), unit, told.locale)}${slot.quality === "estimated" ? ", estimated" : ""}`;
    for (const at of [start, until]) {
      x.push(place(at));
      y.push(flow);
      texts.push(text);
    }
  }
  return {
    type: "scatter", mode: "lines", name: group.name, x, y, customdata: texts, connectgaps: false, fill: "tozeroy",
    fillcolor: faded(group.color, 0.18), line: { color: group.color, width: 2, shape: "linear" },
    hovertemplate: "%{customdata}<extra></extra>",
  };
}

/** @param {number} end @param {number} seconds @param {(ms: number) => string} place @param {Told} told */
function ticksOf(end, seconds, place, told) {
  const every = (seconds / (matchMedia("(max-width: 600px)").matches ? 3 : 6)) * 1000;
  const first = Math.ceil((end - seconds * 1000) / every) * every;
  const ticks = [];
  for (let at = first; at <= end; at += every) {
    ticks.push({ at: place(at), text: clock(new Date(at).toISOString(), told.zone) });
  }
  return ticks;
}

/** @param {HTMLElement} cards @param {any} data @param {Told} told */
function cardsOf(cards, data, told) {
  for (const utility of told.utilities) {
    const card = cards.querySelector(`[data-card="${utility}"]`);
    const rows = data.values.filter((/** @type {any} */ row) => utilityOf(row.channel) === utility && row.start);
    const taken = newest(rows.filter((/** @type {any} */ row) => row.channel.includes(".import")));
    if (!card || !taken) continue;
    const given = newest(rows.filter((/** @type {any} */ row) => row.channel.endsWith(".export") && row.start === taken.start));
    const flow = rate(taken.value - (given?.value ?? 0), taken.seconds, taken.unit);
    const end = Date.parse(taken.start) + taken.seconds * 1000;
    const stale = Date.now() - end > Math.max(FRESH * taken.seconds, FRESH_S) * 1000;
    card.classList.toggle("stale", stale);
    put(card, "now", short(Math.abs(flow.value), flow.unit, told.locale));
    put(card, "way", flow.value < 0 ? "exporting" : stale ? "last known" : "now");
    put(card, "at", `${stale ? "measured" : "until"} ${clock(new Date(end).toISOString(), told.zone)}`);
  }
}

/** @param {any[]} rows */
const newest = (rows) => rows.reduce((best, row) => (!best || row.start > best.start ? row : best), null);

/** @param {Element} card @param {string} role @param {string} text */
function put(card, role, text) {
  const place = card.querySelector(`[data-role="${role}"]`);
  if (place && place.textContent !== text) place.textContent = text;
}

/** Ask what today and the month came to. @param {HTMLElement} cards @param {Told} told */
async function cost(cards, told) {
  const path = `/v1/service-points/${encodeURIComponent(told.id)}/cost`;
  const to = new Date().toISOString();
  const today = dayIn(told.zone);
  const asked = [today, periodOf("month", today)[0]].map((from) => ask(path, { from, to, zone: told.zone }));
  const [ofDay, ofMonth] = await Promise.all(asked).catch(() => [null, null]);
  if (!ofDay || !ofMonth) return;
  for (const utility of told.utilities) {
    const card = cards.querySelector(`[data-card="${utility}"]`);
    if (!card) continue;
    const own = (/** @type {any} */ answer) => Object.entries(answer.channels).filter(([name]) => utilityOf(name) === utility);
    const used = own(ofDay).filter(([name]) => name.includes(".import")).map(([, one]) => /** @type {any} */ (one));
    const known = used.filter((one) => one.value !== null);
    if (known.length) put(card, "today", short(known.reduce((sum, one) => sum + one.value, 0), known[0].unit, told.locale));
    for (const [name, one] of own(ofDay)) {
      if (name.endsWith(".export") && one.value !== null) put(card, "exported", short(/** @type {any} */ (one).value, /** @type {any} */ (one).unit, told.locale));
    }
    if (!ofMonth.currency) continue;
    const sum = (/** @type {any} */ answer) => own(answer).reduce((total, [, one]) => total + Number(/** @type {any} */ (one).cost), 0);
    put(card, "cost-today", money(sum(ofDay), ofMonth.currency, told.locale));
    put(card, "cost-month", money(sum(ofMonth), ofMonth.currency, told.locale));
  }
  if (!ofMonth.currency) return;
  const all = money(Number(ofMonth.cost), ofMonth.currency, told.locale);
  const guessed = Number(ofMonth.estimated);
  const rest = guessed ? `, of which ${money(guessed, ofMonth.currency, told.locale)} rest on estimated readings` : "";
  put(cards, "total", `This month so far, all together: ${all}${rest}.`);
}
