"""The fleet's load curve as a drawing: one SVG, one page that holds it, nothing fetched from anywhere.

Colours are Okabe and Ito's, told apart by people who see colours differently, with lighter ones for dark screens.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from html import escape
from itertools import pairwise
from math import floor, log10
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

WIDTH: Final = 960
PANEL: Final = 170
LEFT, RIGHT, TOP, GAP, BOTTOM = 76, 16, 34, 30, 34
TICKS: Final = 4
"""Horizontal lines above zero, at most."""

LIGHT: Final = ("#0072b2", "#d55e00", "#00795a")
DARK: Final = ("#56b4e9", "#e69f00", "#2dc99b")

STYLE: Final = """
:root { color-scheme: light dark; --ink: #1c2430; --faint: #5b6675; --rule: #dde2e8; --back: #ffffff; %s }
@media (prefers-color-scheme: dark) { :root { --ink: #e8ecf1; --faint: #a2adba; --rule: #333c48; --back: #14181e; %s } }
"""
PAGE_STYLE: Final = """
body { margin: 2rem auto; max-width: 62rem; padding: 0 1rem; background: var(--back); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; } svg { width: 100%; height: auto; } p, caption { color: var(--faint); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem 1rem .2rem 0; text-align: right; border-bottom: 1px solid var(--rule); }
th:first-child, td:first-child { text-align: left; }
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One channel's sums: ``values`` of the hours that start at ``times``, ISO 8601 with offset."""

    name: str
    unit: str
    times: Sequence[str]
    values: Sequence[float]


def page(title: str, words: str, panels: Sequence[Panel]) -> str:
    """Return a whole HTML page: the drawing, and its daily sums as a table for those who cannot see it."""
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{_palette()}{PAGE_STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{escape(title)}</h1>\n"
        f"<p>{escape(words)}</p>\n{drawing(title, panels)}\n{_table(panels)}\n</main>\n</body>\n</html>\n"
    )


def drawing(title: str, panels: Sequence[Panel], *, alone: bool = False) -> str:
    """Return the SVG; ``alone`` gives it its own colours, for a file of its own."""
    height = TOP + len(panels) * (PANEL + GAP) - GAP + BOTTOM
    about = "; ".join(f"{p.name} up to {max(p.values):,.0f} {p.unit} an hour" for p in panels)
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
            'aria-labelledby="name about" font-family="system-ui, sans-serif" font-size="13">'
        ),
        f'<title id="name">{escape(title)}</title><desc id="about">{escape(about)}</desc>',
    ]
    if alone:
        parts.append(
            f'<style>{_palette()}</style><rect width="{WIDTH}" height="{height}" fill="var(--back)"/>'
        )
    for number, panel in enumerate(panels):
        top = TOP + number * (PANEL + GAP)
        parts += _panel(panel, top, f"var(--c{number % len(LIGHT)})")
    parts += _days(panels[0].times, TOP, height - BOTTOM)
    return "\n".join([*parts, "</svg>"])


def _palette() -> str:
    colours = [" ".join(f"--c{i}: {c};" for i, c in enumerate(set_)) for set_ in (LIGHT, DARK)]
    return STYLE % tuple(colours)


def _panel(panel: Panel, top: int, colour: str) -> Iterator[str]:
    most, step = _scale(max(panel.values))
    bottom = top + PANEL
    yield f'<text x="{LEFT}" y="{top - 10}" fill="{colour}" font-weight="600">{escape(panel.name)}, {panel.unit} an hour</text>'
    for tick in range(round(most / step) + 1):
        y = bottom - PANEL * tick * step / most
        yield f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="var(--rule)"/>'
        yield f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" fill="var(--faint)">{tick * step:,g}</text>'
    points = [
        f"{_x(i, len(panel.values)):.1f},{bottom - PANEL * max(v, 0.0) / most:.1f}"
        for i, v in enumerate(panel.values)
    ]
    ends = f"{_x(len(points) - 1, len(points)):.1f},{bottom} {LEFT},{bottom}"
    yield f'<polygon points="{" ".join(points)} {ends}" fill="{colour}" opacity="0.12"/>'
    yield f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}" stroke-width="2" stroke-linejoin="round"/>'


def _x(at: int, count: int) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * at / max(count - 1, 1)


def _scale(most: float) -> tuple[float, float]:
    """Top of an axis and the step between its lines: 1, 2, 2.5 or 5 times a power of ten."""
    rough = (most if most > 0 else 1.0) / TICKS
    power = 10.0 ** floor(log10(rough))
    step = next(step for step in (1, 2, 2.5, 5, 10) if step * power >= rough) * power
    return step * max(1, -(-most // step)), step


def _days(times: Sequence[str], top: int, bottom: int) -> Iterator[str]:
    """Lines at midnights, and the day's name in the middle of each day."""
    moments = [datetime.fromisoformat(text) for text in times]
    starts = [i for i, moment in enumerate(moments) if i == 0 or moment.date() != moments[i - 1].date()]
    for low, high in pairwise([*starts, len(times) - 1]):
        x, middle = _x(low, len(times)), (_x(low, len(times)) + _x(high, len(times))) / 2
        yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}" stroke="var(--rule)"/>'
        if high > low:
            day = moments[low]
            name = f"{day:%a} {day.day} {day:%b}"
            yield f'<text x="{middle:.1f}" y="{bottom + 20}" text-anchor="middle" fill="var(--faint)">{name}</text>'


def _table(panels: Sequence[Panel]) -> str:
    """Sums by day and panel."""
    sums: dict[str, list[float]] = {}
    for number, panel in enumerate(panels):
        for text, value in zip(panel.times, panel.values, strict=True):
            sums.setdefault(text[:10], [0.0] * len(panels))[number] += value
    heads = "".join(f'<th scope="col">{escape(p.name)}, {p.unit}</th>' for p in panels)
    rows = "\n".join(
        f'<tr><th scope="row">{day}</th>{"".join(f"<td>{value:,.0f}</td>" for value in values)}</tr>'
        for day, values in sums.items()
    )
    return (
        f'<table>\n<caption>Sums by day</caption>\n<tr><th scope="col">day</th>{heads}</tr>\n{rows}\n</table>'
    )
