"""Entry point of the image `ringfence/fetcher`: one artifact, from S3 into the model store.

Run by the Job of `operators.artifact`, with its own service account and pod identity. Separate
from the operator because it reaches AWS and the operator reaches nothing outside (decision 15).

The file is hashed while it is written under a temporary name and renamed only when digest and
length are right: a wrong file never has a name that an engine could be given. The last words are
one JSON line in the termination message: {"digest", "size"} or {"error", "digest"?}.

Exit codes: 0 stored (or already there), 3 the source has other bytes (do not try again), 1 anything
else (try again), 2 wrong arguments.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

CHUNK = 1024 * 1024
OTHER_BYTES = 3
TERMINATION_LOG = Path("/dev/termination-log")


class Source(Protocol):
    """Where the bytes come from."""

    def chunks(self) -> Iterator[bytes]:
        """Yield the content in order. Raises: OSError, or the client's own error."""
        ...


class DigestMismatchError(ValueError):
    """The source has other bytes than the artifact names."""

    def __init__(self, digest: str, message: str) -> None:
        super().__init__(message)
        self.digest = digest


class S3Object:
    """One object, read through the container's own credentials."""

    def __init__(self, bucket: str, key: str, region: str) -> None:
        self._bucket, self._key, self._region = bucket, key, region

    def chunks(self) -> Iterator[bytes]:
        # Imported here: the digest code is tested and used without it.
        import boto3
        from botocore.config import Config

        settings = Config(
            connect_timeout=10,
            read_timeout=60,
            retries={"max_attempts": 5, "mode": "standard"},
            s3={"addressing_style": "path" if os.environ.get("AWS_ENDPOINT_URL") else "auto"},
        )
        client: Any = boto3.client("s3", region_name=self._region, config=settings)
        body = client.get_object(Bucket=self._bucket, Key=self._key)["Body"]
        yield from body.iter_chunks(CHUNK)


def digest_of(path: Path) -> str:
    """Return a file's SHA-256 as `sha256:<hex>`."""
    with path.open("rb") as handle:
        return f"sha256:{hashlib.file_digest(handle, 'sha256').hexdigest()}"


def fetch(source: Source, store: Path, digest: str, size: int) -> Path:
    """Put the artifact into the store and return its path; nothing is left when it is refused.

    Raises: DigestMismatchError when digest or length differ, with the digest of what was read.
    """
    target = store / digest.replace(":", "-")
    if target.is_file() and target.stat().st_size == size and digest_of(target) == digest:
        return target
    handle, name = tempfile.mkstemp(prefix=".partial-", dir=store)
    partial = Path(name)
    try:
        with os.fdopen(handle, "wb") as out:
            found, length = _copy(source, out, size)
            out.flush()
            os.fsync(out.fileno())
        if length > size:
            raise DigestMismatchError(found, f"the source is longer than {size} bytes")
        if found != digest:
            raise DigestMismatchError(found, f"the source has {length} bytes with digest {found}")
        if length != size:
            raise DigestMismatchError(found, f"size says {size} bytes, the artifact has {length}")
        # Read-only for all: engines run as other users and mount the store read-only.
        partial.chmod(0o444)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target


def _copy(source: Source, out: Any, size: int) -> tuple[str, int]:
    """Write until the end, or until more than `size` bytes came; return digest and length."""
    hasher, length = hashlib.sha256(), 0
    for chunk in source.chunks():
        hasher.update(chunk)
        length += len(chunk)
        if length > size:
            break
        out.write(chunk)
    return f"sha256:{hasher.hexdigest()}", length


def say(message: dict[str, Any], path: Path) -> None:
    """Write the last words where Kubernetes reads them, and to the log."""
    line = json.dumps(message)
    print(line, flush=True)
    try:
        path.write_text(line, encoding="utf-8")
    except OSError as error:
        print(f"fetcher: {path} cannot be written: {error}", file=sys.stderr, flush=True)


def main(argv: list[str] | None = None) -> int:
    """Fetch as the arguments say; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m operators.fetcher", description=__doc__)
    for name in ("bucket", "key", "region", "digest"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--size", required=True, type=int)
    parser.add_argument("--store", required=True, type=Path)
    parser.add_argument("--termination-log", type=Path, default=TERMINATION_LOG)
    options = parser.parse_args(argv)
    from botocore.exceptions import BotoCoreError, ClientError

    source = S3Object(options.bucket, options.key, options.region)
    try:
        fetch(source, options.store, options.digest, options.size)
    except DigestMismatchError as error:
        say({"error": str(error), "digest": error.digest}, options.termination_log)
        return OTHER_BYTES
    except (BotoCoreError, ClientError, OSError) as error:
        where = f"s3://{options.bucket}/{options.key}"
        say({"error": f"{where}: {error}"[:1000]}, options.termination_log)
        return 1
    say({"digest": options.digest, "size": options.size}, options.termination_log)
    return 0


if __name__ == "__main__":
    sys.exit(main())
