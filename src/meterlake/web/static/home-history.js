// The history of a home: a day, week, month or year beside the one before it, down to the single interval.
// @ts-check
import { ask } from "./ask.js";
import { chart } from "./chart.js";
import { short } from "./format.js";
import { barsOf, sum, tracesOf, untilNow } from "./home-bars.js";
import { addDays, move, named, periodOf } from "./home-periods.js";
import { widget } from "./widget.js";

/**
 * @typedef {import("./home-periods.js").Kind} Kind
 * @typedef {{id: string, zone: string, locale: string, utilities: string[], channels: string[], today: string,
 *   first: string | null, last: string, units: Record<string, string>}} Told
 */

const STEPS = { day: "interval", week: "day", month: "day", year: "month" };
const BEFORE = { day: "The day before", week: "The seven days before", month: "The month before", year: "The year before" };
const NOW = { day: "This day", week: "These seven days", month: "This month", year: "This year" };
const FINER = { year: "month", month: "day", week: "day" };
/** Intervals shorter than this are shown as quarter hours until each reading is asked for. */
const QUARTER_S = 900;

/** @param {HTMLElement} section @param {Told} told */
export function history(section, told) {
  const state = {
    utility: told.utilities[0], kind: /** @type {Kind} */ ("week"), day: told.last, each: false,
    compare: true, short: false,
  };
  const find = (/** @type {string} */ name) => /** @type {HTMLElement} */ (section.querySelector(`[data-role="${name}"]`));
  const picked = /** @type {HTMLInputElement} */ (find("date"));
  /** @type {string[]} */
  let starts = [];

  const shown = widget(find("chart"), {
    load: (/** @type {AbortSignal} */ signal) => load(told, state, signal),
    isEmpty: (/** @type {any} */ data) => sum(data.now) === null && sum(data.out) === null && sum(data.before) === null,
    emptyText: "Nothing was recorded in this time, nor in the time before it.",
    draw: async (/** @type {any} */ data, /** @type {HTMLElement} */ body) => {
      state.short = state.kind === "day" && data.shortest < QUARTER_S;
      find("each").hidden = !state.short;
      const names = { now: NOW[state.kind], before: BEFORE[state.kind] };
      const own = { unit: data.unit, color: `--${state.utility}`, zone: told.zone, locale: told.locale, names };
      const { order, many } = tracesOf(data, own);
      starts = data.now.map((/** @type {any} */ bar) => bar.start);
      const words = named(state.kind, data.period, told.locale);
      const layout = layoutOf(order, data.unit, state.kind);
      const label = `${words}, ${state.utility} in ${data.unit}`;
      const { plot } = await chart(body, () => tracesOf(data, own).traces, layout, { label, zone: told.zone });
      listen(plot, zoomTo);
      tell(find("summary"), data, state, told);
      legend(find("legend"), data, state, many);
    },
  });

  function frame() {
    const period = periodOf(state.kind, state.day);
    find("period").textContent = named(state.kind, period, told.locale);
    find("summary").textContent = "\u00a0";
    find("legend").replaceChildren();
    picked.value = state.day;
    for (const button of section.querySelectorAll("[data-kind]")) press(button, button.getAttribute("data-kind") === state.kind);
    for (const button of section.querySelectorAll("[data-utility]")) press(button, button.getAttribute("data-utility") === state.utility);
    press(find("each"), state.each);
    press(find("compare"), state.compare);
    /** @type {HTMLButtonElement} */ (find("next")).disabled = period[1] > told.last;
    /** @type {HTMLButtonElement} */ (find("back")).disabled = told.first !== null && period[0] <= told.first;
    shown.refresh();
  }

  /** @param {number} at place of a bar in the period */
  function zoomTo(at) {
    if (!(state.kind in FINER) || !starts[at]) return;
    state.day = starts[at].slice(0, 10);
    state.kind = /** @type {Kind} */ (FINER[/** @type {keyof typeof FINER} */ (state.kind)]);
    frame();
  }

  section.addEventListener("click", (event) => {
    const button = /** @type {HTMLElement | null} */ (/** @type {HTMLElement} */ (event.target).closest("button"));
    if (!button) return;
    const { kind, utility, role } = button.dataset;
    if (kind) state.kind = /** @type {Kind} */ (kind);
    else if (utility) state.utility = utility;
    else if (role === "back") state.day = move(state.kind, state.day, -1);
    else if (role === "next") state.day = later(told.last, move(state.kind, state.day, 1));
    else if (role === "today") state.day = told.last;
    else if (role === "each") state.each = !state.each;
    else if (role === "compare") state.compare = !state.compare;
    else return;
    frame();
  });
  picked.addEventListener("change", () => {
    if (!picked.value) return;
    state.day = later(told.last, picked.value);
    frame();
  });
  frame();
}

