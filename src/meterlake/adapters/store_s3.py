"""A bucket of S3, or of a store that speaks it, as a store.

A name is written by one PUT and looked at before it is told: of uploads in several parts, a server that is killed may
lose what it has acknowledged. Where a name must be new, the PUT carries that condition, and the server decides.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from meterlake.errors import Conflict, Invalid, MeterlakeError
from meterlake.intervals import parse_interval
from meterlake.ports import Kept, Store

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pyarrow as pa

ENDPOINT: Final = "METERLAKE_S3_ENDPOINT"
REGION: Final = "METERLAKE_S3_REGION"
ALLOW_HTTP: Final = "METERLAKE_S3_ALLOW_HTTP"
USUAL_REGION: Final = "us-east-1"
TIMEOUT: Final = "METERLAKE_S3_TIMEOUT"
USUAL_TIMEOUT: Final = "30s"
CONNECT_S: Final = 5
TRIES: Final = 6


@dataclass(frozen=True, slots=True)
class Access:
    """Where a bucket is and who asks; of the environment, never of a URL."""

    endpoint: str | None
    region: str
    http: bool
    key: str | None
    secret: str | None
    timeout_s: int = 30
    """How long a request may take before it is tried again."""

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ) -> Access:
        """Read the environment; the keys are those that every tool for S3 knows."""
        endpoint = environment.get(ENDPOINT) or environment.get("AWS_ENDPOINT_URL")
        http = environment.get(ALLOW_HTTP) == "yes"
        if endpoint and endpoint.startswith("http:") and not http:
            raise Invalid(f"{endpoint} is not encrypted; set {ALLOW_HTTP}=yes where that is meant")
        region = environment.get(REGION) or environment.get("AWS_REGION") or USUAL_REGION
        return cls(
            endpoint, region, http, environment.get("AWS_ACCESS_KEY_ID"),
            environment.get("AWS_SECRET_ACCESS_KEY"), parse_interval(environment.get(TIMEOUT) or USUAL_TIMEOUT),
        )  # fmt: skip

    def delta(self) -> dict[str, str]:
        """Return the options of deltalake."""
        told = {
            "AWS_ENDPOINT_URL": self.endpoint, "AWS_REGION": self.region, "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret, "AWS_ALLOW_HTTP": "true" if self.http else None,
            "timeout": f"{self.timeout_s}s", "connect_timeout": f"{CONNECT_S}s",
        }  # fmt: skip
        return {name: value for name, value in told.items() if value}


class S3Store:
    """`ports.Store` in a bucket, under a prefix. Safe to share between threads and processes."""

    def __init__(self, url: str, access: Access | None = None) -> None:
        """Keep everything under ``url``, such as ``s3://bucket/lake``."""
        try:
            import obstore
        except ImportError as error:
            raise Invalid(f"{url} needs the extra s3: pip install 'meterlake[s3]'") from error
        parts = urlsplit(url)
        if not parts.netloc:
            raise Invalid(f"{url} names no bucket; write s3://bucket/lake")
        self.url, self.access = url.rstrip("/"), access or Access.read()
        self._bucket, self._prefix = parts.netloc, parts.path.strip("/")
        told = self.access
        named: dict[str, Any] = {
            "access_key_id": told.key,
            "secret_access_key": told.secret,
            "endpoint": told.endpoint,
        }
        self._obstore: Any = obstore
        self._store = obstore.store.S3Store(
            self._bucket, prefix=self._prefix or None, region=told.region,
            client_options={
                "allow_http": told.http, "timeout": timedelta(seconds=told.timeout_s),
                "connect_timeout": timedelta(seconds=CONNECT_S),
            },
            retry_config={"max_retries": TRIES, "retry_timeout": timedelta(seconds=2 * told.timeout_s)},
            **{name: value for name, value in named.items() if value},
        )  # fmt: skip

    @cached_property
    def filesystem(self) -> Any:
        """The bucket as pyarrow reads it, with ranges fetched ahead."""
        from pyarrow.fs import S3FileSystem

        told = self.access
        where = {} if told.endpoint is None else {
            "scheme": told.endpoint.partition("://")[0], "endpoint_override": told.endpoint.partition("://")[2],
        }  # fmt: skip
        return S3FileSystem(
            access_key=told.key, secret_key=told.secret, region=told.region, request_timeout=told.timeout_s,
            connect_timeout=CONNECT_S, **where,
        )  # fmt: skip

    def path(self, name: str) -> str:
        """Return the path of a name in `filesystem`."""
        return "/".join(part for part in (self._bucket, self._prefix, name) if part)

    def _failed(self, name: str, error: Exception) -> MeterlakeError:
        what = str(error).splitlines()[0]
        return MeterlakeError(f"{self.url}/{name}: {what}; check the bucket, its keys and {ENDPOINT}")

    def read(self, name: str) -> tuple[bytes, str] | None:
        """Return the bytes of a name and a mark that changes with them; None where there is none."""
        try:
            found = self._obstore.get(self._store, name)
            return bytes(found.bytes()), found.meta["e_tag"] or ""
        except (FileNotFoundError, self._obstore.exceptions.NotFoundError):
            return None
        except self._obstore.exceptions.BaseError as error:
            raise self._failed(name, error) from error

    def write(self, name: str, data: bytes | pa.Buffer, *, new: bool = False) -> None:
        """Keep ``data`` under a name, durable and whole; with ``new`` only where it is not there."""
        exceptions, held_bytes = self._obstore.exceptions, memoryview(data).cast("B")
        try:
            self._obstore.put(
                self._store, name, held_bytes, mode="create" if new else "overwrite", use_multipart=False
            )
            held = self._obstore.head(self._store, name)
        except exceptions.AlreadyExistsError as error:
            raise Conflict(f"{self.url}/{name} was written by another process meanwhile") from error
        except exceptions.BaseError as error:
            raise self._failed(name, error) from error
        if held["size"] != held_bytes.nbytes:
            raise MeterlakeError(
                f"{self.url}/{name} has {held['size']} bytes of {held_bytes.nbytes}; try again"
            )

    def list(self, prefix: str) -> list[Kept]:
        """Return what is kept under names that begin with ``prefix``, by name."""
        try:
            return sorted(self._under(prefix), key=lambda one: one.name)
        except self._obstore.exceptions.BaseError as error:
            raise self._failed(prefix, error) from error

    def _under(self, prefix: str) -> Iterator[Kept]:
        folder = prefix.rpartition("/")[0]
        for batch in self._obstore.list(self._store, folder or None):
            for one in batch:
                if one["path"].startswith(prefix):
                    yield Kept(one["path"], one["size"], one["last_modified"].timestamp())

    def delete(self, name: str) -> None:
        """Let go of a name; nothing where there is none."""
        try:
            self._obstore.delete(self._store, name)
        except (FileNotFoundError, self._obstore.exceptions.NotFoundError):
            return
        except self._obstore.exceptions.BaseError as error:
            raise self._failed(name, error) from error

    def opened(self, name: str) -> Any:
        """Return a file of which ranges are read."""
        return self.filesystem.open_input_file(self.path(name))


_CONFORMS: type[Store] = S3Store
