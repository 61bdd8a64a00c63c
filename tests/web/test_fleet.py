"""The operator's first pages and the analyst's: their first figures stand in them without a script."""

from __future__ import annotations

import re
import time

import pytest

from meterlake.intervals import DAY_S
from meterlake.web.fleet import long

from .conftest import Browser


@pytest.fixture(scope="module")
def signed(app, place):
    """A browser of each of the staff, and of a customer."""
    found = {}
    for who in ("operator", "analyst", "admin", "customer"):
        found[who] = Browser(app)
        found[who].cookies.set("meterlake_session", place.session(who))
    return found


def shown(browser, path):
    answer = browser.get(path)
    assert answer.status_code == 200, answer.text
    return answer.text


def words(text):
    """What a page says, without its tags."""
    return " ".join(re.sub(r"<[^>]+>", " ", text).split())


@pytest.mark.parametrize("path", ["/fleet", "/fleet/silent", "/analysis"])
def test_pages_are_for_their_roles(signed, app, path):
    for who in ("operator", "admin"):
        assert signed[who].get(path).status_code == 200
    assert signed["analyst"].get(path).status_code == (200 if path == "/analysis" else 404)
    assert signed["customer"].get(path).status_code == 404
    nobody = Browser(app).get(path)
    assert (nobody.status_code, nobody.headers["location"].split("?")[0]) == (303, "/sign-in")


def test_the_fleet_says_how_it_does_without_a_script(signed, place):
    until = time.monotonic() + 20
    while "Being counted" in (text := shown(signed["operator"], "/fleet")) and time.monotonic() < until:
        time.sleep(0.05)
    said = words(text)
    assert "<option selected>Europe/London</option><option>UTC+10:00</option>" in text
    assert f"of {place.points * 3} meters" in said
    assert 'data-zone="Europe/London"' in text
    assert "4 in all that is kept" in said  # what the town's odd file brought


def test_another_zone_is_shown_where_it_is_asked_for(signed):
    text = shown(signed["operator"], "/fleet?zone=Australia/Sydney")
    assert "<option selected>Australia/Sydney</option><option>Europe/London</option>" in text
    assert 'data-zone="Australia/Sydney"' in text
    assert signed["operator"].get("/fleet?zone=Nowhere").status_code == 400


def test_silent_meters_are_listed_a_page_after_the_other(signed, place):
    browser, path, found = signed["operator"], "/fleet/silent?min_s=0", []
    while path:
        text = shown(browser, path)
        found += re.findall(r'href="/fleet/meter\?id=([^"]+)"', text)
        following = re.search(r'href="([^"]+)" rel="next"', text)
        path = following.group(1).replace("&amp;", "&") if following else None
    assert len(found) == len(set(found)) == place.points * 3
    assert words(text).count("From the start") == 1


def test_silence_is_narrowed_by_length_and_region(signed, place):
    text = shown(signed["operator"], f"/fleet/silent?min_s={366 * DAY_S}")
    assert f"0 of {place.points * 3} meters, silent for 366 days or more" in words(text)
    assert "No meter has been silent for so long." in text
    region = re.search(r"region=([a-z0-9]{5})&", shown(signed["operator"], "/fleet/silent?min_s=0")).group(1)
    inside = shown(signed["operator"], f"/fleet/silent?min_s=0&region={region}")
    assert f"or more in {region}" in words(inside)
    assert "All regions" in inside
    for wrong in ("region=AI", "min_s=-1", "cursor=abc"):
        assert signed["operator"].get(f"/fleet/silent?{wrong}").status_code in {400, 422}


def test_the_analysis_begins_with_the_last_month_that_is_over(signed):
    text = shown(signed["analyst"], "/analysis")
    month = re.search(r'name="last" type="month" value="(\d{4})-(\d\d)"', text)
    now = time.gmtime()
    assert (int(month[1]) * 12 + int(month[2])) in {
        now.tm_year * 12 + now.tm_mon - 1,
        now.tm_year * 12 + now.tm_mon - 2,
    }


@pytest.mark.parametrize(("seconds", "told"), [
    (0, "0 seconds"), (59, "59 seconds"), (61, "1 minute 1 second"), (3600, "1 hour"), (90_061, "1 day 1 hour"), (86_460, "1 day"),
])  # fmt: skip
def test_lengths_have_their_two_largest_units(seconds, told):
    assert long(seconds) == told


def test_nothing_on_the_pages_runs_or_is_styled_in_line(signed):
    for path in ("/fleet", "/fleet/silent?min_s=0", "/analysis"):
        text = shown(signed["admin"], path)
        assert not re.search(r"\sstyle=|\son[a-z]+=|<script(?![^>]*src=)|<style", text)
