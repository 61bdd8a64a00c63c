// Cells of the map by keyboard: one stop for Tab, arrows to the next cell, Enter or Space to look closer.
// @ts-check

/** @typedef {{shape: SVGElement, x: number, y: number}} Cell */

/** @type {Record<string, [number, number]>} */
const WAYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
/** How much nearer a cell straight ahead seems than one aside. */
const ASIDE = 2;

/**
 * Let one of some cells be reached by Tab and the others from it.
 * @param {Cell[]} cells
 * @param {(at: number, keyboard: boolean) => void} choose
 */
export function roving(cells, choose) {
  let here = 0;

  /** @param {number} at */
  function move(at) {
    cells[here].shape.setAttribute("tabindex", "-1");
    here = at;
    cells[here].shape.setAttribute("tabindex", "0");
    cells[here].shape.focus();
  }

  cells.forEach(({ shape }, at) => {
    shape.setAttribute("tabindex", at === here ? "0" : "-1");
    shape.addEventListener("click", () => choose(at, false));
    shape.addEventListener("keydown", (event) => {
      const { key } = event;
      if (key === "Enter" || key === " ") choose(at, true);
      else if (key in WAYS) move(beside(cells, at, WAYS[key]));
      else if (key === "Home" || key === "End") move(key === "Home" ? 0 : cells.length - 1);
      else return;
      event.preventDefault();
    });
  });
}

/** The nearest cell in a direction; the same one where there is none. @param {Cell[]} cells @param {number} at @param {[number, number]} way */
function beside(cells, at, [right, down]) {
  const own = cells[at];
  let [best, least] = [at, Infinity];
  cells.forEach((cell, other) => {
    const [x, y] = [cell.x - own.x, cell.y - own.y];
    const ahead = x * right + y * down;
    const far = ahead + ASIDE * Math.abs(x * down + y * right);
    if (ahead > 1e-6 && far < least) [best, least] = [other, far];
  });
  return best;
}
