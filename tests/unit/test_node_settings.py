"""A server's settings read from the environment, and say themselves in the same words."""

from __future__ import annotations

import pytest

from meterlake.errors import Invalid
from meterlake.node_settings import NodeSettings, settings_from


def test_what_is_told_reads_back_as_the_same_settings():
    for settings in (NodeSettings(), settings_from({"METERLAKE_GRACE": "90s", "METERLAKE_BATCH": "no"})):
        assert settings_from(settings.told()) == settings


def test_words_of_sizes_and_times_are_understood():
    settings = settings_from(
        {
            "METERLAKE_GRACE": "15min",
            "METERLAKE_MAX_BODY": "1MiB",
            "METERLAKE_LIVE_MEMORY": "2GiB",
            "METERLAKE_BATCH_AT": "2h",
        }
    )
    assert (settings.grace_s, settings.accept.body, settings.live.bytes) == (900, 1 << 20, 2 << 30)
    assert settings.batch_at_s == 7200


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("GRACE", "soon"),
        ("MAX_BODY", "64 kilos"),
        ("MAX_GROUP", "-1"),
        ("BATCH", "maybe"),
        ("LIVE_ROWS", "1.5"),
    ],
)
def test_a_setting_that_cannot_be_read_is_named(name, text):
    with pytest.raises(Invalid, match=f"METERLAKE_{name}|{text}"):
        settings_from({f"METERLAKE_{name}": text})
