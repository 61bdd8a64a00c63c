"""The topics: one a commodity, cut into partitions once and for ever, and one for the names of batches."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from meterlake.adapters.kafka_settings import MESSAGE_BYTES, KafkaUrl, client, kafka
from meterlake.errors import Conflict, Invalid, MeterlakeError, NotFound, Overloaded
from meterlake.spread import COMMODITIES, shard_name

if TYPE_CHECKING:
    from collections.abc import Sequence

BATCHES: Final = "batches"
NAMES_KEPT_MS: Final = 30 * 86_400_000
PATIENCE_S: Final = 15.0
LOOK_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Topic:
    """How a topic stands."""

    name: str
    partitions: int
    replication: int
    """Copies of the partition that has fewest."""
    in_sync: int
    """Copies that are up to date, of the partition that has fewest."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "topic": self.name, "partitions": self.partitions, "replication": self.replication, "in_sync": self.in_sync,
        }  # fmt: skip


def create(url: KafkaUrl, partitions: int, replication: int) -> Sequence[Topic]:
    """Make the topics that are not there; return all.

    Raises:
        Conflict: there are some with another number of partitions.

    """
    library = kafka()
    admin = client(library.admin.AdminClient, url.configuration({}))
    there = {topic.name: topic for topic in _seen(admin, url)}
    odd = [t for t in there.values() if t.partitions != partitions and t.name != url.topic(BATCHES)]
    if odd:
        raise Conflict(
            f"{odd[0].name} has {odd[0].partitions} partitions: a meter's partition is fixed when topics are made; "
            f"use --partitions {odd[0].partitions}, or another prefix and load what there is anew"
        )
    durable = {
        "min.insync.replicas": "2" if replication >= 3 else "1", "max.message.bytes": str(MESSAGE_BYTES),
        "message.timestamp.type": "LogAppendTime",
    }  # fmt: skip
    kept = durable | {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}
    named = durable | {"cleanup.policy": "compact,delete", "retention.ms": str(NAMES_KEPT_MS)}
    new = library.admin.NewTopic
    wanted = [new(url.topic(name), partitions, replication, config=kept) for name in COMMODITIES]
    wanted.append(new(url.topic(BATCHES), partitions, replication, config=named))
    wanted = [topic for topic in wanted if topic.topic not in there]
    if wanted:
        for name, made in admin.create_topics(wanted, operation_timeout=PATIENCE_S).items():
            _made(name, made, library)
    return _all_seen(admin, url)


def _all_seen(admin: Any, url: KafkaUrl) -> list[Topic]:
    """All topics, once the broker that is asked has heard of those that another has just made."""
    end = time.monotonic() + PATIENCE_S
    while len(seen := _seen(admin, url)) < len(COMMODITIES) + 1:
        if time.monotonic() > end:
            raise MeterlakeError(
                f"topics of {url} were made, but not all are seen: try `meterlake topics list`"
            )
        time.sleep(LOOK_S)
    return seen


def _made(name: str, made: Any, library: Any) -> None:
    try:
        made.result()
    except library.KafkaException as error:
        if error.args[0].code() != library.KafkaError.TOPIC_ALREADY_EXISTS:
            raise MeterlakeError(f"topic {name} was not made: {error.args[0].str()}") from error


def topics(url: KafkaUrl) -> Sequence[Topic]:
    """Return the topics that are there."""
    return _seen(client(kafka().admin.AdminClient, url.configuration({})), url)


def metadata(handle: Any, url: KafkaUrl, patience_s: float = PATIENCE_S) -> Any:
    """Return what brokers say of their topics; Overloaded where none answers."""
    try:
        return handle.list_topics(timeout=patience_s)
    except kafka().KafkaException as error:
        raise Overloaded(
            f"no broker of {url} answers: {error.args[0].str()}; are they running, and is the address right?",
            5,
        ) from error


