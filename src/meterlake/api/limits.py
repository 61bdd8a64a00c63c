"""What one server bears of its askers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiLimits:
    """Bounds beside those of `node_settings`."""

    headers_s: float = 10.0
    """Seconds that an asker has for the head of a request."""
    body_s: float = 60.0
    """Seconds that a sender has for a whole body."""
    streams: int = 256
    """Event streams at once."""
    streams_each: int = 32
    """Event streams of one account at once."""
    senders: int = 32
    """Batches that are worked on at once."""
    workers: int = 16
    """Questions about one thing that are worked on at once."""
    connections: int = 2048
    """Connections at once."""
    stop_s: int = 10
    """Seconds that open requests have to end when the server stops."""

    def told(self) -> dict[str, str]:
        """Return every limit as text."""
        return {
            "headers": f"{self.headers_s:g}s", "body": f"{self.body_s:g}s", "streams": str(self.streams), "streams_each": str(self.streams_each), "senders": str(self.senders),
            "workers": str(self.workers),            "connections": str(self.connections), "stop": f"{self.stop_s}s",
        }  # fmt: skip
