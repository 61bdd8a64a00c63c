"""Registry files go in whole or not at all, and come out as they went in."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime

import pyarrow.parquet as pq
import pytest

from meterlake.adapters.registry import SqlRegistry
from meterlake.errors import BadFile, Invalid, NotFound
from meterlake.registry import RefusedRows
from meterlake.registry_folder import export_folder, import_folder

POINTS = "service_point_id,from,to,latitude,longitude,class,zone,roof\n"
METERS = "meter_id,service_point_id,from,to,channels,interval_s,multiplier\n"


@pytest.fixture
def registry():
    return SqlRegistry("sqlite://", create=True)


@pytest.fixture
def put(tmp_path):
    """Write files by name and give their folder."""

    def write(**files):
        for name, text in files.items():
            (tmp_path / f"{name}.csv").write_bytes(text.encode() if isinstance(text, str) else text)
        return tmp_path

    return write


def test_a_folder_goes_in(registry, put):
    folder = put(
        customers='\ufeffcustomer_id,name\nC1,"Ox, Ann"\n',
        service_points=POINTS + "P1,2024-06-01,,51.5007,-0.1246,business,Europe/London,slate\n",
        meters=METERS + "m1,P1,2024-06-01,2024-07-01T00:00Z,electricity.import;electricity.export,30min,40\n",
    )
    receipt = import_folder(registry, folder)
    assert {name: table.added for name, table in receipt.tables.items()} == {
        "customers": 1,
        "service_points": 1,
        "meters": 1,
    }
    assert registry.table("customers")["name"].to_pylist() == ["Ox, Ann"]
    (stay,) = registry.installations("P1").to_pylist()
    assert (stay["interval_s"], stay["multiplier"], stay["geohash"], stay["class"]) == (
        1800,
        "40",
        "gcpuvpmm2",
        "business",
    )


def test_a_date_is_midnight_at_the_place(registry, put):
    folder = put(
        service_points=POINTS + "P1,2024-06-01,,,,,Europe/London,\nP2,2024-06-01,,,,,,\n",
        meters=METERS + "m1,P1,2024-06-01,,,,\n",
    )
    import_folder(registry, folder)
    assert registry.table("service_points")["from"].to_pylist() == [
        datetime(2024, 5, 31, 23, tzinfo=UTC), datetime(2024, 6, 1, tzinfo=UTC),
    ]  # fmt: skip
    assert registry.table("meters")["from"].to_pylist() == [datetime(2024, 5, 31, 23, tzinfo=UTC)]


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_what_comes_out_goes_in_again_and_changes_nothing(registry, put, tmp_path, form):
    points = POINTS + 'P1,2024-06-01,2025-01-01,51.5,-0.1,,Europe/London,"slate, ""old"""\nP2,,,,,,,\n'
    import_folder(registry, put(service_points=points, meters=METERS + "m1,P1,,,gas.import,900,1.5\n"))
    export_folder(registry, tmp_path / "out", form)
    again = import_folder(registry, tmp_path / "out")
    assert [(t.added, t.changed) for t in again.tables.values()] == [(0, 0)] * 3
    other = SqlRegistry("sqlite://", create=True)
    import_folder(other, tmp_path / "out")
    assert other.table("service_points").equals(registry.table("service_points"))


def test_columns_of_others_come_out_again(registry, put, tmp_path):
    import_folder(registry, put(service_points=POINTS + "P1,,,,,,,slate\nP2,,,,,,,\n"))
    export_folder(registry, tmp_path / "out", "parquet")
    assert pq.read_table(tmp_path / "out" / "service_points.parquet")["roof"].to_pylist() == ["slate", None]


@pytest.mark.parametrize(
    ("table", "row", "words"),
    [
        ("service_points", "P9,,,91,0,,,", "latitude '91'"),
        ("service_points", "P9,,,north,0,,,", "write degrees"),
        ("service_points", "P9,,,51.5,,,,", "give both or neither"),
        ("service_points", "P9,,,,,office,,", "residential or business"),
        ("service_points", "P9,,,,,,Europe/Londn,", "no time zone"),
        ("service_points", "P9,1.6.2024,,,,,,", "no moment"),
        ("service_points", "P9,2024-06-02,2024-06-01,,,,,", "to is before from"),
        ("service_points", ",,,,,business,,", "give the row its id"),
        ("service_points", "P1,,,,,,,", "the same service_point_id and from as line 2"),
        ("service_points", "P9,,,,,,,,,", "check the commas"),
        ("meters", "m9,P1,,,steam.import,,", "'steam.import' is no channel"),
        ("meters", "m9,P1,,,,7min,", "is not supported"),
        ("meters", "m9,P1,,,,,-1", "no number above 0"),
    ],
)
def test_a_bad_row_is_named_with_its_remedy_and_nothing_goes_in(registry, put, table, row, words):
    files = {
        "service_points": POINTS + "P1,,,,,,,\n\nP2,,,,,,,\n",
        "meters": METERS + "m1,P1,,,,,\n\nm2,P1,,,,,\n",
    }
    files[table] += row + "\n"
    with pytest.raises(RefusedRows, match=words) as refused:
        import_folder(registry, put(**files))
    assert [(p.line, p.file.endswith(f"{table}.csv")) for p in refused.value.problems] == [(5, True)]
    assert len(registry.table("service_points")) == len(registry.table("meters")) == 0


def test_ids_that_name_nothing_are_told_and_taken(registry, put):
    receipt = import_folder(registry, put(meters=METERS + "m1,P7,,,,,\n"))
    assert len(receipt.warnings) == 1
    assert "P7" in receipt.warnings[0]


def test_a_packed_file_is_read(registry, tmp_path):
    (tmp_path / "customers.csv.gz").write_bytes(gzip.compress(b"customer_id\nC1\n"))
    assert import_folder(registry, tmp_path).tables["customers"].added == 1


def test_files_that_cannot_be_read_are_named(registry, put, tmp_path):
    for text in (b"customer_id\n\xff\xfe\n", "", "name\nAnn\n", "customer_id,customer_id\nC1,C2\n"):
        with pytest.raises(BadFile, match=r"customers\.csv"):
            import_folder(registry, put(customers=text))
    (tmp_path / "customers.parquet").write_bytes(b"x")
    with pytest.raises(Invalid, match="both hold customers"):
        import_folder(registry, tmp_path)
    with pytest.raises(NotFound, match="no such folder"):
        import_folder(registry, tmp_path / "none")
