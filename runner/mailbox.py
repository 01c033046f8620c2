"""The runner's mailbox: one prefix of the boundary's bucket.

Used by `runner.main` and `runner.work`. Reads orders and charts, writes a hello and answers; the
role of the task allows no more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from uuid import UUID

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from wire.runner import MAX_DOCUMENT_BYTES, chart_key

MAX_CHART_BYTES = 8 << 20


class MailboxError(RuntimeError):
    """A call to the bucket failed; the message has the call and the cloud's own code."""


class TooLargeError(ValueError):
    """An object is larger than anything that belongs there."""


class Mailbox:
    """Orders in, answers out."""

    def __init__(self, s3: Any, bucket: str, prefix: str) -> None:
        self._s3, self._bucket, self._prefix = s3, bucket, prefix

    def orders(self) -> list[str]:
        """Return the names of all orders, oldest first. Raises: MailboxError."""
        prefix = f"{self._prefix}orders/"
        names: list[str] = []
        more: dict[str, Any] = {}
        while True:
            answer = self._call(
                self._s3.list_objects_v2, Bucket=self._bucket, Prefix=prefix, **more
            )
            names += [one["Key"].removeprefix(prefix) for one in answer.get("Contents", ())]
            if not answer.get("IsTruncated"):
                return sorted(name.removesuffix(".json") for name in names)
            more = {"ContinuationToken": answer["NextContinuationToken"]}

    def order(self, name: str) -> bytes:
        """Return an order's bytes. Raises: TooLargeError, MailboxError."""
        return self._read(f"{self._prefix}orders/{name}.json", MAX_DOCUMENT_BYTES)

    def chart(self, run_id: UUID, digest: str) -> bytes:
        """Return a packed chart's bytes, unchecked. Raises: TooLargeError, MailboxError."""
        return self._read(chart_key(run_id, digest), MAX_CHART_BYTES)

    def answer(self, name: str, document: bytes) -> None:
        """Write the answer to an order. Raises: MailboxError."""
        self._write(f"{self._prefix}answers/{name}.json", document)

    def hello(self, document: bytes) -> None:
        """Write who we are, in the place of what was said before. Raises: MailboxError."""
        self._write(f"{self._prefix}hello.json", document)

    def _read(self, key: str, limit: int) -> bytes:
        found = self._call(self._s3.get_object, Bucket=self._bucket, Key=key)
        with found["Body"] as body:
            data: bytes = body.read(limit + 1)
        if len(data) > limit:
            raise TooLargeError(f"{key} is larger than {limit} bytes")
        return data

    def _write(self, key: str, document: bytes) -> None:
        self._call(self._s3.put_object, Bucket=self._bucket, Key=key, Body=document)

    def _call(self, method: Callable[..., Any], **arguments: Any) -> Any:
        try:
            return method(**arguments)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "Unknown")
            raise MailboxError(f"{error.operation_name} failed with {code}") from error
        except BotoCoreError as error:
            raise MailboxError(f"the bucket does not answer: {type(error).__name__}") from error


def open_mailbox(session: boto3.Session, bucket: str, prefix: str) -> Mailbox:
    """Return the mailbox with the task's own identity."""
    config = Config(
        retries={"mode": "standard", "max_attempts": 5},
        connect_timeout=5,
        read_timeout=20,
        s3={"addressing_style": "path"},
    )
    return Mailbox(session.client("s3", config=config), bucket, prefix)


def unhandled(names: Iterable[str], handled: set[str]) -> list[str]:
    """Return what has not been looked at, in order."""
    return [name for name in names if name not in handled]
