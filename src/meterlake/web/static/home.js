// The customer's page: what each of its parts needs to know stands in the page.
// @ts-check
import { files } from "./home-files.js";
import { history } from "./home-history.js";
import { nearby } from "./home-nearby.js";
import { now } from "./home-now.js";
import { ranges } from "./home-ranges.js";

const page = /** @type {HTMLElement} */ (document.querySelector("[data-home]"));
const part = (/** @type {string} */ name) => /** @type {HTMLElement | null} */ (page.querySelector(`[data-part="${name}"]`));
const words = (/** @type {string | undefined} */ text) => (text ?? "").split(" ").filter((word) => word);
const { home, today, last, first, utilities, channels, zone } = page.dataset;

const told = {
  id: home ?? "",
  zone: zone ?? "UTC",
  locale: document.documentElement.dataset.locale || navigator.language,
  utilities: words(utilities),
  channels: words(channels),
  today: today ?? "",
  last: last ?? "",
  first: first || null,
  units: { electricity: "kWh", gas: "m³", water: "m³" },
};

const parts = { now, history, ranges, nearby, files };
for (const [name, start] of Object.entries(parts)) {
  const section = part(name);
  const cards = part("cards");
  if (!section || !told.utilities.length) continue;
  if (name === "now" && cards) now(section, cards, told);
  else /** @type {any} */ (start)(section, told);
}
