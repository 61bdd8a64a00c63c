"""Pictures of the pages for the documents, taken in a real browser from the town."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final, NamedTuple

from meterlake.testing.browsing import DESK, PHONE, REMEDY, Browsing, Visit, find_chromium
from meterlake.testing.serving import Server
from meterlake.testing.town import town

if TYPE_CHECKING:
    from pathlib import Path

POINTS: Final = 240
QUALITY: Final = 78
TALL: Final = 2400
"""Pixels of height beyond which a picture is cut."""


class Picture(NamedTuple):
    """What is taken: the page ``path`` as ``who`` sees it."""

    name: str
    who: str | None
    path: str
    size: tuple[int, int] = DESK
    dark: bool = False


PICTURES: Final = (
    Picture("landing", None, "/"),
    Picture("sign-in", None, "/sign-in"),
    Picture("home", "customer", "/home"),
    Picture("home-dark", "customer", "/home", DESK, dark=True),
    Picture("home-phone", "customer", "/home", PHONE),
    Picture("choose", "landlady", "/home"),
    Picture("account", "customer", "/account"),
    Picture("fleet", "operator", "/fleet"),
    Picture("map", "operator", "/fleet/map"),
    Picture("silent", "operator", "/fleet/silent"),
    Picture("search", "operator", "/fleet/search?q=SP0000001"),
    Picture("meter", "operator", "/fleet/meter?id={meter}"),
    Picture("loads", "operator", "/fleet/loads"),
    Picture("batches", "operator", "/fleet/batches"),
    Picture("runs", "operator", "/fleet/runs"),
    Picture("quarantine", "operator", "/fleet/quarantine"),
    Picture("analysis", "analyst", "/analysis"),
    Picture("users", "admin", "/admin/users"),
    Picture("audit", "admin", "/admin/audit"),
    Picture("help", None, "/help"),
)


def take(work: Path, into: Path) -> None:
    """Make a town in ``work``, serve it, and write a WebP of each page into ``into``.

    Raises:
        RuntimeError: there is no Chromium.

    """
    chromium = find_chromium()
    if chromium is None:
        raise RuntimeError(REMEDY)
    into.mkdir(parents=True, exist_ok=True)
    made = town(work, POINTS)
    sessions = {who: made.session(who) for who in {one.who for one in PICTURES} if who is not None}
    with Server(made.lake) as server, Browsing(chromium) as browsing:
        made.catch_up(server.url)
        for one in PICTURES:
            session = None if one.who is None else sessions[one.who]
            scheme = "dark" if one.dark else "light"
            visit = browsing.visit(server.url, session, one.size, color_scheme=scheme)
            visit.go(one.path.format(meter=made.meters["electricity"]))
            (into / f"{one.name}.webp").write_bytes(shot(visit))
            visit.close()


def shot(visit: Visit) -> bytes:
    """WebP of the whole page, cut where it is very tall."""
    page = visit.page
    size = page.evaluate(
        "() => [document.documentElement.clientWidth, document.documentElement.scrollHeight]"
    )
    clip = {"x": 0, "y": 0, "width": size[0], "height": min(size[1], TALL), "scale": 1}
    asked = {"format": "webp", "quality": QUALITY, "clip": clip, "captureBeyondViewport": True}
    return base64.b64decode(page.context.new_cdp_session(page).send("Page.captureScreenshot", asked)["data"])
