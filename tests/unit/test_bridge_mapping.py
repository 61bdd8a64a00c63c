"""What a message says is what its reading says, whatever its topic and payload look like; all else is a refused line."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import topic_matches_sub

from meterlake.bridge.map_file import read_map
from meterlake.bridge.mapping import ROLES, lines_of, refused
from meterlake.bridge.patterns import Pattern
from meterlake.errors import Invalid, NotFound
from meterlake.formats.batch import NDJSON, parse_body
from meterlake.formats.codec import Origin, ReadOptions
from meterlake.ids import MeterIds
from meterlake.readings import REASON_CODES
from meterlake.strips import MISSING, Kinds

START = 1_767_225_600
"""2026-01-01T00:00:00Z."""
US = 1_000_000
MALFORMED = REASON_CODES["malformed_line"]
LEVELS = st.text(st.characters(codec="utf-8", exclude_characters="/+#{}\0"), min_size=1, max_size=8)
PLAIN = st.text("abcdefgh0123456789_.", min_size=1, max_size=8)
SECONDS = st.sampled_from([5, 60, 900, 1800, 3600])
READINGS = st.tuples(
    PLAIN, st.sampled_from(["electricity.import", "gas.import", "water.import"]), SECONDS, st.integers(0, 5000),
    st.integers(0, 10**10),
)  # fmt: skip
"""Meter, channel, length, number of the interval, amount."""


def parsed(lines):
    """What the server makes of lines: (meter, channel, start, length, amount) by line, and (line, reason) of the refused."""
    ids, kinds = MeterIds(), Kinds()
    now = START + 10**9
    body = b"\n".join(lines) + b"\n"
    found = parse_body(body, NDJSON, ReadOptions(), Origin("s", 1, now * US, now), ids, kinds)
    names, rows, at = ids.texts().to_pylist(), {}, found.strips.offsets()
    for i in range(len(found.strips)):
        kind = kinds.table[found.strips.kind[i]]
        for k, amount in enumerate(found.strips.amounts[at[i] : at[i + 1]].tolist()):
            if amount != MISSING:
                start = int(found.strips.start[i]) + k * kind.interval_s
                rows[int(found.strips.line[i]) + k] = (
                    names[found.strips.meter[i]], kind.channel, start, kind.interval_s, amount,
                )  # fmt: skip
    assert found.received == len(lines)
    refusals = zip(found.rejects.line.tolist(), found.rejects.reason.tolist(), strict=True)
    return [rows[line] for line in sorted(rows)], sorted(refusals)


@pytest.fixture(scope="module")
def mapped(tmp_path_factory):
    """Maps of a text of settings."""
    path = tmp_path_factory.mktemp("map") / "bridge.toml"

    def read(text):
        path.write_text(text, "utf-8")
        return read_map(path).topics

    return read


def carried(maps, topic, payload, at_us=START * US, *, retained=False):
    return lines_of(maps, topic, payload, at_us, retained=retained)


def iso(seconds):
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def text_of(amount):
    return f"{Decimal(amount).scaleb(-6):f}"


@given(
    st.lists(st.tuples(st.sampled_from(["literal", "name", "part", "any"]), LEVELS), min_size=1, max_size=6),
    st.booleans(),
)
def test_a_pattern_takes_the_topics_that_a_broker_sends_for_it_and_finds_their_words(levels, rest):
    pattern, topic, expected = [], [], {}
    for place, (kind, word) in enumerate(levels):
        name = "abcdef"[place]
        pattern.append({"literal": word, "name": f"{{{name}}}", "part": f"x-{{{name}}}-y", "any": "+"}[kind])
        topic.append(f"x-{word}-y" if kind == "part" else word)
        if kind in {"name", "part"}:
            expected[name] = word
    made = Pattern.parse("/".join(pattern + ["#"] * rest))
    topic = "/".join(topic)
    tails = ["", "/z", "/z/ü"] if rest else [""]
    for tail in tails:
        assert made.match(topic + tail) == expected
        if not topic.startswith("$"):
            assert topic_matches_sub(made.filter, topic + tail)


@given(
    st.lists(st.sampled_from(["a", "b", "+", ""]), min_size=1, max_size=4),
    st.lists(st.sampled_from(["a", "b", ""]), min_size=1, max_size=4),
)
def test_without_names_a_pattern_is_a_brokers_filter(levels, words):
    filter_, topic = "/".join(levels), "/".join(words)
    if filter_:
        assert (Pattern.parse(filter_).match(topic) is not None) == topic_matches_sub(filter_, topic)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a/#/b",
        "#",
        "a+",
        "a/b#",
        "{Meter}",
        "{a}{b}",
        "{a}/{a}",
        "{a}-{a}",
        "a{",
        "}",
        "$share/g",
        "$share/+/a",
    ],
)
def test_what_is_no_pattern_is_refused(text):
    with pytest.raises(Invalid, match="pattern"):
        Pattern.parse(text)


def test_a_shared_pattern_asks_for_its_share_and_takes_the_topics_behind_it():
    made = Pattern.parse("$share/bridges/meters/{meter}/#")
    assert made.filter == "$share/bridges/meters/+/#"
    assert made.match("meters/m1/a/b") == {"meter": "m1"}
    assert made.match("$share/bridges/meters/m1") is None


@given(st.lists(READINGS, min_size=1, max_size=20))
def test_json_of_the_documented_form_needs_no_mapping(mapped, readings):
    maps = mapped('[[topic]]\npattern = "in/#"')
    expected, lines = [], []
    for meter, channel, seconds, number, amount in readings:
        start = START + number * seconds
        said = {
            "meter": meter,
            "channel": channel,
            "start": iso(start),
            "seconds": seconds,
            "value": text_of(amount),
        }
        lines += carried(maps, "in/here", json.dumps(said).encode()).lines
        expected.append((meter, channel, start, seconds, amount))
    assert parsed(lines) == (expected, [])


@given(
    st.lists(READINGS, min_size=1, max_size=5), st.sampled_from(["iso", "epoch_s", "epoch_ms"]), st.booleans()
)
def test_paths_lists_numbers_and_times_of_any_form_say_the_same(mapped, readings, time, ends):
    maps = mapped(f"""