/** @param {string} last @param {string} day */
const later = (last, day) => (day > last ? last : day);

/** @param {Element} button @param {boolean} on */
function press(button, on) {
  button.setAttribute("aria-pressed", String(on));
}

/** Places of bars that are clicked. @param {any} plot @param {(at: number) => void} zoom */
function listen(plot, zoom) {
  plot.removeAllListeners("plotly_click");
  plot.on("plotly_click", (/** @type {any} */ event) => zoom(event.points[0]?.pointNumber ?? -1));
}

/** @param {Told} told @param {any} state @param {AbortSignal} signal */
async function load(told, state, signal) {
  const period = periodOf(state.kind, state.day);
  const prior = state.compare ? periodOf(state.kind, addDays(period[0], -1)) : null;
  const out = `${state.utility}.export`;
  const asked = [
    listing(told, state, period, state.utility, signal),
    told.channels.includes(out) ? listing(told, state, period, out, signal) : null,
    prior && listing(told, state, prior, state.utility, signal),
    prior && told.channels.includes(out) ? listing(told, state, prior, out, signal) : null,
  ];
  const [now, given, before, givenBefore] = await Promise.all(asked);
  const bars = (/** @type {any} */ one) => barsOf(one, state.kind, told.zone, told.locale);
  const own = bars(now);
  return {
    period, axis: own, now: untilNow(own), out: untilNow(bars(given)), before: bars(before), outBefore: bars(givenBefore),
    unit: now?.unit ?? told.units[state.utility], passport: now?.passport ?? null,
    running: period[1] > told.today, shortest: shortest(own, state),
  };
}

/** @param {any[]} bars @param {any} state */
function shortest(bars, state) {
  if (state.kind !== "day") return QUARTER_S;
  return state.each ? Math.min(QUARTER_S, ...bars.map((bar) => bar.seconds)) : state.shortest ?? QUARTER_S;
}

/** @param {Told} told @param {any} state @param {any} period @param {string} channel @param {AbortSignal} signal */
async function listing(told, state, period, channel, signal) {
  const path = `/v1/service-points/${encodeURIComponent(told.id)}/history`;
  let step = STEPS[/** @type {Kind} */ (state.kind)];
  const params = { from: period[0], to: period[1], channel, zone: told.zone, gaps: "keep", step };
  if (state.kind !== "day" || state.each) return only(await ask(path, params, { signal }));
  const found = only(await ask(path, params, { signal }));
  const lengths = (found?.values ?? []).map((/** @type {any} */ value) => value.seconds);
  state.shortest = Math.min(QUARTER_S, ...lengths);
  if (state.shortest >= QUARTER_S) return found;
  step = "15min";
  return only(await ask(path, { ...params, step }, { signal }));
}

/** @param {any} answer */
const only = (answer) => (Array.isArray(answer) ? answer[0] ?? null : answer);

/** Whether there is a mouse, so that dragging is not how the page is moved. */
const fine = () => matchMedia("(pointer: fine)").matches;

