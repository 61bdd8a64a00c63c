"""Every page, for everybody who may see it: nothing breaks a rule of accessibility, overflows, or says an error."""

from __future__ import annotations

import pytest

from meterlake.testing.browsing import DESK, PHONE, TABLET

WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"

STILL = 0.05
"""Layout shift that nobody sees."""

PAGES = {
    "nobody": ["/", "/sign-in", "/help", "/help/api"],
    "customer": ["/home", "/account"],
    "landlady": ["/home", "/home?id={second}"],
    "newcomer": ["/home"],
    "analyst": ["/analysis"],
    "operator": ["/fleet", "/fleet/map", "/fleet/silent", "/fleet/search?q=SP", "/fleet/meter?id={meter}"],
    "operator, files": ["/fleet/loads", "/fleet/batches", "/fleet/runs", "/fleet/quarantine"],
    "admin": ["/admin/users", "/admin/audit"],
}
HIDDEN = {
    "nobody": ["/no-such-page"],
    "customer": ["/fleet", "/fleet/meter?id={meter}", "/admin/users", "/analysis", "/home?id={neighbour}"],
    "analyst": ["/fleet", "/home?id={second}", "/admin/audit"],
    "operator": ["/admin/users", "/admin/audit"],
}
"""Pages that do not exist for somebody."""


def paths(world, told):
    town = world.town
    known = {
        "meter": town.meters["electricity"],
        "second": town.point("second"),
        "neighbour": town.point("neighbour"),
    }
    return [path.format(**known) for path in told]


def look(opened, page):
    """What is wrong with the page that is open, by width and light."""
    wrong = {}
    for size in (DESK, TABLET, PHONE):
        page.set_viewport_size({"width": size[0], "height": size[1]})
        opened.settle()
        if wide := page.evaluate(WIDE):
            wrong[size[0]] = f"{wide} pixels too wide"
        if size == TABLET:
            continue
        for scheme, rules in (("light", ()), ("dark", ("color-contrast",))):
            page.emulate_media(color_scheme=scheme)
            if found := opened.axe(*rules):
                wrong[size[0], scheme] = found
    return wrong


@pytest.mark.parametrize("who", PAGES)
def test_pages_break_no_rule_in_any_size_and_light(world, visit, who):
    name = who.partition(",")[0]
    opened = visit(None if name == "nobody" else name)
    wrong = {}
    for path in paths(world, PAGES[who]):
        opened.page.set_viewport_size({"width": DESK[0], "height": DESK[1]})
        opened.page.emulate_media(color_scheme="light")
        page = opened.go(path)
        assert page.locator("main").count() == 1, path
        assert page.locator("h1").count() == 1, path
        moved = opened.shifted()
        if found := look(opened, page):
            wrong[path] = found
        if moved > STILL:
            wrong[path, "moves"] = moved
    assert wrong == {}


@pytest.mark.parametrize("who", HIDDEN)
def test_a_page_that_is_not_there_for_somebody_looks_like_all_others(world, visit, who):
    opened = visit(None if who == "nobody" else who)
    for path in paths(world, HIDDEN[who]):
        answer = opened.page.goto(world.url + path)
        assert answer.status == 404, path
        assert opened.page.locator("h1").count() == 1
    assert look(opened, opened.page) == {}
    said = [fault for fault in opened.faults if "status of 404" not in fault]
    opened.faults.clear()
    assert said == []
