"""Progress on standard error: a bar with rate and time left, drawn on a terminal only."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Tell = Callable[[str, int, int], None]

PHASES: Final = {
    "read": ("reading", "B"),
    "merge": ("merging", "readings"),
    "simulate": ("simulating", "readings"),
    "check": ("checking", "files"),
    "compact": ("compacting", "files"),
}
"""What is shown for a phase, and in what it is counted."""

_SCALES: Final = ((10**9, "G"), (10**6, "M"), (10**3, "k"))


def scaled(number: float, unit: str) -> str:
    """``number`` with a decimal prefix: ``12.3 M readings``."""
    for size, prefix in _SCALES:
        if number >= size:
            gap = "" if unit == "B" else " "
            return f"{number / size:.1f} {prefix}{gap}{unit}"
    return f"{number:.0f} {unit}"


@contextmanager
def progress() -> Iterator[Tell | None]:
    """Give a function to be told (phase, done, total); None where standard error is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        """Done, and how many a second."""

        def render(self, task: object) -> Text:
            done, speed = getattr(task, "completed", 0.0), getattr(task, "speed", None)
            unit = getattr(task, "fields", {}).get("unit", "")
            rate = f" · {scaled(speed, unit)}/s" if speed else ""
            return Text(scaled(done, unit) + rate)

    columns = (
        TextColumn("{task.description:<11}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        Rate(),
    )
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bars:
        tasks = {}

        def tell(phase: str, done: int, total: int) -> None:
            if phase not in tasks:
                name, unit = PHASES.get(phase, (phase, ""))
                tasks[phase] = bars.add_task(name, total=max(total, 1), unit=unit)
            bars.update(tasks[phase], completed=done, total=max(total, 1))

        yield tell
