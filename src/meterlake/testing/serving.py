"""A real `meterlake serve` in a process of its own, to be asked, stopped, frozen and killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from threading import Timer
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Self

START: Final = (sys.executable, "-m", "meterlake")
READY_S: Final = 60


@dataclass(slots=True)
class Server:
    """One server on a lake in a folder; start it again as often as you like."""

    lake: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    """Environment variables beside those of this process."""
    command: Sequence[str] = START
    options: Sequence[str] = ()
    name: str = ""
    """Tells apart the servers on one lake."""
    url: str = ""
    process: subprocess.Popen[str] | None = None

    @property
    def log(self) -> Path:
        """Where what it says on stderr goes."""
        return self.lake.with_suffix(f".{self.name}.log" if self.name else ".log")

    def _environment(self) -> dict[str, str]:
        return dict(os.environ) | {"METERLAKE_LAKE": str(self.lake)} | dict(self.settings)

    def start(self) -> Self:
        """Return when it has said its address; RuntimeError with what it said where it ends before."""
        if self.process is not None:
            self._reap()
        with self.log.open("a") as log:
            self.process = subprocess.Popen(  # noqa: S603 - this interpreter
                [*self.command, "serve", "--port", "0", *self.options],
                env=self._environment(), stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip
        assert self.process.stdout is not None, "it was asked for"
        patience = Timer(READY_S, self.process.kill)
        patience.start()
        try:
            for line in self.process.stdout:
                if " at http" in line:
                    self.url = line.split()[-1]
                    return self
        finally:
            patience.cancel()
        code = self._reap()
        raise RuntimeError(f"the server ended with status {code}: {self.log.read_text()[-2000:]}")

    def key(self, scopes: str = "ingest,read,operate", *options: str) -> str:
        """Make a key in the lake's registry."""
        made = subprocess.run(  # noqa: S603 - this interpreter
            [*START, "keys", "create", "test", "--scope", scopes, "--output", "json", *options],
            env=self._environment(), check=True, capture_output=True, text=True,
        )  # fmt: skip
        told: dict[str, Any] = json.loads(made.stdout)
        return str(told["key"])

    def kill(self) -> None:
        """End it with no chance to say goodbye."""
        assert self.process is not None, "not started"
        self.process.kill()
        self._reap()

    def stop(self) -> int:
        """Ask it to end; return its status."""
        assert self.process is not None, "not started"
        self.process.send_signal(signal.SIGTERM)
        return self._reap()

    def _reap(self) -> int:
        assert self.process is not None, "not started"
        code = self.process.wait(READY_S)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.process is not None and self.process.poll() is None

    def __enter__(self) -> Self:
        """Start it."""
        return self.start()

    def __exit__(self, *_: object) -> None:
        """End it where it still runs."""
        if self.alive:
            self.kill()
