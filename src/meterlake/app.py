"""The composition root: adapters are chosen here by URL, and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from meterlake.errors import Invalid
from meterlake.query.questions import Questions
from meterlake.roles import ALL
from meterlake.work import at_work

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import date, datetime

    import pyarrow as pa

    from meterlake.bridge.run import Bridge
    from meterlake.check import CheckReport
    from meterlake.cluster import ClusterNode
    from meterlake.compact import CompactReceipt
    from meterlake.ids import MeterIds
    from meterlake.intake import LoadOptions
    from meterlake.live.live import Live
    from meterlake.live.part import LiveSource
    from meterlake.nightly.batch import BatchReceipt
    from meterlake.node import Node
    from meterlake.node_settings import NodeSettings
    from meterlake.people import Desk
    from meterlake.ports import Checkpoints, Cuts, Keys, Lake, Logs, PeopleStore, Registry, Store
    from meterlake.receipt import Receipt
    from meterlake.retain import RetainReceipt
    from meterlake.undo import UndoReceipt

    Progress = Callable[[str, int, int], None]

BUCKETS = 64


def lake_at(url: str, *, create: bool = False, buckets: int = BUCKETS) -> Lake:
    """Open the lake at ``url``: a folder (or file: URL) of Delta tables, or ``memory:``.

    Raises:
        Invalid: the scheme is not known.
        NotFound: there is no lake and ``create`` is false.

    """
    match urlsplit(url).scheme:
        case "" | "file":
            from meterlake.adapters.delta import DeltaLake
            from meterlake.adapters.store_folder import FolderStore

            return DeltaLake(FolderStore(_folder(url)), create=create, buckets=buckets)
        case "s3":
            from meterlake.adapters.delta import DeltaLake
            from meterlake.adapters.store_s3 import S3Store

            return DeltaLake(S3Store(url), create=create, buckets=buckets)
        case "memory":
            from meterlake.adapters.memory import MemoryLake

            return MemoryLake(url, buckets)
        case scheme:
            raise Invalid(f"{scheme}: is no lake that this version knows; give a folder or s3://bucket/lake")


def store_at(url: str) -> Store:
    """Return where the lake at ``url`` keeps its settings, whether it is there or not."""
    match urlsplit(url).scheme:
        case "s3":
            from meterlake.adapters.store_s3 import S3Store

            return S3Store(url)
        case "memory":
            from meterlake.adapters.store_memory import MemoryStore

            return MemoryStore(url)
        case _:
            from meterlake.adapters.store_folder import FolderStore

            return FolderStore(_folder(url))


def _folder(url: str) -> Path:
    return Path(urlsplit(url).path if url.startswith("file:") else url)


def _local(lake: Lake, what: str) -> Path:
    """Return the folder of a lake; Invalid where it is none."""
    if urlsplit(lake.url).scheme:
        raise Invalid(f"{lake.url} is no folder: {what}")
    return Path(lake.url)


def registry_at(url: str | None, lake: Lake, *, create: bool = False) -> Registry:
    """Open the registry at a SQLAlchemy ``url``; None: the SQLite file inside the lake's folder."""
    from meterlake.adapters.registry import SqlRegistry

    if url is None:
        if urlsplit(lake.url).scheme == "memory":
            url = "sqlite://"
        else:
            folder = _local(lake, "give a registry, such as --registry postgresql+psycopg://HOST/NAME")
            url = f"sqlite:///{folder / 'registry.db'}"
    return SqlRegistry(url, create=create, buckets=lake.buckets)


def keys_of(registry: Registry) -> Keys:
    """Keys that are kept in the database of ``registry``."""
    from meterlake.adapters.registry import SqlRegistry
    from meterlake.adapters.registry_keys import SqlKeys

    assert isinstance(registry, SqlRegistry), "there is no other adapter"
    return SqlKeys(registry)


def people_of(registry: Registry) -> Desk:
    """Desk of the accounts in the database of ``registry``; it mails links where the environment says how."""
    import os

    from meterlake.mail import mail_from
    from meterlake.people import Desk

    return Desk(_people(registry), mail_from(os.environ))


