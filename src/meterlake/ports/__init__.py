"""The architecture in four pages: what the use cases need from the outside, and nothing more.

Each port has one contract test class in `meterlake.testing`, run against every adapter; the memory
adapter is the oracle. Data crosses a port as Arrow tables only.
"""

from meterlake.ports.lake import Change, DataFile, Kept, Lake, OnFiles, Snapshot, Store, Sweeps
from meterlake.ports.logs import Append, Archive, Log, Logs, Member, Received, ReceivedFile, Record, Shards
from meterlake.ports.registry import Keys, People, PeopleStore, Registry, Trail
from meterlake.ports.work import Checkpoints, Cuts, Engine, Publisher, Stream

__all__ = [
    "Append",
    "Archive",
    "Change",
    "Checkpoints",
    "Cuts",
    "DataFile",
    "Engine",
    "Kept",
    "Keys",
    "Lake",
    "Log",
    "Logs",
    "Member",
    "OnFiles",
    "People",
    "PeopleStore",
    "Publisher",
    "Received",
    "ReceivedFile",
    "Record",
    "Registry",
    "Shards",
    "Snapshot",
    "Store",
    "Stream",
    "Sweeps",
    "Trail",
]