def _seen(handle: Any, url: KafkaUrl) -> list[Topic]:
    found = metadata(handle, url).topics
    names = [name for name in map(url.topic, (*COMMODITIES, BATCHES)) if name in found]
    return [
        Topic(
            name, len(found[name].partitions),
            min((len(p.replicas) for p in found[name].partitions.values()), default=0),
            min((len(p.isrs) for p in found[name].partitions.values()), default=0),
        )
        for name in names
    ]  # fmt: skip


def partitions_of(handle: Any, url: KafkaUrl) -> int:
    """Return into how many partitions the commodities are cut.

    Raises:
        NotFound: a topic is missing.
        Invalid: they are not cut alike.

    """
    found = {topic.name: topic.partitions for topic in _seen(handle, url)}
    missing = [name for name in map(url.topic, (*COMMODITIES, BATCHES)) if name not in found]
    if missing:
        raise NotFound(f"no topic {missing[0]}: make them with `meterlake topics create --log {url}`")
    counts = {found[url.topic(name)] for name in COMMODITIES}
    if len(counts) > 1:
        raise Invalid(
            f"the topics of {url} have different numbers of partitions; a partition added later makes meters move: "
            "make topics anew under another prefix"
        )
    return counts.pop()


def place_of(url: KafkaUrl, shard: str) -> tuple[str, int]:
    """Topic and partition of a shard."""
    commodity, _, number = shard.rpartition("-")
    return url.topic(commodity), int(number)


def shard_of(url: KafkaUrl, topic: str, partition: int) -> str:
    """Shard of a topic and partition."""
    return shard_name(topic.removeprefix(f"{url.prefix}."), partition)


def examined(url: KafkaUrl) -> str:
    """Say how brokers and topics stand.

    Raises:
        MeterlakeError: no broker answers, topics are missing, are set so that readings could be lost, lack copies, or
            may not be read or written by us.

    """
    library = kafka()
    admin = client(library.admin.AdminClient, url.configuration({}))
    brokers, partitions = len(metadata(admin, url).brokers), partitions_of(admin, url)
    kept = [topic for topic in _seen(admin, url) if topic.name != url.topic(BATCHES)]
    _settings_hold(admin, library, kept)
    _rights_do(admin, library, kept)
    fewest = min(kept, key=lambda topic: topic.in_sync)
    if fewest.in_sync < fewest.replication:
        raise MeterlakeError(
            f"{fewest.name} has {fewest.in_sync} of {fewest.replication} copies up to date: look for a broker that is down"
        )
    return f"{url}: {brokers} brokers, {partitions} partitions a commodity, {fewest.replication} copies of each, all up to date"


def _settings_hold(admin: Any, library: Any, kept: Sequence[Topic]) -> None:
    """See that no time or size makes the brokers drop what is not in the lake yet."""
    kind = library.admin.ConfigResource
    asked = admin.describe_configs(
        [kind(kind.Type.TOPIC, topic.name) for topic in kept], request_timeout=PATIENCE_S
    )
    wanted = {"retention.ms": "-1", "retention.bytes": "-1", "cleanup.policy": "delete"}
    for resource, answer in asked.items():
        try:
            told = {name: entry.value for name, entry in answer.result().items()}
        except library.KafkaException as error:
            raise MeterlakeError(
                f"{resource.name}: its settings cannot be read: {error.args[0].str()}"
            ) from error
        wrong = [
            f"{name}={told.get(name)}, not {value}"
            for name, value in wanted.items()
            if told.get(name) != value
        ]
        if wrong:
            raise MeterlakeError(
                f"{resource.name}: {'; '.join(wrong)}: brokers would drop readings; set it by kafka-configs"
            )


def _rights_do(admin: Any, library: Any, kept: Sequence[Topic]) -> None:
    names = library.TopicCollection([topic.name for topic in kept])
    asked = admin.describe_topics(names, include_authorized_operations=True, request_timeout=PATIENCE_S)
    for name, answer in asked.items():
        allowed = {operation.name for operation in answer.result().authorized_operations or ()}
        missing = {"READ", "WRITE"} - allowed
        if allowed and missing:
            raise MeterlakeError(
                f"{name}: this user may not {' or '.join(sorted(missing))}: grant it by kafka-acls"
            )
