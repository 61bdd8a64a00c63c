"""What pages and API ask of the process that serves them, whatever it is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from meterlake.app import Meterlake
    from meterlake.bodies import BatchReceipt
    from meterlake.changes import Changes
    from meterlake.keys import ApiKey
    from meterlake.live.part import LiveView
    from meterlake.node_settings import NodeSettings


class Server(Protocol):
    """One process: a lake with what is live over it, alone or among others."""

    lake: Meterlake
    settings: NodeSettings
    changes: Changes

    @property
    def live(self) -> LiveView:
        """What is live, as far as this process knows."""

    @property
    def trouble(self) -> dict[str, str]:
        """What does not work right now, by the name of the work."""

    def start(self) -> None:
        """Begin to work."""

    def stop(self) -> None:
        """Finish what was begun, save, and let go."""

    def accept(self, body: bytes, media: str, key: ApiKey, idempotency: str | None = None) -> BatchReceipt:
        """Take a batch; see `Acceptor.accept`."""

    def batch(self, batch_id: str) -> dict[str, Any]:
        """Return what became of an accepted batch; NotFound where none is known."""

    def batches(self, limit: int, before: int | None = None) -> list[dict[str, Any]]:
        """Accepted batches by falling number, those below ``before``."""

    def runs(self) -> list[dict[str, Any]]:
        """Receipts of the nightly batch, newest first."""

    def status(self) -> dict[str, Any]:
        """Return whether it is ready, what is wrong, and how far each part has come."""
