"""PostgreSQL and MariaDB, each on a socket of its own, each database for one test."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from meterlake.testing.servers.processes import home, needed, start, stop, wait, write_secret

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT: Final = os.geteuid() == 0
POSTGRES_FAST: Final = "-c fsync=off -c full_page_writes=off"
"""What a test does not need: its server is never cut from the power."""


class Postgres:
    """One PostgreSQL."""

    def __init__(self, folder: Path) -> None:
        """Make a cluster in ``folder``."""
        self._folder, self.password = folder, secrets.token_hex(12)
        self._bin = Path(needed("initdb")).parent
        write_secret(folder / "pw", self.password, "postgres")
        self._run("initdb", "-D", f"{folder}/data", "-U", "meterlake", f"--pwfile={folder}/pw", "-A", "scram-sha-256",
                  "-E", "UTF8", "--no-locale", "-N")  # fmt: skip

    def _run(self, name: str, *more: str) -> None:
        who = ["runuser", "-u", "postgres", "--"] if ROOT else []
        command: Sequence[str] = [*who, str(self._bin / name), *more]
        done = subprocess.run(  # noqa: S603 - of the system
            command, cwd=self._folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False
        )
        if done.returncode:
            log = self._folder / "log"
            said = log.read_text(errors="replace")[-2000:] if log.exists() else ""
            raise RuntimeError(f"{name} ended with {done.returncode}: {done.stderr.decode()[-1000:]} {said}")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        told = f"-c listen_addresses= -k {self._folder} {POSTGRES_FAST}"
        self._run(
            "pg_ctl", "-D", f"{self._folder}/data", "-w", "-l", f"{self._folder}/log", "-o", told, "start"
        )

    def stop(self, mode: str = "fast") -> None:
        """Stop it; ``immediate`` as a crash does."""
        self._run("pg_ctl", "-D", f"{self._folder}/data", "-m", mode, "-w", "stop")

    def restart(self) -> None:
        """Cut off everybody who is connected, and come back."""
        self.stop("immediate")
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
        self._user = ["--user=nobody"] if ROOT else []
        install = [needed("mariadb-install-db"), "--no-defaults", f"--datadir={folder}/data", *self._user,
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
            needed("mariadbd"), "--no-defaults", *self._user, f"--datadir={self._folder}/data", f"--socket={self._folder}/m.sock",
            f"--pid-file={self._folder}/m.pid", "--skip-networking", "--skip-log-bin", "--innodb-flush-log-at-trx-commit=2",
            "--local-infile=1", "--character-set-server=utf8mb4", *([f"--init-file={init}"] if init.exists() else []),
        ]  # fmt: skip
        log = self._folder / "out.log"
        self._process = start(command, log)

        def ready() -> bool:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(
                    f"{self._folder}/m.sock"
                )  # first: the client leaves its socket open where it is refused
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
        if self._process is not None:
            self._process.kill()
            self._process.wait()
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
        server.start()
        try:
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
