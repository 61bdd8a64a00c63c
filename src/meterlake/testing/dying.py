"""Run the command line in a process that kills itself (SIGKILL) at a chosen call of a chosen step.

``python -m meterlake.testing.dying MODULE:CLASS.METHOD before|after N COMMAND…`` dies at the N-th call, from 1.
"""

from __future__ import annotations

import functools
import importlib
import os
import signal
import sys
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

STEPS: Final = (
    "meterlake.adapters.sqlite_log:SqliteLog.append",
    "meterlake.adapters.sqlite_log:SqliteLog.truncate",
    "meterlake.adapters.sqlite_checkpoints:SqliteCheckpoints.save",
    "meterlake.live.live:Live.apply",
    "meterlake.live.live:Live.freeze",
    "meterlake.live.live:Live.release",
    "meterlake.adapters.delta:DeltaLake.put",
    "meterlake.adapters.delta:DeltaLake.commit",
    "meterlake.adapters.delta:DeltaLake.reserve",
    "meterlake.adapters.registry:SqlRegistry.update_series",
)
"""Every step that makes something durable between a batch's arrival and its place in the lake."""


def die_at(step: str, when: str, number: int) -> None:
    """Wrap a method so that its ``number``-th call ends the process, before or after it is done."""
    module, _, name = step.partition(":")
    owner, _, method = name.partition(".")
    kind = getattr(importlib.import_module(module), owner)
    calls = 0

    def wrap(done: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(done)
        def dying(*args: Any, **told: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == number and when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            result = done(*args, **told)
            if calls == number and when == "after":
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return dying

    setattr(kind, method, wrap(getattr(kind, method)))


if __name__ == "__main__":
    die_at(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    sys.argv = ["meterlake", *sys.argv[4:]]
    from meterlake.cli import main

    main()
