"""A mosquitto with one user, which keeps the sessions of its clients."""

from __future__ import annotations

import secrets
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

from meterlake.testing.servers.processes import (
    ROOT,
    answers,
    free_port,
    home,
    kill,
    needed,
    start,
    stop,
    wait,
    write_secret,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class MqttServer:
    """One broker that takes QoS 1."""

    user = "meter"

    def __init__(self, folder: Path) -> None:
        """Keep settings and password in ``folder``."""
        self._folder, self.port, self.password = folder, free_port(), secrets.token_hex(12)
        self._process: subprocess.Popen[bytes] | None = None
        write_secret(folder / "pw", f"{self.user}:{self.password}\n")
        subprocess.run([needed("mosquitto_passwd"), "-U", str(folder / "pw")], check=True)  # noqa: S603 - hashes it in place
        (folder / "m.conf").write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous false\npassword_file {folder}/pw\npersistence true\n"
            f"persistence_location {folder}/\nmax_inflight_messages 1000\nmax_queued_messages 1000000\n"
            + ("user root\n" if ROOT else "")
        )

    @property
    def pid(self) -> int:
        """Id of its process."""
        assert self._process is not None, "it is not running"
        return self._process.pid

    @property
    def url(self) -> str:
        """Address without the password."""
        return f"mqtt://{self.user}@127.0.0.1:{self.port}"

    @property
    def env(self) -> dict[str, str]:
        """Environment of a Meterlake that uses it."""
        return {"METERLAKE_MQTT_PASSWORD": self.password}

    def start(self) -> None:
        """Start it, and wait until it answers."""
        log = self._folder / "out.log"
        self._process = start([needed("mosquitto"), "-c", str(self._folder / "m.conf")], log)
        wait(lambda: answers(self.port), self._process, log)

    def kill(self) -> None:
        """End it as a power cut does: what it has not saved is lost."""
        kill(self._process)
        self._process = None

    def stop(self) -> None:
        """End it in order."""
        if self._process is not None:
            stop(self._process)
            self._process = None


@contextmanager
def mqtt() -> Iterator[MqttServer]:
    """Run a broker that answers."""
    with home("mqtt") as folder:
        server = MqttServer(folder)
        try:
            server.start()
            yield server
        finally:
            server.stop()
