"""Verify, judge, sign and log one bundle.

Called by `countersigner.server`. The log is the customer's own record of everything that was
signed or refused: append-only JSON lines, each with the hash of the line before.
"""

from __future__ import annotations

import json
import os
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import ValidationError

from countersigner.policy import PolicyFile, judge
from proof.canonical import bytes_digest, canonical_bytes, digest
from proof.dsse import SignatureError, countersign, open_envelope
from proof.keys import decode_public, fingerprint
from wire.bundle import BUNDLE_TYPE, Bundle, Refusal
from wire.envelope import Envelope

GENESIS = "sha256:" + "0" * 64


class BundleLog:
    """The customer's log of decisions; single writer, synced before a signature is handed out."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._previous = GENESIS
        self._last: dict[str, int] = {}
        self._signed: dict[str, str] = {}
        """Boundary -> hash of the payload signed last."""
        if path.exists():
            for number, line in enumerate(path.read_text().splitlines(), start=1):
                self._take(number, json.loads(line))

    def _take(self, number: int, entry: dict[str, Any]) -> None:
        body = {key: value for key, value in entry.items() if key != "hash"}
        if entry["previous"] != self._previous or entry["hash"] != digest(body):
            raise ValueError(f"{self._path}, line {number}: the chain of hashes is broken")
        self._previous = entry["hash"]
        self._remember(entry)

    def _remember(self, entry: dict[str, Any]) -> None:
        if entry["decision"] == "signed":
            self._last[entry["boundary"]] = entry["sequence"]
            self._signed[entry["boundary"]] = entry["payload"]

    def last_sequence(self, boundary: str) -> int:
        """Return the highest sequence signed for a boundary; 0 before the first."""
        return self._last.get(boundary, 0)

    def is_last_signed(self, boundary: str, payload: str) -> bool:
        """Tell whether exactly this payload was the last one signed: its answer may be lost."""
        return self._signed.get(boundary) == payload

    def append(self, body: dict[str, Any]) -> None:
        """Write one decision and wait for the disk."""
        body = {**body, "previous": self._previous}
        entry = {**body, "hash": digest(body)}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(handle, "ab") as file:
            file.write(canonical_bytes(entry) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self._previous = entry["hash"]
        self._remember(body)


class Countersigner:
    """One customer's key and log; the policy file is read anew for each request."""

    def __init__(self, key: Ed25519PrivateKey, policy_path: Path, log: BundleLog) -> None:
        self._key = key
        self._policy_path = policy_path
        self._log = log
        self._lock = threading.Lock()

    def fingerprint(self) -> str:
        """Return the fingerprint of the customer's key."""
        return fingerprint(self._key)

    def sign(self, envelope: Envelope) -> Envelope | Refusal:
        """Return the envelope with the customer's signature, or why it is refused."""
        policies = PolicyFile.model_validate_json(self._policy_path.read_text())
        vendor = decode_public(policies.control_plane_public_key)
        try:
            document = open_envelope(envelope, BUNDLE_TYPE, {"control plane": vendor})
            bundle = Bundle.from_wire(document)
        except SignatureError as error:
            return self._refused(Refusal(code=error.code, reason=str(error)), None, envelope)
        except ValidationError as error:
            refusal = Refusal(code="outside-vocabulary", reason=str(error)[:2000])
            return self._refused(refusal, None, envelope)
        with self._lock:
            payload = bytes_digest(envelope.payload.encode())
            if self._log.is_last_signed(bundle.boundary_name, payload):
                return countersign(envelope, self._key)
            refusal_found = judge(
                bundle,
                digest(document),
                policies.boundaries.get(bundle.boundary_name),
                self._log.last_sequence(bundle.boundary_name),
            )
            if refusal_found:
                return self._refused(refusal_found, bundle, envelope)
            self._log.append(
                {
                    **self._facts(bundle, envelope),
                    "decision": "signed",
                    "code": "signed",
                    "reason": "",
                }
            )
            return countersign(envelope, self._key)

    def _refused(self, refusal: Refusal, bundle: Bundle | None, envelope: Envelope) -> Refusal:
        facts = self._facts(bundle, envelope)
        self._log.append(
            {**facts, "decision": "refused", "code": refusal.code, "reason": refusal.reason}
        )
        return refusal

    @staticmethod
    def _facts(bundle: Bundle | None, envelope: Envelope) -> dict[str, Any]:
        return {
            "at": datetime.now(UTC).isoformat(),
            "boundary": bundle.boundary_name if bundle else "",
            "boundary_id": str(bundle.boundary_id) if bundle else "",
            "sequence": bundle.sequence if bundle else 0,
            "payload": bytes_digest(envelope.payload.encode()),
        }
