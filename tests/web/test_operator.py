"""The operator's records: search by id, customer and place, a meter and a place, loads that add up, what was refused."""

from __future__ import annotations

import re
import time

import pytest

from meterlake import work
from meterlake.registry import geohash
from meterlake.web.records import RADII, middle_of


@pytest.fixture
def operator(signed):
    return signed("operator")


def text_of(answer):
    assert answer.status_code == 200, answer.text
    return answer.text


def test_a_customer_is_found_by_name_and_shown_as_text(operator):
    page = text_of(operator.get("/fleet/search?q=bobby"))
    assert "&lt;b&gt;Bobby&lt;/b&gt;" in page
    assert "<b>Bobby" not in page


def test_a_place_is_found_by_its_geohash_and_by_degrees(operator, place, app):
    row = app.state.served.roster.lists().point(place.home)
    for q in (row["geohash"][:6], f"{row['latitude']},{row['longitude']}"):
        assert place.home in text_of(operator.get(f"/fleet/search?kind=service points&q={q}"))
    assert place.home not in text_of(operator.get("/fleet/search?kind=service points&q=0.0,0.0"))


@pytest.mark.parametrize("told", ["gcpvj", "ezs42", "s0000", "zzzzzzzz"])
def test_the_middle_of_a_cell_is_in_it(told):
    latitude, longitude = middle_of(told)
    assert geohash([latitude], [longitude]).to_pylist()[0].startswith(told)
    assert len(told) in RADII


def test_a_meter_shows_its_stays_series_and_deliveries(operator, place):
    page = text_of(operator.get(f"/fleet/meter?id={place.meters['old']}"))
    assert place.home in page
    assert "electricity.import" in page
    assert re.search(r"/fleet/load\?id=", page)
    assert operator.get("/fleet/meter?id=nobody").status_code == 404


def test_a_service_point_shows_its_meters_and_people(operator, place):
    page = text_of(operator.get(f"/fleet/point?id={place.home}"))
    assert place.meters["old"] in page
    assert place.meters["electricity"] in page
    assert operator.get("/fleet/point?id=nowhere").status_code == 404


def test_loads_add_up_and_lead_to_what_was_refused(operator):
    listed = text_of(operator.get("/fleet/loads"))
    ids = re.findall(r'/fleet/load\?id=([^"]+)"', listed)
    assert ids
    for id_ in ids:
        assert "received = stored" in text_of(operator.get(f"/fleet/load?id={id_}"))
    refused = text_of(operator.get("/fleet/quarantine?reason=bad_number"))
    assert "bad_number" in refused
    assert "twelve" in refused
    assert operator.get("/fleet/load?id=none").status_code == 404


@pytest.mark.parametrize(
    "path", ["/fleet/batches", "/fleet/runs", "/fleet/map", "/fleet/quarantine", "/fleet/search"]
)
def test_records_are_there_for_operators_alone(operator, signed, browser, path):
    text_of(operator.get(path))
    assert signed("customer").get(path).status_code == 404
    assert signed("analyst").get(path).status_code == 404
    assert browser.get(path).status_code == 303


def test_a_look_at_somebodys_meter_is_in_the_trail(operator, signed, place, app):
    operator.get(f"/fleet/meter?id={place.meters['gas']}")
    app.state.desk.stop()
    assert place.meters["gas"] in text_of(signed("admin").get(f"/admin/audit?subject={place.meters['gas']}"))


def test_what_is_being_done_shows_on_both_lists(operator, app, monkeypatch):
    monkeypatch.setattr(work, "BEAT_S", 0.01)
    lake = app.state.served.node.lake.lake.store
    with work.at_work(lake, "load", "<b>nightly</b>.csv") as tell:
        tell("read", 25, 100)
        for _ in range(500):
            items = operator.get("/v1/work").json()["items"]
            if items and items[0]["done"]:
                break
            time.sleep(0.01)
        assert (items[0]["done"], items[0]["total"], items[0]["what"]) == (25, 100, "<b>nightly</b>.csv")
        for path in ("/fleet/loads", "/fleet/runs"):
            page = text_of(operator.get(path))
            assert 'value="25"' in page
            assert "&lt;b&gt;nightly" in page
    assert operator.get("/v1/work").json()["items"] == []
