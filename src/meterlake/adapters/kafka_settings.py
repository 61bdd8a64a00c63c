"""Where Kafka is and how it is spoken to: the URL of the log, and librdkafka's own settings by environment.

``kafka://HOST:PORT[,HOST:PORT]/PREFIX`` names brokers and what topics' names begin with. A variable
``METERLAKE_KAFKA_SECURITY_PROTOCOL`` sets ``security.protocol``, and so on; secrets come in no other way.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from meterlake.errors import Invalid, MissingExtra
from meterlake.logs import log

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

VARIABLES: Final = "METERLAKE_KAFKA_"
MESSAGE_BYTES: Final = 16 << 20
"""Largest message that topics take."""

_URL: Final = re.compile(r"kafka://([^/@]+)/([A-Za-z0-9._-]{1,100})/?")
_COMMON: Final = {
    "client.id": "meterlake", "socket.keepalive.enable": True, "reconnect.backoff.max.ms": 1000,
    "topic.metadata.refresh.interval.ms": 30_000, "allow.auto.create.topics": False,
    "log_level": 2,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class KafkaUrl:
    """Brokers, and what names of topics begin with."""

    servers: str
    prefix: str

    @classmethod
    def parse(cls, url: str) -> KafkaUrl:
        """Read a URL; Invalid where it is none."""
        found = _URL.fullmatch(url)
        if found is None:
            raise Invalid(f"{url}: write the log as kafka://HOST:PORT[,HOST:PORT]/PREFIX")
        return cls(found[1], found[2])

    def __str__(self) -> str:
        """Return the URL; it never holds a secret."""
        return f"kafka://{self.servers}/{self.prefix}"

    def topic(self, name: str) -> str:
        """Name of one of our topics."""
        return f"{self.prefix}.{name}"

    def configuration(self, own: Mapping[str, Any]) -> dict[str, Any]:
        """Return a client's settings: ``own`` ones over those of the environment over the common ones."""
        told = {
            name.removeprefix(VARIABLES).lower().replace("_", "."): value
            for name, value in os.environ.items()
            if name.startswith(VARIABLES) and value
        }
        return {**_COMMON, **told, "bootstrap.servers": self.servers, "error_cb": _said, **own}


def kafka() -> ModuleType:
    """Return the client library; MissingExtra where it is not installed."""
    try:
        import confluent_kafka
        import confluent_kafka.admin
    except ImportError as error:
        raise MissingExtra("confluent-kafka", "kafka") from error
    return confluent_kafka


def client(kind: Any, settings: Mapping[str, Any]) -> Any:
    """Make a client; Invalid names the setting that librdkafka does not take."""
    try:
        return kind(dict(settings))
    except kafka().KafkaException as error:
        raise Invalid(
            f"Kafka's settings: {error.args[0].str()}; they come from the variables {VARIABLES}…"
        ) from error


def _said(error: Any) -> None:
    """Note what a client has to say about its connections; it goes on by itself."""
    log.warning("kafka", code=error.name(), said=error.str())
