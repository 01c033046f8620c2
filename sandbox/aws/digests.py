"""Checksums that a client states for an upload: S3 refuses a body that differs.

Called before an upload reaches the store, which would keep whatever checksum it is told.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Callable, Mapping

from sandbox.aws.errors import AwsError
from sandbox.aws.messages import Call

Digest = Callable[[bytes], bytes]

# CRC32C and CRC64NVME are left to the client: the standard library has neither.
_DIGESTS: Mapping[str, tuple[str, Digest]] = {
    "x-amz-checksum-sha256": ("SHA256", lambda body: hashlib.sha256(body).digest()),
    "x-amz-checksum-sha1": ("SHA1", lambda body: hashlib.sha1(body).digest()),  # noqa: S324 (S3's)
    "x-amz-checksum-crc32": ("CRC32", lambda body: zlib.crc32(body).to_bytes(4, "big")),
    "content-md5": ("Content-MD5", lambda body: hashlib.md5(body).digest()),  # noqa: S324 (S3's)
}
_WITH_BODY = ("PutObject", "UploadPart", "DeleteObjects")


def check_digests(call: Call) -> None:
    """Compare the stated checksums with the body. Raises AwsError BadDigest."""
    if call.operation not in _WITH_BODY:
        return
    for header, (name, digest) in _DIGESTS.items():
        stated = call.request.headers.get(header)
        if stated is not None and stated != base64.b64encode(digest(call.request.body)).decode():
            text = f"The {name} you specified did not match the calculated checksum."
            raise AwsError("BadDigest", text)
