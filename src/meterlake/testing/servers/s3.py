"""A store that speaks S3: versitygw over a folder."""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from meterlake.testing.servers.processes import answers, free_port, home, kill, needed, start, stop, wait

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

REGION: Final = "us-east-1"


class S3Server:
    """One store; it can be killed and started again on its own data and port."""

    def __init__(self, folder: Path) -> None:
        """Keep everything in ``folder``."""
        self._folder, self.port = folder, free_port()
        self.access_key, self.secret_key = f"test{secrets.token_hex(4)}", secrets.token_hex(16)
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "data").mkdir()

    @property
    def pid(self) -> int:
        """Id of its process."""
        assert self._process is not None, "it is not running"
        return self._process.pid

    @property
    def endpoint(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def env(self) -> dict[str, str]:
        """Environment of a Meterlake that uses it."""
        return {
            "METERLAKE_S3_ENDPOINT": self.endpoint, "METERLAKE_S3_ALLOW_HTTP": "yes", "METERLAKE_S3_REGION": REGION,
            "AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key,
        }  # fmt: skip

    def bucket(self, name: str) -> str:
        """Make a bucket; return its URL."""
        from pyarrow.fs import S3FileSystem

        S3FileSystem(
            access_key=self.access_key, secret_key=self.secret_key, region=REGION, scheme="http",
            endpoint_override=f"127.0.0.1:{self.port}", allow_bucket_creation=True,
        ).create_dir(name)  # fmt: skip
        return f"s3://{name}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [needed("versitygw"), "--port", f"127.0.0.1:{self.port}", "--quiet", "posix", str(self._folder / "data")]  # fmt: skip
        log = self._folder / "out.log"
        env = {"ROOT_ACCESS_KEY": self.access_key, "ROOT_SECRET_KEY": self.secret_key}
        self._process = start(command, log, env=env)
        wait(lambda: answers(self.port), self._process, log)

    def kill(self) -> None:
        """End it as a power cut does."""
        kill(self._process)
        self._process = None

    def stop(self) -> None:
        """End it in order."""
        if self._process is not None:
            stop(self._process)
            self._process = None


@contextmanager
def s3() -> Iterator[S3Server]:
    """Run a store that answers."""
    with home("s3") as folder:
        server = S3Server(folder)
        try:
            server.start()
            yield server
        finally:
            server.stop()
