"""What each part of a page shows when the server does not answer, has nothing, or answers again; and the map by keyboard."""

from __future__ import annotations

import json

import pytest

from meterlake.app import open_lake, people_of
from meterlake.people import Hold, Role
from meterlake.testing.browsing import DESK, PHONE
from meterlake.testing.serving import Server
from meterlake.testing.town import PASSWORD

WIDGETS = "all => all.filter(one => one.offsetParent !== null).length"
SHIFTS = """
window.shifts = [];
new PerformanceObserver((list) => {
  for (const one of list.getEntries()) if (!one.hadRecentInput) window.shifts.push(one.value);
}).observe({ type: "layout-shift", buffered: true });
"""
PROBLEM = {
    "type": "/problems/overloaded",
    "title": "Come again later",
    "status": 503,
    "detail": "there is no room",
    "remedy": "come again",
}
ANSWERS = {
    "overloaded": {
        "status": 503,
        "content_type": "application/problem+json",
        "body": json.dumps(PROBLEM),
        "headers": {"Retry-After": "1"},
    },
    "broken": {"status": 500, "content_type": "text/html", "body": "<b>proxy</b>"},
    "gone": None,
}
PARTED = [
    ("customer", "/home"),
    ("operator", "/fleet"),
    ("operator", "/fleet/map"),
    ("operator", "/fleet/meter?id={meter}"),
    ("analyst", "/analysis"),
]


def address(world, path):
    return path.format(meter=world.town.meters["electricity"])


@pytest.mark.parametrize("how", ANSWERS)
@pytest.mark.parametrize(("who", "path"), PARTED)
def test_each_part_says_what_is_wrong_and_tries_again(world, visit, who, path, how):
    opened = visit(who)
    page = opened.page

    def answer(route):
        told = ANSWERS[how]
        route.abort() if told is None else route.fulfill(**told)

    page.route("**/v1/**", answer)
    page.goto(world.url + address(world, path))
    opened.settle()
    parts, wrong = page.locator(".widget"), page.locator(".widget-said.error")
    assert parts.evaluate_all(WIDGETS) == page.locator(".widget > .widget-said").evaluate_all(WIDGETS), (
        "none is silent"
    )
    count = wrong.evaluate_all(WIDGETS)
    assert count
    for text in wrong.all_inner_texts():
        assert ("there is no room come again" in text) == (how == "overloaded")
        assert "Try again" in text
        assert "proxy" not in text
    assert wrong.first.get_attribute("role") == "alert"
    page.wait_for_function("document.querySelector('.chip[data-status]')?.dataset.status !== 'live'")
    page.unroute("**/v1/**")
    for _ in range(count):
        if not wrong.evaluate_all(WIDGETS):
            break  # some ask again by themselves
        wrong.get_by_role("button").first.focus()
        page.keyboard.press("Enter")
        opened.settle()
    assert wrong.evaluate_all(WIDGETS) == 0
    assert page.evaluate("document.activeElement.closest('.widget') !== null"), "the focus stays where it was"
    said = [
        fault
        for fault in opened.faults
        if "Failed to load resource" not in fault and "net::ERR_FAILED" not in fault
    ]
    opened.faults.clear()
    assert said == []


def test_a_part_that_fails_again_and_again_is_told_once(world, visit):
    opened = visit("operator")
    page = opened.page
    page.route("**/v1/live/top**", lambda route: route.fulfill(**ANSWERS["overloaded"]))
    page.goto(world.url + "/fleet")
    opened.settle()
    place = page.locator("[data-part='top'][data-by='meter'] .widget-said")
    place.wait_for(state="visible")
    place.locator("p").evaluate("one => { one.dataset.first = 'yes' }")
    with page.expect_response("**/v1/live/top**"):
        pass
    opened.settle()
    assert place.locator("p").get_attribute("data-first") == "yes"
    opened.faults.clear()


@pytest.fixture(scope="module")
def empty(chromium, tmp_path_factory):
    """A server on a lake in which there is nothing; sessions by who."""
    folder = tmp_path_factory.mktemp("empty")
    desk = people_of(open_lake(str(folder / "lake")).registry)
    sessions = {}
    for role, holds in ((Role.CUSTOMER, [Hold("SP1")]), (Role.ADMIN, []), (Role.ANALYST, [])):
        sessions[role] = desk.use_link(
            desk.invite(f"{role}@example.com", role, holds, None), PASSWORD, "here"
        )
    desk.stop()
    with Server(folder / "lake") as server:
        yield server.url, sessions