def _people(registry: Registry) -> PeopleStore:
    from meterlake.adapters.registry import SqlRegistry
    from meterlake.adapters.registry_people import SqlPeople

    assert isinstance(registry, SqlRegistry), "there is no other adapter"
    return SqlPeople(registry)


class Meterlake(Questions):
    """A lake with its registry, ready for files and questions; made by `open`."""

    def __init__(self, lake: Lake, registry: Registry, *, live: LiveSource | None = None) -> None:
        """Put the parts together; ``live`` is what was acknowledged and is not in the lake yet."""
        super().__init__(lake, registry, live=live)
        self.lake, self.registry = lake, registry

    def load(
        self,
        paths: str | Path | Sequence[str | Path],
        options: LoadOptions | None = None,
        progress: Progress | None = None,
        **told: Any,
    ) -> Receipt:
        """Load files, folders, globs and archives.

        ``told`` are options by their names on the command line, such as ``zone="Europe/London"``,
        ``interval="30min"``, ``feed="nightly"`` or ``dry_run=True``; or give them as ``options``.
        """
        from meterlake.feeds import options_of
        from meterlake.intake import LoadOptions
        from meterlake.load import Load

        if told and options is not None:
            raise Invalid("give the options of a load by name or as LoadOptions, not both")
        chosen = options or (options_of(told, self.lake.store) if told else LoadOptions())
        named = [paths] if isinstance(paths, str | Path) else paths
        shown = f"{named[0]} and {len(named) - 1} more" if len(named) > 1 else str(named[0] if named else "")
        with at_work(self.lake.store, "load", shown, progress) as tell:
            return Load(self.lake, self.registry, chosen, tell).run([str(path) for path in named])

    def undo(self, load_id: str, *, dry_run: bool = False) -> UndoReceipt:
        """Take a load back as a new version."""
        from meterlake.series import resettle
        from meterlake.undo import undo

        receipt = undo(self.lake, load_id, dry_run=dry_run)
        if not dry_run:
            resettle(self.lake, self.registry)
        return receipt

    def loads(self) -> list[dict[str, Any]]:
        """Receipts of all loads, newest first; one that was undone says by which version."""
        import json

        import pyarrow as pa
        import pyarrow.compute as pc

        operations = self.lake.records("operations")
        told = pa.array(["load", "undo"])
        operations = operations.filter(pc.is_in(operations["operation"], value_set=told)).to_pylist()
        undone = {o["load_id"]: o["version"] for o in operations if o["operation"] == "undo"}
        receipts = [
            json.loads(o["receipt"])
            | {
                "landed_at": o["landed_at"].isoformat().replace("+00:00", "Z"),
                "undone_by": undone.get(o["load_id"]),
            }
            for o in operations
            if o["operation"] == "load"
        ]
        return sorted(receipts, key=lambda receipt: -receipt["version"])

    def quarantine(self, load_id: str | None = None) -> pa.Table:
        """Refused readings: load_id, file, line, text, reason, count."""
        import pyarrow.compute as pc

        rows = self.lake.records("quarantine").drop_columns(["delivery"])
        return rows if load_id is None else rows.filter(pc.equal(rows["load_id"], load_id))

    def check(self, progress: Callable[[int, int], None] | None = None) -> CheckReport:
        """Read everything back and verify it."""
        from meterlake.check import check

        return check(self.lake, progress)

    def compact(self, progress: Callable[[int, int], None] | None = None) -> CompactReceipt:
        """Rewrite the files of many loads into month files."""
        from meterlake.compact import compact
        from meterlake.series import resettle

        with at_work(self.lake.store, "compact", "") as tell:
            receipt = compact(self.lake, _counted("compact", tell, progress))
        resettle(self.lake, self.registry)
        return receipt

    def batch(self, day: str | date, progress: Callable[[int, int], None] | None = None) -> BatchReceipt:
        """Recompute a UTC day from the complete record, then drop what is older than the lake's own ages."""
        from meterlake.nightly.batch import batch
        from meterlake.nightly.days import day_of
        from meterlake.retain import read_ages

        with at_work(self.lake.store, "batch", str(day)) as tell:
            receipt = batch(self.lake, self.registry, day_of(day), _counted("batch", tell, progress))
        if read_ages(self.lake.store):
            self.retain()
        return receipt

    def runs(self) -> list[dict[str, Any]]:
        """Receipts of the nightly batch, newest first."""
        from meterlake.nightly.history import runs

        return runs(self.lake)

    def due_days(self, now: datetime, grace_s: int, first: date | None = None) -> list[date]:
        """UTC days, oldest first, whose batch has not run yet; see `nightly.history.due_days`."""
        from meterlake.nightly.history import due_days

        return due_days(self.lake, now, grace_s, first)

    def retain(self, *, dry_run: bool = False, now: datetime | None = None, **ages: str) -> RetainReceipt:
        """Drop what is older than its age; ``ages`` by tier are laid over those of the lake's retention.toml."""
        from datetime import UTC, datetime

        from meterlake.retain import read_ages, retain
        from meterlake.series import resettle

        told = read_ages(self.lake.store) | ages
        receipt = retain(
            self.lake,
            self.registry,
            told,
            now or datetime.now(UTC),
            dry_run=dry_run,
            trail=_people(self.registry),
        )
        if not dry_run:
            resettle(self.lake, self.registry)
        return receipt

    def sql(self, query: str) -> pa.Table:
        """Answer a DuckDB query over the views readings, blocks, days, meters and service_points."""
        from meterlake.sql import run

        return run(self.lake, self.registry, query)


