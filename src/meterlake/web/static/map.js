// Consumption by cell: a map and the same as a list, hour by hour, closer and closer down to the meters.
// @ts-check
import { address, ask } from "./ask.js";
import { plotly, token } from "./chart.js";
import { number, short } from "./format.js";
import { boundsOf, featureOf, viewOf } from "./geocells.js";
import { roving } from "./map-keys.js";
import { widget } from "./widget.js";

const page = /** @type {HTMLElement} */ (document.querySelector(".map-page"));
const by = (/** @type {string} */ id) => /** @type {any} */ (document.getElementById(id));
const FIRST = 5;
const CLOSEST = 7;
const HOURS = 24;
const METERS = 200;
/** So many cells side by side are told apart. */
const ACROSS = 36;
const state = { prefix: "", digits: FIRST, hour: -1 };
/** @type {Map<string, Promise<any>>} */
const asked = new Map();

const nextDay = (/** @type {string} */ day) => new Date(Date.parse(`${day}T00:00:00Z`) + 86_400_000).toISOString().slice(0, 10);

function fleet() {
  const day = page.dataset.day ?? "";
  const digits = Math.max(state.digits, FIRST);
  const key = String(digits);
  if (!asked.has(key)) {
    const params = { from: day, to: nextDay(day), step: "hour", by: "channel,region", region_digits: digits };
    const found = ask("/v1/fleet", params);
    found.catch(() => asked.delete(key));
    asked.set(key, found);
  }
  return /** @type {Promise<any>} */ (asked.get(key));
}

/** Sums by cell of what is chosen. @param {any} answer */
function cellsOf(answer) {
  const cells = new Map();
  let unit = "";
  for (const row of answer.values) {
    if (row.channel !== by("channel").value || !row.region || !row.region.startsWith(state.prefix) || row.value === null) continue;
    if (state.hour >= 0 && new Date(row.start).getUTCHours() !== state.hour) continue;
    unit = row.unit;
    cells.set(row.region, (cells.get(row.region) ?? 0) + row.value);
  }
  return { unit, cells: together(cells, state.prefix ? state.digits : digitsFor([...cells.keys()])) };
}

/** Digits of cells that are large enough to be seen, where all of them lie. @param {string[]} regions */
function digitsFor(regions) {
  const all = regions.map(boundsOf);
  const reach = (/** @type {(one: any) => number} */ low, /** @type {(one: any) => number} */ high) =>
    Math.max(...all.map(high)) - Math.min(...all.map(low));
  const wide = reach((one) => one.west, (one) => one.east);
  const tall = reach((one) => one.south, (one) => one.north);
  for (let digits = FIRST; digits > 2; digits -= 1) {
    const across = wide / (360 / 2 ** Math.ceil((5 * digits) / 2));
    const down = tall / (180 / 2 ** Math.floor((5 * digits) / 2));
    if (Math.max(across, down) <= ACROSS) return digits;
  }
  return 2;
}

/** Sums by the first digits of cells, the largest first. @param {Map<string, number>} cells @param {number} digits */
function together(cells, digits) {
  const sums = new Map();
  for (const [region, value] of cells) sums.set(region.slice(0, digits), (sums.get(region.slice(0, digits)) ?? 0) + value);
  return [...sums].map(([region, value]) => ({ region, value })).sort((a, b) => b.value - a.value);
}

/** Look closer at a cell, or with none at all of them. @param {string} region @param {boolean} [keyboard] */
function closer(region, keyboard = false) {
  within(region);
  follows = keyboard;
  history.pushState(null, "", here());
  show();
}

/** @param {string} region */
function within(region) {
  const known = /^[0-9b-hjkmnp-z]{1,7}$/.test(region) ? region : "";
  Object.assign(state, { prefix: known, digits: known ? Math.min(known.length + 1, CLOSEST) : FIRST });
  by("wider").disabled = !known;
  by("map-title").textContent = known ? `Consumption by cell in ${known}` : "Consumption by cell";
}

/** Address of what is shown. */
function here() {
  const hour = state.hour < 0 ? "" : state.hour;
  return address(location.pathname, { day: by("day").value, channel: by("channel").value, hour, region: state.prefix });
}

/** Whether the keyboard goes on in the map that is drawn next. */
let follows = false;

const SCALE = ["#e7f1fa", "#a9cfe9", "#5fa5d3", "#2a78b5", "#0b4a80"];

/** @typedef {{unit: string, cells: {region: string, value: number}[]}} Found */

