"""Links that go out by mail, and what happens where they cannot."""

from __future__ import annotations

import socket
from datetime import UTC, datetime, timedelta
from threading import Thread
from time import sleep

import pytest
from structlog.testing import capture_logs

from meterlake.adapters.registry import SqlRegistry
from meterlake.adapters.registry_people import SqlPeople
from meterlake.errors import Invalid
from meterlake.mail import Mail, mail_from
from meterlake.people import Desk, Role

ADA, HOME = "ada@example.com", "127.0.0.1"


@pytest.fixture
def people():
    return SqlPeople(SqlRegistry("sqlite://", create=True))


@pytest.fixture
def post():
    """A mail server of this machine: its port, and what it was sent."""
    got, listening = [], socket.create_server((HOME, 0))

    def serve():
        connection, _ = listening.accept()
        with connection, connection.makefile("rwb") as lines:
            say = lambda text: (lines.write(text + b"\r\n"), lines.flush())  # noqa: E731
            say(b"220 here")
            for line in lines:
                got.append(line.decode())
                word = line[:4].upper()
                if word == b"DATA":
                    say(b"354 go on")
                    got.extend(text.decode() for text in iter(lines.readline, b".\r\n"))
                say(b"221 bye" if word == b"QUIT" else b"250 good")
                if word == b"QUIT":
                    return

    thread = Thread(target=serve)
    thread.start()
    yield listening.getsockname()[1], got
    thread.join()
    listening.close()


def told_mail(port):
    return mail_from(
        {
            "METERLAKE_SMTP_URL": f"smtp://{HOME}:{port}",
            "METERLAKE_MAIL_FROM": "lake@example.com",
            "METERLAKE_PUBLIC_URL": "https://meters.example/",
        }
    )


def test_a_link_goes_out_by_mail(people, post):
    port, got = post
    token = Desk(people, told_mail(port)).invite(ADA, Role.CUSTOMER, [], None)
    deadline = datetime.now(UTC) + timedelta(seconds=30)
    while not any(line.upper().startswith("QUIT") for line in got):
        assert datetime.now(UTC) < deadline
        sleep(0.01)
    text = "".join(got).replace("=\r\n", "").replace("=3D", "=")
    assert f"To: {ADA}" in text
    assert f"https://meters.example/link/{token}" in text


def test_a_mail_server_that_is_away_loses_no_link(people):
    with socket.create_server((HOME, 0)) as taken:
        port = taken.getsockname()[1]
    with capture_logs() as said:
        told_mail(port).send(ADA, "s", "t").join()
    assert [line["event"] for line in said] == ["mail not sent"]
    assert ADA not in repr(said)
    desk = Desk(people, told_mail(port))
    assert desk.link(desk.invite(ADA, Role.CUSTOMER, [], None)).email == ADA


def test_mail_is_sent_where_the_environment_says_so():
    assert mail_from({}) is None
    whole = {
        "METERLAKE_SMTP_URL": "smtps://ada%40x:p%2Fw@mail.example",
        "METERLAKE_MAIL_FROM": "lake@example.com",
        "METERLAKE_PUBLIC_URL": "https://meters.example/",
    }
    assert mail_from(whole) == Mail(
        host="mail.example", port=465, tls=True, user="ada@x", password="p/w", sender="lake@example.com",
        public_url="https://meters.example",
    )  # fmt: skip
    for name in ("METERLAKE_MAIL_FROM", "METERLAKE_PUBLIC_URL"):
        with pytest.raises(Invalid, match=name):
            mail_from(whole | {name: ""})
    for url in ("mail.example", "http://mail.example", "smtp://"):
        with pytest.raises(Invalid, match="smtp://USER"):
            mail_from(whole | {"METERLAKE_SMTP_URL": url})
