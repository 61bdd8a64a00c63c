"""The customer's page and what things cost: every figure is that of the readings, and only of the customer's own."""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest

from meterlake.app import keys_of, open_node
from meterlake.intervals import DAY_S
from meterlake.keys import make
from meterlake.node_settings import NodeSettings
from meterlake.people import Hold
from meterlake.tariff_file import LOOK_S
from meterlake.testing.street import asked
from meterlake.testing.town import TARIFFS, ZONE, town
from meterlake.testing.town_readings import readings_between
from meterlake.web.app import make_web

PRICES = {"electricity.import": "0.2456", "electricity.export": "-0.1500", "gas.import": "0.7021", "water.import": "2.1130"}  # fmt: skip
STANDING = {"electricity.import": "0.5310", "gas.import": "0.3166"}
PEAK = """
[[standard.charge]]
channel = "electricity.import"
price = "0.6001"
hours = "16:00-19:00"
weekdays = "mon-fri"
"""


class World:
    """A town with its node in this process."""

    def __init__(self, folder):
        self.town = town(folder, 24)
        self.desk = self.town.desk
        self.node = open_node(self.town.lake_url, None, NodeSettings(batch=False))
        self.node.start()
        self.app = make_web(self.node, keys_of(self.node.lake.registry), self.desk)
        self.sessions = {}
        _, stored = make("feed", ["ingest"])
        keys_of(self.node.lake.registry).create(stored)
        table = readings_between(self.town, self.town.live_from_s, self.town.now_s)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table)
        self.node.accept(
            sink.getvalue().to_pybytes(), "application/vnd.apache.arrow.stream", stored.key, None
        )

    def ask(self, who, path):
        if who not in self.sessions:
            self.sessions[who] = self.town.session(who)
        return asked(self.app, path, self.sessions[who])

    def told(self, who, path):
        answer = self.ask(who, path)
        assert answer.status == 200, answer.text
        return json.loads(answer.text)

    def cost(self, who, id_, first, last):
        return self.told(who, f"/v1/service-points/{id_}/cost?from={first}&to={last}")

    def values(self, who, id_, first, last):
        """Values by channel of a time, as the route of histories gives them."""
        found = self.told(who, f"/v1/service-points/{id_}/history?from={first}&to={last}&zone={ZONE}")
        found = found if isinstance(found, list) else [found]
        return {one["channel"]: one["values"] for one in found}

    def day(self, ago):
        return datetime.fromtimestamp(self.town.live_from_s - ago * DAY_S, UTC).date()

    def tariffs(self, text):
        """Change the prices, and wait until the file is looked at again."""
        path = self.town.lake / "tariffs.toml"
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")
            time.sleep(LOOK_S)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("town"))
    yield world
    world.desk.stop()
    world.node.stop()


@pytest.fixture
def world(made):
    made.tariffs(TARIFFS)
    yield made
    made.tariffs(TARIFFS)


def reckoned(values, price):
    """Use and the estimated part of it: ``price`` of a moment times each value."""
    parts = [
        (price(datetime.fromisoformat(one["start"])) * Decimal(str(one["value"])), one["quality"])
        for one in values
    ]
    return sum(part for part, _ in parts), sum(part for part, quality in parts if quality == "estimated")


def peak(at):
    """Price of electricity with the peak on working days."""
    local = at.astimezone(ZoneInfo(ZONE))
    return Decimal("0.6001" if 16 <= local.hour < 19 and local.weekday() < 5 else "0.2456")


@pytest.mark.parametrize("peaks", [False, True], ids=["one price", "two prices"])
def test_a_cost_is_that_of_the_readings_across_an_exchange_of_the_meter(world, peaks):
    world.tariffs(TARIFFS + PEAK * peaks)
    first, last, home = world.day(30), world.day(2), world.town.home
    found = world.cost("customer", home, first, last)
    assert (found["currency"], found["tariffs"], found["zone"]) == ("GBP", ["standard"], ZONE)
    values = world.values("customer", home, first, last)
    assert set(values) == set(PRICES) == set(found["channels"])
    for channel, one in found["channels"].items():
        fixed = Decimal(PRICES[channel])
        price = peak if peaks and channel == "electricity.import" else lambda _, fixed=fixed: fixed
        use, estimated = reckoned(values[channel], price)
        assert (Decimal(one["use"]), Decimal(one["estimated"]), one["unpriced"]) == (use, estimated, 0), (
            channel
        )
        assert Decimal(one["standing"]) == 28 * Decimal(STANDING.get(channel, "0"))
        assert Decimal(one["cost"]) == use + Decimal(one["standing"])
        assert one["passport"]["filled"] == len(values[channel])
    assert Decimal(found["channels"]["electricity.import"]["estimated"]) > 0
    assert found["channels"]["electricity.import"]["passport"]["missing"] == 240
    for name in ("use", "standing", "cost", "estimated"):
        assert Decimal(found[name]) == sum(Decimal(one[name]) for one in found["channels"].values())


def test_costs_of_two_times_add_up_to_that_of_both(world):
    home, days = world.town.home, [world.day(30), world.day(11), world.day(1)]
    at = f"{days[1]}T13:05:00Z"
    parts = [world.cost("customer", home, *span) for span in ((days[0], at), (at, days[2]))]
    whole = world.cost("customer", home, days[0], days[2])
    for name in ("use", "standing", "cost", "estimated"):
        assert sum(Decimal(part[name]) for part in parts) == Decimal(whole[name])


