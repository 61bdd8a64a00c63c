"""The commands as scripts use them: answers on standard output, errors in one line, exit statuses."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from meterlake.cli import run

FILE = """meter,start,value
m1,2024-01-01T00:00:00Z,0.25
m1,2024-01-01T00:30:00Z,0.5
m2,2024-01-01T00:00:00Z,1.125
m2,2024-01-01T00:30:00Z,
"""
LOAD = ("--format", "csv", "--map", "meter=meter,time=start,value=value", "--interval", "30min", "--unit", "kWh",
        "--channel", "electricity.import")  # fmt: skip


def write_files(folder):
    """Three readings of two meters, and two places."""
    (folder / "registry").mkdir()
    (folder / "registry" / "service_points.csv").write_text(
        "service_point_id,latitude,longitude,class,zone\nP1,51.5,-0.1,business,Europe/London\nP2,51.5,-0.1,,\n"
    )
    (folder / "registry" / "meters.csv").write_text("meter_id,service_point_id\nm1,P1\nm2,P2\n")
    (folder / "file.csv").write_text(FILE)


@pytest.fixture
def lake(tmp_path, monkeypatch):
    """A folder with the files, in which the lake will be."""
    monkeypatch.setenv("METERLAKE_LAKE", str(tmp_path / "lake"))
    monkeypatch.delenv("METERLAKE_REGISTRY", raising=False)
    write_files(tmp_path)
    return tmp_path


@pytest.fixture
def ask(lake, capfdbinary):
    """Run a command; return its status, what it answered, and what it said on standard error."""

    def told(*words):
        status = run([str(word) for word in words])
        out, err = capfdbinary.readouterr()
        return status, out, err.decode()

    return told


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A lake with the file and its registry in it, made once."""
    folder = tmp_path_factory.mktemp("made")
    write_files(folder)
    place = ["--lake", str(folder / "lake")]
    assert run(["registry", "import", str(folder / "registry"), *place]) == 0
    assert run(["load", str(folder / "file.csv"), *LOAD, *place]) == 0
    return folder / "lake"


@pytest.fixture
def loaded(ask, lake, made):
    """Ask a lake that has the file and its registry in it."""
    shutil.copytree(made, lake / "lake")
    return ask


def test_a_receipt_adds_up(ask, lake):
    status, out, _ = ask("load", lake / "file.csv", *LOAD, "--output", "json")
    receipt = json.loads(out)
    assert status == 0
    fates = [receipt[name] for name in ("stored", "duplicate", "superseded", "conflict", "rejected")]
    assert (receipt["received"], fates) == (4, [3, 0, 0, 0, 1])
    assert receipt["amount"] == {"electricity.import": "1.875"}
    status, out, _ = ask("load", lake / "file.csv", *LOAD, "-o", "json")
    assert (status, json.loads(out)["replayed"]) == (0, True)


def test_rejects_are_an_error_only_where_asked(ask, lake):
    assert ask("load", lake / "file.csv", *LOAD, "--strict")[0] == 3
    status, out, _ = ask("quarantine", "-o", "json")
    (item,) = json.loads(out)["items"]
    assert (status, item["line"], item["reason"]) == (0, 5, "missing_value")
    assert item["text"] == "m2,2024-01-01T00:30:00Z,"


def test_history_says_what_the_file_said(loaded):
    _, out, _ = loaded("history", "P1", "--from", "2024-01-01", "--to", "2024-01-02", "-o", "json")
    told = json.loads(out)
    assert (told["channel"], told["unit"], told["zone"]) == ("electricity.import", "kWh", "UTC")
    assert [(v["start"], v["value"]) for v in told["values"]] == [
        ("2024-01-01T00:00:00Z", 0.25), ("2024-01-01T00:30:00Z", 0.5),
    ]  # fmt: skip
    _, out, _ = loaded("history", "m1", "--from", "2024-01-01", "--to", "2024-01-02", "-o", "csv")
    assert out.splitlines()[1] == b"m1,electricity.import,2024-01-01T00:00:00Z,1800,0.25,kWh,actual"


