"""A real Chromium: found by itself, opened as somebody, and listened to while it shows our pages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Playwright, Request

CHROMIUM_VARIABLE: Final = "METERLAKE_CHROMIUM"
NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
REMEDY: Final = (
    "no Chromium was found: install the package chromium (or Google Chrome), run `playwright install chromium`, "
    f"or name one in {CHROMIUM_VARIABLE}"
)
PHONE: Final = (390, 844)
TABLET: Final = (768, 1024)
DESK: Final = (1440, 900)
RULES: Final = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa")
SETTLED_MS: Final = 15_000
FETCH_S: Final = 600
_SETTLED: Final = (
    "() => document.readyState === 'complete' && !document.querySelector('[aria-busy=\"true\"]')"
)
_SHIFTED: Final = """() => new Promise((done) => {
  let sum = 0;
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) if (!entry.hadRecentInput) sum += entry.value;
  }).observe({ type: "layout-shift", buffered: true });
  setTimeout(() => done(sum), 50);
})"""


def find_chromium(environment: Mapping[str, str] = os.environ) -> str | None:
    """Path of a Chromium: the one that the environment names, an installed one, Playwright's own; else None."""
    named = environment.get(CHROMIUM_VARIABLE, "").strip()
    if named:
        return shutil.which(named)
    for name in NAMES:
        if found := shutil.which(name):
            return found
    kept = Path(environment.get("PLAYWRIGHT_BROWSERS_PATH") or Path.home() / ".cache" / "ms-playwright")
    own = sorted(kept.glob("chromium-*/chrome-linux*/chrome"))
    return str(own[-1]) if own else None


def provide() -> str | None:
    """Return the path of a Chromium; where there is none, let Playwright fetch its own if it can."""
    if found := find_chromium():
        return found
    asked = [sys.executable, "-m", "playwright", "install", "chromium"]
    try:
        subprocess.run(asked, capture_output=True, timeout=FETCH_S, check=True)  # noqa: S603 - this interpreter
    except subprocess.SubprocessError:
        return None
    return find_chromium()


@dataclass
class Visit:
    """A page in a context of its own, and everything that went wrong on it."""

    page: Page
    url: str
    faults: list[str] = field(default_factory=list)
    """Errors in the console (what the policy refused is among them), uncaught ones, and requests to elsewhere."""

    def go(self, path: str) -> Page:
        """Open a path of the server, and wait until nothing on the page is busy."""
        self.page.goto(self.url + path, wait_until="load")
        self.settle()
        return self.page

    def settle(self) -> None:
        """Wait until nothing on the page is busy."""
        self.page.wait_for_function(_SETTLED, timeout=SETTLED_MS)

    def shifted(self) -> float:
        """How far the page moved under its reader since it was opened: Chromium's cumulative layout shift, 0 for not."""
        return float(self.page.evaluate(_SHIFTED))

    def axe(self, *only: str) -> list[str]:
        """Rules of axe-core that the page breaks, a line each with where; ``only`` these rules, else WCAG 2.1 A and AA."""
        from axe_playwright_python.sync_playwright import Axe

        asked = {"type": "rule", "values": list(only)} if only else {"type": "tag", "values": list(RULES)}
        found = Axe().run(self.page, options={"runOnly": asked, "resultTypes": ["violations"]}).response
        return [
            f"{broken['id']}: {', '.join(' '.join(node['target']) for node in broken['nodes'][:3])}: {_why(broken)}"
            for broken in found["violations"]
        ]

    def heard(self, message: ConsoleMessage) -> None:
        """Keep what the console calls an error."""
        if message.type == "error":
            self.faults.append(f"{self.page.url}: {message.text}")

    def asked(self, request: Request) -> None:
        """Keep requests that leave the server."""
        if not request.url.startswith((self.url + "/", "data:", "blob:")):
            self.faults.append(f"{self.page.url}: asks {request.url}")

    def close(self) -> None:
        """Close its context."""
        self.page.context.close()


def _why(broken: Mapping[str, Any]) -> str:
    """Return what the first place of a broken rule says is to be done."""
    return " ".join(str(broken["nodes"][0].get("failureSummary", broken["help"])).split())


class Browsing:
    """One browser for many visits; its methods belong to the thread that entered it."""

    def __init__(self, chromium: str) -> None:
        """Name the program."""
        self._chromium = chromium
        self._playwright: Playwright | None = None
        self._browser: Browser | None = None

    def __enter__(self) -> Self:
        """Start it."""
        from playwright.sync_api import sync_playwright

        self._playwright = sync_playwright().start()
        self._browser = self._playwright.chromium.launch(
            executable_path=self._chromium, args=["--no-sandbox"]
        )
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        if self._browser is not None:
            self._browser.close()
        if self._playwright is not None:
            self._playwright.stop()

    def visit(
        self, url: str, session: str | None = None, size: tuple[int, int] = DESK, **context: Any
    ) -> Visit:
        """Open an empty page for the server at ``url``, signed in by the cookie ``session``; ``context`` is Playwright's."""
        assert self._browser is not None, "enter it first"
        told = {"locale": "en-GB", "timezone_id": "Europe/London", "reduced_motion": "reduce"} | context
        made: BrowserContext = self._browser.new_context(
            viewport={"width": size[0], "height": size[1]}, **told
        )
        made.set_default_timeout(SETTLED_MS)
        if session is not None:
            made.add_cookies([{"name": "meterlake_session", "value": session, "url": url}])
        visit = Visit(made.new_page(), url)
        visit.page.on("console", visit.heard)
        visit.page.on(
            "pageerror", lambda error: visit.faults.append(f"{visit.page.url}: {error.name}: {error.message}")
        )
        made.on("request", visit.asked)
        return visit


if __name__ == "__main__" and provide() is None:
    print(f"the tests of the pages are skipped: {REMEDY}", file=sys.stderr)  # noqa: T201 - a hint of `make test`
