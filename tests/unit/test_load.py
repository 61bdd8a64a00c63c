"""Loading: receipts add up whatever the order, bad input is named and never stops the rest."""

from __future__ import annotations

import gzip
import random
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import meterlake
from meterlake.errors import Invalid
from meterlake.formats.codec import ReadOptions
from meterlake.intake import LoadOptions
from meterlake.receipt import COUNTS, Receipt
from meterlake.spool import StripStore

RAW = "LCLid,stdorToU,DateTime,KWH/hh (per half hour) "
LONDON = Path(__file__).parents[2].parent / "shared/data/lcl_london/Ryanhilde__meter_readings"


def raw_line(meter: int, slot: int, value: str, second: int = 0) -> str:
    hour, half = divmod(slot, 2)
    return f"MAC{meter:06d},Std,2012-10-{12 + hour // 24} {hour % 24:02d}:{half * 30:02d}:{second:02d}.0000000,{value}"


def write(path: Path, lines: list[str], end: str = "\r\n") -> Path:
    path.write_text(RAW + end + "".join(line + end for line in lines), newline="")
    return path


def adds_up(receipt: Receipt) -> None:
    answer = receipt.to_json()
    parts = [answer[name] for name in COUNTS[1:-1]]
    assert answer["received"] == sum(parts)
    for entry in answer["files"]:
        assert entry["received"] == sum(entry[name] for name in COUNTS[1:-1])


lines = st.lists(
    st.builds(
        raw_line, st.integers(1, 3), st.integers(0, 60),
        st.sampled_from([" 0 ", " 0.219 ", " 1.9220001 ", "Null", " 7 ", " x "]), st.sampled_from([0, 0, 0, 0, 1]),
    ),
    min_size=1, max_size=60,
)  # fmt: skip


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=lines, seed=st.integers(0, 9), parts=st.integers(1, 3))
def test_counts_do_not_depend_on_the_order_of_lines_and_files(tmp_path: Path, lines, seed, parts) -> None:
    """The same lines, in one file or several and shuffled, give the same counts, blocks and amounts."""
    options = LoadOptions(source="feed", received_at=datetime(2026, 1, 1, tzinfo=UTC))
    answers = []
    for shuffled in (lines, random.Random(seed).sample(lines, len(lines))):
        files = [write(tmp_path / f"{i}.csv", shuffled[i::parts]) for i in range(parts)]
        lake = meterlake.open("memory:")
        receipt = lake.load(files, options)
        adds_up(receipt)
        assert receipt.count("received") == len(lines)
        assert lake.check().ok
        kept = ("received", "stored", "duplicate", "conflict", "superseded", "rejected")
        totals = {f.path: lake.lake.blocks(f)["total"].to_pylist() for f in lake.lake.snapshot().files}
        answers.append(([receipt.count(n) for n in kept], receipt.amount, receipt.gaps, totals))
    assert answers[0] == answers[1]


def test_the_quirks_of_the_raw_london_layout(tmp_path: Path) -> None:
    """Null, a repeat, an off-grid stamp, trailing blanks, and a meter that stops in October."""
    file = write(
        tmp_path / "raw.csv",
        [
            raw_line(2, 1, " 0.219 "), raw_line(2, 2, " 0.241 "), raw_line(2, 2, " 0.241 "),
            raw_line(2, 3, "Null"), raw_line(2, 24, " 3 ", second=1), raw_line(2, 5, " 0 "),
            raw_line(3, 1, " 1.9220001 "),
        ],
    )  # fmt: skip
    receipt = meterlake.open("memory:").load([file])
    answer = receipt.to_json()
    assert {name: answer[name] for name in COUNTS} == {
        "received": 7, "stored": 4, "duplicate": 1, "superseded": 0, "conflict": 0, "rejected": 2, "replaced": 0,
    }  # fmt: skip
    assert {entry["reason"]: entry["example"]["line"] for entry in answer["rejects"]} == {
        "missing_value": 5, "off_grid": 6,
    }  # fmt: skip
    assert (answer["first"], answer["last"]) == ("2012-10-12T00:30:00Z", "2012-10-12T02:30:00Z")
    assert answer["amount"] == {"electricity.import": "2.382"}
    assert answer["gaps"] == 2


