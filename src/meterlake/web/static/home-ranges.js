// Five ranges that end with the last whole day, each beside the equal one before it.
// @ts-check
import { ask } from "./ask.js";
import { day, short } from "./format.js";
import { widget } from "./widget.js";

const NAMES = { "1w": "One week", "1m": "One month", "3m": "Three months", "6m": "Six months", "1y": "One year" };

/** @param {HTMLElement} section @param {import("./home-history.js").Told} told */
export function ranges(section, told) {
  const state = { utility: told.utilities[0] };
  const path = `/v1/service-points/${encodeURIComponent(told.id)}/usage`;
  /** @type {any} */
  let answer = null;
  const shown = widget(/** @type {HTMLElement} */ (section.querySelector('[data-role="list"]')), {
    load: async (/** @type {AbortSignal} */ signal) => (answer ??= await ask(path, { ranges: Object.keys(NAMES).join(","), zone: told.zone }, { signal })),
    isEmpty: (/** @type {any} */ data) => !Object.keys(NAMES).some((name) => added(data, name, state.utility)),
    emptyText: "There is no whole day yet; come back tomorrow.",
    draw: (/** @type {any} */ data, /** @type {HTMLElement} */ body) => {
      const until = section.querySelector('[data-role="until"]');
      if (until) until.textContent = `Each ends with ${day(dayBefore(data.until), "UTC")}, the last whole day in ${told.zone}.`;
      const list = document.createElement("ul");
      list.className = `ranges home-${state.utility}`;
      for (const name of Object.keys(NAMES)) {
        const one = added(data, name, state.utility);
        if (one) list.append(tile(name, one, told));
      }
      body.replaceChildren(list);
    },
  });
  section.addEventListener("click", (event) => {
    const button = /** @type {HTMLElement} */ (event.target).closest("[data-utility]");
    if (!button) return;
    state.utility = button.getAttribute("data-utility") ?? state.utility;
    for (const one of section.querySelectorAll("[data-utility]")) one.setAttribute("aria-pressed", String(one === button));
    shown.refresh();
  });
  shown.refresh();
}

/** @param {string} until */
function dayBefore(until) {
  return new Date(Date.parse(`${until}T00:00:00Z`) - 86_400_000).toISOString();
}

/** The import registers of a utility in one range, added up. @param {any} data @param {string} name @param {string} utility */
function added(data, name, utility) {
  const own = Object.entries(data.channels).filter(([channel]) => channel.startsWith(`${utility}.import`) || channel === utility);
  const parts = own.map(([, one]) => /** @type {any} */ (one).ranges[name]).filter((range) => range);
  if (!parts.some((range) => range.passport.expected || range.passport.filled)) return null;
  const total = (/** @type {(range: any) => any} */ get) => {
    const known = parts.map(get).filter((value) => value !== null);
    return known.length ? known.reduce((sum, value) => sum + value, 0) : null;
  };
  const count = (/** @type {string} */ what) => total((range) => range.passport[what]);
  const guessed = total((range) => range.passport.shares.estimated * range.passport.expected);
  return {
    unit: /** @type {any} */ (own[0][1]).unit,
    value: total((range) => range.value),
    before: total((range) => range.previous.value),
    from: parts[0].from.slice(0, 10),
    beforeFrom: parts[0].previous.from.slice(0, 10),
    missing: count("missing") / Math.max(1, count("expected")),
    estimated: guessed / Math.max(1, count("expected")),
  };
}

/** @param {string} name @param {any} one @param {import("./home-history.js").Told} told */
function tile(name, one, told) {
  const item = make("li", "range card");
  const value = (/** @type {number | null} */ amount) =>
    amount === null ? "nothing recorded" : short(amount, one.unit, told.locale);
  item.append(make("h3", "range-name", NAMES[/** @type {keyof typeof NAMES} */ (name)]), make("p", "range-value", value(one.value)));
  const most = Math.max(one.value ?? 0, one.before ?? 0) || 1;
  const bars = make("div", "range-bars");
  bars.setAttribute("aria-hidden", "true");
  for (const [key, amount] of [["now", one.value], ["before", one.before]]) {
    const bar = make("span", `range-bar range-bar-${key}`);
    bar.style.setProperty("--share", String((amount ?? 0) / most));
    bars.append(bar);
  }
  item.append(bars, make("p", "range-change", change(one, value, told.first)));
  const notes = [];
  if (told.first !== null && one.from < told.first) notes.push(`since ${day(`${told.first}T12:00:00Z`, "UTC")}`);
  if (one.estimated > 0) notes.push(`${share(one.estimated)} estimated`);
  if (one.missing > 0) notes.push(`${share(one.missing)} missing`);
  item.append(make("p", "range-notes muted", notes.length ? capital(notes.join(", ")) : "All readings are there"));
  return item;
}

/** @param {any} one @param {(amount: number | null) => string} value @param {string | null} first */
function change(one, value, first) {
  if (one.value === null || one.before === null || !one.before) return "Nothing to compare with";
  if (first !== null && one.beforeFrom < first) return `Before: ${value(one.before)} in a shorter time`;
  const part = Math.round((one.value / one.before - 1) * 100);
  const how = part === 0 ? "As before" : `${Math.abs(part)} % ${part > 0 ? "more" : "less"} than before`;
  return `${how} (${value(one.before)})`;
}

/** @param {number} part */
const share = (part) => (part < 0.01 ? "under 1 %" : `${Math.round(part * 100)} %`);

/** @param {string} text */
const capital = (text) => text[0].toUpperCase() + text.slice(1);

/** @param {string} tag @param {string} name @param {string} [text] */
function make(tag, name, text) {
  const element = document.createElement(tag);
  element.className = name;
  if (text !== undefined) element.textContent = text;
  return element;
}
