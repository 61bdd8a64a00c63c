"""Adapters, chosen by their URLs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from meterlake.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from meterlake.people import Desk
    from meterlake.ports import (
        Checkpoints,
        Cuts,
        Engine,
        Keys,
        Lake,
        Logs,
        PeopleStore,
        Received,
        Registry,
        Store,
    )
    from meterlake.settings import Settings
    from meterlake.site import Site

BUCKETS: Final = 64


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

            return DeltaLake(FolderStore(folder_of(url)), create=create, buckets=buckets)
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

            return FolderStore(folder_of(url))


def folder_of(url: str) -> Path:
    """Return the folder that a lake's URL names."""
    return Path(urlsplit(url).path if url.startswith("file:") else url)


def local(lake: Lake, what: str) -> Path:
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
            folder = local(lake, "give a registry, such as --registry postgresql+psycopg://HOST/NAME")
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

    return Desk(people_store(registry), mail_from(os.environ))


def people_store(registry: Registry) -> PeopleStore:
    """Accounts and trail in the database of ``registry``."""
    from meterlake.adapters.registry import SqlRegistry
    from meterlake.adapters.registry_people import SqlPeople

    assert isinstance(registry, SqlRegistry), "there is no other adapter"
    return SqlPeople(registry)


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


def received_of(lake: Lake) -> Received | None:
    """Return what a stream job took out of the logs: beside the lake; a lake in memory has none."""
    from meterlake.adapters.received import DeltaReceived
    from meterlake.adapters.store_folder import FolderStore
    from meterlake.adapters.store_s3 import S3Store

    store = lake.store
    return DeltaReceived(store) if isinstance(store, FolderStore | S3Store) else None


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


def log_folder(lake: str, log: str | None) -> Path:
    """Return where a log that is a file lies: as it says, else inside the lake's folder."""
    told = urlsplit(log or "").path
    if not told and urlsplit(lake).scheme not in {"", "file"}:
        raise Invalid(f"{lake} is no folder: give a log, --log sqlite:FOLDER or kafka://…")
    return Path(told) if told else folder_of(lake) / "live"


def trial_of_log(url: str) -> str:
    """Say how the log at ``url`` stands; MeterlakeError says what is wrong with it."""
    from meterlake.adapters.kafka_settings import KafkaUrl
    from meterlake.adapters.kafka_topics import examined

    return examined(KafkaUrl.parse(url))


def trials_of(where: Settings, mqtt: str | None) -> list[tuple[str, Callable[[], str]]]:
    """Return what is set beside lake, registry and log, and how it is tried; a trial raises MeterlakeError."""
    import os
    from functools import partial

    from meterlake.mail import SMTP_URL, mail_from

    found: list[tuple[str, Callable[[], str]]] = []
    if where.live is not None:
        from meterlake.adapters.redis_keys import examined as shown

        found.append(("live", partial(shown, where.live)))
    if where.engine not in {None, "local"}:
        from meterlake.adapters.spark_engine import examined as begun

        found.append(("engine", partial(begun, str(where.engine))))
    if os.environ.get(SMTP_URL):
        found.append(("mail", lambda: mail.examined() if (mail := mail_from(os.environ)) else "not set"))
    if mqtt:
        from meterlake.adapters.mqtt import MqttUrl, examined

        found.append(("mqtt", partial(examined, MqttUrl.parse(mqtt))))
    return found


def engine_at(
    url: str | None, lake: Lake, registry: Registry, settings: Mapping[str, str] | None = None
) -> Engine:
    """Return what jobs on ``lake`` and ``registry`` run on: ``local``, ``spark://HOST:PORT`` or ``local[N]``.

    ``settings`` are told to Spark.

    Raises:
        Invalid: the URL is none of them, or Spark cannot reach a lake that is only here.

    """
    from functools import partial

    from meterlake.site import Threads

    if url is None or url == "local":
        return Threads(lake, registry)
    if not url.startswith(("spark://", "local[")):
        raise Invalid(f"--engine {url}: give local, spark://HOST:PORT or local[N]")
    if urlsplit(lake.url).scheme == "memory":
        raise Invalid("a lake in memory is this process's own: use --engine local")
    from meterlake.adapters.registry import SqlRegistry
    from meterlake.adapters.spark_engine import SparkEngine

    assert isinstance(registry, SqlRegistry), "there is no other adapter"
    lake_url = lake.url if urlsplit(lake.url).scheme else str(Path(lake.url).absolute())
    return SparkEngine(url, partial(site_at, lake_url, registry.connects), settings)


def site_at(lake: str, registry: str) -> Site:
    """Open lake and registry in a process of an engine."""
    from meterlake.site import Site

    found = lake_at(lake)
    return Site(found, registry_at(registry, found))
