"""A standalone Spark cluster, a master and workers, out of the pyspark package alone."""

from __future__ import annotations

import json
import os
import signal
import sys
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from meterlake.testing.servers.processes import answers, free_port, home, needed, start, stop, wait

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

OPENED: Final = (
    "java.base/java.lang=ALL-UNNAMED",
    "java.base/java.nio=ALL-UNNAMED",
    "java.base/sun.nio.ch=ALL-UNNAMED",
)
EXECUTOR: Final = "CoarseGrainedExecutorBackend"


class SparkServers:
    """A master and its workers."""

    def __init__(self, folder: Path, workers: int, cores: int, memory: str) -> None:
        """Lay a cluster out; nothing runs yet."""
        self._folder, self.port, self._ui = folder, free_port(), free_port()
        self.workers, self._cores, self._memory = workers, cores, memory
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def url(self) -> str:
        """What ``--engine`` takes."""
        return f"spark://127.0.0.1:{self.port}"

    def _spawn(self, name: str, class_: str, *more: str) -> None:
        import pyspark

        root = Path(pyspark.__file__).parent
        opened = [word for one in OPENED for word in ("--add-opens", one)]
        command = [
            needed("java"), "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dspark.master.rest.enabled=false",
            *opened, "-cp", f"{root}/jars/*", class_, *more,
        ]  # fmt: skip
        env = {
            "SPARK_HOME": str(root), "SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": sys.executable,
            "SPARK_SCALA_VERSION": "2.13",
        }  # fmt: skip
        self._processes[name] = start(command, self._folder / f"{name}.log", env=env, cwd=self._folder)

    def start(self) -> None:
        """Start the master, then the workers, and wait until all are there."""
        ui = ("--host", "127.0.0.1", "--port", str(self.port), "--webui-port", str(self._ui))
        self._spawn("master", "org.apache.spark.deploy.master.Master", *ui)
        wait(lambda: answers(self.port), self._processes["master"], self._folder / "master.log")
        for number in range(self.workers):
            self.add(f"worker{number}")
        wait(lambda: self._alive() == self.workers)

    def add(self, name: str) -> None:
        """Start a worker."""
        told = (
            "--host",
            "127.0.0.1",
            "--port",
            "0",
            "--webui-port",
            "0",
            "-c",
            str(self._cores),
            "-m",
            self._memory,
        )
        self._spawn(
            name, "org.apache.spark.deploy.worker.Worker", *told, "-d", str(self._folder / name), self.url
        )

    def _alive(self) -> int:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._ui}/json/", timeout=1) as answer:
            return sum(worker["state"] == "ALIVE" for worker in json.load(answer)["workers"])

    def executors(self) -> list[int]:
        """Process ids of the executors that run now."""
        own, found = {process.pid for process in self._processes.values()}, []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError, ValueError, IndexError):
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                if parent in own and EXECUTOR in (folder / "cmdline").read_text():
                    found.append(int(folder.name))
        return found

    def kill_executor(self) -> bool:
        """End one executor as a crash does; False where none runs."""
        for pid in self.executors():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                return True
        return False

    def stop(self) -> None:
        """End all of it."""
        for process in reversed(self._processes.values()):
            stop(process)


@contextmanager
def spark(workers: int = 2, cores: int = 1, memory: str = "1g") -> Iterator[SparkServers]:
    """Run a cluster whose workers are there."""
    with home("spark") as folder:
        servers = SparkServers(folder, workers, cores, memory)
        try:
            servers.start()
            yield servers
        finally:
            servers.stop()