[[topic]]
pattern = "site-{{site}}/{{unit_id}}"
time = "{time}"
moment = "{"end" if ends else "start"}"
each = "data.rows"
fields = {{ value = "energy.0", start = "at", seconds = "len", channel = "kind" }}
set = {{ meter = "{{site}}-{{unit_id}}", unit = "Wh" }}
""")
    for_ms = {"iso": iso, "epoch_s": int, "epoch_ms": lambda s: s * 1000}[time]
    rows, expected = [], []
    for _, told, seconds, number, amount in readings:
        start, wh = START + number * seconds, amount // 1000
        channel = "electricity.export" if told.startswith(("gas", "water")) else told
        rows.append({"at": for_ms(start + ends * seconds), "energy": [wh], "kind": channel, "len": seconds})
        expected.append(("s-u", channel, start, seconds, wh * 1000))
    found = carried(maps, "site-s/u", json.dumps({"data": {"rows": rows}}).encode())
    assert not found.poison
    assert parsed(found.lines) == (expected, [])


@given(st.integers(0, 5000), SECONDS, st.integers(0, 10**10), st.floats(-0.49, 0.49))
def test_a_plain_value_is_of_the_interval_that_ends_nearest_to_its_arrival(
    mapped, number, seconds, amount, jitter
):
    maps = mapped(f"""
[[topic]]
pattern = "meters/{{meter}}/{{channel}}"
payload = "plain"
time = "arrival"
set = {{ seconds = {seconds} }}
channels = {{ A1 = "electricity.import" }}
""")
    at_us = (START + (number + 1) * seconds) * US + int(jitter * seconds * US)
    found = carried(maps, "meters/m1/A1", f" {text_of(amount)}\n".encode(), at_us)
    assert parsed(found.lines) == (
        [("m1", "electricity.import", START + number * seconds, seconds, amount)],
        [],
    )
    assert not carried(maps, "meters/m1/A1", b"1", at_us, retained=True).lines, (
        "nobody knows when it was sent"
    )


def test_members_that_are_channels_are_a_reading_each(mapped):
    maps = mapped("""
[[topic]]
pattern = "tele/{meter}/SENSOR"
fields = { start = "Time" }
set = { seconds = 300, unit = "kWh" }
round = true
values = { "ENERGY.In" = "electricity.import", "ENERGY.Out" = "electricity.export", "gas" = "gas.import" }
""")
    payload = (
        b'{"Time": "2026-01-01T00:04:58", "ENERGY": {"In": 0.1, "Out": 1e-6}, "unit": "h", "meter": "other"}'
    )
    found = carried(maps, "tele/m1/SENSOR", payload)
    assert parsed(found.lines)[0] == [
        ("m1", "electricity.import", START + 300, 300, 100_000), ("m1", "electricity.export", START + 300, 300, 1),
    ]  # fmt: skip
    assert carried(maps, "tele/m1/SENSOR", b'{"Time": "2026-01-01T00:00:00Z", "ENERGY": {}}').poison


def test_the_topic_rules_over_what_the_payload_says(mapped):
    maps = mapped('[[topic]]\npattern = "meters/{meter}"')
    told = carried(maps, "meters/mine", b'{"meter": "theirs", "value": 1}').lines[0]
    assert json.loads(told)["meter"] == "mine"


def test_the_first_pattern_rules_and_no_pattern_no_payload_mean_no_line(mapped):
    maps = mapped("""