def _counted(
    phase: str, tell: Progress, also: Callable[[int, int], None] | None
) -> Callable[[int, int], None]:
    """Pass (done, total) on to both."""

    def both(done: int, total: int) -> None:
        tell(phase, done, total)
        if also is not None:
            also(done, total)

    return both


def open_lake(
    url: str = "./lake", registry: str | None = None, *, create: bool = True, buckets: int = BUCKETS
) -> Meterlake:
    """Open the lake at ``url``; with ``create`` make it, and its registry, where there is none."""
    lake = lake_at(url, create=create, buckets=buckets)
    return Meterlake(lake, registry_at(registry, lake, create=create))


def open_server(
    url: str,
    registry: str | None,
    settings: NodeSettings,
    log: str | None = None,
    roles: frozenset[str] = ALL,
) -> Node | ClusterNode:
    """Open the lake at ``url`` to be served by a process with some ``roles``; without ``log`` it lies in the lake's folder."""
    match urlsplit(log or "sqlite:").scheme:
        case "sqlite":
            if roles != ALL:
                raise Invalid(
                    f"--role {','.join(sorted(roles))} needs a log that processes share: --log kafka://…"
                )
            return open_node(url, registry, settings, log)
        case "kafka":
            return _one_of_many(url, registry, settings, str(log), roles)
        case scheme:
            raise Invalid(f"--log {scheme}: give sqlite:FOLDER or kafka://HOST:PORT[,HOST:PORT]/PREFIX")


def open_node(url: str, registry: str | None, settings: NodeSettings, log: str | None = None) -> Node:
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
    live = _live(MeterIds(), settings)
    known = registry_at(registry, lake, create=True)
    archive = StoreArchive(lake.store) if settings.archive else None
    checkpoints = SqliteCheckpoints(folder / "open.db")
    return Node(Meterlake(lake, known, live=live), live, kept, checkpoints, settings, archive)


