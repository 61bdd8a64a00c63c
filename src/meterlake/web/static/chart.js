// Charts: plotly in the colours of the page, with a table of the same for whoever cannot see them.
// @ts-check
import { LOCALE, number } from "./format.js";

/** @type {Promise<any> | null} */
let library = null;

/** The chart library, loaded once, when the first chart is drawn. */
export function plotly() {
  library ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = document.body.dataset.plotly ?? "";
    script.addEventListener("load", () => resolve(/** @type {any} */ (window).Plotly));
    script.addEventListener("error", () => {
      library = null;
      reject(new Error("The charts could not be loaded."));
    });
    document.head.append(script);
  });
  return library;
}

/** Colour of a token of the design. @param {string} name */
export const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** @param {any} layout */
function dressed(layout) {
  const axis = {
    gridcolor: token("--line"), linecolor: token("--line"), zerolinecolor: token("--muted"), tickcolor: token("--line"),
    automargin: true, zerolinewidth: 1,
  };
  const separators = separatorsOf(LOCALE);
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", colorway: ["--accent", "--gas", "--water", "--export", "--warn"].map(token),
    font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: token("--text") },
    margin: { l: 48, r: 12, t: 12, b: 40 }, separators, autosize: true, dragmode: false,
    hoverlabel: { bgcolor: token("--surface-2"), bordercolor: token("--line"), font: { color: token("--text") } },
    legend: { orientation: "h", y: -0.2 },
    ...layout,
    xaxis: { ...axis, ...layout.xaxis }, yaxis: { ...axis, ...layout.yaxis },
  };
}

/** Decimal and thousands marks as plotly takes them. @param {string} locale */
function separatorsOf(locale) {
  const parts = new Intl.NumberFormat(locale).formatToParts(12345.6);
  const mark = (/** @type {string} */ type, /** @type {string} */ or) => parts.find((part) => part.type === type)?.value ?? or;
  return mark("decimal", ".") + mark("group", "");
}

const CONFIG = { displayModeBar: false, responsive: true, doubleClick: false, showTips: false };

/**
 * Draw traces into `element`, over what was drawn there before.
 * @param {HTMLElement} element
 * @param {any[] | (() => any[])} traces
 * @param {any} [layout]
 * @param {{label?: string, zone?: string}} [told]
 */
export async function chart(element, traces, layout = {}, { label = "Chart", zone = "" } = {}) {
  const Plotly = await plotly();
  let shown = { traces, layout };
  const { plot, table, button } = parts(element);
  plot.setAttribute("aria-label", zone ? `${label}. Times are in ${zone}.` : label);

  const list = () => (typeof shown.traces === "function" ? shown.traces() : shown.traces);
  const draw = () => Plotly.react(plot, list(), dressed(shown.layout), CONFIG);
  const tabled = () => {
    if (!table.hidden) table.replaceChildren(tableOf(list(), shown.layout, label));
  };

  button.onclick = () => {
    table.hidden = !table.hidden;
    button.setAttribute("aria-expanded", String(!table.hidden));
    button.textContent = table.hidden ? "Show as table" : "Hide the table";
    tabled();
  };
  /** @type {any} */ (element).redraw = () => {
    draw();
  };
  await draw();
  tabled();
  return {
    plot,
    update: async (/** @type {any} */ more, /** @type {any} */ other = shown.layout) => {
      shown = { traces: more, layout: other };
      await draw();
      tabled();
    },
  };
}

document.addEventListener("themechange", () => {
  for (const element of document.querySelectorAll(".chart")) /** @type {any} */ (element.parentElement)?.redraw?.();
});

/** The plot, its table and the button between, made once. @param {HTMLElement} element */
function parts(element) {
  const known = /** @type {HTMLElement | null} */ (element.querySelector(":scope > .chart"));
  if (known) {
    const table = /** @type {HTMLElement} */ (element.querySelector(":scope > .chart-table"));
    return { plot: known, table, button: /** @type {HTMLButtonElement} */ (element.querySelector(":scope > .chart-more")) };
  }
  const plot = document.createElement("div");
  plot.className = "chart";
  plot.setAttribute("role", "img");
  const button = document.createElement("button");
  button.type = "button";
  button.className = "button quiet chart-more";
  button.textContent = "Show as table";
  button.setAttribute("aria-expanded", "false");
  const table = document.createElement("div");
  table.className = "chart-table scroll";
  table.tabIndex = 0;
  table.setAttribute("role", "region");
  table.setAttribute("aria-label", "The same as a table");
  table.hidden = true;
  element.replaceChildren(plot, button, table);
  return { plot, table, button };
}

/** @param {any[]} traces @param {any} layout @param {string} label */
function tableOf(traces, layout, label) {
  const own = traces.filter((trace) => Array.isArray(trace.y) || ArrayBuffer.isView(trace.y));
  const rows = new Map();
  own.forEach((trace, at) => {
    trace.y.forEach((/** @type {any} */ value, /** @type {number} */ i) => {
      const key = String(trace.x?.[i] ?? i);
      if (!rows.has(key)) rows.set(key, []);
      rows.get(key)[at] = value;
    });
  });
  const table = document.createElement("table");
  table.className = "table";
  const caption = table.createCaption();
  caption.textContent = label;
  const head = table.createTHead().insertRow();
  for (const name of [layout.xaxis?.title?.text ?? "When", ...own.map((trace) => trace.name ?? "Value")]) {
    const cell = document.createElement("th");
    cell.scope = "col";
    cell.textContent = String(name);
    head.append(cell);
  }
  const body = table.createTBody();
  for (const [key, values] of rows) {
    const row = body.insertRow();
    const first = document.createElement("th");
    first.scope = "row";
    first.textContent = key.replace("T", " ");
    row.append(first);
    own.forEach((_, at) => {
      const value = values[at];
      row.insertCell().textContent = typeof value === "number" ? number(value) : value ?? "–";
    });
  }
  return table;
}
