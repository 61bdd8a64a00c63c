// What flows, as people write it; and a choice of channels.
// @ts-check
import { short } from "./format.js";

const LARGE = [[1e9, "GW"], [1e6, "MW"], [1e3, "kW"], [0, "W"]];

/** A channel in words. @param {string} channel */
export const named = (channel) => channel.replaceAll(".", ", ");

/** Whether a channel is energy: the others are volumes. @param {string} channel */
export const isEnergy = (channel) => channel.startsWith("electricity");

/**
 * Size and unit that suit a flow: of W for energy, of L/h for volumes.
 * @param {number} most @param {string} channel
 * @returns {[number, string]}
 */
export function scaleOf(most, channel) {
  if (!isEnergy(channel)) return most >= 1000 ? [1000, "m³/h"] : [1, "L/h"];
  return /** @type {[number, string]} */ ([...(LARGE.find(([size]) => most >= Number(size)) ?? [1, "W"])].map((one) => one || 1));
}

/** A flow with its unit. @param {number} watts @param {string} channel */
export function flow(watts, channel) {
  const [size, unit] = scaleOf(Math.abs(watts), channel);
  return short(watts / size, unit);
}

/** An amount with a unit that keeps it short. @param {number} value @param {string} unit */
export function amount(value, unit) {
  if (unit === "kWh" && Math.abs(value) >= 1e6) return short(value / 1e6, "GWh");
  if (unit === "kWh" && Math.abs(value) >= 1e4) return short(value / 1e3, "MWh");
  return short(value, unit);
}

/** Electricity taken first, then what else is taken, then what is given. @param {string} channel */
const order = (channel) => `${channel.endsWith(".export") ? 1 : 0}${isEnergy(channel) ? 0 : 1}${channel}`;

/** @param {Iterable<string>} channels */
export const sorted = (channels) => [...new Set(channels)].sort((a, b) => (order(a) < order(b) ? -1 : 1));

/**
 * Buttons to choose a channel with; hidden where there is no choice. Kept as they are while the channels are the same.
 * @param {HTMLElement} place @param {string[]} channels @param {string | null} chosen @param {(channel: string) => void} choose
 */
export function choice(place, channels, chosen, choose) {
  if (place.dataset.channels !== channels.join(" ")) {
    place.dataset.channels = channels.join(" ");
    place.hidden = channels.length < 2;
    place.replaceChildren(
      ...channels.map((channel) => {
        const button = document.createElement("button");
        button.type = "button";
        button.dataset.channel = channel;
        button.textContent = named(channel);
        button.addEventListener("click", () => choose(channel));
        return button;
      }),
    );
  }
  for (const button of place.children) button.setAttribute("aria-pressed", String(/** @type {HTMLElement} */ (button).dataset.channel === chosen));
}
