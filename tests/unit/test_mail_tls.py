"""Mail to a real server that wants TLS and a login: sent where its certificate is trusted, and nowhere else."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import quote

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from structlog.testing import capture_logs

from meterlake.errors import Invalid
from meterlake.mail import Mail, mail_from
from meterlake.testing.servers.processes import free_port

ADA, USER, WORD = "ada@example.com", "lake", "p/w: 1"
NEEDED = "needs openssl to make a certificate: install the package openssl"

pytestmark = [
    pytest.mark.skipif(shutil.which("openssl") is None, reason=NEEDED),
    pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS"),  # it has TLS from the start
]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate of localhost, signed by itself, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    made, key = folder / "made.pem", folder / "key.pem"
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,DNS:lvh.example,IP:127.0.0.1"]
    asked = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]
    subprocess.run([*asked, *name, "-keyout", key, "-out", made], check=True, capture_output=True)
    return made, key


@dataclass
class Post:
    """What a server was sent, and by whom."""

    messages: list[str] = field(default_factory=list)
    logins: list[tuple[bytes, bytes]] = field(default_factory=list)
    secure: list[bool] = field(default_factory=list)

    async def handle_DATA(self, server, session, envelope):  # noqa: N802 - as aiosmtpd calls it
        self.messages.append(envelope.content.decode())
        self.secure.append(
            session.ssl is not None or server.transport.get_extra_info("sslcontext") is not None
        )
        return "250 good"

    def login(self, server, session, envelope, mechanism, told):
        self.logins.append((told.login, told.password))
        return AuthResult(success=(told.login, told.password) == (USER.encode(), WORD.encode()))


@contextmanager
def serving(certificate, *, tls):
    """A mail server of this machine that takes nothing without TLS and a login; ``tls``: from the start."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    port, post = free_port(), Post()
    told = (
        {"ssl_context": context, "auth_require_tls": False}
        if tls
        else {"tls_context": context, "require_starttls": True}
    )
    controller = Controller(
        post, hostname="127.0.0.1", port=port, authenticator=post.login, auth_required=True, **told
    )
    controller.start()
    try:
        yield port, post
    finally:
        controller.stop()


def mail(port, scheme, ca, word=WORD, host="127.0.0.1"):
    return mail_from({
        "METERLAKE_SMTP_URL": f"{scheme}://{USER}:{quote(word, safe='')}@{host}:{port}", "METERLAKE_MAIL_FROM": "lake@example.com",
        "METERLAKE_PUBLIC_URL": "https://meters.example", "METERLAKE_SMTP_CA": str(ca) if ca else "",
    })  # fmt: skip


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
def test_mail_goes_out_over_tls_after_a_login(certificate, scheme):
    with serving(certificate, tls=scheme == "smtps") as (port, post), capture_logs() as said:
        mail(port, scheme, certificate[0]).send(ADA, "A link", "https://meters.example/link/x").join()
    assert [one for one in said if one["event"].startswith("mail")] == []
    (message,) = post.messages
    assert f"To: {ADA}" in message
    assert post.secure == [True]
    assert post.logins == [(USER.encode(), WORD.encode())]


def test_a_wrong_login_sends_nothing_and_is_told_without_its_password(certificate):
    with serving(certificate, tls=False) as (port, post), capture_logs() as said:
        mail(port, "smtp", certificate[0], word="another").send(ADA, "A link", "x").join()
    assert post.messages == []
    assert [line["event"] for line in said] == ["mail not sent"]
    assert "another" not in repr(said)


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
def test_a_certificate_that_nobody_trusts_gets_neither_login_nor_mail(certificate, scheme, monkeypatch):
    here = socket.getaddrinfo

    def found(host, *more, **told):
        return here("127.0.0.1" if host == "lvh.example" else host, *more, **told)

    monkeypatch.setattr(socket, "getaddrinfo", found)  # a name that is not this machine's own
    with serving(certificate, tls=scheme == "smtps") as (port, post), capture_logs() as said:
        mail(port, scheme, None, host="lvh.example").send(ADA, "A link", "x").join()
        assert (post.messages, post.logins) == ([], [])
        assert [line["why"] for line in said] == ["SSLCertVerificationError"]
        mail(port, scheme, certificate[0], host="lvh.example").send(ADA, "A link", "x").join()
        assert len(post.messages) == 1


def test_a_file_of_certificates_that_is_not_there_is_named(tmp_path):
    with pytest.raises(Invalid, match="METERLAKE_SMTP_CA"):
        mail(25, "smtp", tmp_path / "none.pem")
    assert isinstance(mail(25, "smtp", None), Mail)