def test_a_file_that_fails_is_named_and_stores_nothing_while_the_others_land(tmp_path: Path) -> None:
    good = write(tmp_path / "good.csv", [raw_line(1, s, " 1 ") for s in range(48)])
    bad = tmp_path / "bad.csv.gz"
    bad.write_bytes(gzip.compress(good.read_bytes() * 50)[:500])
    strange = tmp_path / "strange.csv"
    strange.write_text("a,b,c\n1,2,3\n")
    lake = meterlake.open("memory:")
    receipt = lake.load([good, bad, strange])
    assert [entry.path for entry in receipt.errors] == [str(bad), str(strange)]
    assert receipt.count("stored") == 48
    assert all(entry.received == 0 for entry in receipt.errors)
    adds_up(receipt)


def test_the_same_content_in_another_packing_is_a_replay(tmp_path: Path) -> None:
    plain = write(tmp_path / "plain.csv", [raw_line(1, s, " 1 ") for s in range(48)])
    packed = tmp_path / "packed.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.write(plain, "plain.csv")
    zipped = tmp_path / "plain.csv.gz"
    zipped.write_bytes(gzip.compress(plain.read_bytes()))
    lake = meterlake.open("memory:")
    first = lake.load([plain])
    assert not first.replayed
    for again in (packed, zipped, plain):
        assert lake.load([again]).replayed
    assert lake.lake.snapshot().version == first.version


def test_a_dry_run_tells_what_would_change_and_changes_nothing(tmp_path: Path) -> None:
    before = write(tmp_path / "a.csv", [raw_line(1, s, " 1 ") for s in range(4)])
    after = write(tmp_path / "b.csv", [raw_line(1, s, f" {1 + s // 2} ") for s in range(6)])
    lake = meterlake.open("memory:")
    lake.load([before], LoadOptions(source="feed"))
    told = lake.load([after], LoadOptions(source="feed", dry_run=True)).to_json()
    assert lake.lake.snapshot().version == 1
    assert [(c["meter"], c["start"], int(c["old"]), int(c["new"])) for c in told["changes"]] == [
        ("MAC000001", "2012-10-12T01:00:00Z", 10**6, 2 * 10**6),
        ("MAC000001", "2012-10-12T01:30:00Z", 10**6, 2 * 10**6),
    ]
    done = lake.load([after], LoadOptions(source="feed")).to_json()
    for name in COUNTS:
        assert told[name] == done[name]


def test_known_only_refuses_meters_that_nobody_registered(tmp_path: Path) -> None:
    lake = meterlake.open("memory:")
    lake.load([write(tmp_path / "a.csv", [raw_line(1, 0, " 1 ")])])
    both = write(tmp_path / "b.csv", [raw_line(1, 1, " 1 "), raw_line(2, 1, " 1 "), raw_line(2, 2, " 5 ")])
    receipt = lake.load([both], LoadOptions(known_only=True))
    assert (receipt.count("stored"), receipt.count("rejected")) == (1, 2)
    rows = lake.quarantine(receipt.load_id).to_pylist()
    assert [(row["line"], row["reason"]) for row in rows] == [(3, "unknown_meter"), (4, "unknown_meter")]
    assert rows[0]["text"].startswith("MAC000002")


def test_a_line_of_any_length_is_one_reject(tmp_path: Path) -> None:
    file = tmp_path / "long.csv"
    file.write_text(
        "meter,start,value\nm1,2026-01-01T00:00:00Z,1\n" + "x" * 20_000_000 + "\nm1,2026-01-01T00:30:00Z,2\n"
    )
    receipt = meterlake.open("memory:").load([file], LoadOptions(read=ReadOptions(interval_s=1800)))
    assert (receipt.count("stored"), receipt.count("rejected")) == (2, 1)
    assert receipt.rejects[0]["example"]["line"] == 3