[[topic]]
pattern = "a/{meter}"
set = { unit = "Wh" }
[[topic]]
pattern = "+/{meter}"
set = { unit = "kWh" }
""")
    assert [json.loads(carried(maps, t, b"{}").lines[0])["unit"] for t in ("a/m", "b/m")] == ["Wh", "kWh"]
    assert not carried(maps, "a/m/more", b"{}").lines
    assert not carried(maps, "a/m", b"").lines


@given(st.binary(max_size=80) | st.text(max_size=40).map(str.encode) | st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*ROLES, "x"]), inner, max_size=8),
).map(lambda value: json.dumps(value).encode()), st.sampled_from(["iso", "epoch_s", "epoch_ms", "arrival"]), st.booleans(), LEVELS)  # fmt: skip
def test_whatever_comes_is_lines_that_the_server_counts_one_by_one(mapped, payload, time, rounded, meter):
    maps = mapped(f"""
[[topic]]
pattern = "json/{{meter}}"
time = "{time}"
round = {str(rounded).lower()}
[[topic]]
pattern = "plain/{{meter}}"
payload = "plain"
time = "arrival"
set = {{ seconds = 60, channel = "gas.import" }}
""")
    for head in ("json/", "plain/"):
        found = carried(maps, head + meter, payload)
        assert bool(found.lines) == bool(payload)
        if found.lines:
            rows, refusals = parsed(found.lines)
            assert len(rows) + len(refusals) == len(found.lines)
            if found.poison:
                assert [reason for _, reason in refusals] == [MALFORMED]


@given(st.text(max_size=2000), st.binary(max_size=4000), st.text(max_size=2000))
def test_a_refused_message_is_one_malformed_line_that_names_its_topic(topic, payload, why):
    line = refused(topic, payload, why)
    assert parsed([line]) == ([], [(1, MALFORMED)])
    assert json.loads(line).startswith(topic[:500])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "names no topic"), ("topic = 1", "names no topic"), ("[[topic]]", "pattern is empty"), ("x = 1\n", "unknown key 'x'"),
        ('client = "a b"\n[[topic]]\npattern = "a"', "client"), ("[[", "Invalid"), ('keep = "long"\n[[topic]]\npattern = "a"', "interval"),
        ('[[topic]]\npattern = "a"\nfoo = 1', "unknown key 'foo'"), ('[[topic]]\npattern = "a"\npayload = "xml"', "one of json, plain"),
        ('[[topic]]\npattern = "a"\ntime = "now"', "one of iso"), ('[[topic]]\npattern = "a"\nround = "yes"', "true or false"),
        ('[[topic]]\npattern = "a"\nset = { size = 1 }', "a reading has"), ('[[topic]]\npattern = "a"\nset = { meter = "{b}" }', "no names"),
        ('[[topic]]\npattern = "a"\nset = { seconds = "900" }', "number of seconds"), ('[[topic]]\npattern = "a"\nfields = { value = 1 }', "no path"),
        ('[[topic]]\npattern = "a/{meter}"\nfields = { meter = "id" }', "say one"), ('[[topic]]\npattern = "a"\nset = 1', "is a table"),
        ('[[topic]]\npattern = "a"\npayload = "plain"', "names no meter"), ('[[topic]]\npattern = "{meter}"\npayload = "plain"', "how long"),
        ('[[topic]]\npattern = "{meter}"\npayload = "plain"\nset = { seconds = 60 }', "has no time"),
        ('[[topic]]\npattern = "{meter}"\npayload = "plain"\nfields = { value = "x" }', "value alone"),
        ('[[topic]]\npattern = "a"\nvalues = { x = 1 }', "no channel"), ('[[topic]]\npattern = "a"\nvalues = { x = "y" }\nset = { channel = "z" }', "each value"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused_and_named(tmp_path, text, says):
    path = tmp_path / "bridge.toml"
    path.write_text(text)
    with pytest.raises(Invalid, match=says):
        read_map(path)


def test_settings_that_are_not_there_are_named(tmp_path):
    with pytest.raises(NotFound, match=r"none\.toml"):
        read_map(tmp_path / "none.toml")
