// What to take away: the links follow the dates and the form that are chosen.
// @ts-check
import { addDays } from "./home-periods.js";

/** @param {HTMLElement} section @param {import("./home-history.js").Told} told */
export function files(section, told) {
  const field = (/** @type {string} */ name) => /** @type {HTMLInputElement} */ (section.querySelector(`[name="${name}"]`));

  function aim() {
    const [from, last] = [field("from").value, field("last").value];
    const wrong = !from || !last || from > last;
    field("last").setCustomValidity(wrong ? "The last day is before the first." : "");
    for (const link of section.querySelectorAll("a[data-form]")) {
      const url = new URL(/** @type {HTMLAnchorElement} */ (link).href);
      if (wrong) {
        link.setAttribute("aria-disabled", "true");
        continue;
      }
      link.removeAttribute("aria-disabled");
      const channel = field("channel").value;
      if (channel) url.searchParams.set("channel", channel);
      else url.searchParams.delete("channel");
      url.searchParams.set("step", field("step").value);
      url.searchParams.set("from", from);
      url.searchParams.set("to", addDays(last, 1));
      url.searchParams.set("zone", told.zone);
      /** @type {HTMLAnchorElement} */ (link).href = url.pathname + url.search;
    }
  }

  section.addEventListener("change", aim);
  section.addEventListener("click", (event) => {
    const link = /** @type {HTMLElement} */ (event.target).closest('a[aria-disabled="true"]');
    if (!link) return;
    event.preventDefault();
    field("last").reportValidity();
  });
}
