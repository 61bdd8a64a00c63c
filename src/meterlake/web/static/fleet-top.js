// Who takes most: meters or regions, right now, today or in a week.
// @ts-check
import { ask } from "./ask.js";
import { moved, today } from "./fleet-curve.js";
import { amount, flow } from "./fleet-flow.js";
import { widget } from "./widget.js";

const ROWS = 10;
/** Shown until it is known which channels there are. */
const FIRST = "electricity.import";
const AGAIN_MS = { now: 5_000, day: 60_000, week: 600_000 };

/**
 * @param {HTMLElement} section @param {string} zone
 * @param {(listener: (channel: string | null) => void) => void} chosen tells which channel is shown
 */
export function top(section, zone, chosen) {
  const by = section.dataset.by ?? "meter";
  const state = { span: /** @type {"now" | "day" | "week"} */ ("now"), channel: /** @type {string | null} */ (null), at: 0 };
  const list = /** @type {HTMLElement} */ (section.querySelector('[data-role="list"]'));
  const shown = widget(list, {
    load: async (signal) => {
      state.at = Date.now();
      return state.span === "now" ? lately(by, state.channel, signal) : totals(by, state, zone, signal);
    },
    isEmpty: (rows) => !rows.length,
    emptyText: "Nothing was read in this time. Choose a longer one, or wait for the next reading.",
    draw: (rows, body) => body.replaceChildren(table(rows, by)),
  });

  section.addEventListener("click", (event) => {
    const button = /** @type {HTMLElement | null} */ (/** @type {HTMLElement} */ (event.target).closest("[data-span]"));
    if (!button) return;
    state.span = /** @type {any} */ (button.dataset.span);
    for (const one of section.querySelectorAll("[data-span]")) one.setAttribute("aria-pressed", String(one === button));
    shown.refresh();
  });
  chosen((channel) => {
    if (channel === state.channel && state.at) return;
    state.channel = channel;
    shown.refresh();
  });
  setInterval(() => {
    if (!document.hidden && Date.now() - state.at >= AGAIN_MS[state.span]) shown.refresh();
  }, 1000);
}

/** @typedef {{name: string | null, size: number, words: string}} Row */

/** @param {string} by @param {string | null} channel @param {AbortSignal} signal @returns {Promise<Row[]>} */
async function lately(by, channel, signal) {
  if (by === "meter") {
    const { values } = await ask("/v1/live/top", { n: ROWS, channel: channel ?? FIRST }, { signal });
    return ranked(values.map((/** @type {any} */ row) => [row.meter, row.power_w]), channel);
  }
  const { values } = await ask("/v1/live/regions", {}, { signal });
  const sums = new Map();
  for (const row of values) if (row.channel === (channel ?? FIRST) && row.meters) sums.set(row.region, (sums.get(row.region) ?? 0) + row.power_w);
  return ranked([...sums], channel);
}

/** @param {[string | null, number][]} pairs @param {string | null} channel @returns {Row[]} */
function ranked(pairs, channel) {
  const largest = pairs.filter(([, watts]) => watts > 0).sort((a, b) => b[1] - a[1]).slice(0, ROWS);
  return largest.map(([name, watts]) => ({ name, size: watts, words: flow(watts, channel ?? FIRST) }));
}

/** @param {string} by @param {{span: string, channel: string | null}} state @param {string} zone @param {AbortSignal} signal @returns {Promise<Row[]>} */
async function totals(by, state, zone, signal) {
  const from = moved(today(zone), state.span === "day" ? 0 : -6);
  const asked = { from, to: new Date().toISOString(), n: ROWS, by, channel: state.channel ?? FIRST, zone };
  const { values } = await ask("/v1/top", asked, { signal });
  return values.map((/** @type {any} */ row) => ({ name: row[by], size: row.value, words: amount(row.value, row.unit) }));
}

/** @param {Row[]} rows @param {string} by */
function table(rows, by) {
  const made = document.createElement("table");
  made.className = "table";
  const head = made.createTHead().insertRow();
  for (const [name, kind] of [["", "rank"], [by === "meter" ? "Meter" : "Region", ""], ["Takes", "num"], ["", "bar-cell"]]) {
    const cell = document.createElement(name ? "th" : "td");
    if (cell instanceof HTMLTableCellElement && name) cell.scope = "col";
    cell.className = kind;
    cell.textContent = name;
    head.append(cell);
  }
  const body = made.createTBody();
  const most = Math.max(...rows.map((row) => row.size));
  rows.forEach((row, at) => {
    const line = body.insertRow();
    const rank = line.insertCell();
    rank.className = "rank";
    rank.textContent = String(at + 1);
    const who = document.createElement("th");
    who.scope = "row";
    who.append(named(row.name, by));
    line.append(who);
    const value = line.insertCell();
    value.className = "num";
    value.textContent = row.words;
    const bar = document.createElement("progress");
    bar.max = most;
    bar.value = row.size;
    bar.setAttribute("aria-label", `${row.name ?? "no place"}, beside the first`);
    const cell = line.insertCell();
    cell.className = "bar-cell";
    cell.append(bar);
  });
  return made;
}

/** A meter leads to its page, a region to its place on the map. @param {string | null} name @param {string} by */
function named(name, by) {
  if (name === null) return "no place";
  const link = document.createElement("a");
  link.href = by === "meter" ? `/fleet/meter?id=${encodeURIComponent(name)}` : `/fleet/map?region=${encodeURIComponent(name)}`;
  link.textContent = name;
  if (by === "region") link.className = "mono";
  return link;
}
