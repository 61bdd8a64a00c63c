"""The contract of `ports.Registry`: subclass it with a ``registry`` fixture and every adapter keeps the same promises."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from meterlake.errors import Invalid
from meterlake.merge import SERIES_SCHEMA
from meterlake.registry import INSTALLATION_SCHEMA, SERIES_STATE, SHAPES

if TYPE_CHECKING:
    from meterlake.ports import Registry

IMPORT = "electricity.import"


def moment(day: str | None) -> datetime | None:
    """Midnight UTC of an ISO date."""
    return None if day is None else datetime.fromisoformat(day).replace(tzinfo=UTC)


def rows(name: str, *told: dict[str, Any]) -> pa.Table:
    """Rows of a registry table; dates as ISO text."""
    typed = [
        {key: moment(value) if key in {"from", "to"} else value for key, value in row.items()} for row in told
    ]
    return pa.Table.from_pylist(typed, schema=SHAPES[name].schema)


def meters(*told: tuple[str, str | None, str | None, str | None]) -> pa.Table:
    """Rows of (meter, service point, from, to)."""
    return rows(
        "meters", *({"meter_id": m, "service_point_id": p, "from": a, "to": b} for m, p, a, b in told)
    )


def gained(*told: tuple[str, int, int, int]) -> pa.Table:
    """Rows of (meter, first, last, slots gained), half-hours of electricity import."""
    named = [
        {"meter_id": m, "channel": IMPORT, "interval_s": 1800, "first_s": a, "last_s": b, "gained": n}
        for m, a, b, n in told
    ]
    return pa.Table.from_pylist(named, schema=SERIES_SCHEMA)


def spans(table: pa.Table) -> list[tuple[Any, ...]]:
    """Meter, service point, from and to of each row, moments as ISO dates."""
    return [
        (r["meter_id"], r["service_point_id"], *(m and m.date().isoformat() for m in (r["from"], r["to"])))
        for r in table.to_pylist()
    ]


class RegistryContract:
    """What every registry promises; ``registry`` is a fixture that gives an empty one."""

    def test_a_new_registry_knows_nothing(self, registry: Registry) -> None:
        """Tables have their columns and no rows."""
        for name, shape in SHAPES.items():
            assert registry.table(name).schema == shape.schema
            assert len(registry.table(name)) == 0
        assert registry.series().schema == SERIES_STATE
        assert registry.installations("m1").schema == INSTALLATION_SCHEMA
        assert len(registry.installations("m1")) == 0
        assert registry.series_version() == 0

    def test_rows_read_back_as_they_were_told(self, registry: Registry) -> None:
        """Nothing is lost on the way, columns of others' included."""
        customer = {
            "customer_id": "C1",
            "name": "Ada Ø, 'Ltd'",
            "email": "a@example.com",
            "extra": '{"since": "1843"}',
        }
        registry.import_tables({"customers": rows("customers", customer)})
        assert registry.table("customers").to_pylist() == [{**customer, "locale": None}]

    def test_ids_differ_by_case_accents_and_blanks(self, registry: Registry) -> None:
        """What is told of one is not told of another."""
        ids = ["Ä1", "ä1", "a1", "A1", "a1 ", "ａ1", "a\u03081", "a1\\", "a'1", "%s", "🏠"]
        told = [(id_, f"P{id_}", "2024-01-01", None) for id_ in ids]
        registry.import_tables({"meters": meters(*told)})
        registry.import_tables({"meters": meters(("a1", "P2", "2024-01-01", None))})
        for id_, place, start, end in told:
            stay = (id_, "P2" if id_ == "a1" else place, start, end)
            assert spans(registry.installations(id_)) == [stay]

    def test_figures_read_back_to_the_last_digit(self, registry: Registry) -> None:
        """Else telling them again would be a change."""
        places = [(51.50740000000001, -0.1 - 2**-56), (1 / 3, 100 / 3), (5e-324, -179.99999999999997)]
        told = {
            "service_points": rows("service_points", *(
                {"service_point_id": f"P{n}", "latitude": a, "longitude": b} for n, (a, b) in enumerate(places)
            ))
        }  # fmt: skip
        registry.import_tables(told)
        held = registry.table("service_points").sort_by("service_point_id").to_pylist()
        assert [(row["latitude"], row["longitude"]) for row in held] == places
        assert registry.import_tables(told)["service_points"].changed == 0

    def test_many_changed_rows_change_and_no_others(self, registry: Registry) -> None:
        """Some of thousands, with and without a beginning."""
        told = [(f"m{n}", f"P{n}", "2024-01-01" if n % 2 else None, None) for n in range(3000)]
        registry.import_tables({"meters": meters(*told)})
        later = [(m, "P", start, end) for m, _, start, end in told[500:1500]]
        receipt = registry.import_tables({"meters": meters(*later)})["meters"]
        assert (receipt.added, receipt.changed) == (0, 1000)
        held = {row["meter_id"]: row["service_point_id"] for row in registry.table("meters").to_pylist()}
        assert held == {m: p for m, p, *_ in told} | {m: "P" for m, *_ in later}

    def test_telling_the_same_again_changes_nothing(self, registry: Registry) -> None:
        """An import is idempotent, empty cells included."""
        told = {"meters": meters(("m1", "P1", "2024-01-01", None), ("m2", None, None, None))}
        first, second = (registry.import_tables(told)["meters"] for _ in range(2))
        assert (first.added, first.changed, first.unchanged) == (2, 0, 0)
        assert (second.added, second.changed, second.unchanged) == (0, 0, 2)
        assert len(registry.table("meters")) == 2

    def test_a_changed_row_takes_the_place_of_the_older_one(self, registry: Registry) -> None:
        """One row an id and beginning is current."""
        registry.import_tables(
            {"meters": meters(("m1", "P1", "2024-01-01", None), ("m2", "P1", "2024-01-01", None))}
        )
        receipt = registry.import_tables({"meters": meters(("m1", "P1", "2024-01-01", "2025-01-01"))})[
            "meters"
        ]
        assert (receipt.added, receipt.changed) == (0, 1)
        assert spans(registry.table("meters")) == [
            ("m1", "P1", "2024-01-01", "2025-01-01"), ("m2", "P1", "2024-01-01", None),
        ]  # fmt: skip

    def test_a_row_ends_where_the_next_of_its_id_begins(self, registry: Registry) -> None:
        """No meter is in two places, whatever was told in which order."""
        registry.import_tables({"meters": meters(("m1", "P2", "2025-01-01", None))})
        registry.import_tables({"meters": meters(("m1", "P1", "2024-01-01", None))})
        assert spans(registry.table("meters")) == [
            ("m1", "P1", "2024-01-01", "2025-01-01"), ("m1", "P2", "2025-01-01", None),
        ]  # fmt: skip

    def test_a_row_without_length_takes_back_what_was_told(self, registry: Registry) -> None:
        """And what it had cut short holds on."""
        registry.import_tables(
            {"meters": meters(("m1", "P1", "2024-01-01", None), ("m1", "P2", "2025-01-01", None))}
        )
        registry.import_tables({"meters": meters(("m1", "P2", "2025-01-01", "2025-01-01"))})
        assert spans(registry.table("meters")) == [("m1", "P1", "2024-01-01", None)]
        assert spans(registry.installations("m1")) == [("m1", "P1", "2024-01-01", None)]

    def test_a_moment_sees_the_rows_that_hold_then(self, registry: Registry) -> None:
        """``from`` is in, ``to`` is out, empty is open."""
        told = meters(("m1", "P1", None, "2024-01-01"), ("m2", "P1", "2024-01-01", None))
        registry.import_tables({"meters": told})
        for day, meter in (("2023-12-31", "m1"), ("2024-01-01", "m2"), ("2030-01-01", "m2")):
            assert registry.table("meters", moment(day))["meter_id"].to_pylist() == [meter]

    def test_the_stays_at_a_service_point_span_a_meter_exchange(self, registry: Registry) -> None:
        """Both meters, each for its time, with the place beside them."""
        point = {"service_point_id": "P1", "from": "2020-01-01", "zone": "Europe/London", "class": "business"}
        told = meters(
            ("m1", "P1", "2020-01-01", "2024-03-05"),
            ("m2", "P1", "2024-03-05", None),
            ("m3", "P2", None, None),
        )
        registry.import_tables({"service_points": rows("service_points", point), "meters": told})
        stays = registry.installations("P1")
        assert spans(stays) == [("m1", "P1", "2020-01-01", "2024-03-05"), ("m2", "P1", "2024-03-05", None)]
        assert stays["zone"].to_pylist() == ["Europe/London"] * 2

    def test_a_meter_that_moved_on_has_left(self, registry: Registry) -> None:
        """Its stay ends where it begins elsewhere, also where nobody said so."""
        told = meters(("m1", "P1", "2020-01-01", None), ("m1", "P2", "2022-01-01", None))
        registry.import_tables({"meters": told})
        assert spans(registry.installations("P1")) == [("m1", "P1", "2020-01-01", "2022-01-01")]
        assert len(registry.installations("m1")) == 2

    def test_a_stay_shows_what_is_now_known_of_its_place(self, registry: Registry) -> None:
        """The newest row of the service point stands beside every stay at it."""
        points = [
            {"service_point_id": "P1", "from": day, "tariff": tariff}
            for day, tariff in (("2020-01-01", "old"), ("2023-01-01", "new"))
        ]
        told = {
            "service_points": rows("service_points", *points),
            "meters": meters(("m1", "P1", "2020-01-01", None)),
        }
        registry.import_tables(told)
        assert registry.installations("m1")["tariff"].to_pylist() == ["new"]

    def test_meters_met_by_their_readings_are_known(self, registry: Registry) -> None:
        """Without a place, until one is told."""
        assert registry.update_series(gained(("m9", 0, 1800, 2)), 1) == 1
        (row,) = registry.table("meters").to_pylist()
        assert (row["meter_id"], row["service_point_id"], row["channels"]) == ("m9", None, IMPORT)
        assert spans(registry.installations("m9")) == [("m9", None, None, None)]
        registry.import_tables({"meters": meters(("m9", "P1", "2024-01-01", None))})
        assert spans(registry.table("meters")) == [("m9", "P1", "2024-01-01", None)]

    def test_meters_stay_the_same_table_until_one_is_new(self, registry: Registry) -> None:
        """What is made of the tables is kept by their identity: more series of known meters are no reason to make it anew."""
        registry.import_tables({"meters": meters(("m1", "P1", "2024-01-01", None))})
        known, points = registry.table("meters"), registry.table("service_points")
        registry.update_series(gained(("m1", 0, 1800, 2)), 1)
        assert registry.table("meters") is known
        assert len(registry.installations("m2")) == 0
        registry.update_series(gained(("m2", 0, 0, 1)), 2)
        assert sorted(registry.table("meters")["meter_id"].to_pylist()) == ["m1", "m2"]
        assert len(registry.installations("m2")) == 1
        assert registry.table("service_points") is points

    def test_series_grow_by_what_each_version_adds(self, registry: Registry) -> None:
        """Reach widens, slots add up, and the place stays."""
        registry.update_series(gained(("m1", 3600, 7200, 3), ("m2", 0, 0, 1)), 1)
        before = {row["meter_id"]: row for row in registry.series().to_pylist()}
        assert (
            registry.update_series(gained(("m1", 0, 5400, 2), ("m1", 9000, 9000, 1), ("m3", 0, 0, 1)), 2) == 1
        )
        after = {row["meter_id"]: row for row in registry.series().to_pylist()}
        assert (after["m1"]["first_s"], after["m1"]["last_s"], after["m1"]["filled"]) == (0, 9000, 6)
        assert after["m2"] == before["m2"]
        assert (after["m1"]["bucket"], after["m1"]["row"]) == (before["m1"]["bucket"], before["m1"]["row"])

    def test_a_version_counts_once(self, registry: Registry) -> None:
        """A retry changes nothing, in whatever order versions arrive."""
        for version in (2, 1, 2, 1):
            registry.update_series(gained(("m1", 0, 0, 1)), version)
        assert registry.series()["filled"].to_pylist() == [2]
        assert registry.series_version() == 2

    def test_a_gap_in_the_versions_shows_and_a_recount_closes_it(self, registry: Registry) -> None:
        """What a load that was cut off has left out is found and made good."""
        registry.update_series(gained(("m1", 0, 0, 1)), 1)
        registry.update_series(gained(("m1", 0, 0, 1)), 3)
        assert registry.series_version() == 1
        registry.update_series(gained(("m1", 0, 1800, 2)), 3, whole=True)
        assert registry.series_version() == 3
        assert registry.series()["filled"].to_pylist() == [2]
        registry.update_series(gained(("m1", 0, 0, 1)), 2)
        assert registry.series()["filled"].to_pylist() == [2]

    def test_a_recount_leaves_no_figure_of_before(self, registry: Registry) -> None:
        """Series without a slot keep their place and nothing else."""
        registry.update_series(gained(("m1", 0, 1800, 2), ("m2", 0, 0, 1)), 1)
        registry.update_series(gained(("m2", 3600, 3600, 1)), 2, whole=True)
        held = {row["meter_id"]: (row["first_s"], row["filled"]) for row in registry.series().to_pylist()}
        assert held["m2"] == (3600, 1)
        assert held["m1"][1] == 0

    def test_rows_are_dense_in_their_bucket(self, registry: Registry) -> None:
        """Places count from 0 without a hole, over several loads."""
        for version in range(1, 4):
            told = [(f"m{version}-{n}", 0, 0, 1) for n in range(700)]
            assert registry.update_series(gained(*told), version) == 700
        places: dict[int, list[int]] = {}
        for row in registry.series().to_pylist():
            places.setdefault(row["bucket"], []).append(row["row"])
        assert sum(map(len, places.values())) == 2100
        assert all(sorted(given) == list(range(len(given))) for given in places.values())

    def test_series_that_fill_more_than_a_piece_are_kept_whole(self, registry: Registry) -> None:
        """And shrink and grow as they are told."""
        long = [(f"{n:04}{'m' * 240}", n, n, 1) for n in range(2000)]
        registry.update_series(gained(*long), 1)
        registry.update_series(gained(*long[:1000], ("short", 0, 0, 1)), 2)
        held = {row["meter_id"]: row["filled"] for row in registry.series().to_pylist()}
        assert held == {m: 1 + (n < 1000) for n, (m, *_) in enumerate(long)} | {"short": 1}
        some = registry.series(pa.array([long[7][0], long[1999][0]]))
        assert sorted(some["filled"].to_pylist()) == [1, 2]

    def test_series_of_some_meters_are_theirs_alone(self, registry: Registry) -> None:
        """Unknown ones are simply absent."""
        registry.update_series(gained(*((f"m{n}", 0, 0, 1) for n in range(50))), 1)
        some = registry.series(pa.array(["m7", "m7", "m49", "none"]))
        assert sorted(some["meter_id"].to_pylist()) == ["m49", "m7"]

    def test_an_unknown_table_is_refused(self, registry: Registry) -> None:
        """The message names those that there are."""
        with pytest.raises(Invalid, match="service_points"):
            registry.table("houses")

    def test_an_examination_names_the_database_and_changes_nothing(self, registry: Registry) -> None:
        """Its version too."""
        registry.update_series(gained(("m1", 0, 0, 1)), 1)
        assert re.match(r"(SQLite|PostgreSQL|MariaDB|MySQL) \d+\.\d+.*, can be written", registry.examined())
        assert registry.series_version() == 1
