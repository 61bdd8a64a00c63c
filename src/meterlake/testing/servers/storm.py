"""Bad weather before a store: some requests are refused, some done and never answered, some done after the client gave up.

It blows in a process of its own: a client's library may hold the interpreter while it waits.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from meterlake.testing.servers.processes import answers, free_port, home, start, stop, wait

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from meterlake.testing.servers.s3 import S3Server

BUSY = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>come again</Message></Error>"
HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}


COUNTED: Final = "/-/counted"


@dataclass(frozen=True, slots=True)
class Storm:
    """Where clients go, and what their requests met there."""

    port: int
    late_s: float

    @property
    def endpoint(self) -> str:
        """Where clients go."""
        return f"http://127.0.0.1:{self.port}"

    def counted(self) -> Counter[str]:
        """Return how many requests met what."""
        line = HTTPConnection("127.0.0.1", self.port, timeout=10)
        line.request("GET", COUNTED)
        found: dict[str, int] = json.loads(line.getresponse().read())
        line.close()
        return Counter(found)


@dataclass
class _Weather:
    """How likely a request meets what, and how often that was."""

    refused: float
    """Answered 503, and not done."""
    silent: float
    """Done, and the line is cut before the answer."""
    late: float
    """Done only ``late_s`` seconds later, when the client has given up."""
    late_s: float
    random: random.Random
    counted: Counter[str] = field(default_factory=Counter)
    lock: Any = field(default_factory=Lock)

    def fate(self, method: str) -> str:
        """Draw what becomes of a request, and count it."""
        with self.lock:
            at = self.random.random()
            edges = (("refused", self.refused), ("silent", self.silent), ("late", self.late))
            for name, share in edges:
                if at < share:
                    self.counted[f"{name} {method}"] += 1
                    return name
                at -= share
            self.counted["passed"] += 1
            return "passed"


def _handler(weather: _Weather, target: int) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one_request(self) -> None:
            with suppress(OSError):
                super().handle_one_request()
                return
            self.close_connection = True

        def _pass(self) -> None:
            if self.path == COUNTED:
                self._answer(200, [], json.dumps(weather.counted).encode())
                return
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            fate = weather.fate(self.command)
            if fate == "refused":
                self._answer(503, [("Content-Type", "application/xml"), ("Retry-After", "0")], BUSY)
                return
            if fate == "late":
                time.sleep(weather.late_s)
            upstream = HTTPConnection("127.0.0.1", target, timeout=60)
            try:
                upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self.headers.items():
                    upstream.putheader(name, value)
                upstream.endheaders(body)
                found = upstream.getresponse()
                data, headers = found.read(), found.getheaders()
            finally:
                upstream.close()
            if fate != "passed":
                self.close_connection = True
                return
            length = found.getheader("Content-Length")
            self._answer(found.status, headers, data, length)

        def _answer(
            self, status: int, headers: list[tuple[str, str]], data: bytes, length: str | None = None
        ) -> None:
            self.send_response_only(status)
            for name, value in headers:
                if name.lower() not in HOP:
                    self.send_header(name, value)
            self.send_header("Content-Length", length or str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass  # noqa: N815 - their names there

    return Handler


@contextmanager
def storm(
    s3: S3Server,
    seed: int,
    *,
    refused: float = 0.05,
    silent: float = 0.02,
    late: float = 0.0,
    late_s: float = 3.0,
) -> Iterator[Storm]:
    """Stand before ``s3`` with bad weather."""
    with home("storm") as folder:
        found = Storm(free_port(), late_s)
        numbers = (found.port, s3.port, seed, refused, silent, late, late_s)
        log = folder / "out.log"
        process: subprocess.Popen[bytes] = start([sys.executable, "-m", __name__, *map(str, numbers)], log)
        try:
            wait(lambda: answers(found.port), process, log)
            yield found
        finally:
            stop(process)


if __name__ == "__main__":
    port, target, seed = map(int, sys.argv[1:4])
    refused, silent, late, late_s = map(float, sys.argv[4:])
    blowing = _Weather(refused, silent, late, late_s, random.Random(seed))
    server = ThreadingHTTPServer(("127.0.0.1", port), _handler(blowing, target))
    server.daemon_threads = True
    server.serve_forever()
