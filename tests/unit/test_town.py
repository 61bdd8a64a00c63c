"""The town that others are tried on is what it says."""

from __future__ import annotations

import time

import pytest

from meterlake.demo.stage import write_tariffs
from meterlake.simulate.profiles import PROFILES
from meterlake.tariff_file import read_tariffs
from meterlake.testing.town import TARIFFS, Town, town
from meterlake.testing.town_readings import readings_between


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return town(tmp_path_factory.mktemp("town"))


def test_the_tariffs_can_be_read_and_are_those_of_the_homes(tmp_path):
    assert set(read_tariffs(TARIFFS)) == {"standard"}
    write_tariffs(tmp_path)
    known = read_tariffs((tmp_path / "tariffs.toml").read_text("utf-8"))
    assert set(known) == set(PROFILES["uk"].tariffs)
    assert all({"electricity.import", "gas.import", "water.import"} <= {c.channel for c in one.charges}
               for one in known.values())  # fmt: skip


def test_what_is_not_in_the_lake_follows_it_without_gap_or_overlap(made: Town):
    live = readings_between(made, made.live_from_s, int(time.time()))
    assert min(live["start"].to_pylist()).timestamp() == made.live_from_s
    newest = made.opened.registry.series()["last_s"].to_pylist()
    assert max(newest) < made.live_from_s


def test_the_customers_home_has_an_exchange_an_estimate_a_gap_and_an_export(made: Town):
    begin, end = made.estimated_s
    gone = made.missing_s
    rows = readings_between(made, made.exchanged_s - 1800, made.live_from_s).to_pylist()
    mine = [
        row
        for row in rows
        if row["meter"] in made.meters.values() and row["channel"].startswith("electricity")
    ]
    assert {row["meter"] for row in mine} == {made.meters["old"], made.meters["electricity"]}
    assert {row["channel"] for row in mine} == {"electricity.import", "electricity.export"}
    for row in mine:
        start = row["start"].timestamp()
        assert (row["quality"] == "estimated") == (begin <= start < end)
        assert not gone[0] <= start < gone[1]
        assert (row["meter"] == made.meters["old"]) == (start < made.exchanged_s)


def test_each_account_signs_in_with_the_password_of_the_town(made: Town):
    for who in ("customer", "landlady", "bobby", "newcomer", "operator", "analyst", "admin"):
        signed = made.desk.signed(made.session(who))
        assert signed is not None
        assert signed.account.email == made.email(who)
    made.desk.stop()
