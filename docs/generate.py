"""Write what is made from the program: ``docs/cli.md`` and ``docs/glossary.md``, and with ``--pictures`` the drawing and the pictures of the pages."""

from __future__ import annotations

import sys
import tempfile
from datetime import date, timedelta
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from meterlake.cli import app

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCS = Path(__file__).parent
HEAD = """# Commands

Made from the program by `make docs`; a test holds it to the program. Every command takes `--help`. The lake is `--lake URL` or
`METERLAKE_LAKE` (default `./lake`), the registry `--registry URL` or `METERLAKE_REGISTRY` (default: inside the lake); both may also stand
before the command's name, as may `--debug`, which shows where in the program an error was raised.

Answers go to standard output, progress and errors to standard error. Exit status: 0 done, 1 not done (one line says what, where and the
remedy), 2 wrong usage, 3 done with rejects under `--strict`, 130 interrupted (nothing half done).
"""
SHARED = {"--lake", "--registry", "--help"}
POINTS, DAYS = 400, 7


def cli_page() -> str:
    """Return the text of ``docs/cli.md``."""
    command: Any = typer.main.get_command(app)
    return "\n".join([HEAD, *_sections(command, "meterlake")])


def glossary_page() -> str:
    """Return the text of ``docs/glossary.md``: that which the page Help shows."""
    return (files("meterlake") / "glossary.md").read_text("utf-8")


def _sections(group: Any, name: str) -> Iterator[str]:
    for word, command in sorted(group.commands.items()):
        if hasattr(command, "commands"):
            yield from _sections(command, f"{name} {word}")
            continue
        arguments = " ".join(_argument(p) for p in command.params if p.param_type_name == "argument")
        yield f"## {name} {word} {arguments}".rstrip() + "\n"
        yield f"{command.help}\n"
        rows = [p for p in command.params if not SHARED & set(p.opts)]
        if rows:
            yield "| | | default |\n|---|---|---|"
            yield from (_row(p) for p in rows)
            yield ""


def _argument(param: Any) -> str:
    return str(param.metavar or param.name.upper())


def _row(param: Any) -> str:
    if param.param_type_name == "argument":
        name = _argument(param)
    else:
        name = ", ".join(param.opts) + ("" if param.is_flag else f" {param.metavar}")
    default = (
        "required"
        if param.required
        else ""
        if getattr(param, "is_flag", False) or param.default in {None, ""}
        else f"`{param.default}`"
    )
    return _cells(f"`{name}`", param.help, default)


def _cells(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def draw(target: Path) -> None:
    """Simulate, load and draw a small town; the same bytes every time."""
    from meterlake.app import open_lake
    from meterlake.demo.tour import panels
    from meterlake.load_curve import drawing
    from meterlake.registry_folder import import_folder
    from meterlake.simulate import SimulateOptions, simulate

    with tempfile.TemporaryDirectory() as folder:
        made = simulate(
            Path(folder) / "files", SimulateOptions(points=POINTS, days=DAYS, start=date(2026, 1, 5))
        )
        lake = open_lake(str(Path(folder) / "lake"))
        import_folder(lake.registry, made.folder / "registry")
        lake.load([made.folder / "readings"])
        found = panels(lake, date(2026, 1, 5), date(2026, 1, 5) + timedelta(days=DAYS))
    target.write_text(
        drawing(f"A week of {POINTS} simulated homes and businesses in London", found, alone=True) + "\n",
        "utf-8",
    )


def main() -> None:
    """Write what is asked for."""
    (DOCS / "cli.md").write_text(cli_page(), "utf-8")
    (DOCS / "glossary.md").write_text(glossary_page(), "utf-8")
    if "--pictures" in sys.argv[1:]:
        draw(DOCS / "load-curve.svg")
        from meterlake.testing.pictures import take

        with tempfile.TemporaryDirectory() as folder:
            take(Path(folder) / "town", DOCS / "pictures")


if __name__ == "__main__":
    main()
