// A home among its likes nearby: the same class and region, in a month that is over.
// @ts-check
import { ask } from "./ask.js";
import { chart, token } from "./chart.js";
import { short } from "./format.js";
import { dayName, move, named, periodOf } from "./home-periods.js";
import { widget } from "./widget.js";

/** @param {HTMLElement} section @param {import("./home-history.js").Told} told */
export function nearby(section, told) {
  const lastMonth = move("month", told.today, -1);
  const state = { utility: told.utilities[0], day: lastMonth };
  const path = `/v1/service-points/${encodeURIComponent(told.id)}/neighbours`;
  const find = (/** @type {string} */ name) => /** @type {HTMLElement} */ (section.querySelector(`[data-role="${name}"]`));
  const shown = widget(find("chart"), {
    load: (/** @type {AbortSignal} */ signal) => {
      const [from, to] = periodOf("month", state.day);
      return ask(path, { from, to, channel: `${state.utility}.import`, step: "day", zone: told.zone }, { signal });
    },
    isEmpty: (/** @type {any} */ data) => data.suppressed || !data.values.some((/** @type {any} */ one) => one.group_mean !== null),
    emptyText: "Nothing to compare with in this month: a comparison needs at least 15 homes of the same kind nearby, none of which stands out.",
    draw: async (/** @type {any} */ data, /** @type {HTMLElement} */ body) => {
      const x = data.values.map((/** @type {any} */ one) => dayName("month", one.start.slice(0, 10), told.locale));
      const ticks = x.filter((/** @type {string} */ _, /** @type {number} */ at) => at % (matchMedia("(max-width: 600px)").matches ? 10 : 5) === 0);
      const words = (/** @type {string} */ who, /** @type {any} */ value) =>
        value === null ? `${who}: nothing` : `${who}: ${short(value, data.unit, told.locale)}`;
      const own = data.values.map((/** @type {any} */ one) => one.own);
      const mean = data.values.map((/** @type {any} */ one) => one.group_mean);
      const traces = () => [
        {
          type: "bar", name: "Your home", x, y: own, marker: { color: token(`--${state.utility}`) },
          customdata: own.map((/** @type {any} */ value, /** @type {number} */ at) => `${x[at]}<br>${words("Your home", value)}`),
          hovertemplate: "%{customdata}<extra></extra>",
        },
        {
          type: "scatter", mode: "lines+markers", name: "Homes like yours, mean", x, y: mean, connectgaps: false,
          line: { color: token("--text"), width: 1.5, dash: "dot" }, marker: { color: token("--text"), size: 4 },
          customdata: mean.map((/** @type {any} */ value, /** @type {number} */ at) => `${x[at]}<br>${words("Mean of the others", value)}`),
          hovertemplate: "%{customdata}<extra></extra>",
        },
      ];
      const layout = {
        showlegend: true, hovermode: "closest",
        xaxis: { type: "category", tickvals: ticks, tickangle: 0, fixedrange: true },
        yaxis: { title: { text: data.unit }, rangemode: "tozero", fixedrange: true },
      };
      const label = `${state.utility} of your home beside the mean of homes like it, ${named("month", periodOf("month", state.day), told.locale)}`;
      await chart(body, traces, layout, { label, zone: told.zone });
      find("summary").textContent = summary(data, told);
    },
  });

  function frame() {
    find("summary").textContent = "\u00a0";
    find("period").textContent = named("month", periodOf("month", state.day), told.locale);
    /** @type {HTMLButtonElement} */ (find("next")).disabled = state.day >= lastMonth;
    /** @type {HTMLButtonElement} */ (find("back")).disabled = told.first !== null && periodOf("month", state.day)[0] <= told.first;
    for (const button of section.querySelectorAll("[data-utility]")) {
      button.setAttribute("aria-pressed", String(button.getAttribute("data-utility") === state.utility));
    }
    shown.refresh();
  }

  section.addEventListener("click", (event) => {
    const button = /** @type {HTMLElement | null} */ (/** @type {HTMLElement} */ (event.target).closest("button"));
    if (!button) return;
    const { utility, role } = button.dataset;
    if (utility) state.utility = utility;
    else if (role === "back") state.day = move("month", state.day, -1);
    else if (role === "next") state.day = move("month", state.day, 1);
    else return;
    frame();
  });
  frame();
}

/** @param {any} data @param {import("./home-history.js").Told} told */
function summary(data, told) {
  const both = data.values.filter((/** @type {any} */ one) => one.own !== null && one.group_mean !== null);
  const total = (/** @type {string} */ name) => both.reduce((/** @type {number} */ sum, /** @type {any} */ one) => sum + one[name], 0);
  const [own, mean] = [total("own"), total("group_mean")];
  const others = `the mean of ${data.group.members} other homes of your kind nearby`;
  if (!both.length || !mean) return `Beside ${others}.`;
  const part = Math.round((own / mean - 1) * 100);
  const how = part === 0 ? "as much as" : `${Math.abs(part)} % ${part > 0 ? "more" : "less"} than`;
  const amount = (/** @type {number} */ value) => short(value, data.unit, told.locale);
  return `Your home took ${amount(own)}, ${how} ${others} (${amount(mean)}).`;
}
