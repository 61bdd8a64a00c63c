"""Options of a load as text, and the sets of them that a lake keeps."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from meterlake.adapters.store_folder import FolderStore
from meterlake.adapters.store_memory import MemoryStore
from meterlake.errors import Invalid, NotFound
from meterlake.feeds import options_of, read_feeds


def test_words_of_the_command_line_become_options(tmp_path):
    told = {
        "map": "meter=LCLid,value=energy(kWh/hh)", "columns": "4..51", "interval": "30min", "delimiter": "tab",
        "received_at": "2024-01-01T06:00:00Z", "format": "wide", "zone": None, "strict": None,
    }  # fmt: skip
    options = options_of(told, FolderStore(tmp_path))
    assert options.read.map == {"meter": "LCLid", "value": "energy(kWh/hh)"}
    assert (options.read.columns, options.read.interval_s, options.read.delimiter) == ((3, 51), 1800, "\t")
    assert options.received_at == datetime(2024, 1, 1, 6, tzinfo=UTC)


def test_the_command_line_goes_before_the_feed(tmp_path):
    (tmp_path / "feeds.toml").write_text(
        '[london]\nformat = "csv"\nzone = "UTC"\nquality-best = "validated"\nauthoritative = true\n'
        'columns = "2..3"\n[london.map]\nmeter = 1\nvalue = 3\n'
    )
    options = options_of({"feed": "london", "zone": "Europe/London"}, FolderStore(tmp_path))
    assert (options.read.format, options.read.zone, options.feed) == ("csv", "Europe/London", "london")
    assert (options.quality_best, options.authoritative) == (3, True)
    assert options.read.map == {"meter": "1", "value": "3"}


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"map": "meter"}, "ROLE=COLUMN"),
        ({"map": "house=1"}, "meter, time, value"),
        ({"columns": "51..4"}, "4..51"),
        ({"interval": "soon"}, "no interval"),
        ({"stamp": "middle"}, "start or end"),
        ({"delimiter": "::"}, "one character"),
        ({"decimal": ";"}, "write , or ."),
        ({"received_at": "yesterday"}, "no moment"),
    ],
)
def test_an_option_that_cannot_be_says_what_can(told, words):
    with pytest.raises(Invalid, match=words):
        options_of(told, MemoryStore())


def test_a_feed_that_cannot_be_read_is_named(tmp_path):
    assert read_feeds(FolderStore(tmp_path)) == {}
    with pytest.raises(NotFound, match="none yet"):
        options_of({"feed": "x"}, FolderStore(tmp_path))
    for text, words in (
        ("[a]\ncolour = 1", "unknown key 'colour'"),
        ("zone = 1", "outside a feed"),
        ("[", r"feeds\.toml"),
    ):
        (tmp_path / "feeds.toml").write_text(text)
        with pytest.raises(Invalid, match=words):
            read_feeds(FolderStore(tmp_path))