function colours() {
  const dark = getComputedStyle(document.documentElement).getPropertyValue("--shadow").trim() === "none";
  return dark ? [...SCALE].reverse() : SCALE;
}

/** @param {HTMLElement} body @param {Found} found */
function draw(body, found) {
  return page.dataset.tiles ? drawTiles(body, found) : drawPlain(body, found);
}

const SVG = "http://www.w3.org/2000/svg";

/** Cells on a plain ground: needs nothing of the machine it is seen on. @param {HTMLElement} body @param {Found} found */
function drawPlain(body, found) {
  const bounds = found.cells.map((cell) => boundsOf(cell.region));
  const south = Math.min(...bounds.map((one) => one.south));
  const north = Math.max(...bounds.map((one) => one.north));
  const west = Math.min(...bounds.map((one) => one.west));
  const east = Math.max(...bounds.map((one) => one.east));
  const narrow = Math.cos((((south + north) / 2) * Math.PI) / 180);
  const unit = 1000 / Math.max((east - west) * narrow, north - south);
  const most = Math.max(...found.cells.map((cell) => cell.value), 0);
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `-10 -10 ${(east - west) * narrow * unit + 20} ${(north - south) * unit + 20}`);
  svg.setAttribute("class", "map-svg");
  svg.setAttribute("role", "group");
  svg.setAttribute("aria-label", `Map of ${found.cells.length} cells, from one to the other with the arrow keys; the list beside it says the same`);
  const scale = colours();
  const placed = found.cells.map((cell, at) => {
    const { south: low, west: left, north: high, east: right } = bounds[at];
    const shape = document.createElementNS(SVG, "rect");
    const step = most > 0 ? Math.min(scale.length - 1, Math.floor((Math.max(cell.value, 0) / most) * scale.length)) : 0;
    const said = `${cell.region}: ${short(cell.value, found.unit)}`;
    const sizes = { x: (left - west) * narrow * unit, y: (north - high) * unit, width: (right - left) * narrow * unit, height: (high - low) * unit };
    for (const [name, value] of Object.entries(sizes)) shape.setAttribute(name, String(value));
    shape.setAttribute("fill", scale[step]);
    shape.setAttribute("role", "button");
    shape.setAttribute("aria-label", said);
    const title = document.createElementNS(SVG, "title");
    title.textContent = said;
    shape.append(title);
    svg.append(shape);
    return { shape, x: sizes.x + sizes.width / 2, y: sizes.y + sizes.height / 2 };
  });
  roving(placed, (at, keyboard) => closer(found.cells[at].region, keyboard));
  body.replaceChildren(svg, legend(most, found.unit, scale));
  if (follows) placed[0]?.shape.focus();
  follows = false;
}

/** @param {number} most @param {string} unit @param {string[]} scale */
function legend(most, unit, scale) {
  const list = document.createElement("ul");
  list.className = "legend";
  scale.forEach((colour, at) => {
    const item = document.createElement("li");
    const box = document.createElementNS(SVG, "svg");
    box.setAttribute("class", "map-key");
    const fill = document.createElementNS(SVG, "rect");
    fill.setAttribute("width", "100%");
    fill.setAttribute("height", "100%");
    fill.setAttribute("fill", colour);
    box.append(fill);
    item.append(box, ` from ${short((most * at) / scale.length, unit)}`);
    list.append(item);
  });
  return list;
}

/** Cells over the tiles that the setting names. @param {HTMLElement} body @param {Found} found */
async function drawTiles(body, found) {
  const Plotly = await plotly();
  const regions = found.cells.map((cell) => cell.region);
  const scale = colours();
  const trace = {
    type: "choroplethmap", geojson: { type: "FeatureCollection", features: regions.map(featureOf) }, locations: regions,
    z: found.cells.map((cell) => cell.value), zmin: 0, colorscale: scale.map((colour, at) => [at / (scale.length - 1), colour]),
    marker: { opacity: 0.7, line: { width: 1, color: token("--surface") } },
    colorbar: { title: { text: found.unit }, thickness: 12, outlinewidth: 0, tickfont: { color: token("--text") } },
    hovertemplate: `%{location}: %{z:.3~f} ${found.unit}<extra></extra>`,
  };
  const map = { style: page.dataset.tiles, ...viewOf(regions) };
  const layout = { map, margin: { l: 0, r: 0, t: 0, b: 0 }, paper_bgcolor: "rgba(0,0,0,0)", font: { color: token("--text") } };
  body.classList.add("map-plot");
  await Plotly.react(body, [trace], layout, { displayModeBar: false, responsive: true });
  body.setAttribute("role", "img");
  body.setAttribute("aria-label", `Map of ${regions.length} cells; the list beside it says the same`);
  const plot = /** @type {any} */ (body);
  plot.removeAllListeners?.("plotly_click");
  plot.on("plotly_click", (/** @type {any} */ event) => closer(event.points[0].location));
}

