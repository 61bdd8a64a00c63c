"""A lake as one process, or one of several, serves it; and what carries readings to a server."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from meterlake.app.lakes import Meterlake
from meterlake.app.parts import (
    checkpoints_of,
    cuts_of,
    lake_at,
    log_folder,
    logs_at,
    received_of,
    registry_at,
)
from meterlake.errors import Invalid
from meterlake.roles import ALL

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from meterlake.bridge.run import Bridge
    from meterlake.cluster import ClusterNode
    from meterlake.ids import MeterIds
    from meterlake.live.live import Live
    from meterlake.live.part import Elsewhere
    from meterlake.node import Node
    from meterlake.node_settings import NodeSettings
    from meterlake.ports import Cuts, Lake, Logs, Publisher, Received, Registry
    from meterlake.settings import Settings
    from meterlake.shard import Shard


def open_server(
    where: Settings, settings: NodeSettings, roles: frozenset[str] = ALL, *, engine: str | None = None
) -> Node | ClusterNode:
    """Open the lake of ``where`` to be served by a process with some ``roles``; without a log it lies in the lake's folder.

    ``engine`` is what the nightly batch runs on.
    """
    engine = engine or where.engine
    match urlsplit(where.log or "sqlite:").scheme:
        case "sqlite" if roles == ALL:
            return open_node(where.lake, where.registry, settings, where.log, live=where.live, engine=engine)
        case "sqlite" if where.live is not None and roles <= {"web", "batch"}:
            return _one_of_many(where, settings, None, roles, engine)
        case "sqlite":
            raise Invalid(
                f"--role {','.join(sorted(roles))} needs what processes share: a log, --log kafka://…, or, for web and batch, "
                "what is live of another server, --live redis://…"
            )
        case "kafka":
            return _one_of_many(where, settings, logs_at(str(where.log)), roles, engine)
        case scheme:
            raise Invalid(f"--log {scheme}: give sqlite:FOLDER or kafka://HOST:PORT[,HOST:PORT]/PREFIX")


def open_node(
    url: str, registry: str | None, settings: NodeSettings, log: str | None = None, *, live: str | None = None,
    engine: str | None = None,
) -> Node:  # fmt: skip
    """Open the lake at ``url`` to be served by one process, and make it where there is none; the log is SQLite's.

    Raises:
        Conflict: another server works on this lake.

    """
    from meterlake.adapters.archive import StoreArchive
    from meterlake.adapters.sqlite_checkpoints import SqliteCheckpoints
    from meterlake.adapters.sqlite_log import SqliteLog
    from meterlake.ids import MeterIds
    from meterlake.node import Node

    lake = lake_at(url, create=True)
    folder = log_folder(lake.url, log)
    folder.mkdir(parents=True, exist_ok=True)
    kept = SqliteLog(folder / "log.db")
    held = _live(MeterIds(), settings)
    known = registry_at(registry, lake, create=True)
    archive = StoreArchive(lake.store) if settings.archive else None
    checkpoints = SqliteCheckpoints(folder / "open.db")
    whole = Meterlake(lake, known, live=held, engine=engine)
    return Node(whole, held, kept, checkpoints, settings, archive, shows=_shows(lake, live))


def _shows(lake: Lake, url: str | None) -> Callable[[str, int | None], Publisher] | None:
    """Return what makes the publisher of a shard, where what is live is shown."""
    if url is None:
        return None
    from functools import partial

    from meterlake.adapters.redis_keys import client
    from meterlake.adapters.redis_publisher import RedisPublisher

    client(url).close()  # a URL that is none is told now
    return partial(RedisPublisher, url, lake.url)


def _live(ids: MeterIds, settings: NodeSettings) -> Live:
    """Return a live side without readings; blocks that are over by now are late."""
    import time

    from meterlake.live.live import Live
    from meterlake.node import SPANS_S

    ended = int(time.time()) - settings.grace_s
    return Live(ids, settings.live, {span: ended // span * span for span in SPANS_S})


def _one_of_many(
    where: Settings, settings: NodeSettings, logs: Logs | None, roles: frozenset[str], engine: str | None
) -> ClusterNode:
    """Open a lake to be served by one process of several, which share the log or see what is live elsewhere."""
    from dataclasses import replace

    from meterlake.cluster import ClusterNode
    from meterlake.handover import Committer
    from meterlake.ids import MeterIds
    from meterlake.ingest import Ingest
    from meterlake.live.together import Together

    lake = lake_at(where.lake, create=True)
    known = registry_at(where.registry, lake, create=True)
    ids, cuts = MeterIds(), cuts_of(lake)
    holds = Together(ids, settings.live)

    def shard(name: str) -> Shard:
        assert logs is not None, "shards are of logs"
        archive = received_of(lake) if settings.archive else None
        return shard_of(name, lake, known, logs, settings, ids, None if "seal" in roles else cuts, archive)

    live = holds if where.live is None else _elsewhere(lake, where.live, settings)
    return ClusterNode(
        Meterlake(lake, known, live=live, engine=engine), live, logs,
        replace(settings, batch=settings.batch and "batch" in roles),
        ingest=Ingest(logs, settings.accept) if logs is not None and "ingest" in roles else None,
        make=shard if logs is not None and "live" in roles else None,
        committer=Committer(lake, known, cuts) if "seal" in roles else None,
        holds=holds, shows=_shows(lake, where.live),
    )  # fmt: skip


def _elsewhere(lake: Lake, url: str, settings: NodeSettings) -> Elsewhere:
    from meterlake.adapters.redis_view import RedisView

    return RedisView(url, lake.url, settings.live)


def shard_of(  # noqa: PLR0913 - what a shard is made of
    name: str, lake: Lake, registry: Registry, logs: Logs, settings: NodeSettings, ids: MeterIds, cuts: Cuts | None,
    received: Received | None,
) -> Shard:  # fmt: skip
    """Return a shard without readings; with ``cuts`` another process commits, ``received`` has what the log may drop."""
    from functools import partial

    from meterlake.foreign import Place
    from meterlake.shard import Shard

    place = Place(*logs.place(name))
    archived = None if received is None else partial(_received_end, received, name)
    return Shard(
        name, lake, registry, _live(ids, settings), logs.shard(name), checkpoints_of(lake, name), settings, place, cuts,
        archived,
    )  # fmt: skip


def _received_end(received: Received, shard: str) -> int:
    known = received.bounds(shard)
    return 0 if known is None else known[1]


def open_bridge(url: str, to: str, key: str, map_file: Path, state: Path | None, batch: int) -> Bridge:
    """Open the MQTT broker at ``url`` to be carried to the server at ``to``, as the settings in ``map_file`` say.

    ``state`` is where moments of arrival are kept, where messages are dated by them; else a file beside the settings.
    """
    from meterlake.adapters.http_readings import HttpReadings
    from meterlake.adapters.mqtt import MqttSession
    from meterlake.bridge.map_file import read_map
    from meterlake.bridge.moments import Moments
    from meterlake.bridge.run import Bridge

    settings = read_map(map_file)
    moments = Moments(state or map_file.with_suffix(".state")) if settings.dated_by_arrival else None
    receiver = HttpReadings(to, key)
    filters = list(dict.fromkeys(topic.pattern.filter for topic in settings.topics))
    source = MqttSession(url, settings.client, filters, ahead=2 * batch, keep_s=settings.keep_s)
    return Bridge(source, receiver, settings, moments, batch)
