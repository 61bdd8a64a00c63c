"""A Redis (or Valkey) on a socket of its own, with a password."""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from meterlake.testing.servers.processes import home, kill, program, start, stop, wait, write_secret

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path


class RedisServer:
    """One server, kept in memory alone; it can be killed and comes back empty."""

    def __init__(self, folder: Path) -> None:
        """Keep socket and settings in ``folder``."""
        self._folder, self.password = folder, secrets.token_hex(12)
        self._process: subprocess.Popen[bytes] | None = None
        write_secret(
            folder / "redis.conf",
            f"port 0\nunixsocket {folder}/r.sock\nunixsocketperm 700\nrequirepass {self.password}\n"
            f'maxmemory 1gb\nmaxmemory-policy noeviction\nsave ""\nappendonly no\ndir {folder}\n',
        )

    @property
    def url(self) -> str:
        """Address without the password."""
        return f"unix://{self._folder}/r.sock"

    @property
    def env(self) -> dict[str, str]:
        """Environment of a Meterlake that uses it."""
        return {"METERLAKE_REDIS_PASSWORD": self.password}

    @property
    def pid(self) -> int:
        """Id of its process."""
        assert self._process is not None, "it is not running"
        return self._process.pid

    def client(self) -> Any:
        """Return a client of it; close it, or use it as a context."""
        import redis

        return redis.Redis.from_url(self.url, password=self.password)

    def _ping(self) -> bool:
        with self.client() as client:
            return bool(client.ping())

    def flush(self) -> None:
        """Empty it while it runs."""
        with self.client() as client:
            client.flushall()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        path = program("redis-server") or program("valkey-server")
        assert path is not None, "there is none: run `make services`"
        log = self._folder / "out.log"
        self._process = start([path, str(self._folder / "redis.conf")], log)
        wait(self._ping, self._process, log)

    def kill(self) -> None:
        """End it as a power cut does: all is lost."""
        kill(self._process)
        self._process = None

    def stop(self) -> None:
        """End it in order."""
        if self._process is not None:
            stop(self._process)
            self._process = None


@contextmanager
def redis() -> Iterator[RedisServer]:
    """Run a server that answers."""
    with home("redis") as folder:
        server = RedisServer(folder)
        try:
            server.start()
            yield server
        finally:
            server.stop()
