// Sums of groups of homes over closed months: a curve a group, and a table of all with what may not show.
// @ts-check
import { address, ask } from "./ask.js";
import { chart, token } from "./chart.js";
import { amount, choice, named, sorted } from "./fleet-flow.js";
import { moved } from "./fleet-curve.js";
import { ZONE, number, wall } from "./format.js";
import { widget } from "./widget.js";

const LINES = 6;
const DASHES = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"];
const TICKS = /** @type {Record<string, string>} */ ({ hour: "%-d %b %H:%M", day: "%-d %b", month: "%b %Y" });
const COLOURS = ["--accent", "--electricity", "--gas", "--export", "--water", "--muted"];

const page = /** @type {HTMLElement} */ (document.querySelector("[data-analysis]"));
const find = (/** @type {string} */ role) => /** @type {HTMLElement} */ (page.querySelector(`[data-role="${role}"]`));
const form = /** @type {HTMLFormElement} */ (find("form"));
const field = (/** @type {string} */ name) => /** @type {HTMLInputElement} */ (form.elements.namedItem(name));
const state = { channel: /** @type {string | null} */ (null), rows: /** @type {any[]} */ ([]) };

/** The day after a month. @param {string} month */
const after = (month) => `${moved(`${month}-28`, 7).slice(0, 7)}-01`;

function asked() {
  const by = field("by").value;
  return {
    from: `${field("first").value}-01`, to: after(field("last").value), step: field("step").value, by: by || "channel",
    region_digits: by.includes("region") ? field("digits").value : null, zone: ZONE,
  };
}

const nameOf = (/** @type {any} */ row) => [row.region, row.class].filter((one) => one).join(", ") || ("region" in row || "class" in row ? "without a place" : "whole fleet");

const curves = widget(find("chart"), {
  load: async (signal) => {
    state.rows = [];
    try {
      state.rows = (await ask("/v1/aggregates", asked(), { signal })).values;
    } finally {
      if (!state.rows.length) groups.refresh();
    }
  },
  isEmpty: () => !state.rows.length,
  emptyText: "There are no sums of these months. Choose months that are over and in which homes were read.",
  draw: async (_, body) => {
    const channels = sorted(state.rows.map((row) => row.channel));
    if (!state.channel || !channels.includes(state.channel)) state.channel = channels[0];
    choice(find("channels"), channels, state.channel, (channel) => {
      state.channel = channel;
      draw(body);
    });
    await draw(body);
  },
});

const groups = widget(find("groups"), {
  load: async () => groupsOf(state),
  isEmpty: (found) => !found.length,
  emptyText: "No group to show.",
  draw: (found, body) => body.replaceChildren(tableOf(found)),
});

/** @param {HTMLElement} body */
async function draw(body) {
  for (const button of find("channels").children) button.setAttribute("aria-pressed", String(/** @type {HTMLElement} */ (button).dataset.channel === state.channel));
  const found = groupsOf(state).filter((group) => !group.suppressed).slice(0, LINES);
  const unit = found[0]?.unit ?? "";
  find("title").textContent = `Sums of ${named(state.channel ?? "")} by ${field("step").value}${found.length === LINES ? `, the ${LINES} largest groups` : ""}`;
  const traces = () => found.map((group, at) => ({
    type: "scatter", mode: group.rows.length > 40 ? "lines" : "lines+markers", name: group.name, connectgaps: false,
    x: group.rows.map((/** @type {any} */ row) => wall(row.start, ZONE)), y: group.rows.map((/** @type {any} */ row) => row.value),
    line: { color: token(COLOURS[at]), width: 2.2, dash: DASHES[at] }, marker: { size: 5, symbol: at },
  }));
  const layout = {
    showlegend: true, hovermode: "x unified", legend: { orientation: "h", y: -0.18 },
    xaxis: { type: "date", tickformat: TICKS[field("step").value], hoverformat: TICKS[field("step").value], fixedrange: true }, yaxis: { title: { text: unit }, rangemode: "tozero", fixedrange: true },
  };
  await chart(body, traces, layout, { label: `Sums of ${named(state.channel ?? "")} in ${unit} by group`, zone: ZONE });
  groups.refresh();
}

/** Groups of the channel with their sum, the largest first, those that may not show last. @param {typeof state} told */
function groupsOf(told) {
  /** @type {Map<string, any>} */
  const found = new Map();
  for (const row of told.rows) {
    if (row.channel !== told.channel) continue;
    const name = nameOf(row);
    const group = found.get(name) ?? { name, unit: row.unit, rows: [], total: 0, homes: 0, filled: 0, expected: 0, suppressed: false };
    found.set(name, group);
    group.rows.push(row);
    group.suppressed ||= row.suppressed;
    group.total += row.value ?? 0;
    group.homes = Math.max(group.homes, row.homes ?? 0);
    group.filled += row.filled ?? 0;
    group.expected += row.expected ?? 0;
  }
  return [...found.values()].sort((a, b) => Number(a.suppressed) - Number(b.suppressed) || b.total - a.total || (a.name < b.name ? -1 : 1));
}

/** @param {any[]} found */
function tableOf(found) {
  const scroll = document.createElement("div");
  scroll.className = "scroll";
  scroll.tabIndex = 0;
  scroll.setAttribute("role", "region");
  scroll.setAttribute("aria-label", "Groups");
  const table = document.createElement("table");
  table.className = "table";
  const head = table.createTHead().insertRow();
  for (const [name, kind] of [["Group", ""], ["Homes", "num"], ["Sum", "num"], ["A home, mean", "num"], ["Complete", "num"]]) {
    const cell = document.createElement("th");
    cell.scope = "col";
    cell.className = kind;
    cell.textContent = name;
    head.append(cell);
  }
  const body = table.createTBody();
  for (const group of found) {
    const line = body.insertRow();
    const who = document.createElement("th");
    who.scope = "row";
    who.textContent = group.name;
    line.append(who);
    const cells = group.suppressed ? [] : [
      number(group.homes), amount(group.total, group.unit), group.homes ? amount(group.total / group.homes, group.unit) : "–",
      group.expected ? `${number(Math.floor((group.filled * 1000) / group.expected) / 10)}\u00a0%` : "–",
    ];
    for (const text of cells) {
      const cell = line.insertCell();
      cell.className = "num";
      cell.textContent = text;
    }
    if (group.suppressed) {
      const cell = line.insertCell();
      cell.colSpan = 4;
      const words = document.createElement("span");
      words.className = "hidden-sum";
      words.textContent = "not shown: it could tell of a home";
      cell.append(words);
    }
  }
  scroll.append(table);
  return scroll;
}

function links() {
  find("links").replaceChildren(
    ...["csv", "parquet"].map((kind) => {
      const link = document.createElement("a");
      link.className = "button";
      link.href = address("/v1/aggregates", { ...asked(), form: kind });
      link.textContent = `Download ${kind === "csv" ? "CSV" : "Parquet"}`;
      return link;
    }),
  );
}

function show() {
  links();
  curves.refresh();
}

field("by").addEventListener("change", () => {
  field("digits").disabled = !field("by").value.includes("region");
});
field("first").addEventListener("change", () => {
  if (field("last").value < field("first").value) field("last").value = field("first").value;
});
form.addEventListener("submit", (event) => {
  event.preventDefault();
  show();
});
show();