def _live(ids: MeterIds, settings: NodeSettings) -> Live:
    """Return a live side without readings; blocks that are over by now are late."""
    import time

    from meterlake.live.live import Live
    from meterlake.node import SPANS_S

    ended = int(time.time()) - settings.grace_s
    return Live(ids, settings.live, {span: ended // span * span for span in SPANS_S})


def _one_of_many(
    url: str, registry: str | None, settings: NodeSettings, log: str, roles: frozenset[str]
) -> ClusterNode:
    """Open a lake to be served by one process of several, which share the log."""
    from dataclasses import replace
    from functools import partial

    from meterlake.cluster import ClusterNode
    from meterlake.foreign import Place
    from meterlake.handover import Committer
    from meterlake.ids import MeterIds
    from meterlake.ingest import Ingest
    from meterlake.live.together import Together
    from meterlake.shard import Shard

    logs = logs_at(log)
    lake = lake_at(url, create=True)
    known = registry_at(registry, lake, create=True)
    ids, cuts = MeterIds(), cuts_of(lake)
    live = Together(ids, settings.live)

    def shard(name: str) -> Shard:
        archived = partial(_archived_end, lake, *logs.place(name))
        return Shard(
            name, lake, known, _live(ids, settings), logs.shard(name), checkpoints_of(lake, name), settings,
            Place(*logs.place(name)), None if "seal" in roles else cuts, archived if settings.archive else None,
        )  # fmt: skip

    return ClusterNode(
        Meterlake(lake, known, live=live), live, logs, replace(settings, batch=settings.batch and "batch" in roles),
        ingest=Ingest(logs, settings.accept) if "ingest" in roles else None,
        make=shard if "live" in roles else None,
        committer=Committer(lake, known, cuts) if "seal" in roles else None,
    )  # fmt: skip


def _archived_end(lake: Lake, topic: str, partition: int) -> int:
    """Return the offset after the last message of a partition that the archive beside ``lake`` holds; 0 for none."""
    from meterlake.adapters.archived import archived_end
    from meterlake.adapters.store_folder import FolderStore
    from meterlake.adapters.store_s3 import S3Store

    store = lake.store
    assert isinstance(store, FolderStore | S3Store), "a lake in memory has no archive"
    return archived_end(store, topic, partition)


def logs_at(url: str) -> Logs:
    """Open the logs of shards at ``url``; NotFound where there are none, Overloaded where nobody answers."""
    from meterlake.adapters.kafka_logs import KafkaLogs
    from meterlake.adapters.kafka_settings import KafkaUrl

    return KafkaLogs(KafkaUrl.parse(url))


def checkpoints_of(lake: Lake, shard: str) -> Checkpoints:
    """Return where the live side of a shard is saved: beside the lake."""
    from meterlake.adapters.store_checkpoints import StoreCheckpoints

    return StoreCheckpoints(lake.store, shard)


def cuts_of(lake: Lake) -> Cuts:
    """Return where processes hand over what is to be sealed: beside the lake."""
    from meterlake.adapters.store_cuts import StoreCuts

    return StoreCuts(lake.store)


def log_folder(lake: str, log: str | None) -> Path:
    """Return where a log that is a file lies: as it says, else inside the lake's folder."""
    told = urlsplit(log or "").path
    if not told and urlsplit(lake).scheme not in {"", "file"}:
        raise Invalid(f"{lake} is no folder: give a log, --log sqlite:FOLDER or kafka://…")
    return Path(told) if told else _folder(lake) / "live"


def trial_of_log(url: str) -> str:
    """Say how the log at ``url`` stands; MeterlakeError says what is wrong with it."""
    from meterlake.adapters.kafka_settings import KafkaUrl
    from meterlake.adapters.kafka_topics import examined

    return examined(KafkaUrl.parse(url))


def trials_of(mqtt: str | None) -> list[tuple[str, Callable[[], str]]]:
    """Return what is set beside lake, registry and log, and how it is tried; a trial raises MeterlakeError."""
    import os
    from functools import partial

    from meterlake.mail import SMTP_URL, mail_from

    found: list[tuple[str, Callable[[], str]]] = []
    if os.environ.get(SMTP_URL):
        found.append(("mail", lambda: mail.examined() if (mail := mail_from(os.environ)) else "not set"))
    if mqtt:
        from meterlake.adapters.mqtt import MqttUrl, examined

        found.append(("mqtt", partial(examined, MqttUrl.parse(mqtt))))
    return found


def create_topics(url: str, partitions: int, replication: int) -> list[dict[str, Any]]:
    """Make the topics of the log at ``url`` that are not there yet; say how all of them stand."""
    from meterlake.adapters.kafka_settings import KafkaUrl
    from meterlake.adapters.kafka_topics import create

    return [topic.to_json() for topic in create(KafkaUrl.parse(url), partitions, replication)]


def list_topics(url: str) -> list[dict[str, Any]]:
    """Say how the topics of the log at ``url`` stand."""
    from meterlake.adapters.kafka_settings import KafkaUrl
    from meterlake.adapters.kafka_topics import topics

    return [topic.to_json() for topic in topics(KafkaUrl.parse(url))]


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