def test_what_is_live_costs_too(world):
    first = world.day(0)
    found = world.cost("customer", world.town.home, first, first + timedelta(days=2))
    values = world.values("customer", world.town.home, first, first + timedelta(days=2))
    taken = sum(Decimal(str(one["value"])) for one in values["electricity.import"])
    assert Decimal(found["channels"]["electricity.import"]["use"]) == taken * Decimal("0.2456")


def test_nothing_of_the_time_before_somebody_moved_in_is_in_their_cost(world):
    home, moved = world.town.point("newcomer"), datetime.fromtimestamp(world.town.moved_s, UTC)
    first, last = world.day(30), world.day(1)
    all_, own = (
        world.cost("newcomer", home, since, last) for since in (first, f"{moved:%Y-%m-%dT%H:%M:%SZ}")
    )
    assert all_["cost"] == own["cost"]
    assert all_["channels"] == own["channels"]
    assert world.ask("customer", f"/v1/service-points/{home}/cost?from={first}&to={last}").status == 404


def test_without_prices_amounts_show_and_no_money(world):
    first, last = world.day(3), world.day(1)
    with_prices = world.cost("customer", world.town.home, first, last)
    world.tariffs(TARIFFS.replace("standard", "other"))
    found = world.cost("customer", world.town.home, first, last)
    assert (found["currency"], found["cost"], found["tariffs"]) == (None, None, [])
    for channel, one in found["channels"].items():
        assert one["value"] == with_prices["channels"][channel]["value"] == one["unpriced"]
        assert (one["use"], one["cost"], one["standing"]) == (None, None, None)
    page = world.ask("customer", "/home").text
    assert "no prices are known" in page
    assert "£" not in page


def test_prices_that_cannot_be_read_are_no_secret_and_no_end_of_the_page(world):
    world.tariffs("[standard]\ncurrency = 'pounds'\n")
    answer = world.ask("customer", f"/v1/service-points/{world.town.home}/cost?from=2026-01-01&to=2026-01-02")
    assert answer.status == 500
    assert str(world.town.folder) not in answer.text
    assert world.ask("customer", "/home").status == 200


def test_a_cost_is_a_file_too_and_stays_the_same_until_prices_change(world):
    path = f"/v1/service-points/{world.town.home}/cost?from={world.day(3)}&to={world.day(1)}"
    rows = world.ask("customer", f"{path}&form=csv").text.splitlines()
    assert rows[0].startswith("id,channel,unit,value,currency,use,standing,cost,estimated,unpriced")
    assert len(rows) == 1 + len(PRICES)
    tag = world.ask("customer", path).headers["etag"]
    again = asked(world.app, path, world.sessions["customer"], if_none_match=tag)
    world.tariffs(TARIFFS.replace("0.2456", "0.2457"))
    changed = asked(world.app, path, world.sessions["customer"], if_none_match=tag)
    assert (again.status, changed.status) == (304, 200)


def text_of(answer):
    """Words of a page, without its tags."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.text)).replace("\u00a0", " ")


def test_the_page_has_its_first_figures_without_a_script(world):
    answer = world.ask("customer", "/home")
    assert answer.status == 200
    words = text_of(answer)
    today = datetime.now(ZoneInfo(ZONE)).date()
    cost = world.cost("customer", world.town.home, today, f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}")
    for commodity in ("electricity", "gas", "water"):
        own = [Decimal(one["cost"]) for name, one in cost["channels"].items() if name.startswith(commodity)]
        assert f"Cost today £{sum(own):,.2f}" in words
    for name in ("Electricity", "Gas", "Water", "Exported", "Cost this month", f"All times are in {ZONE}"):
        assert name in words
    assert re.search(r"Made in [\d.]+ ms", words)
    assert "<style" not in answer.text
    assert re.findall(r"<script(?![^>]*\ssrc=)", answer.text) == []


def test_a_name_that_is_html_is_text(world):
    answer = world.ask("bobby", "/home")
    assert "<b>Bobby" not in answer.text
    assert "&lt;b&gt;Bobby&lt;/b&gt;" in answer.text


def test_who_has_several_homes_chooses_and_who_has_none_is_told(world):
    both = [world.town.point(which) for which in ("landlady", "second")]
    page = world.ask("landlady", "/home").text
    assert all(f"/home?id={id_}" in page for id_ in both)
    assert f'data-home="{both[1]}"' in world.ask("landlady", f"/home?id={both[1]}").text
    account = world.desk.named(world.town.email("landlady"))
    holds = world.desk.holds_of(account.id)
    world.desk.set_holds(account.id, (), None)
    assert "No home belongs to this account" in world.ask("landlady", "/home").text
    world.desk.set_holds(account.id, holds, None)


def test_a_home_that_was_shows_its_time_and_nothing_live(world):
    account = world.desk.named(world.town.email("bobby"))
    holds = world.desk.holds_of(account.id)
    ended = world.town.live_from_s - 3 * DAY_S
    world.desk.set_holds(account.id, (Hold(holds[0].service_point, None, ended),), None)
    page = world.ask("bobby", "/home").text
    assert "This was your home until" in page
    assert 'data-part="now"' not in page
    assert f'data-last="{world.day(4)}"' in page or f'data-last="{world.day(3)}"' in page
    world.desk.set_holds(account.id, holds, None)


def test_a_home_that_is_not_theirs_is_no_page(world):
    for id_ in (world.town.point("neighbour"), "SP99999999"):
        assert world.ask("customer", f"/home?id={id_}").status == 404


def test_looking_at_the_own_home_is_in_the_trail(world):
    world.ask("customer", "/home")
    account = world.desk.named(world.town.email("customer"))
    trail = world.desk.trail(account=account.id, subject=world.town.home)
    assert any(entry.what == "saw own home" for entry in trail)
