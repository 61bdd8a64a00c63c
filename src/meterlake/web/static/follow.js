// What moves: an event stream that comes back by itself, and rests while nobody looks.
// @ts-check
import { address } from "./ask.js";

const FIRST_MS = 1000;
const MOST_MS = 10_000;
/** A stream that says nothing for so long may be one that froze; the server is asked whether it is there. */
const QUIET_MS = 8_000;
const ANSWER_MS = 4_000;

/**
 * Follow a stream of states until the returned function is called.
 * @param {string} path
 * @param {Record<string, string | number | null | undefined>} params
 * @param {{onState: (data: any) => void, onStatus?: (status: "live" | "waiting" | "lost") => void}} told
 */
export function follow(path, params, { onState, onStatus = () => {} }) {
  /** @type {EventSource | null} */
  let source = null;
  let wait = FIRST_MS;
  let heard = Date.now();
  let over = false;
  /** @type {number | undefined} */
  let timer;

  /** @param {"live" | "waiting" | "lost"} status */
  function tell(status) {
    onStatus(status);
    if (status !== "waiting") document.dispatchEvent(new CustomEvent("following", { detail: status }));
  }

  function open() {
    if (over || source || document.hidden) return;
    tell("waiting");
    heard = Date.now();
    source = new EventSource(address(path, params));
    source.addEventListener("state", (event) => {
      heard = Date.now();
      wait = FIRST_MS;
      tell("live");
      onState(JSON.parse(/** @type {MessageEvent} */ (event).data));
    });
    source.addEventListener("error", lost);
  }

  function rest() {
    clearTimeout(timer);
    source?.close();
    source = null;
  }

  function lost() {
    rest();
    if (over) return;
    tell("lost");
    timer = window.setTimeout(open, wait);
    wait = Math.min(wait * 2, MOST_MS);
  }

  async function check() {
    if (!source || Date.now() - heard < QUIET_MS) return;
    try {
      const answer = await fetch("/healthz", { signal: AbortSignal.timeout(ANSWER_MS), cache: "no-store" });
      if (answer.ok) heard = Date.now();
      else lost();
    } catch {
      lost();
    }
  }

  function looked() {
    if (document.hidden) rest();
    else open();
  }

  const pulse = window.setInterval(check, ANSWER_MS);
  document.addEventListener("visibilitychange", looked);
  window.addEventListener("pagehide", rest);
  open();
  return () => {
    over = true;
    rest();
    clearInterval(pulse);
    document.removeEventListener("visibilitychange", looked);
    window.removeEventListener("pagehide", rest);
  };
}
