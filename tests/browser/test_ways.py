"""What people do: sign in, look at their home, watch a reading arrive, take their data with them."""

from __future__ import annotations

import io
import re
from decimal import Decimal

import httpx
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from meterlake.moments import texts_of
from meterlake.testing.town import PASSWORD, ZONE

HOMES = {
    "customer": "/home",
    "operator": "/fleet",
    "analyst": "/analysis",
    "admin": "/fleet",
}


def sign_in(page, email, password=PASSWORD):
    page.get_by_label(re.compile("e-?mail", re.IGNORECASE)).fill(email)
    page.get_by_label(re.compile("password", re.IGNORECASE)).first.fill(password)
    page.get_by_role("button", name=re.compile("sign in", re.IGNORECASE)).first.click()


@pytest.mark.parametrize("who", HOMES)
def test_each_role_signs_in_and_sees_its_home(world, visit, who):
    opened = visit()
    page = opened.go("/sign-in")
    sign_in(page, world.town.email(who))
    page.wait_for_url(lambda url: "/sign-in" not in url)
    opened.settle()
    assert page.url.removeprefix(world.url).startswith(HOMES[who])
    cookies = {cookie["name"]: cookie for cookie in page.context.cookies()}
    assert cookies["meterlake_session"]["httpOnly"]
    assert cookies["meterlake_session"]["sameSite"] == "Lax"


def test_a_wrong_password_is_told_and_nothing_else(world, visit):
    opened = visit()
    page = opened.go("/sign-in")
    told = []
    for email in (world.town.email("customer"), "nobody@example.com"):
        sign_in(page, email, "not the password")
        opened.settle()
        told.append(page.get_by_role("alert").first.inner_text())
    assert told[0] == told[1] != ""
    opened.faults.clear()  # a refused sign-in is a 4xx, which the browser calls an error


def test_a_customer_signs_in_looks_around_and_leaves_by_keyboard_alone(world, visit):
    opened = visit()
    page = opened.go("/sign-in")
    for text in (world.town.email("customer"), PASSWORD):
        _tab_to(page, "input")
        page.keyboard.type(text)
    page.keyboard.press("Enter")
    page.wait_for_url("**/home*")
    opened.settle()
    page.keyboard.press("Tab")
    assert "#" in page.evaluate("document.activeElement.getAttribute('href')"), (
        "the first stop skips to the page"
    )
    page.keyboard.press("Enter")
    assert page.evaluate(
        "document.querySelector('main').contains(document.activeElement) || location.hash.length > 1"
    )
    _tab_to(page, "a[href='/account']")
    page.keyboard.press("Enter")
    page.wait_for_url("**/account*")
    opened.settle()
    _tab_to(page, "form[action='/sign-out'] button")
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: "/account" not in url)
    assert "meterlake_session" not in {cookie["name"] for cookie in page.context.cookies() if cookie["value"]}


def _tab_to(page, wanted):
    """Press Tab until ``wanted`` has the focus, which must be seen."""
    for _ in range(80):
        page.keyboard.press("Tab")
        if page.evaluate("wanted => document.activeElement.matches(wanted)", wanted):
            outline = page.evaluate(
                "() => { const s = getComputedStyle(document.activeElement); return s.outlineStyle + s.boxShadow }"
            )
            assert outline != "nonenone", f"{wanted}: the focus is not seen"
            return
    raise AssertionError(f"Tab never reaches {wanted}")


def test_a_reading_that_is_sent_moves_the_customers_page_without_a_reload(world, visit):
    opened = visit("customer")
    page = opened.go("/home")
    for value in ("0.777", "0.888"):  # kWh of one minute: 46.62 and 53.28 kW, which no other minute has
        world.town.beat(world.url, value)
        watts = f"{Decimal(value) * 60:.1f}"
        page.wait_for_function(
            "wanted => document.querySelector('main').innerText.includes(wanted)", arg=watts, timeout=10_000
        )


def test_a_day_of_25_hours_is_shown_in_the_meters_zone_wherever_the_browser_is(world, visit):
    opened = visit("customer", timezone_id="Australia/Sydney", locale="en-AU")
    page = opened.go("/home")
    assert ZONE in page.locator("html").get_attribute("data-zone")
    found = page.evaluate(
        """async ([id, day, next]) => {
            const told = new URLSearchParams({from: day, to: next, step: "hour", zone: "Europe/London"});
            const answer = await fetch(`/v1/service-points/${id}/history?channel=gas.import&${told}`);
            const format = await import(new URL("format.js", document.querySelector("script[type=module]").src));
            const values = (await answer.json()).values;
            return values.map((value) => format.clock(value.start, "Europe/London"));
        }""",
        [world.town.home, *_october()],
    )
    assert len(found) == 25
    assert [hour[:2] for hour in found[:4]] == ["00", "01", "01", "02"]


def _october():
    """Last October Sunday that is over, and the day after it."""
    from datetime import UTC, date, datetime, timedelta

    today = datetime.now(UTC).date()
    for year in (today.year, today.year - 1):
        day = date(year, 10, 31)
        day -= timedelta(days=(day.weekday() + 1) % 7)
        if day < today - timedelta(days=1):
            return day.isoformat(), (day + timedelta(days=1)).isoformat()
    raise AssertionError("there is one every year")


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_what_is_downloaded_is_what_the_api_answers(world, visit, form):
    opened = visit("customer")
    page = opened.go("/home")
    link = page.locator(f"a[href*='form={form}']").first
    with page.expect_download() as waited:
        link.click()
    download = waited.value
    assert download.suggested_filename.endswith(f".{form}")
    content = io.BytesIO(download.path().read_bytes())
    asked = httpx.get(
        httpx.URL(world.url).join(link.get_attribute("href")).copy_set_param("form", "json"),
        headers={"Authorization": f"Bearer {world.town.key('read')}"},
    ).json()
    listed = asked.get("channels", [asked])
    wanted = sorted(
        (row["start"], str(Decimal(str(row["value"]))))
        for one in listed
        for row in one["values"]
        if row["value"] is not None
    )
    assert _rows(content, form, asked.get("zone", "UTC")) == wanted


def _rows(content, form, zone):
    if form == "csv":
        import csv

        rows = list(csv.DictReader(io.TextIOWrapper(content, "utf-8")))
        found = [(row["start"], row["value"]) for row in rows if row["value"]]
    else:
        table = pq.read_table(content)
        table = table.filter(pc.is_valid(table["value"]))
        starts = table["start"].cast("int64").to_numpy() // 1_000_000
        found = list(
            zip(texts_of(starts, zone), (str(value) for value in table["value"].to_pylist()), strict=True)
        )
    return sorted((start, str(Decimal(value).normalize() + 0)) for start, value in found)


def test_a_name_that_is_html_is_shown_as_text(world, visit):
    opened = visit("bobby")
    page = opened.go("/home")
    assert page.locator("b", has_text="Bobby").count() == 0
    assert '<b>Bobby</b> "Tables"' in page.locator("body").inner_text()
    searched = visit("operator").go("/fleet/search?q=bobby")
    assert '<b>Bobby</b> "Tables"' in searched.locator("main").inner_text()
    assert searched.locator("main b", has_text="Bobby").count() == 0
