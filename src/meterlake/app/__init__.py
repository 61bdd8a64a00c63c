"""The composition root: adapters are chosen here by URL, and nowhere else."""

from meterlake.app.jobs import open_stream_job
from meterlake.app.lakes import Meterlake, open_lake
from meterlake.app.parts import (
    create_topics,
    engine_at,
    keys_of,
    lake_at,
    list_topics,
    log_folder,
    people_of,
    registry_at,
    site_at,
    store_at,
    trial_of_log,
    trials_of,
)
from meterlake.app.servers import open_bridge, open_node, open_server

__all__ = [
    "Meterlake",
    "create_topics",
    "engine_at",
    "keys_of",
    "lake_at",
    "list_topics",
    "log_folder",
    "open_bridge",
    "open_lake",
    "open_node",
    "open_server",
    "open_stream_job",
    "people_of",
    "registry_at",
    "site_at",
    "store_at",
    "trial_of_log",
    "trials_of",
]
