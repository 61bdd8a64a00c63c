"""A real server on a lake of its own, and the commands that are run against it."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from bench.worker import BenchFailedError
from meterlake.testing import serving

if TYPE_CHECKING:
    from typing import Self

KEPT_OPEN: Final = "10d"
"""Blocks stay open this long, so that a play of any hour of the last days is live."""


def command(*words: str) -> str:
    """Run a command of Meterlake; return what it wrote."""
    line = [sys.executable, "-m", "meterlake", *words]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchFailedError(f"meterlake {' '.join(words)}: exit {done.returncode}, {done.stderr.strip()}")
    return done.stdout


class Server:
    """``with Server(lake) as server``: ``meterlake serve`` in a process of its own, on any free port."""

    def __init__(self, lake: Path) -> None:
        """Make a key for the lake, and the lake where there is none; then start."""
        if not lake.exists():
            command("--lake", str(lake), "init")
        self._served = serving.Server(lake, {"METERLAKE_GRACE": KEPT_OPEN, "METERLAKE_BATCH": "no"})
        self.key = self._served.key()

    def __enter__(self) -> Self:
        """Hand over the running server."""
        try:
            self._served.start()
        except RuntimeError as error:
            raise BenchFailedError(str(error)) from None
        self.url = self._served.url
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it as an operator would."""
        if self._served.alive:
            self._served.stop()

    def memory(self) -> tuple[int, int]:
        """Resident memory of the server now and at its peak, bytes."""
        lines = Path(f"/proc/{self._process_id()}/status").read_text().splitlines()
        told = dict(line.split(":", 1) for line in lines)
        return tuple(int(told[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))  # type: ignore[return-value]

    def _process_id(self) -> int:
        assert self._served.process is not None
        return self._served.process.pid

    def stream(self, *words: str) -> subprocess.Popen[str]:
        """Start ``meterlake stream`` against it."""
        line = [sys.executable, "-m", "meterlake", "stream", "--to", self.url, "--output", "json", *words]
        return subprocess.Popen(
            line,
            env={**os.environ, "METERLAKE_KEY": self.key},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def connect(self) -> Connection:
        """Open a connection of its own."""
        return Connection(self.url, self.key)


def receipt_of(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Wait for a play to end; return its receipt. Everything that was sent must have been acknowledged."""
    out, err = process.communicate()
    if process.returncode:
        raise BenchFailedError(f"meterlake stream: exit {process.returncode}, {err.strip()}")
    told: dict[str, Any] = json.loads(out)
    if told["sent"] != told["acknowledged"] or told["rejected"]:
        raise BenchFailedError(f"not all that was sent was accepted: {told}")
    return told


class Connection:
    """A kept connection: far less work for each request than a client library."""

    def __init__(self, url: str, key: str) -> None:
        """Connect when first asked."""
        place = urlsplit(url)
        self._http = http.client.HTTPConnection(place.hostname or "", place.port, timeout=60)
        self._headers = {"Authorization": f"Bearer {key}"}

    def get(self, path: str) -> Any:
        """Ask for JSON."""
        return json.loads(self.fetch(path))

    def fetch(self, path: str) -> bytes:
        """Ask for the bytes of an answer."""
        return self._ask("GET", path)

    def post(self, path: str, body: Any) -> Any:
        """Send JSON, return the answer's."""
        return json.loads(self._ask("POST", path, json.dumps(body).encode()))

    def _ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        more = {} if body is None else {"Content-Type": "application/json"}
        self._http.request(method, path, body, {**self._headers, **more})
        answer = self._http.getresponse()
        text = answer.read()
        if answer.status != http.client.OK:
            raise BenchFailedError(f"{method} {path}: {answer.status} {text[:300].decode(errors='replace')}")
        return text

    def events(self, path: str) -> http.client.HTTPResponse:
        """Open a stream of server-sent events."""
        self._http.request("GET", path, headers={**self._headers, "Accept": "text/event-stream"})
        answer = self._http.getresponse()
        if answer.status != http.client.OK:
            raise BenchFailedError(
                f"GET {path}: {answer.status} {answer.read()[:300].decode(errors='replace')}"
            )
        return answer

    def close(self) -> None:
        """Hang up."""
        self._http.close()