/** @param {string[]} order @param {string} unit @param {Kind} kind */
function layoutOf(order, unit, kind) {
  const every = kind === "day" ? Math.max(1, Math.round(order.length / 8)) : kind === "month" ? 5 : 1;
  const ticks = order.filter((_, at) => at % every === 0);
  const words = ticks.map((tick) => (kind === "week" ? tick.replace(" ", "<br>") : tick));
  return {
    barmode: "overlay", bargap: 0, showlegend: false, hovermode: "closest", dragmode: kind === "day" && fine() ? "zoom" : false,
    xaxis: { type: "category", categoryorder: "array", categoryarray: order, tickvals: ticks, ticktext: words, tickangle: 0, fixedrange: kind !== "day" },
    yaxis: { title: { text: unit }, fixedrange: true, zeroline: true },
  };
}

/** @param {HTMLElement} place @param {any} data @param {any} state @param {Told} told */
function tell(place, data, state, told) {
  const now = sum(data.now);
  const whole = data.now.filter((/** @type {any} */ bar) => !bar.running);
  const known = (/** @type {any} */ bar) => bar.value !== null;
  const then = new Set(data.before.filter(known).map((/** @type {any} */ bar) => bar.key));
  const both = whole.filter((/** @type {any} */ bar) => known(bar) && then.has(bar.key));
  const shared = new Set(both.map((/** @type {any} */ bar) => bar.key));
  const own = sum(both);
  const before = sum(data.before.filter((/** @type {any} */ bar) => shared.has(bar.key)));
  const partly = shared.size < Math.max(whole.filter(known).length, data.running ? 0 : then.size);
  const out = sum(data.out);
  const bars = state.kind === "day" ? "interval" : state.kind === "year" ? "month" : "day";
  const value = (/** @type {number} */ amount) => short(amount, data.unit, told.locale);
  const parts = [];
  const also = out ? `, ${value(out)} exported` : "";
  parts.push(now === null ? "Nothing recorded." : `${value(now)}${data.running ? " so far" : ""}${also}.`);
  if (own !== null && before) {
    const share = Math.round((own / before - 1) * 100);
    const how = share === 0 ? "the same as" : `${Math.abs(share)} % ${share > 0 ? "more" : "less"} than`;
    const when = BEFORE[/** @type {Kind} */ (state.kind)].toLowerCase();
    const few = `On the ${shared.size} ${bars}${shared.size > 1 ? "s" : ""} that both have: `;
    const most = partly ? few : data.running ? `Until the last whole ${bars}: ` : "";
    parts.push(`${most}${most ? how : how[0].toUpperCase() + how.slice(1)} ${when} (${value(before)}).`);
  }
  const guessed = data.now.filter((/** @type {any} */ bar) => bar.estimated > 0).length;
  const gaps = data.now.filter((/** @type {any} */ bar) => bar.missing > 0).length;
  if (guessed) parts.push(`${guessed} ${bars}${guessed > 1 ? "s" : ""} with estimates.`);
  if (gaps) parts.push(`${gaps} ${bars}${gaps > 1 ? "s" : ""} with readings missing.`);
  place.textContent = parts.join(" ");
}

/** @param {HTMLElement} place @param {any} data @param {any} state @param {boolean} many */
function legend(place, data, state, many) {
  const kind = /** @type {Kind} */ (state.kind);
  const has = (/** @type {any[]} */ bars, /** @type {string} */ name) => bars.some((bar) => bar[name] > 0);
  const items = [[`key-${state.utility}`, NOW[kind]]];
  if (data.before.length) items.push([many ? "key-line" : "key-before", BEFORE[kind]]);
  if (data.out.some((/** @type {any} */ bar) => bar.value)) items.push(["key-export", "Exported (below the axis)"]);
  if (has([...data.now, ...data.out], "estimated")) items.push(["key-estimated", "Estimated, at least in part"]);
  if (has(data.now, "missing")) items.push(["key-missing", "Readings missing"]);
  place.replaceChildren(
    ...items.map(([key, text]) => {
      const item = document.createElement("li");
      const swatch = document.createElement("span");
      swatch.className = `key ${key}`;
      swatch.setAttribute("aria-hidden", "true");
      item.append(swatch, text);
      return item;
    }),
  );
}
