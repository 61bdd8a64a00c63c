// The page of a meter: its readings with their quality, also as they were, and how it stands now.
// @ts-check
import { address, ask } from "./ask.js";
import { chart, token } from "./chart.js";
import { follow } from "./follow.js";
import { moment, number, wall } from "./format.js";
import { widget } from "./widget.js";

const page = /** @type {HTMLElement} */ (document.querySelector("[data-meter]"));
const find = (/** @type {string} */ name) => /** @type {any} */ (page.querySelector(`[data-role="${name}"]`));
const zone = document.documentElement.dataset.zone ?? "UTC";
const { meter, begin, end } = page.dataset;
const path = `/v1/meters/${encodeURIComponent(meter ?? "")}`;
const COLOURS = /** @type {Record<string, string>} */ ({ estimated: "--estimated", projected: "--estimated", edited: "--warn", derived: "--warn" });
const ROWS = 2000;

const params = () => ({ from: begin, to: end, channel: find("channel").value, zone: "UTC", gaps: "keep", as_of: find("as-of").value.trim() });

const shown = widget(find("chart"), {
  load: async () => {
    if (!find("channel").value) return { values: [] };
    const found = await ask(`${path}/history`, params());
    return Array.isArray(found) ? found[0] ?? { values: [] } : found;
  },
  isEmpty: (found) => !found.values.some((/** @type {any} */ one) => one.value !== null),
  emptyText: "No reading of these days.",
  draw: async (found, body) => {
    const traces = () => tracesOf(found);
    const layout = { yaxis: { title: { text: found.unit }, rangemode: "tozero" }, xaxis: { type: "date" }, bargap: 0, showlegend: true };
    await chart(body, traces, layout, { label: `${found.channel} of ${meter}`, zone });
    tell(found);
    rows(found);
  },
});

/** @param {any} found */
function tracesOf(found) {
  const qualities = /** @type {string[]} */ ([...new Set(found.values.filter((/** @type {any} */ one) => one.value !== null).map((/** @type {any} */ one) => one.quality))]);
  return qualities.map((quality) => {
    const own = found.values.filter((/** @type {any} */ one) => one.quality === quality && one.value !== null);
    return {
      type: "bar", name: quality, x: own.map((/** @type {any} */ one) => wall(one.start, zone)), y: own.map((/** @type {any} */ one) => one.value),
      marker: { color: token(COLOURS[quality] ?? "--accent"), line: { width: 0 }, pattern: { shape: quality in COLOURS ? "/" : "" } },
    };
  });
}

/** @param {any} found */
function tell(found) {
  const { filled, expected, missing, newest_received_at: newest } = found.passport;
  find("told").textContent = `${number(filled)} of ${number(expected)} slots are filled, ${number(missing)} are missing; the newest came ${newest ? moment(newest, "UTC") : "never"} UTC. Version ${found.version} of the lake. The chart's times are in ${zone}, its days those of UTC.`;
}

/** @param {any} found */
function rows(found) {
  const made = found.values.slice(0, ROWS).map((/** @type {any} */ one) => {
    const row = document.createElement("tr");
    for (const [text, kind] of [[moment(one.start, zone), ""], [String(one.seconds), "num"], [number(one.value), "num"], [one.quality, ""]]) {
      const cell = row.insertCell();
      cell.textContent = text;
      cell.className = kind;
    }
    return row;
  });
  find("rows").replaceChildren(...made);
  const cut = found.values.length > ROWS;
  find("cut").hidden = !cut;
  if (!cut) return;
  const all = document.createElement("a");
  all.href = address(`${path}/history`, { ...params(), form: "csv" });
  all.textContent = "all of them as CSV";
  find("cut").replaceChildren(`The first ${number(ROWS)} of ${number(found.values.length)}; `, all, ".");
}

find("channel").addEventListener("change", () => shown.refresh());
find("as-of").addEventListener("change", () => shown.refresh());
page.querySelector("form")?.addEventListener("submit", (event) => {
  const day = /** @type {HTMLInputElement} */ (document.getElementById("day"));
  if (day.value === day.defaultValue) {
    event.preventDefault();
    shown.refresh();
  }
});
shown.refresh();

const live = find("live");
if (live) {
  const status = find("status");
  follow(`/v1/live/meters/${encodeURIComponent(meter ?? "")}/events`, { seconds: 3600 }, {
    onStatus: (kind) => {
      status.hidden = false;
      status.dataset.status = kind;
      status.textContent = { live: "Live", waiting: "Connecting", lost: "Connection lost" }[kind];
    },
    onState: (data) => {
      live.replaceChildren(...data.values.map((/** @type {any} */ one) => {
        const row = document.createElement("tr");
        const head = document.createElement("th");
        head.scope = "row";
        head.textContent = `${one.channel} ${one.seconds} s`;
        row.append(head);
        const cells = [[moment(one.start, "UTC"), ""], [number(one.value, one.unit), "num"], [one.quality, ""], [number(one.today), "num"], [number(one.filled), "num"], [one.received_at ? moment(one.received_at, "UTC") : "–", ""]];
        for (const [text, kind] of cells) {
          const cell = row.insertCell();
          cell.textContent = text;
          cell.className = kind;
        }
        return row;
      }));
    },
  });
}