EMPTY = {
    Role.CUSTOMER: ["/home", "/account"],
    Role.ANALYST: ["/analysis"],
    Role.ADMIN: ["/fleet", "/fleet/map", "/fleet/silent", "/fleet/search?q=x", "/fleet/loads", "/fleet/batches", "/fleet/runs", "/fleet/quarantine",
                 "/analysis", "/admin/users", "/admin/audit"],
}  # fmt: skip


@pytest.mark.parametrize("role", EMPTY)
def test_a_lake_with_nothing_in_it_says_so(empty, browsing, role):
    url, sessions = empty
    opened = browsing.visit(url, sessions[role])
    wrong = {}
    for path in EMPTY[role]:
        page = opened.go(path)
        if page.locator(".widget-said.error").evaluate_all(WIDGETS):
            wrong[path] = page.locator(".widget-said.error").all_inner_texts()
        text = page.locator("main").inner_text()
        if any(word in text for word in ("NaN", "undefined", "null", "Infinity", "Invalid Date")):
            wrong[path, "text"] = text
    assert wrong == {}
    assert opened.faults == []
    opened.close()


@pytest.mark.parametrize("size", [DESK, PHONE])
@pytest.mark.parametrize(("who", "path"), PARTED)
def test_no_part_jumps_while_a_page_fills(world, visit, who, path, size):
    opened = visit(who, size=size)
    opened.page.add_init_script(SHIFTS)
    page = opened.go(address(world, path))
    assert sum(page.evaluate("window.shifts")) < 0.05


def test_the_map_is_walked_by_keyboard(world, visit):
    opened = visit("operator")
    page = opened.go("/fleet/map")
    cells = page.locator(".map-svg [role=button]")
    assert cells.count() > 2
    assert page.locator(".map-svg [tabindex='0']").count() == 1, "Tab stops once in the map"
    cells.first.focus()

    def here():
        return page.evaluate("document.activeElement.getAttribute('aria-label')?.split(':')[0]")

    seen = {here()}
    for key in ("ArrowUp",) * 6 + ("ArrowRight",) * 3 + ("ArrowDown",) * 6 + ("ArrowLeft",) * 3:
        page.keyboard.press(key)
        seen.add(here())
    assert len(seen) > 2
    assert None not in seen
    page.keyboard.press("Home")
    first, top = here(), page.evaluate("scrollY")
    page.keyboard.press("Space")
    opened.settle()
    assert page.evaluate("scrollY") == top, "Space chooses and does not scroll"
    assert here().startswith(first)
    assert len(here()) == len(first) + 1
    assert f"region={first}" in page.url
    page.keyboard.press("Enter")
    opened.settle()
    page.go_back()
    opened.settle()
    assert f"region={first}" in page.url
    assert f"Consumption by cell in {first}" in page.locator("main").inner_text()
    page.go_back()
    opened.settle()
    assert page.locator("#wider").is_disabled()


def test_the_hour_of_the_map_is_chosen_by_keyboard_and_kept(world, visit):
    opened = visit("operator")
    page = opened.go("/fleet/map")
    page.locator("#hour").focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    opened.settle()
    assert page.locator("#hour").get_attribute("aria-valuetext") == "02:00 UTC"
    page.locator("#channel").select_option("gas.import")
    opened.settle()
    page.reload()
    opened.settle()
    assert page.locator("#told").inner_text() == "02:00 UTC"
    assert page.locator("#channel").input_value() == "gas.import"


CURVE = """async ([script, slots]) => {
  const { uncovered } = await import(script);
  return uncovered(slots).map(({ slot, from, until }) => [slot.value, from / 1000, until / 1000]);
}"""


def test_of_intervals_of_two_lengths_the_curve_shows_the_shorter_and_never_goes_back(visit):
    """A home may send half-hours and each half minute; the line of the last hours is one, by time."""
    opened = visit("customer")
    opened.go("/home")
    script = opened.page.evaluate("() => document.querySelector('script[src*=\"home.js\"]').src")
    slots = [
        {"start": f"1970-01-01T00:{minute:02d}:{second:02d}Z", "seconds": seconds, "value": value}
        for minute, second, seconds, value in [(30, 0, 1800, 5), (0, 0, 1800, 1), (10, 0, 30, 2), (10, 30, 30, 3), (20, 0, 30, 4)]
    ]  # fmt: skip
    found = opened.page.evaluate(CURVE, [script.replace("home.js", "home-now.js"), slots])
    assert found == [
        [1, 0, 600], [2, 600, 630], [3, 630, 660], [1, 660, 1200], [4, 1200, 1230], [1, 1230, 1800], [5, 1800, 3600],
    ]  # fmt: skip
