// What is being done now, and how far it has come: asked for again while the page is looked at.
// @ts-check
import { ask } from "./ask.js";

const SECOND_MS = 1000;
const OFTEN_MS = 2 * SECOND_MS;
const section = /** @type {HTMLElement} */ (document.getElementById("work"));
const list = /** @type {HTMLElement} */ (section.querySelector("ul"));
const number = new Intl.NumberFormat(document.documentElement.dataset.locale, { notation: "compact", maximumFractionDigits: 1 });
const UNITS = { read: "B", merge: "readings", batch: "buckets", compact: "files" };
let known = list.childElementCount;

/** @param {number} seconds */
function spell(seconds) {
  return seconds < 90 ? `${seconds} s` : `${Math.round(seconds / 60)} min`;
}

/** @param {any} job */
function words(job) {
  if (job.cut_off) return `was cut off; last heard of ${job.told_at}`;
  if (!job.phase) return "begins";
  const unit = UNITS[/** @type {keyof typeof UNITS} */ (job.phase)] ?? "";
  const rate = job.rate ? ` · ${number.format(job.rate)} ${unit}/s` : "";
  const left = job.seconds_left === null ? "" : ` · ${spell(job.seconds_left)} left`;
  return `${job.phase}: ${number.format(job.done)} of ${number.format(job.total)} ${unit}${rate}${left}`;
}

/** @param {any} job */
function row(job) {
  const name = document.createElement("span");
  name.textContent = `${job.kind} ${job.what}`.trim();
  const bar = document.createElement("progress");
  bar.max = Math.max(job.total, 1);
  bar.value = job.done;
  bar.setAttribute("aria-label", name.textContent);
  const told = document.createElement("span");
  told.className = "muted";
  told.textContent = words(job);
  const item = document.createElement("li");
  item.append(name, " ", bar, " ", told);
  return item;
}

async function refresh() {
  if (document.hidden) return;
  try {
    const { items } = await ask("/v1/work", {});
    if (items.length < known) return location.reload(); // what has ended is in the list below now
    known = items.length;
    section.hidden = !items.length;
    list.replaceChildren(...items.map(row));
  } catch {
    // the next turn may go better; what was shown stays
  }
}

setInterval(refresh, OFTEN_MS);
refresh();