@pytest.mark.parametrize(
    "words",
    [
        ("history", "m1", "--from", "2024-01-01", "--to", "2024-01-02", "--step", "day", "--zone", "Europe/London"),
        ("usage", "P1", "--until", "2024-01-02", "--ranges", "1w,1m"),
        ("snapshot", "--at", "2024-01-01T00:10:00Z"),
        ("fleet", "--from", "2024-01-01", "--to", "2024-01-02", "--by", "channel,region,class"),
        ("top", "--from", "2024-01-01", "--to", "2024-01-02", "-n", "1"),
        ("sql", "SELECT meter, sum(value) AS total FROM readings GROUP BY meter ORDER BY meter"),
        ("loads",), ("quarantine",), ("feeds",), ("check",), ("doctor",), ("compact",),
    ],
    ids=lambda words: words[0],
)  # fmt: skip
def test_every_question_answers_in_every_form(loaded, words):
    for form in ("table", "json", "csv", "arrow", "parquet"):
        status, out, err = loaded(*words, "--output", form)
        assert (status, err) == (0, "")
        assert out
        if form == "json":
            json.loads(out)
        if form == "parquet":
            assert out[:4] == b"PAR1"


def test_usage_has_the_ranges_and_the_period_before(loaded):
    _, out, _ = loaded("usage", "P1", "--until", "2024-01-02", "-o", "json")
    ranges = json.loads(out)["channels"]["electricity.import"]["ranges"]
    assert list(ranges) == ["1w", "1m", "3m", "6m", "1y"]
    assert ranges["1w"]["value"] == 0.75
    assert ranges["1w"]["previous"]["to"] == ranges["1w"]["from"]


def test_undo_takes_a_load_back_and_loading_again_brings_it_back(loaded, lake):
    _, out, _ = loaded("loads", "-o", "json")
    (load,) = json.loads(out)["items"]
    words = ("history", "m1", "--from", "2024-01-01", "--to", "2024-01-02", "-o", "json")
    assert loaded("undo", load["load_id"], "--dry-run")[0] == 0
    assert len(json.loads(loaded(*words)[1])["values"]) == 2
    assert loaded("undo", load["load_id"])[0] == 0
    gone = json.loads(loaded(*words)[1])
    assert not gone or not gone["values"]
    assert loaded("load", lake / "file.csv", *LOAD)[0] == 0
    assert len(json.loads(loaded(*words)[1])["values"]) == 2


def test_the_registry_comes_out_as_it_went_in(loaded, lake):
    assert loaded("registry", "export", lake / "out")[0] == 0
    _, out, _ = loaded("registry", "import", lake / "out", "-o", "json")
    assert {t["added"] + t["changed"] for t in json.loads(out)["tables"].values()} == {0}


def test_bad_registry_rows_are_listed_and_nothing_goes_in(ask, lake):
    (lake / "registry" / "meters.csv").write_text("meter_id,interval_s\nm1,soon\nm2,7\n")
    status, out, err = ask("registry", "import", lake / "registry", "-o", "json")
    assert status == 1
    assert [p["line"] for p in json.loads(out)["problems"]] == [2, 3]
    assert "nothing was imported" in err


