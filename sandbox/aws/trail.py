"""CloudTrail: one record per call, delivered as gzipped files to the account's trail bucket.

The gate hands every call over; a thread delivers. Changes also go to the ledger. Neither ever holds
a secret, a token or an object's body.
"""

from __future__ import annotations

import gzip
import json
import logging
import os
import secrets
import threading
import uuid
from datetime import datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from sandbox.aws.clock import Clock, iso
from sandbox.aws.errors import AwsError
from sandbox.aws.faults.catalogue import created
from sandbox.aws.files import write_private
from sandbox.aws.ledger import Ledger
from sandbox.aws.messages import Call, Caller, Response
from sandbox.aws.moto_store import MotoStore, StoreCall

log = logging.getLogger("sandbox.aws.trail")
HIDDEN = "HIDDEN_DUE_TO_SECURITY_REASONS"
_SECRET_KEYS = {
    "sessiontoken", "secretaccesskey", "token", "plaintext", "ciphertextblob", "clientrequesttoken",
    "certificateauthority", "encodedmessage", "decodedmessage", "privatekey", "password",
}  # fmt: skip
_DATA_EVENTS = {
    "GetObject", "HeadObject", "PutObject", "DeleteObject", "DeleteObjects", "CopyObject",
    "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload", "AbortMultipartUpload",
}  # fmt: skip


def trail_bucket(account: str) -> str:
    """Name the bucket that holds an account's trail."""
    return f"aws-cloudtrail-logs-{account}"


class Trail:
    """Record calls and deliver them."""

    def __init__(
        self, store: MotoStore, data_dir: Path, clock: Clock, region: str, flush_seconds: float
    ) -> None:
        """Open the spool."""
        self._store, self._clock, self._region = store, clock, region
        self._dir = data_dir / "trail"
        self._spool_dir = data_dir / "trail-spool"
        self._spool_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._ledger = Ledger(data_dir)
        self._seconds = flush_seconds
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="trail", daemon=True)

    def start(self) -> None:
        """Begin delivering at the flush interval."""
        self._thread.start()

    def stop(self) -> None:
        """Deliver what is left and stop."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self.flush()
        self._ledger.close()

    def record(
        self,
        call: Call,
        response: Response | None,
        error: AwsError | None,
        *,
        repeated: bool = False,
    ) -> None:
        """Write one call to the trail of each account that sees it, and changes to the ledger.

        With a response and an error the call was done and the caller told otherwise; `repeated` is
        a call whose first answer was given again.
        """
        event = self._event(call, response, error)
        for account in self._recipients(call, error):
            copy = {**event, "recipientAccountId": account, "eventID": str(uuid.uuid4())}
            self._spool(account, call.region, copy)
        if call.mutating and not repeated:
            done = response is not None and response.status < 400
            heard = "lost" if call.fate.lost and done else "error" if error else "answer"
            made = created(call, response) if response is not None and done else []
            self._ledger.record(call, event, done=done, heard=heard, created=made)

    def flush(self) -> None:
        """Deliver the spooled records of every account as one file each."""
        for spool in sorted(self._spool_dir.glob("*.jsonl")):
            with self._lock:
                taken = spool.with_suffix(".sending")
                if not taken.exists():
                    spool.rename(taken)
            self._deliver(taken)

    def _deliver_stored(self) -> None:
        """Put all files delivered in earlier lives back into the buckets."""
        for taken in sorted(self._spool_dir.glob("*.sending")):
            self._deliver(taken)
        for file in sorted(self._dir.rglob("*.json.gz")):
            key = str(file.relative_to(self._dir))
            self._put(key.split("/")[1], key, file.read_bytes())

    def events(self, account: str) -> list[dict[str, Any]]:
        """Read an account's delivered events, the newest first."""
        self.flush()
        found: list[dict[str, Any]] = []
        for file in sorted((self._dir / "AWSLogs" / account).rglob("*.json.gz"), reverse=True):
            found.extend(reversed(json.loads(gzip.decompress(file.read_bytes()))["Records"]))
        return sorted(found, key=lambda one: str(one["eventTime"]), reverse=True)

    def _run(self) -> None:
        """Put earlier files back, then deliver until stopped."""
        self._deliver_stored()
        while not self._stop.wait(self._seconds):
            self.flush()

    def _spool(self, account: str, region: str, event: dict[str, Any]) -> None:
        """Append an event to the spool of an account and region."""
        path = self._spool_dir / f"{account}.{region}.jsonl"
        with self._lock, _append_only(path) as file:
            file.write(json.dumps(event) + "\n")

    def _deliver(self, taken: Path) -> None:
        """Write a spool as one trail file, to disk and bucket, then drop the spool."""
        account, region = taken.name.split(".")[:2]
        records = [json.loads(line) for line in taken.read_text().splitlines() if line]
        if records:
            now = self._clock.now()
            key = (
                f"AWSLogs/{account}/CloudTrail/{region}/{now:%Y/%m/%d}/{account}_CloudTrail_{region}"
                f"_{now:%Y%m%dT%H%M}Z_{secrets.token_hex(8)}.json.gz"
            )
            data = gzip.compress(json.dumps({"Records": records}).encode(), mtime=0)
            write_private(self._dir / key, data)
            self._put(account, key, data)
        taken.unlink()

    def _put(self, account: str, key: str, data: bytes) -> None:
        """Put a trail file into the bucket; the file on disk is its durable copy."""
        target = f"/{trail_bucket(account)}/{key}"
        headers = {"content-type": "application/json", "content-encoding": "gzip"}
        call = StoreCall(account, self._region, "s3", "PUT", target, headers, data)
        response = self._store.send(call, record=False)
        if response.status >= 400:
            log.error("trail file %s was not delivered: %s", key, response.status)

    def _recipients(self, call: Call, error: AwsError | None) -> list[str]:
        """List the accounts whose trail shows a call.

        A denied cross-account AssumeRole shows in the caller's account only, as in AWS.
        """
        accounts = [call.caller.account] if call.caller.account else []
        owner = call.account
        if call.operation == "AssumeRole":
            owner = str(call.params.get("RoleArn", "::::")).split(":")[4]
        if owner and owner not in accounts and (error is None or call.operation != "AssumeRole"):
            accounts.append(owner)
        return [one for one in accounts if one.isdigit()]

    def _event(
        self, call: Call, response: Response | None, error: AwsError | None
    ) -> dict[str, Any]:
        """Build one record."""
        event: dict[str, Any] = {
            "eventVersion": "1.11",
            "userIdentity": _identity(call.caller),
            "eventTime": iso(self._clock.now()),
            "eventSource": f"{call.service}.amazonaws.com",
            "eventName": call.operation,
            "awsRegion": call.region,
            "sourceIPAddress": call.request.source_ip,
            "userAgent": call.request.headers.get("user-agent", ""),
            "requestParameters": _clean(call.params) or None,
            "responseElements": _elements(call, response),
            "requestID": call.id,
            "readOnly": not call.mutating,
            "eventType": "AwsApiCall",
            "managementEvent": call.operation not in _DATA_EVENTS,
            "eventCategory": "Data" if call.operation in _DATA_EVENTS else "Management",
        }
        if error:
            event["errorCode"], event["errorMessage"] = error.code, _unsealed(error.message)
        elif response is not None and response.status >= 400:
            event["errorCode"] = response.headers.get("x-amzn-ErrorType") or _code(response)
        return event


