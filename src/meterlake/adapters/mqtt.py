"""A session that an MQTT broker keeps: QoS 1, acknowledged by hand, as many messages under way as were asked for."""

from __future__ import annotations

import os
import ssl
import time
import uuid
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from meterlake.bridge.run import LOOK_S, Message
from meterlake.errors import Conflict, Denied, Invalid, MeterlakeError, MissingExtra, Overloaded
from meterlake.logs import log

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from paho.mqtt.client import Client

PASSWORD: Final = "METERLAKE_MQTT_PASSWORD"  # noqa: S105 - the name of a variable
CA: Final = "METERLAKE_MQTT_CA"
PORTS: Final = {"mqtt": 1883, "mqtts": 8883}
CONNECT_S: Final = 5.0
KEEPALIVE_S: Final = 30
RECEIVE_MAX: Final = 65_535
_TICK_S: Final = 0.005
_REFUSED: Final = 0x80
"""Reason codes from here on say no."""
_TAKEN_OVER: Final = 0x8E
_NOT_YOU: Final = (0x85, 0x86, 0x87, 0x8A)
"""Client id not valid, bad user or password, not authorised, banned."""


@dataclass(frozen=True, slots=True)
class MqttUrl:
    """Where a broker is, and who comes; the password is the environment's."""

    host: str
    port: int
    tls: bool
    user: str | None

    @classmethod
    def parse(cls, url: str) -> MqttUrl:
        """Read ``mqtt://[USER@]HOST[:PORT]`` or ``mqtts://…``; Invalid where it is none, or holds a password."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        if parts.scheme not in PORTS or not parts.hostname or parts.path.strip("/"):
            raise Invalid("write the broker as mqtt://USER@HOST:PORT, or mqtts:// with TLS")
        if parts.password is not None:
            raise Invalid(f"a password in a URL can be seen by others: put it into {PASSWORD}")
        user = None if parts.username is None else unquote(parts.username)
        return cls(parts.hostname, port or PORTS[parts.scheme], parts.scheme == "mqtts", user)

    def __str__(self) -> str:
        """Return the URL; it never holds a secret."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"mqtt{'s' if self.tls else ''}://{self.user + '@' if self.user else ''}{host}:{self.port}"


def new_client(url: MqttUrl, client_id: str, environment: Mapping[str, str] = os.environ) -> Client:
    """Make a client that is not connected yet; MissingExtra where the library is not installed."""
    try:
        from paho.mqtt.client import Client, MQTTv5
        from paho.mqtt.enums import CallbackAPIVersion
    except ImportError as error:
        raise MissingExtra("paho-mqtt", "mqtt") from error
    client = Client(CallbackAPIVersion.VERSION2, client_id, protocol=MQTTv5, manual_ack=True)
    client.connect_timeout = CONNECT_S
    if url.user is not None:
        client.username_pw_set(url.user, environment.get(PASSWORD) or None)
    if url.tls:
        ca = environment.get(CA) or None
        if ca is not None and not Path(ca).is_file():
            raise Invalid(
                f"{CA}: there is no file {ca}; name one with the certificates that are trusted, as PEM"
            )
        client.tls_set_context(ssl.create_default_context(cafile=ca))
    return client


