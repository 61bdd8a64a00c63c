"""The pages say what the program does."""

from __future__ import annotations

import importlib.util
import re
import shlex
import xml.dom.minidom
from pathlib import Path

import pytest
import typer

from meterlake.blocks import BLOCK_SCHEMA
from meterlake.cli import app
from meterlake.feeds import READ, TRUST
from meterlake.formats.recognise import FORMATS
from meterlake.ledger import RECORD_SCHEMAS
from meterlake.readings import CHANNELS, QUALITY_NAMES, REASONS
from meterlake.receipt import Receipt
from meterlake.registry import SHAPES
from meterlake.units import NAMES

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def page(name):
    return (ROOT / "docs" / name).read_text("utf-8")


def named(text):
    """Words in backticks."""
    return set(re.findall(r"`([^`\n]+)`", re.sub(r"(?ms)^```.*?^```", "", text)))


def test_the_pages_that_are_made_are_the_programs():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    assert page("cli.md") == generate.cli_page(), "run `make docs`"
    assert page("glossary.md") == generate.glossary_page(), "run `make docs`"


def test_every_reason_format_and_unit_is_explained():
    text = page("formats.md")
    assert set(REASONS) <= named(text)
    assert set(FORMATS) - {"auto"} <= named(text)
    assert all(unit in text for unit in NAMES)


def test_every_option_of_a_feed_is_explained():
    text = page("formats.md") + page("cli.md")
    for name in (*READ, *TRUST):
        assert f"--{name.replace('_', '-')}" in text or name in text, name


def test_every_column_channel_and_quality_is_in_the_glossary():
    words = named(page("glossary.md"))
    columns = {name for shape in SHAPES.values() for name in shape.columns} | set(BLOCK_SCHEMA.names)
    assert columns | set(CHANNELS) | set(QUALITY_NAMES) <= words
    assert set(RECORD_SCHEMAS) <= words
    assert set(Receipt("x").to_json()) - {"load_id", "dry_run", "files"} <= words


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)]+)\)", path.read_text("utf-8")):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        found = path.parent / name if name else path
        assert found.exists(), target
        if anchor:
            heads = re.findall(r"^#+ (.+)$", found.read_text("utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^a-z0-9 -]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_commands_in_the_pages_exist(path):
    command = typer.main.get_command(app)
    fenced = re.findall(r"^```(\w*)\n(.*?)^```", path.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    for block in (text for language, text in fenced if not language):
        for line in block.splitlines():
            words = shlex.split(line)
            if words[:1] != ["meterlake"]:
                continue
            told = command.commands[words[1]]
            told = told.commands[words[2]] if hasattr(told, "commands") else told
            known = {flag for param in told.params for flag in param.opts}
            assert {word for word in words[2:] if word.startswith("--")} <= known, line


def test_the_readme_is_short():
    assert (ROOT / "README.md").read_text("utf-8").count("\n") <= 120


def test_the_picture_is_a_drawing_that_says_what_it_shows():
    tree = xml.dom.minidom.parse(str(ROOT / "docs" / "load-curve.svg"))
    assert tree.getElementsByTagName("title")
    assert tree.getElementsByTagName("desc")
