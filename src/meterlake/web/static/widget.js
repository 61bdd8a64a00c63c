// A part of a page that is asked for: a skeleton first, then what was found, that nothing was found, or what went wrong.
// @ts-check

/**
 * Make `element` such a part; `refresh` asks again, and only the newest answer counts.
 * @param {HTMLElement} element
 * @param {{load: (signal: AbortSignal) => Promise<any>, draw: (data: any, body: HTMLElement) => any,
 *   isEmpty?: (data: any) => boolean, emptyText?: string}} told
 */
export function widget(element, { load, draw, isEmpty = () => false, emptyText = "Nothing here yet." }) {
  const body = document.createElement("div");
  body.className = "widget-body";
  const said = document.createElement("div");
  said.className = "widget-said";
  said.setAttribute("role", "status");
  said.hidden = true;
  element.classList.add("widget");
  if (!element.hasAttribute("tabindex")) element.tabIndex = -1;
  element.replaceChildren(body, said);
  /** @type {AbortController | null} */
  let asking = null;
  let drawn = false;

  /** @param {string} kind @param {...(string | Node)} parts */
  function say(kind, ...parts) {
    said.className = `widget-said ${kind}`;
    said.replaceChildren(...parts);
    said.hidden = false;
    body.hidden = true;
  }

  /** @param {any} error */
  function failed(error) {
    const text = `${error?.detail ?? error?.message ?? "This could not be shown."} ${error?.remedy ?? ""}`.trim();
    drawn = false;
    if (!said.hidden && said.querySelector("p")?.textContent === text) return; // said already: who listens is not told again
    const words = document.createElement("p");
    words.textContent = text;
    const again = document.createElement("button");
    again.type = "button";
    again.className = "button";
    again.textContent = "Try again";
    again.addEventListener("click", () => refresh());
    said.setAttribute("role", "alert");
    say("error", words, again);
  }

  async function refresh() {
    asking?.abort();
    const own = new AbortController();
    asking = own;
    element.setAttribute("aria-busy", "true");
    if (!drawn && said.hidden) element.classList.add("skeleton");
    try {
      const data = await load(own.signal);
      if (asking !== own) return;
      if (isEmpty(data)) {
        said.setAttribute("role", "status");
        say("empty", emptyText);
        drawn = false;
      } else {
        const asked = said.contains(document.activeElement);
        body.hidden = false;
        said.hidden = true;
        if (asked) element.focus(); // the button to try again is gone
        element.classList.remove("skeleton");
        await draw(data, body);
        drawn = true;
      }
    } catch (error) {
      if (asking === own && !own.signal.aborted) failed(error);
    } finally {
      if (asking === own) {
        element.setAttribute("aria-busy", "false");
        element.classList.remove("skeleton");
      }
    }
  }

  return { refresh };
}
