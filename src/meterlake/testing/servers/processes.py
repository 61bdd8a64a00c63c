"""Where the programs of servers are found, and how one runs for as long as its test."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from pwd import getpwnam
from secrets import randbelow
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

ROOT: Final = os.geteuid() == 0
FOLDER_VARIABLE: Final = "METERLAKE_SERVICES"
NEED_VARIABLE: Final = "METERLAKE_NEED_SERVERS"
"""Set to ``yes`` where a test that has no server shall fail, not be skipped."""

PORTS: Final = range(20_000, 32_000)
"""Below those of outgoing connections, one of which might take a port before its server does."""
READY_S: Final = 60.0
END_S: Final = 20.0
PLACES: Final = ("/usr/sbin", "/usr/bin")
_DEATH: Final = 1
"""PR_SET_PDEATHSIG of prctl(2)."""

PROGRAMS: Final[Mapping[str, Sequence[str]]] = {
    "kafka": ("java", "kafka-jars"),
    "spark": ("java", "spark-jars"),
    "s3": ("versitygw",),
    "redis": ("redis-server", "valkey-server"),
    "postgres": ("initdb",),
    "mariadb": ("mariadbd",),
    "mqtt": ("mosquitto",),
    "smtp": (),
}
"""What each server needs: all of the first two, any of the others."""
BOTH: Final = ("kafka", "spark")


def folder() -> Path:
    """Return where `make services` keeps what no package of the system has."""
    return Path(os.environ.get(FOLDER_VARIABLE) or ".services").absolute()


def program(name: str) -> str | None:
    """Path of a program or a folder of jars; None where it is not installed."""
    if name.endswith("-jars"):
        jars = folder() / name
        return str(jars) if any(jars.glob("*.jar")) else None
    places = [str(folder() / "bin"), os.environ.get("PATH", ""), *PLACES, str(Path.home() / "go" / "bin")]
    if name == "initdb":
        places += sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)
    return shutil.which(name, path=os.pathsep.join(places))


def why_not(server: str) -> str | None:
    """Say in a line what is missing for a server; None where nothing is."""
    names = PROGRAMS[server]
    found = [name for name in names if program(name)]
    if len(found) == len(names) if server in BOTH else found or not names:
        return None
    missing = [name for name in names if name not in found]
    return f"no {server} here ({' or '.join(missing)} not found): run `make services`"


def needed(name: str) -> str:
    """Path of a program that is there."""
    found = program(name)
    if found is None:
        raise FileNotFoundError(f"{name} is not installed: run `make services`")
    return found


def free_port() -> int:
    """Return a port on loopback that nobody listens on."""
    while True:
        port = PORTS[randbelow(len(PORTS))]
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def answers(port: int) -> bool:
    """Whether somebody listens on a port of loopback."""
    try:
        socket.create_connection(("127.0.0.1", port), 0.5).close()
    except OSError:
        return False
    return True


def kill(process: subprocess.Popen[bytes] | None) -> None:
    """End a server that was started here as a power cut does; none is fine."""
    if process is not None:
        process.kill()
        process.wait()


def wait(
    ready: Callable[[], object], process: subprocess.Popen[bytes] | None = None, log: Path | None = None
) -> None:
    """Wait until ``ready`` returns something true and raises nothing.

    Raises:
        RuntimeError: the process has ended; its log is told.
        TimeoutError: it takes longer than `READY_S`.

    """
    end, last = time.monotonic() + READY_S, ""
    while time.monotonic() < end:
        if process is not None and process.poll() is not None:
            told = log.read_text(errors="replace")[-2000:] if log is not None else ""
            raise RuntimeError(f"the server ended with {process.returncode}: {told}")
        try:
            if ready():
                return
        except Exception as error:  # noqa: BLE001 - whatever a client says of a server that is not there yet
            last = f"{type(error).__name__}: {error}"
        time.sleep(0.02)
    raise TimeoutError(f"the server was not ready in {READY_S:.0f} s; {last}")


def start(
    command: Sequence[str], log: Path, *, env: Mapping[str, str] | None = None, cwd: Path | None = None,
    owner: str | None = None, end: signal.Signals = signal.SIGKILL,
) -> subprocess.Popen[bytes]:  # fmt: skip
    """Start a server, as another user where this one is root; where its starter dies, it gets the signal ``end``.

    The kernel forgets that signal when a process changes its user, so servers never do that by themselves.
    """
    as_owner: dict[str, Any] = {}
    if owner is not None and ROOT:
        as_owner = {"user": owner, "group": getpwnam(owner).pw_gid, "extra_groups": []}
    with log.open("ab") as out:
        return subprocess.Popen(  # noqa: S603 - programs of ours and of the system
            list(command), stdout=out, stderr=out, stdin=subprocess.DEVNULL, cwd=cwd,
            env={**os.environ, **(env or {})}, preexec_fn=lambda: ctypes.CDLL(None).prctl(_DEATH, end),  # noqa: PLW1509 - one call, no lock
            **as_owner,
        )  # fmt: skip


def stop(process: subprocess.Popen[bytes], how: signal.Signals = signal.SIGTERM) -> None:
    """End a server that was started here, politely first."""
    process.send_signal(how)
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def home(name: str, owner: str | None = None) -> Iterator[Path]:
    """Give a folder that is removed in the end, and that another user can reach, who then owns it."""
    made = Path(tempfile.mkdtemp(prefix=f"meterlake-{name}-"))
    try:
        if owner is not None and ROOT:
            shutil.chown(made, owner)
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def write_secret(path: Path, text: str, owner: str | None = None) -> None:
    """Write a file that nobody else can read."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    if owner is not None and ROOT:
        shutil.chown(path, owner)