/** @param {HTMLElement} body @param {Found} found */
function list(body, found) {
  const table = document.createElement("table");
  table.className = "table";
  const head = table.createTHead().insertRow();
  for (const [name, kind] of [["Cell", ""], [found.unit, "num"]]) {
    const cell = document.createElement("th");
    cell.scope = "col";
    cell.className = kind;
    cell.textContent = name;
    head.append(cell);
  }
  const rows = table.createTBody();
  for (const { region, value } of found.cells.slice(0, METERS)) {
    const row = rows.insertRow();
    const name = document.createElement("th");
    name.scope = "row";
    const button = document.createElement("button");
    button.type = "button";
    button.className = "mono";
    button.textContent = region;
    button.addEventListener("click", () => closer(region));
    name.append(button);
    row.append(name);
    const told = row.insertCell();
    told.className = "num";
    told.textContent = short(value);
    told.title = number(value, found.unit);
  }
  body.replaceChildren(table);
}

/** Meters of the cell that is looked at. @param {HTMLElement} body */
async function meters(body) {
  const { south, west, north, east } = boundsOf(state.prefix);
  const middle = [(south + north) / 2, (west + east) / 2];
  const radius = Math.ceil(Math.hypot((north - south) * 55_660, (east - west) * 55_660 * Math.cos((middle[0] * Math.PI) / 180)) + 1);
  const params = { near: middle.join(","), radius_m: radius, channel: by("channel").value, limit: METERS };
  const key = JSON.stringify(params);
  if (!asked.has(key)) {
    const answer = ask("/v1/meters", params);
    answer.catch(() => asked.delete(key));
    asked.set(key, answer);
  }
  const found = await asked.get(key);
  const inside = found.items.filter((/** @type {any} */ one) => (one.geohash ?? "").startsWith(state.prefix));
  const title = document.createElement("h3");
  title.textContent = `Meters in ${state.prefix}`;
  const items = document.createElement("ul");
  items.className = "plain";
  for (const one of inside) {
    const item = document.createElement("li");
    const link = document.createElement("a");
    link.href = `/fleet/meter?id=${encodeURIComponent(one.meter_id)}`;
    link.textContent = one.meter_id;
    item.append(link, ` ${one.class ?? ""}`);
    items.append(item);
  }
  body.append(title, items);
}

/** Show what the address of the page says. */
function arrive() {
  const told = new URLSearchParams(location.search);
  const [channel, hour] = [told.get("channel") ?? "", Number(told.get("hour") || -1)];
  if ([...by("channel").options].some((one) => one.value === channel)) by("channel").value = channel;
  by("hour").value = String(Number.isInteger(hour) ? hour : -1);
  state.hour = Number(by("hour").value);
  within(told.get("region") ?? "");
}

const options = {
  load: async () => cellsOf(await fleet()),
  isEmpty: (/** @type {any} */ found) => !found.cells.length,
  emptyText: "Nothing was read here at this time.",
};
const drawn = widget(by("map"), { ...options, draw: (found, body) => draw(body, found) });
const listed = widget(by("cells"), {
  ...options,
  draw: async (found, body) => {
    list(body, found);
    if (state.prefix.length >= FIRST) await meters(body);
  },
});

function show() {
  by("told").textContent = state.hour < 0 ? "the whole day" : `${String(state.hour).padStart(2, "0")}:00 UTC`;
  by("hour").setAttribute("aria-valuetext", by("told").textContent);
  drawn.refresh();
  listed.refresh();
}

by("hour").addEventListener("input", () => {
  state.hour = Math.min(Number(by("hour").value), HOURS - 1);
  show();
});
by("hour").addEventListener("change", () => history.replaceState(null, "", here()));
by("channel").addEventListener("change", () => {
  history.replaceState(null, "", here());
  show();
});
by("day").addEventListener("change", () => location.assign(here()));
by("wider").addEventListener("click", () => closer(""));
window.addEventListener("popstate", () => {
  arrive();
  show();
});
document.addEventListener("themechange", show);
arrive();
show();