def test_a_saved_feed_says_how_to_read(ask, lake):
    ask("init")
    (lake / "lake" / "feeds.toml").write_text(
        '[town]\nformat = "csv"\nmap = "meter=meter,time=start,value=value"\ninterval = "30min"\nunit = "kWh"\n'
        'channel = "electricity.import"\n'
    )
    status, out, _ = ask("load", lake / "file.csv", "--feed", "town", "-o", "json")
    assert (status, json.loads(out)["stored"]) == (0, 3)
    assert b"town" in ask("feeds")[1]


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("history", "m1"), 2, "--from"),
        (
            ("history", "m1", "--from", "2024-01-01", "--to", "2024-01-02", "-o", "xml"),
            2,
            "table|json|csv|arrow|parquet",
        ),
        (("frobnicate",), 2, "frobnicate"),
        (("load",), 2, "PATH"),
        (("load", "nowhere.csv"), 1, "nowhere.csv"),
        (("history", "m1", "--from", "2024-01-02", "--to", "2024-01-01"), 1, "exclusive"),
        (("history", "nobody", "--from", "2024-01-01", "--to", "2024-01-02"), 1, "nobody"),
        (("history", "m1", "--from", "soon", "--to", "2024-01-02"), 1, "2026-01-31"),
        (("usage", "m1", "--ranges", "1q"), 1, "1q"),
        (("usage", "m1", "--zone", "Europe/Londn"), 1, "Londn"),
        (("sql", "SELEC 1"), 1, "SELEC"),
        (("undo", "none"), 1, "meterlake loads"),
        (("registry", "import", "nowhere"), 1, "nowhere"),
        (("simulate", "out", "--faults", "gremlins=1"), 1, "gremlins"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else None,
)
def test_an_error_is_one_line_that_says_what_to_do(loaded, monkeypatch, lake, words, status, said):
    monkeypatch.chdir(lake)
    found, out, err = loaded(*words)
    assert (found, out) == (status, b"")
    assert err.startswith("meterlake: ")
    assert err.count("\n") == 1
    assert said in err


def test_a_lake_that_is_not_there_is_not_made_by_asking(ask, lake):
    status, _, err = ask("check")
    assert (status, (lake / "lake").exists()) == (1, False)
    assert "meterlake init" in err


def test_a_broken_file_is_named_and_the_others_are_loaded(ask, lake):
    (lake / "broken.csv.gz").write_bytes(b"\x1f\x8b nothing of the kind")
    status, out, err = ask("load", lake / "file.csv", lake / "broken.csv.gz", *LOAD, "-o", "json")
    receipt = json.loads(out)
    assert (status, receipt["stored"]) == (1, 3)
    assert [("error" in file) for file in receipt["files"]] == [False, True]
    assert "broken.csv.gz" in err


@pytest.mark.parametrize(
    ("raised", "status", "said"),
    [
        (KeyboardInterrupt(), 130, "not committed"),
        (OSError(28, "No space left on device"), 1, "No space left"),
        (ZeroDivisionError("by zero"), 1, "--debug"),
    ],
    ids=["interrupt", "disk", "mistake"],
)
def test_whatever_happens_is_said_in_one_line(ask, monkeypatch, raised, status, said):
    def fail(*_):
        raise raised

    monkeypatch.setattr("meterlake.feeds.read_feeds", fail)
    found, out, err = ask("feeds")
    assert (found, out, err.count("\n")) == (status, b"", 1)
    assert said in err


def test_debug_shows_where_an_error_was_raised(ask, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError

    monkeypatch.setattr("meterlake.feeds.read_feeds", fail)
    with pytest.raises(ZeroDivisionError):
        ask("feeds", "--debug")


def test_options_before_the_command_hold_for_it(ask, lake):
    assert ask("--lake", lake / "other", "init")[0] == 0
    assert (lake / "other").exists()
    assert ask("init", "--lake", lake / "third")[0] == 0
    assert (lake / "third").exists()
    assert not (lake / "lake").exists()


def test_help_loads_neither_pandas_nor_the_compiler():
    names = "pandas", "numba", "deltalake", "pyarrow", "numpy", "duckdb", "sqlalchemy", "rich"
    script = (
        "import sys; from meterlake.cli import run; status = run(['--help']);"
        f"loaded = [name for name in {names!r} if name in sys.modules]; sys.exit(f'{{loaded}}' if loaded or status else 0)"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, env=_environment()
    )
    assert found.returncode == 0, found.stderr


def test_a_question_loads_neither_the_compiler_nor_duckdb(loaded, lake):
    words = ["history", "m1", "--from", "2024-01-01", "--to", "2024-01-02"]
    script = (
        f"import sys; from meterlake.cli import run; status = run({words!r});"
        "loaded = [name for name in ('numba', 'duckdb', 'rich') if name in sys.modules]; sys.exit(f'{loaded}' if loaded or status else 0)"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, env=_environment()
    )
    assert found.returncode == 0, found.stderr


def _environment():
    import meterlake

    return {**os.environ, "PYTHONPATH": str(Path(meterlake.__file__).parents[1])}