class MqttSession:
    """`bridge.run.Source` of a broker. A thread of the client's receives; another one takes and acknowledges."""

    def __init__(self, url: str, client_id: str, filters: Sequence[str], ahead: int, keep_s: int) -> None:
        """Take up the session ``client_id``, which the broker keeps for ``keep_s`` seconds while nobody is there.

        ``ahead`` messages at most are under way without an acknowledgement.

        Raises:
            Overloaded: nobody answers there.
            Denied: the broker does not let us in, or not to these topics.

        """
        self._url, self._filters = MqttUrl.parse(url), list(filters)
        self._waiting: deque[Message] = deque()
        self._held: dict[int, Message] = {}
        self._lock, self._came, self._settled = Lock(), Event(), Event()
        self._session = 0
        self._failed: MeterlakeError | None = None
        self._client = new_client(self._url, client_id)
        self._client.on_connect = self._connected
        self._client.on_disconnect = self._parted
        self._client.on_subscribe = self._subscribed
        self._client.on_message = self._received
        self._client.reconnect_delay_set(1, 15)
        self._open(ahead, keep_s)

    def _open(self, ahead: int, keep_s: int) -> None:
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.ReceiveMaximum = min(ahead, RECEIVE_MAX)
        properties.SessionExpiryInterval = min(keep_s, 0xFFFFFFFE)
        try:
            self._client.connect(
                self._url.host, self._url.port, KEEPALIVE_S, clean_start=False, properties=properties
            )
        except OSError as error:
            raise Overloaded(f"no broker answers at {self._url}: {error}") from error
        self._client.loop_start()
        answered = self._settled.wait(2 * CONNECT_S)
        if self._failed is not None or not answered:
            self.close()
            raise self._failed or Overloaded(f"{self._url} answers, but not as a broker of MQTT 5 does")

    def take(self, most: int, wait_s: float, quiet_s: float) -> Sequence[Message]:
        """Messages in order, none after a short while without any; raises what the broker refuses for good."""
        self._came.wait(LOOK_S)
        if self._failed is not None:
            raise self._failed
        end = time.monotonic() + wait_s
        count, still = len(self._waiting), time.monotonic()
        while count and count < most and (now := time.monotonic()) < end and now - still < quiet_s:
            time.sleep(_TICK_S)
            if len(self._waiting) != count:
                count, still = len(self._waiting), now
        with self._lock:
            taken = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
            if not self._waiting:
                self._came.clear()
        return taken

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Tell the broker that these need not be sent again, those that came by the connection of now."""
        with self._lock:
            for message in messages:
                if self._held.get(message.number) is message:
                    del self._held[message.number]
            # Under the lock: what is said after a connection ended is never said on the next one, where its numbers may
            # be those of other messages; what is queued before is dropped with its connection.
            for message in messages:
                if message.number and message.session == self._session:
                    self._client.ack(message.number, 1)

    def close(self) -> None:
        """Send what is to be sent, and leave the session to the broker."""
        self._client.disconnect()
        self._client.loop_stop()

    def _received(self, _client: Any, _user: Any, got: Any) -> None:
        try:
            topic = got.topic
        except UnicodeDecodeError:
            topic = "(no UTF-8)"
        message = Message(
            topic,
            got.payload,
            time.time_ns() // 1000,
            got.mid if got.qos else 0,
            bool(got.dup),
            bool(got.retain),
        )
        with self._lock:
            message.session = self._session
            held = self._held.get(message.number) if message.again else None
            if held is not None and (held.topic, held.payload) == (message.topic, message.payload):
                held.session = (
                    self._session
                )  # it is on its way already, and is acknowledged when it has arrived
                return
            if message.number:
                self._held[message.number] = message
            self._waiting.append(message)
            self._came.set()

    def _connected(self, client: Client, _user: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.value >= _REFUSED:
            self._refused(reason)
            return
        from paho.mqtt.subscribeoptions import SubscribeOptions

        once = SubscribeOptions(qos=1, retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB)
        client.subscribe([(name, once) for name in self._filters])

    def _subscribed(self, _client: Any, _user: Any, _mid: Any, reasons: Any, _properties: Any) -> None:
        refused = [
            f"{name} ({reason})"
            for name, reason in zip(self._filters, reasons, strict=False)
            if reason.value >= _REFUSED
        ]
        if refused:
            self._failed = Denied(
                f"{self._url} does not let {self._url.user or 'nobody'} read {', '.join(refused)}", known=True
            )
        self._settled.set()
        self._came.set()

    def _refused(self, reason: Any) -> None:
        if reason.value in _NOT_YOU:
            self._failed = Denied(
                f"{self._url} does not let us in ({reason}): check the user in the URL and {PASSWORD}"
            )
            self._settled.set()
            self._came.set()
        else:
            log.warning("the broker does not let us in now", broker=str(self._url), why=str(reason))

    def _parted(self, _client: Any, _user: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        with self._lock:
            self._session += 1
        if reason.value == _TAKEN_OVER:
            self._failed = Conflict(
                f"{self._url}: another bridge took the session over; give each bridge its own `client`"
            )
            self._settled.set()
            self._came.set()
        elif reason.value:
            log.warning("the broker is away", broker=str(self._url), why=str(reason))


def examined(url: MqttUrl) -> str:
    """Say that a broker takes us in.

    Raises:
        Overloaded: nobody answers there.
        Denied: the broker does not let us in.

    """
    client, answered = new_client(url, f"meterlake-doctor-{uuid.uuid4().hex[:8]}"), Event()
    reasons: list[Any] = []

    def connected(_client: Client, _user: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        reasons.append(reason)
        answered.set()

    client.on_connect = connected
    try:
        client.connect(url.host, url.port, KEEPALIVE_S)
    except OSError as error:
        raise Overloaded(f"no broker answers at {url}: {error}") from error
    client.loop_start()
    answered.wait(2 * CONNECT_S)
    client.disconnect()
    client.loop_stop()
    if not reasons:
        raise Overloaded(f"{url} answers, but not as a broker of MQTT 5 does")
    if reasons[0].value >= _REFUSED:
        raise Denied(f"{url} does not let us in ({reasons[0]}): check the user in the URL and {PASSWORD}")
    return f"{url} lets us in"
