"""What is made once before the roles start: the bucket, the lake with its registry, the topics. Doing it again changes nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from urllib.parse import urlsplit


def make_bucket(environment: dict[str, str]) -> None:
    """Make the bucket of the lake where there is none."""
    from pyarrow.fs import FileType, S3FileSystem

    lake, endpoint = urlsplit(environment["METERLAKE_LAKE"]), environment.get("METERLAKE_S3_ENDPOINT")
    if lake.scheme != "s3" or not endpoint:
        return  # a folder, or a store of somebody else, who makes the bucket
    where = urlsplit(endpoint)
    store = S3FileSystem(
        access_key=environment["AWS_ACCESS_KEY_ID"], secret_key=environment["AWS_SECRET_ACCESS_KEY"],
        region=environment.get("METERLAKE_S3_REGION", "us-east-1"), scheme=where.scheme, endpoint_override=where.netloc,
        allow_bucket_creation=True,
    )  # fmt: skip
    if store.get_file_info(lake.netloc).type == FileType.NotFound:
        store.create_dir(lake.netloc)


def main() -> None:
    """Make everything, and stop at the first part that cannot be made."""
    make_bucket(dict(os.environ))
    partitions = os.environ.get("PARTITIONS", "8")
    for command in (["init"], ["topics", "create", "--partitions", partitions, "--replication", "3"]):
        subprocess.run([sys.executable, "-m", "meterlake", *command], check=True)  # noqa: S603 - ours


if __name__ == "__main__":
    main()
