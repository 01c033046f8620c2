"""A bucket as the runner sees it: just enough of S3's client for one prefix."""

from __future__ import annotations

import io
from typing import Any

from botocore.exceptions import ClientError


class Bucket:
    """Objects by key; `fails` makes the next calls of an operation fail."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.fails: list[str] = []

    def _may_fail(self, operation: str) -> None:
        if operation in self.fails:
            self.fails.remove(operation)
            raise ClientError({"Error": {"Code": "SlowDown"}}, operation)

    def list_objects_v2(self, *, Bucket: str, Prefix: str, **more: Any) -> dict[str, Any]:  # noqa: N803
        """Answer in pages of two, so that paging is used."""
        self._may_fail("ListObjectsV2")
        keys = sorted(key for key in self.objects if key.startswith(Prefix))
        start = int(more.get("ContinuationToken", 0))
        page: dict[str, Any] = {"Contents": [{"Key": key} for key in keys[start : start + 2]]}
        if start + 2 < len(keys):
            page |= {"IsTruncated": True, "NextContinuationToken": str(start + 2)}
        return page

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803
        self._may_fail("GetObject")
        if Key not in self.objects:
            raise ClientError({"Error": {"Code": "NoSuchKey"}}, "GetObject")
        return {"Body": io.BytesIO(self.objects[Key])}

    def put_object(self, *, Bucket: str, Key: str, Body: bytes) -> dict[str, Any]:  # noqa: N803
        self._may_fail("PutObject")
        self.objects[Key] = Body
        return {}
