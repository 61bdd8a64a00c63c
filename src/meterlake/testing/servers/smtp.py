"""A mail server that keeps what it was sent."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from meterlake.testing.servers.processes import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """Its port on loopback, and every envelope that it took: ``mail_from``, ``rcpt_tos``, ``content``."""

    port: int
    mails: list[Any] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Address, as METERLAKE_SMTP_URL takes it."""
        return f"smtp://127.0.0.1:{self.port}"

    async def handle_DATA(self, _server: object, _session: object, envelope: object) -> str:  # noqa: N802 - its name there
        """Take a mail."""
        self.mails.append(envelope)
        return "250 OK"


@contextmanager
def smtp() -> Iterator[SmtpServer]:
    """Run a mail server that answers."""
    from aiosmtpd.controller import Controller

    server = SmtpServer(free_port())
    controller = Controller(server, hostname="127.0.0.1", port=server.port)
    controller.start()
    try:
        yield server
    finally:
        controller.stop()
