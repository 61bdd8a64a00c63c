// The operator's page: how the server does, the load, and who takes most.
// @ts-check
import { load } from "./fleet-load.js";
import { pulse } from "./fleet-pulse.js";
import { top } from "./fleet-top.js";
import { ZONE } from "./format.js";

const page = /** @type {HTMLElement} */ (document.querySelector("[data-fleet]"));
const part = (/** @type {string} */ name) => /** @type {HTMLElement} */ (page.querySelector(`[data-part="${name}"]`));

pulse(page, ZONE, Number(page.dataset.quiet));
const shown = load(part("load"), ZONE);
for (const section of page.querySelectorAll('[data-part="top"]')) top(/** @type {HTMLElement} */ (section), ZONE, shown);
const zones = page.querySelector('[data-role="zones"]');
zones?.querySelector("select")?.addEventListener("change", () => /** @type {HTMLFormElement} */ (zones).requestSubmit());
