"""Mail by SMTP: sent in a thread of its own, so that a slow or absent server holds nobody up."""

from __future__ import annotations

import smtplib
import ssl
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from meterlake.errors import Invalid, MeterlakeError
from meterlake.logs import log

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SMTP_URL: Final = "METERLAKE_SMTP_URL"
MAIL_FROM: Final = "METERLAKE_MAIL_FROM"
PUBLIC_URL: Final = "METERLAKE_PUBLIC_URL"
SMTP_CA: Final = "METERLAKE_SMTP_CA"
WAIT_S: Final = 20
PORTS: Final = {"smtp": 587, "smtps": 465}
_LOCAL: Final = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """Where mail goes out, from whom, and at what address the server is reached."""

    host: str
    port: int
    tls: bool
    """TLS from the start; else as soon as the server offers it."""
    user: str
    password: str
    sender: str
    public_url: str
    ca: str | None = None
    """File of the certificates that are trusted (PEM); None: those of the system."""

    def send(self, to: str, subject: str, text: str) -> Thread:
        """Send a message in the background; where that fails, a log line says so. The thread may be waited for."""
        thread = Thread(target=self._try, args=(to, subject, text), name="mail")
        thread.start()
        return thread

    def _try(self, to: str, subject: str, text: str) -> None:
        try:
            self._send(to, subject, text)
        except (OSError, smtplib.SMTPException, ValueError) as error:
            log.warning("mail not sent", server=self.host, why=type(error).__name__)

    def _send(self, to: str, subject: str, text: str) -> None:
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = self.sender, to, subject
        message["Date"], message["Message-ID"] = (
            formatdate(),
            make_msgid(domain=self.sender.rpartition("@")[2]),
        )
        message.set_content(text)
        with self._let_in() as server:
            server.send_message(message)

    @contextmanager
    def _let_in(self) -> Iterator[smtplib.SMTP]:
        """Give the server once it has let us in, safely."""
        secure = self._trusted()
        server = (
            smtplib.SMTP_SSL(self.host, self.port, timeout=WAIT_S, context=secure)
            if self.tls
            else smtplib.SMTP(self.host, self.port, timeout=WAIT_S)
        )
        try:
            server.ehlo()
            safe = self.tls or self.host in _LOCAL
            if not self.tls and server.has_extn("starttls"):
                server.starttls(context=secure)
                server.ehlo()
                safe = True
            if self.user and safe:
                server.login(self.user, self.password)
            elif not safe:
                raise smtplib.SMTPNotSupportedError("no TLS: whoever holds the line could read the link")
            yield server
        finally:
            with suppress(OSError, smtplib.SMTPException):
                server.quit()

    def examined(self) -> str:
        """Say that the server lets us in; MeterlakeError where it does not. No mail is sent."""
        try:
            with self._let_in():
                return f"{self.host}:{self.port} lets us in, as {self.user or 'nobody'}"
        except (OSError, smtplib.SMTPException) as error:
            raise MeterlakeError(
                f"{self.host}:{self.port} does not take mail ({error}): check {SMTP_URL} and {SMTP_CA}"
            ) from error

    def _trusted(self) -> ssl.SSLContext:
        """What the server's certificate must be signed by; one on this machine needs none."""
        context = ssl.create_default_context(cafile=self.ca)
        if self.host in _LOCAL and self.ca is None:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context


def mail_from(environment: Mapping[str, str]) -> Mail | None:
    """Mail as the environment says; None where it says nothing.

    Raises:
        Invalid: the URL or the file of certificates cannot be used, or the sender or the address of the server is not told.

    """
    url = environment.get(SMTP_URL)
    if not url:
        return None
    parts = urlsplit(url)
    if parts.scheme not in PORTS or not parts.hostname:
        raise Invalid(f"{SMTP_URL}: write smtp://USER:PASSWORD@HOST:PORT, or smtps:// for TLS from the start")
    missing = [name for name in (MAIL_FROM, PUBLIC_URL) if not environment.get(name)]
    if missing:
        raise Invalid(f"{SMTP_URL} is set: set {' and '.join(missing)} too, a link in a mail needs them")
    ca = environment.get(SMTP_CA) or None
    if ca is not None and not Path(ca).is_file():
        raise Invalid(
            f"{SMTP_CA}: there is no file {ca}; name one with the certificates that are trusted, as PEM"
        )
    return Mail(
        host=parts.hostname, port=parts.port or PORTS[parts.scheme], tls=parts.scheme == "smtps",
        user=unquote(parts.username or ""), password=unquote(parts.password or ""),
        sender=environment[MAIL_FROM], public_url=environment[PUBLIC_URL].rstrip("/"), ca=ca,
    )  # fmt: skip
