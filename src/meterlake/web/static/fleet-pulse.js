// How the server does, each second: what comes in, how fresh and complete it is, what was refused, who is silent.
// @ts-check
import { follow } from "./follow.js";
import { named } from "./fleet-flow.js";
import { clock, number, short, span } from "./format.js";

const WORDS = { live: "Live", waiting: "Connecting", lost: "Connection lost, trying again" };
const SVG = "http://www.w3.org/2000/svg";
const TALL = 24;
const DAY_S = 86_400;

/** @param {HTMLElement} page @param {string} zone @param {number} quiet_s */
export function pulse(page, zone, quiet_s) {
  const find = (/** @type {string} */ role) => /** @type {HTMLElement} */ (page.querySelector(`[data-role="${role}"]`));
  const put = (/** @type {string} */ role, /** @type {string} */ text) => {
    const place = find(role);
    if (place.textContent !== text) place.textContent = text;
  };

  /** @param {any} told */
  function shown(told) {
    const { accepted, quarantine, silent, waiting } = told;
    put("rate", short(accepted.last_10_s));
    put("minute", short(accepted.last_60_s));
    bars(/** @type {any} */ (find("bars")), accepted.seconds);
    put("waiting", number(waiting.batches));
    fresh(told);
    if (told.completeness) complete(told.completeness);
    if (quarantine) refused(quarantine);
    if (silent) silence(silent);
    const trouble = find("trouble");
    trouble.hidden = !told.trouble.length;
    trouble.textContent = told.trouble.length ? `Fails right now: ${told.trouble.join(", ")}. The server's log says why.` : "";
  }

  /** @param {any} told */
  function refused({ today, total }) {
    put("refused", number(today));
    put("refused-total", number(total));
    sign(find("refused-state"), today ? "warn" : "good", today ? "!" : "✓", today ? "Some were refused" : "None refused");
  }

  /** @param {any} told */
  function silence({ meters, over }) {
    for (const one of over) {
      const place = page.querySelector(`[data-role="spans"] [data-seconds="${one.seconds}"] strong`);
      if (place) place.textContent = number(one.meters);
      if (one.seconds === DAY_S) put("silent", number(one.meters));
    }
    put("meters", number(meters));
  }

  /** @param {any} told */
  function fresh(told) {
    const age = told.freshness_s;
    put("fresh", age === null ? "–" : age < 60 ? number(Math.floor(age), "s") : span(age));
    put("ago", age === null ? "none yet" : "ago");
    if (told.newest_received_at) put("came", `Came at ${clock(told.newest_received_at, zone)}`);
    const [kind, mark, words] = age === null ? ["warn", "○", "Nothing has come yet"]
      : age > quiet_s ? ["warn", "!", "Nothing comes in"] : ["good", "✓", "Readings are flowing"];
    sign(find("flow"), kind, mark, words);
  }

  /** @param {any} told */
  function complete({ share: all, channels }) {
    put("share", percent(all));
    const list = find("shares");
    if (!channels.length) {
      list.replaceChildren(none());
      return;
    }
    if (list.querySelectorAll("progress").length !== channels.length) list.replaceChildren(...channels.map(() => line()));
    channels.forEach((one, at) => {
      const [name, part, share] = list.children[at].children;
      name.textContent = named(one.channel);
      part.setAttribute("max", "1");
      part.setAttribute("value", String(one.share));
      part.setAttribute("aria-label", named(one.channel));
      share.textContent = percent(one.share);
    });
  }

  follow("/v1/pulse/events", { zone }, {
    onState: shown,
    onStatus: (status) => {
      const place = find("status");
      place.dataset.status = status;
      place.textContent = WORDS[status];
      page.querySelector('[data-part="pulse"]')?.classList.toggle("stale", status === "lost");
    },
  });
}

/** @param {number | null} share */
const percent = (share) => (share === null ? "–" : number(share * 100, "%", undefined, 1));

/** A chip that says how it is by sign, words and colour. */
function sign(/** @type {HTMLElement} */ place, /** @type {string} */ kind, /** @type {string} */ mark, /** @type {string} */ words) {
  place.className = `chip ${kind}`;
  place.dataset.sign = mark;
  if (place.textContent !== words) place.textContent = words;
}

function none() {
  const item = document.createElement("li");
  item.className = "muted";
  item.textContent = "Nothing is due yet today.";
  return item;
}

function line() {
  const item = document.createElement("li");
  const name = document.createElement("span");
  name.className = "fleet-name";
  const share = document.createElement("span");
  share.className = "fleet-num";
  item.append(name, document.createElement("progress"), share);
  return item;
}

/** A bar a second, the newest at the right. @param {SVGElement} place @param {number[]} counts */
function bars(place, counts) {
  if (place.childElementCount !== counts.length + 1) {
    const base = document.createElementNS(SVG, "line");
    for (const [name, value] of Object.entries({ x1: 0, x2: counts.length, y1: TALL, y2: TALL })) base.setAttribute(name, String(value));
    place.replaceChildren(base, ...counts.map((_, at) => {
      const bar = document.createElementNS(SVG, "rect");
      bar.setAttribute("x", String(at + 0.1));
      bar.setAttribute("width", "0.8");
      return bar;
    }));
  }
  const most = Math.max(...counts, 1);
  counts.forEach((count, at) => {
    const height = count ? Math.max((count / most) * TALL, 1) : 0;
    const bar = place.children[at + 1];
    bar.setAttribute("y", String(TALL - height));
    bar.setAttribute("height", String(height));
  });
}
