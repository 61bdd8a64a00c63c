"""Brokers of Apache Kafka (KRaft, no ZooKeeper) out of the jars that Maven has."""

from __future__ import annotations

import base64
import subprocess
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from meterlake.testing.servers.processes import free_port, home, kill, needed, start, wait

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HEAP: Final = "512m"
MESSAGE_MAX: Final = 16 << 20
JVM: Final = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")


class Broker:
    """One broker, which can be killed and started again on its own data."""

    def __init__(self, folder: Path) -> None:
        """Take over the folder that holds its settings."""
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Id of its process."""
        assert self._process is not None, "it is not running"
        return self._process.pid

    def start(self) -> None:
        """Start it; `KafkaServers.wait` tells when it answers."""
        command = _java(HEAP, "kafka.Kafka", str(self._folder / "server.properties"))
        self._process = start(command, self._folder / "out.log")

    def check(self) -> None:
        """Raise RuntimeError where it has ended by itself."""
        if self._process is not None and self._process.poll() is not None:
            said = (self._folder / "out.log").read_text(errors="replace")[-2000:]
            raise RuntimeError(f"a broker ended with {self._process.returncode}: {said}")

    def kill(self) -> None:
        """End it as a power cut does."""
        kill(self._process)
        self._process = None


@dataclass(frozen=True, slots=True)
class KafkaServers:
    """A cluster of brokers."""

    bootstrap: str
    brokers: tuple[Broker, ...]

    def log_url(self, prefix: str = "ml") -> str:
        """URL of a log of ours in it."""
        return f"kafka://{self.bootstrap}/{prefix}"

    def wait(self, brokers: int | None = None) -> None:
        """Wait until so many brokers are members; None: all."""
        from confluent_kafka.admin import AdminClient

        admin = AdminClient(
            {"bootstrap.servers": self.bootstrap, "log_level": 0, "reconnect.backoff.max.ms": 200}
        )
        wanted = len(self.brokers) if brokers is None else brokers

        def ready() -> bool:
            for broker in self.brokers:
                broker.check()
            return len(admin.list_topics(timeout=1).brokers) >= wanted

        wait(ready)

    def warm(self) -> None:
        """Make the topic of consumers' positions, which takes seconds at the first question about a group."""
        from confluent_kafka import Consumer, TopicPartition

        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "warm", "log_level": 0})

        def ready() -> bool:
            return bool(consumer.committed([TopicPartition("none", 0)], timeout=5))

        try:
            wait(ready)
        finally:
            consumer.close()


def _java(heap: str, *main: str) -> list[str]:
    return [needed("java"), f"-Xmx{heap}", *JVM, "-cp", f"{needed('kafka-jars')}/*", *main]


def _settings(number: int, ports: list[tuple[int, int]], data: Path) -> dict[str, object]:
    copies = min(3, len(ports))
    voters = ",".join(f"{n + 1}@127.0.0.1:{controller}" for n, (_, controller) in enumerate(ports))
    port, controller = ports[number]
    return {
        "process.roles": "broker,controller", "node.id": number + 1, "controller.quorum.voters": voters,
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
        "controller.listener.names": "CONTROLLER", "log.dirs": data,
        "offsets.topic.replication.factor": copies, "offsets.topic.num.partitions": 3,
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": max(1, copies - 1), "transaction.state.log.num.partitions": 3,
        "group.initial.rebalance.delay.ms": 0, "auto.create.topics.enable": "false",
        "message.max.bytes": MESSAGE_MAX, "replica.fetch.max.bytes": MESSAGE_MAX,
        "broker.session.timeout.ms": 2500, "broker.heartbeat.interval.ms": 400,
    }  # fmt: skip


@contextmanager
def kafka(brokers: int = 3) -> Iterator[KafkaServers]:
    """Run a cluster of brokers that answers."""
    with home("kafka") as folder:
        ports = [(free_port(), free_port()) for _ in range(brokers)]
        cluster = (
            "A" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22]
        )  # a dash would begin an option
        made = []
        for number in range(brokers):
            own = folder / f"broker-{number + 1}"
            own.mkdir()
            settings = _settings(number, ports, own / "data")
            file = own / "server.properties"
            file.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
            format_ = _java("128m", "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(file))
            subprocess.run(format_, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)  # noqa: S603 - ours
            made.append(Broker(own))
        servers = KafkaServers(",".join(f"127.0.0.1:{port}" for port, _ in ports), tuple(made))
        try:
            for broker in made:
                broker.start()
            servers.wait()
            servers.warm()
            yield servers
        finally:
            for broker in made:
                broker.kill()  # in order, the last two would wait for each other in vain
