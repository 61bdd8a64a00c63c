// Colours before the first paint: as the system has them, light, or dark.
// @ts-check
(() => {
  const KEY = "meterlake-theme";
  const ORDER = ["auto", "light", "dark"];
  const SIGNS = /** @type {Record<string, string>} */ ({ auto: "◐", light: "☀", dark: "☾" });
  const WORDS = /** @type {Record<string, string>} */ ({ auto: "as the system has them", light: "light", dark: "dark" });
  const root = document.documentElement;

  function kept() {
    try {
      const found = localStorage.getItem(KEY) ?? "auto";
      return ORDER.includes(found) ? found : "auto";
    } catch {
      return "auto";
    }
  }

  /** @param {string} theme */
  function apply(theme) {
    if (theme === "auto") delete root.dataset.theme;
    else root.dataset.theme = theme;
    const button = document.getElementById("theme");
    if (!button) return;
    button.textContent = SIGNS[theme];
    button.setAttribute("aria-label", `Colours: ${WORDS[theme]}`);
  }

  function told() {
    document.dispatchEvent(new Event("themechange"));
  }

  apply(kept());
  document.addEventListener("DOMContentLoaded", () => {
    apply(kept());
    document.getElementById("theme")?.addEventListener("click", () => {
      const next = ORDER[(ORDER.indexOf(kept()) + 1) % ORDER.length];
      try {
        localStorage.setItem(KEY, next);
      } catch {
        // it holds for this page then
      }
      apply(next);
      told();
    });
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", told);
})();
