"""Our side of a runner's mailbox: orders in, answers out, and who it is that answers.

Called by `kubernetes/reach_runner.py`. Whoever may write into the customer's bucket can leave a
hello there, so it counts only with a call to STS that nobody but the task's role can have signed;
an answer counts only under the key of that hello.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import tarfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import httpx2
from botocore.exceptions import ClientError
from pydantic import ValidationError

from controlplane.adapters.aws.account import Account
from controlplane.adapters.aws.errors import error_code, translated
from controlplane.core.errors import ForbiddenError, UnavailableError
from proof.canonical import bytes_digest, canonical_bytes, digest
from proof.dsse import SignatureError, open_envelope
from proof.keys import KeyFileError, decode_public
from wire.envelope import Envelope
from wire.runner import (
    ANSWER_TYPE,
    HELLO_HEADER,
    MAX_DOCUMENT_BYTES,
    ProvenHello,
    RunnerAnswer,
    RunnerHello,
    chart_key,
    run_prefix,
)

_MISSING = frozenset({"404", "NoSuchKey", "NotFound"})
_ARN = re.compile(r"<Arn>([^<]{20,500})</Arn>")
_TIMEOUT_SECONDS = 10.0


class NotOurRunnerError(ForbiddenError):
    """Something in the mailbox is not from the task that we started."""

    code = "not-our-runner"


@dataclass(frozen=True)
class Sent:
    """An order as it lies in the mailbox."""

    name: str
    digest: str


class RunnerMailbox:
    """One run's prefix in the boundary's bucket."""

    def __init__(self, account: Account, bucket: str, run_id: UUID) -> None:
        self._account, self._bucket, self._run_id = account, bucket, run_id

    def hello(self, mailbox: str, role_arn: str, task: str) -> RunnerHello | None:
        """Return what the task said of itself, None before it did, or when its proof is too old.

        Raises: NotOurRunnerError when the proof is of another role, or of another task.
        """
        raw = self._read(f"{mailbox}hello.json")
        if raw is None:
            return None
        try:
            said = ProvenHello.from_wire(json.loads(raw))
        except (ValidationError, ValueError) as error:
            raise NotOurRunnerError(f"{mailbox}hello.json is no hello") from error
        arn = self._who_signed(said)
        if arn is None:
            return None
        wanted = _session_arn(role_arn, task)
        place = (said.hello.run_id, said.hello.mailbox)
        if arn != wanted or place != (self._run_id, mailbox):
            raise NotOurRunnerError(
                f"the hello in {mailbox} is of {arn}, not of the task that we started",
                fix="look at who may write into the boundary's bucket",
            )
        return said.hello

    def _who_signed(self, said: ProvenHello) -> str | None:
        """Let STS tell who signed the hello; None while it does not accept the call.

        Always our own endpoint of STS: what the hello names is a header of the signature, no more.
        """
        endpoint = urlsplit(self._account.client("sts").meta.endpoint_url)
        headers = {"host": said.host, HELLO_HEADER: digest(said.hello.to_wire())}
        url = f"{endpoint.scheme}://{endpoint.netloc}/?{said.query}"
        try:
            answer = httpx2.get(url, headers=headers, timeout=_TIMEOUT_SECONDS)
        except httpx2.HTTPError as error:
            raise UnavailableError(
                f"STS does not answer ({type(error).__name__})", code="aws-unreachable"
            ) from error
        found = _ARN.search(answer.text) if answer.status_code == 200 else None
        return found.group(1) if found else None

    def last_sequence(self, mailbox: str, fence: int) -> int:
        """Return the highest sequence of a fence's orders, 0 when it has given none."""
        prefix = f"{mailbox}orders/{fence:010d}-"
        with translated("s3:ListObjectsV2"):
            pages = self._account.client("s3").get_paginator("list_objects_v2")
            keys = [
                item["Key"]
                for page in pages.paginate(Bucket=self._bucket, Prefix=prefix)
                for item in page.get("Contents", ())
            ]
        return max((int(key.removeprefix(prefix).removesuffix(".json")) for key in keys), default=0)

    def send(self, mailbox: str, name: str, order: Envelope) -> Sent:
        """Leave a signed order."""
        raw = canonical_bytes(order.model_dump(mode="json"))
        self._write(f"{mailbox}orders/{name}.json", raw)
        return Sent(name, bytes_digest(raw))

    def answer(self, mailbox: str, sent: Sent, hello: RunnerHello) -> RunnerAnswer | None:
        """Return the answer to an order, None before there is one.

        Raises: NotOurRunnerError when it is not signed by the runner, or answers other bytes.
        """
        raw = self._read(f"{mailbox}answers/{sent.name}.json")
        if raw is None:
            return None
        try:
            document = open_envelope(
                Envelope.model_validate_json(raw),
                ANSWER_TYPE,
                {"runner's": decode_public(hello.signing_key)},
            )
            answer = RunnerAnswer.from_wire(document)
        except (ValidationError, SignatureError, KeyFileError) as error:
            raise NotOurRunnerError(f"the answer to {sent.name} is not the runner's") from error
        if (answer.run_id, answer.mailbox, answer.order, answer.order_digest) != (
            self._run_id, mailbox, sent.name, sent.digest,
        ):  # fmt: skip
            raise NotOurRunnerError(f"the answer in {sent.name} is to another order")
        return answer

    def put_chart(self, chart: Path) -> str:
        """Pack a chart so that the same files give the same bytes; return the digest."""
        packed = pack_chart(chart)
        found = bytes_digest(packed)
        self._write(chart_key(self._run_id, found), packed)
        return found

    def clear(self) -> int:
        """Delete every version of every object of the run; return how many there were."""
        s3, deleted = self._account.client("s3"), 0
        with translated("s3:ListObjectVersions"):
            pages = s3.get_paginator("list_object_versions")
            found = [
                {"Key": item["Key"], "VersionId": item["VersionId"]}
                for page in pages.paginate(Bucket=self._bucket, Prefix=run_prefix(self._run_id))
                for item in [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
            ]
        for start in range(0, len(found), 1000):
            batch = found[start : start + 1000]
            with translated("s3:DeleteObjects"):
                s3.delete_objects(Bucket=self._bucket, Delete={"Objects": batch, "Quiet": True})
            deleted += len(batch)
        return deleted

    def _read(self, key: str) -> bytes | None:
        with translated("s3:GetObject"):
            try:
                found = self._account.client("s3").get_object(Bucket=self._bucket, Key=key)
            except ClientError as error:
                if error_code(error) in _MISSING:
                    return None
                raise
        with found["Body"] as body:
            raw: bytes = body.read(MAX_DOCUMENT_BYTES + 1)
        if len(raw) > MAX_DOCUMENT_BYTES:
            raise NotOurRunnerError(f"{key} is larger than anything that a runner writes")
        return raw

    def _write(self, key: str, content: bytes) -> None:
        with translated("s3:PutObject"):
            self._account.client("s3").put_object(
                Bucket=self._bucket,
                Key=key,
                Body=content,
                ChecksumAlgorithm="SHA256",
            )


def pack_chart(chart: Path) -> bytes:
    """Return a chart's folder as a packed chart, the same bytes for the same files."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path in sorted(p for p in chart.rglob("*") if p.is_file()):
            content = path.read_bytes()
            entry = tarfile.TarInfo(f"{chart.name}/{path.relative_to(chart).as_posix()}")
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    return gzip.compress(plain.getvalue(), mtime=0)


def _session_arn(role_arn: str, session: str) -> str:
    """Return the ARN of a session of a role: the role's path is not in it."""
    _, partition, _, _, account, resource = role_arn.split(":", 5)
    return f"arn:{partition}:sts::{account}:assumed-role/{resource.rpartition('/')[2]}/{session}"