def _append_only(path: Path) -> Any:
    """Open a private file for appending."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "w")


def _identity(caller: Caller) -> dict[str, Any]:
    """Describe the caller as CloudTrail does."""
    identity: dict[str, Any] = {
        "type": "AssumedRole" if caller.kind == "session" else "IAMUser",
        "principalId": caller.user_id,
        "arn": caller.arn,
        "accountId": caller.account,
        "accessKeyId": caller.access_key,
    }
    if caller.kind == "service":
        return {"type": "AWSService", "invokedBy": caller.name}
    if caller.kind == "user":
        return {**identity, "userName": caller.name}
    context: dict[str, Any] = {
        "sessionIssuer": {
            "type": "Role",
            "principalId": caller.user_id.partition(":")[0],
            "arn": caller.role_arn,
            "accountId": caller.account,
            "userName": caller.name,
        },
        "attributes": {"creationDate": caller.issued_at, "mfaAuthenticated": "false"},
    }
    if caller.source_identity:
        context["sourceIdentity"] = caller.source_identity
    return {**identity, "sessionContext": context}


def _clean(value: Any) -> Any:
    """Hide secrets and shorten long texts."""
    if isinstance(value, dict):
        return {
            key: HIDDEN if key.lower() in _SECRET_KEYS else _clean(one)
            for key, one in value.items()
        }
    if isinstance(value, list):
        return [_clean(one) for one in value]
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, str) and len(value) > 20000:
        return value[:20000] + "…"
    return value


def _elements(call: Call, response: Response | None) -> Any:
    """Give the answer of a change, without secrets; reads have none in CloudTrail."""
    if response is None or not call.mutating or response.status >= 400 or not response.body:
        return None
    if call.service == "s3":
        return None
    try:
        if response.body.lstrip().startswith(b"<"):
            return _clean(_as_dict(ET.fromstring(response.body)))  # noqa: S314 (our own)
        return _clean(json.loads(response.body))
    except (ET.ParseError, ValueError):
        return None


def _as_dict(element: ET.Element) -> Any:
    """Turn XML into nested values."""
    children = list(element)
    if not children:
        return element.text
    names = [child.tag.rpartition("}")[2] for child in children]
    if len(set(names)) == 1 and names[0] in ("item", "member"):
        return [_as_dict(child) for child in children]
    return {name: _as_dict(child) for name, child in zip(names, children, strict=True)}


def _code(response: Response) -> str:
    """Find the error code of a service's answer."""
    try:
        if response.body.lstrip().startswith(b"<"):
            root = ET.fromstring(response.body)  # noqa: S314 (our own)
            for one in root.iter():
                if one.tag.rpartition("}")[2] == "Code":
                    return one.text or "Error"
        return str(json.loads(response.body).get("__type", "Error"))
    except (ET.ParseError, ValueError, AttributeError):
        return f"HTTP{response.status}"


def _unsealed(message: str) -> str:
    """Drop the sealed authorization message; CloudTrail does not carry it."""
    return message.partition(" Encoded authorization failure message:")[0]
