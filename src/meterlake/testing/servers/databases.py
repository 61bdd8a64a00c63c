"""PostgreSQL and MariaDB, each on a socket of its own, each database for one test."""

from __future__ import annotations

import secrets
import signal
import socket
import subprocess
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from meterlake.testing.servers.processes import (
    READY_S,
    ROOT,
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

POSTGRES_FAST: Final = ("fsync=off", "full_page_writes=off")
"""What a test does not need: its server is never cut from the power."""


class Postgres:
    """One PostgreSQL."""

    def __init__(self, folder: Path) -> None:
        """Make a cluster in ``folder``."""
        self._folder, self.password = folder, secrets.token_hex(12)
        self._process: subprocess.Popen[bytes] | None = None
        self._bin = Path(needed("initdb")).parent
        write_secret(folder / "pw", self.password, "postgres")
        make = [str(self._bin / "initdb"), "-D", f"{folder}/data", "-U", "meterlake", f"--pwfile={folder}/pw",
                "-A", "scram-sha-256", "-E", "UTF8", "--no-locale", "-N"]  # fmt: skip
        log = folder / "initdb.log"
        made = start(make, log, cwd=folder, owner="postgres")
        if made.wait(READY_S):
            raise RuntimeError(
                f"initdb ended with {made.returncode}: {log.read_text(errors='replace')[-2000:]}"
            )

    @property
    def pid(self) -> int:
        """Id of its process."""
        assert self._process is not None, "it is not running"
        return self._process.pid

    def start(self) -> None:
        """Start it, and wait until it answers."""
        told = ("listen_addresses=", f"unix_socket_directories={self._folder}", *POSTGRES_FAST)
        command = [str(self._bin / "postgres"), "-D", f"{self._folder}/data"]
        command += [word for one in told for word in ("-c", one)]
        log = self._folder / "out.log"
        self._process = start(command, log, cwd=self._folder, owner="postgres", end=signal.SIGQUIT)

        def ready() -> bool:
            import psycopg

            psycopg.connect(self._url("postgres").replace("+psycopg", "")).close()
            return True

        wait(ready, self._process, log)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it at once; with SIGQUIT as a crash does."""
        if self._process is not None:
            stop(self._process, how)
            self._process = None

    def restart(self) -> None:
        """Cut off everybody who is connected, and come back."""
        self.stop(signal.SIGQUIT)
        self.start()

    def database(self) -> str:
        """Make a database; return its URL."""
        from sqlalchemy import create_engine, text

        name = f"m{uuid.uuid4().hex[:10]}"
        engine = create_engine(self._url("postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        engine.dispose()
        return self._url(name)

    def _url(self, database: str) -> str:
        return f"postgresql+psycopg://meterlake:{self.password}@/{database}?host={self._folder}"


class MariaDb:
    """One MariaDB."""

    def __init__(self, folder: Path) -> None:
        """Make its data in ``folder``."""
        self._folder, self.password = folder, secrets.token_hex(12)
        self._process: subprocess.Popen[bytes] | None = None
        user = ["--user=nobody"] if ROOT else []
        install = [needed("mariadb-install-db"), "--no-defaults", f"--datadir={folder}/data", *user,
                   "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"]  # fmt: skip
        subprocess.run(install, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder)  # noqa: S603 - of the system
        write_secret(
            folder / "init.sql",
            f"CREATE USER meterlake@localhost IDENTIFIED BY '{self.password}';\n"
            "GRANT ALL ON *.* TO meterlake@localhost;\n"
            f"ALTER USER root@localhost IDENTIFIED BY '{secrets.token_hex(12)}';\n",
            "nobody",
        )

    def start(self) -> None:
        """Start it, and wait until it answers."""
        init = self._folder / "init.sql"
        command = [
            needed("mariadbd"), "--no-defaults", f"--datadir={self._folder}/data", f"--socket={self._folder}/m.sock",
            f"--pid-file={self._folder}/m.pid", "--skip-networking", "--skip-log-bin", "--innodb-flush-log-at-trx-commit=2",
            "--local-infile=1", "--character-set-server=utf8mb4", *([f"--init-file={init}"] if init.exists() else []),
        ]  # fmt: skip
        log = self._folder / "out.log"
        self._process = start(command, log, owner="nobody")

        def ready() -> bool:
            with socket.socket(socket.AF_UNIX) as probe:
                # first: the client leaves its socket open where it is refused
                probe.connect(f"{self._folder}/m.sock")
            self._connect().close()
            return True

        wait(ready, self._process, log)
        init.unlink(missing_ok=True)

    def stop(self) -> None:
        """End it in order."""
        if self._process is not None:
            stop(self._process)
            self._process = None

    def restart(self) -> None:
        """Kill it, and come back."""
        kill(self._process)
        self.start()

    def _connect(self) -> Any:
        import pymysql

        return pymysql.connect(unix_socket=f"{self._folder}/m.sock", user="meterlake", password=self.password)

    def database(self) -> str:
        """Make a database; return its URL."""
        name = f"m{uuid.uuid4().hex[:10]}"
        with self._connect() as connection:  # fmt: skip
            connection.cursor().execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        return f"mysql+pymysql://meterlake:{self.password}@localhost/{name}?unix_socket={self._folder}/m.sock&charset=utf8mb4&local_infile=1"


@contextmanager
def postgres() -> Iterator[Postgres]:
    """Run a PostgreSQL that answers."""
    with home("postgres", "postgres") as folder:
        server = Postgres(folder)
        try:
            server.start()
            yield server
        finally:
            server.stop()


@contextmanager
def mariadb() -> Iterator[MariaDb]:
    """Run a MariaDB that answers."""
    with home("mariadb", "nobody") as folder:
        server = MariaDb(folder)
        try:
            server.start()
            yield server
        finally:
            server.stop()
