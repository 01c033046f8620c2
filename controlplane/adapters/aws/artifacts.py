"""Copy artifacts into the boundary's bucket, each verified by its SHA-256 on both sides.

Called by the saga's step `weights`, beside the creation of the cluster. Separate because it moves
the only large data of an install. An object's key is its digest, so a copy is idempotent and a
retry after a crash costs one HEAD.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from controlplane.adapters.aws.account import Account
from controlplane.adapters.aws.errors import error_code, translated
from controlplane.core.errors import ConflictError, InvalidRequestError, NotFoundError

# S3 takes 5 GiB in one PUT; larger objects go in parts, each with a checksum of its own.
SINGLE_PUT_BYTES = 1 << 30
PART_BYTES = 64 << 20
_MISSING = frozenset({"404", "NoSuchKey", "NotFound"})


@dataclass(frozen=True)
class Artifact:
    """One file of the artifact store; `digest` is `sha256:<hex>`."""

    name: str
    digest: str
    path: Path


@dataclass(frozen=True)
class Stored:
    """Where an artifact is now."""

    name: str
    digest: str
    bucket: str
    key: str
    size: int
    copied: bool
    """False when it was there already."""


@dataclass(frozen=True)
class _Parts:
    """The checksums of a file, as S3 counts them."""

    size: int
    whole: str
    """Base64 SHA-256 of the file."""
    parts: tuple[str, ...]
    """Base64 SHA-256 of each part; empty for a single PUT."""

    @property
    def reported(self) -> str:
        """Return what S3 reports: the checksum, or the checksum of the parts' checksums."""
        if not self.parts:
            return self.whole
        joined = b"".join(base64.b64decode(part) for part in self.parts)
        return base64.b64encode(hashlib.sha256(joined).digest()).decode()


def object_key(digest: str) -> str:
    """Return the key of an artifact in the boundary's bucket."""
    return f"artifacts/{digest.replace(':', '/')}"


def store(
    account: Account,
    bucket: str,
    artifact: Artifact,
    on_progress: Callable[[int, int], None] | None = None,
) -> Stored:
    """Copy one artifact and prove what arrived; `on_progress(done, total)` counts bytes.

    Raises: NotFoundError, InvalidRequestError `wrong-digest` before anything is sent when the file
    is not what it claims; ConflictError `wrong-copy` when S3 reports another checksum.
    """
    sums = _checksums(artifact)
    key = object_key(artifact.digest)
    s3 = account.client("s3")
    if _head(s3, bucket, key) == (sums.size, sums.reported):
        return Stored(artifact.name, artifact.digest, bucket, key, sums.size, copied=False)
    with translated("s3:PutObject"):
        if sums.parts:
            _put_parts(account, bucket, key, artifact.path, sums, on_progress)
        else:
            with artifact.path.open("rb") as body:
                s3.put_object(
                    Bucket=bucket,
                    Key=key,
                    Body=body,
                    ChecksumAlgorithm="SHA256",
                    ChecksumSHA256=sums.whole,
                )
    arrived = _head(account.client("s3"), bucket, key)
    if arrived != (sums.size, sums.reported):
        raise ConflictError(
            f"artifact {artifact.name}: s3://{bucket}/{key} reports {arrived}, "
            f"expected {(sums.size, sums.reported)}",
            code="wrong-copy",
            fix="run the step again; the object is replaced",
        )
    if on_progress:
        on_progress(sums.size, sums.size)
    return Stored(artifact.name, artifact.digest, bucket, key, sums.size, copied=True)


def _checksums(artifact: Artifact) -> _Parts:
    whole, parts, size = hashlib.sha256(), [], 0
    try:
        split = artifact.path.stat().st_size > SINGLE_PUT_BYTES
        with artifact.path.open("rb") as file:
            while chunk := file.read(PART_BYTES):
                whole.update(chunk)
                size += len(chunk)
                if split:
                    parts.append(base64.b64encode(hashlib.sha256(chunk).digest()).decode())
    except FileNotFoundError as error:
        raise NotFoundError(
            f"artifact {artifact.name} is not in the store ({artifact.path.name})",
            fix="import the artifact into RINGFENCE_ARTIFACT_STORE",
        ) from error
    if f"sha256:{whole.hexdigest()}" != artifact.digest:
        raise InvalidRequestError(
            f"artifact {artifact.name}: the file has sha256:{whole.hexdigest()}, "
            f"the catalog says {artifact.digest}",
            code="wrong-digest",
            fix="import the artifact again; nothing was sent",
        )
    return _Parts(size, base64.b64encode(whole.digest()).decode(), tuple(parts))


def _head(s3: Any, bucket: str, key: str) -> tuple[int, str | None] | None:
    with translated("s3:GetObject"):
        try:
            found = s3.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
        except ClientError as error:
            if error_code(error) in _MISSING:
                return None
            raise
    # Of an object in parts S3 gives the checksum of checksums and, after a dash, their number.
    checksum = found.get("ChecksumSHA256")
    return int(found["ContentLength"]), checksum.split("-")[0] if checksum else None


def _put_parts(
    account: Account,
    bucket: str,
    key: str,
    path: Path,
    sums: _Parts,
    on_progress: Callable[[int, int], None] | None,
) -> None:
    upload = account.client("s3").create_multipart_upload(
        Bucket=bucket, Key=key, ChecksumAlgorithm="SHA256"
    )["UploadId"]
    done: list[dict[str, Any]] = []
    try:
        with path.open("rb") as file:
            for number, checksum in enumerate(sums.parts, start=1):
                chunk = file.read(PART_BYTES)
                # A client per part: a long copy outlives the session it began with.
                answer = account.client("s3").upload_part(
                    Bucket=bucket,
                    Key=key,
                    UploadId=upload,
                    PartNumber=number,
                    Body=chunk,
                    ChecksumAlgorithm="SHA256",
                    ChecksumSHA256=checksum,
                )
                done.append(
                    {"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": checksum}
                )
                if on_progress:
                    on_progress(number * PART_BYTES, sums.size)
    except BaseException:
        # What was sent would be billed for ever.
        account.client("s3").abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload)
        raise
    account.client("s3").complete_multipart_upload(
        Bucket=bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": done}
    )
