// The frame of every page: the row of pages shows where one is, and a bar says when what is shown may be old.
// @ts-check
const here = document.querySelector('.nav [aria-current="page"]');
const row = here?.parentElement;
if (here instanceof HTMLElement && row) row.scrollLeft = here.offsetLeft - row.clientWidth / 2 + here.offsetWidth / 2;

const old = document.getElementById("old");
document.addEventListener("following", (event) => {
  if (old) old.hidden = /** @type {CustomEvent} */ (event).detail !== "lost";
});