def test_more_than_memory_holds_is_spilled_and_changes_nothing(tmp_path: Path, monkeypatch) -> None:
    file = write(tmp_path / "a.csv", [raw_line(m, s, f" {m}.{s} ") for s in range(40) for m in range(1, 60)])
    plain = meterlake.open("memory:")
    plain.load([file])
    monkeypatch.setattr("meterlake.intake.StripStore", lambda folder: StripStore(folder, 0))
    spilled = meterlake.open("memory:")
    spilled.load([file])
    columns = ["meter_id", "start", "values", "total"]
    rows = [
        next(lake.lake.blocks(f, columns) for f in lake.lake.snapshot().files) for lake in (plain, spilled)
    ]
    assert rows[0].equals(rows[1])


def test_nothing_under_a_name_is_an_error_with_a_remedy() -> None:
    with pytest.raises(Invalid, match="check the path"):
        meterlake.open("memory:").load(["nowhere/*.csv"])


@pytest.mark.skipif(not LONDON.is_dir(), reason=f"no London files in {LONDON}")
def test_london_ends_with_the_published_sums(tmp_path: Path) -> None:
    """50 households of 2013: rows, kWh and gaps as counted independently (facts.json)."""
    import json

    facts = json.loads((LONDON.parents[1] / "facts.json").read_text())
    mine = {k: v for k, v in facts.items() if k.startswith("lcl_london/Ryanhilde")}
    lake = meterlake.open(str(tmp_path / "lake"))
    receipt = lake.load([LONDON])
    assert receipt.count("stored") == receipt.count("received") == sum(f["rows"] for f in mine.values())
    assert receipt.gaps == sum(f["missing_slots"] for f in mine.values())
    for path, fact in mine.items():
        meter = Path(path).stem
        listed = lake.history(meter, "2013-01-01", "2014-01-01").to_arrow()
        assert len(listed) == fact["rows"]
        assert sum(listed["amount"].to_pylist()) == pytest.approx(fact["sum_kwh"] * 10**6, abs=fact["rows"])
    before = lake.history("MAC000002", "2013-01-01", "2014-01-01").to_arrow()
    lake.compact()
    assert lake.history("MAC000002", "2013-01-01", "2014-01-01").to_arrow().equals(before)
    assert lake.check().ok


def test_rejects_name_their_line_however_the_file_is_cut(tmp_path: Path, monkeypatch) -> None:
    """Chunks do not know how many lines went before them; rejects of every kind do in the end."""
    lines = [
        raw_line(1 + s % 2, s // 2, " x " if s % 7 == 0 else " 1 ", second=s % 5 == 3) for s in range(90)
    ]
    file = write(tmp_path / "a.csv", lines)
    told = []
    for piece in (64, 333, 1 << 20):
        monkeypatch.setattr("meterlake.source.PIECE", piece)
        monkeypatch.setattr("meterlake.source.HEAD", 200)
        lake = meterlake.open("memory:")
        adds_up(lake.load([file]))
        rows = lake.quarantine().select(["line", "text", "reason"]).sort_by("line").to_pylist()
        assert all(row["text"] == lines[row["line"] - 2] for row in rows)
        told.append(rows)
    assert {row["reason"] for row in told[0]} == {"bad_number", "off_grid"}
    assert told[0] == told[1] == told[2]


def test_options_are_given_by_their_names(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("m1;2026-06-01 00:30;1,5\nm1;2026-06-01 01:00;2,5\n")
    lake = meterlake.open(str(tmp_path / "lake"))
    receipt = lake.load(
        file, format="csv", map="meter=1,time=2,value=3", zone="Europe/London", stamp="end", interval="30min",
        unit="MWh", decimal=",", delimiter=";", channel="electricity.export",
    )  # fmt: skip
    assert receipt.amount == {"electricity.export": "4000"}
    assert receipt.first == "2026-05-31T23:00:00Z"
    with pytest.raises(Invalid, match="not both"):
        lake.load(file, LoadOptions(), zone="UTC")
