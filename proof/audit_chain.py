"""The hash chain of audit events and the checkpoints over it: pure.

Used by the control plane when it appends and signs, by the agent when it witnesses, and by
`proof.audit_log`, which verifies a whole export.
Source: access.md 6, ADR 0019.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from rfc8785 import CanonicalizationError

from proof.canonical import canonical_bytes, digest
from proof.dsse import SignatureError, open_envelope
from proof.keys import KeyFileError, decode_public, fingerprint
from proof.merkle import EMPTY_ROOT, Frontier, ProofError, leaf_hash, verify_consistency
from wire.audit import CHECKPOINT_TYPE, Checkpoint, SignedCheckpoint

GENESIS = "sha256:" + "0" * 64
"""What the first event of a chain has for the hash before it."""


class CheckpointError(ValueError):
    """A checkpoint is not from whom the reader trusts, or does not continue the one before."""


class BrokenChainError(ValueError):
    """An event does not continue its chain; `seq` is the first bad sequence number."""

    def __init__(self, seq: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.seq = seq
        self.kind = kind


def event_hash(event: Mapping[str, Any]) -> str:
    """Return the hash of an event over everything in it, the earlier hash included.

    Shapes: `event` is the JSON form of `wire.audit.AuditRecord`; its own `hash` is left out.
    """
    document = {key: value for key, value in event.items() if key not in ("hash", "chain_id")}
    return digest({"chain": event["chain_id"], **document})


def hash_template(event: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """Return the canonical JSON of an event in four parts, around its time, earlier hash and
    sequence.

    Those three are known only under the chain's lock, in the database; there each is plain ASCII
    with one canonical form, so that putting the parts together is exact and needs no encoder.
    Shapes: `event` has everything of `wire.audit.AuditRecord` but `at`, `prev_hash`, `seq`, `hash`.
    """
    middle = {
        "boundary_id": event["boundary_id"],
        "chain": event["chain_id"],
        "code": event["code"],
        "detail": event["detail"],
        "organization_id": event["organization_id"],
    }
    return (
        _members({"actor": event["actor"]}, opening="{") + ',"at":"',
        '",' + _members(middle) + ',"prev_hash":"',
        '",' + _members({"request_id": event["request_id"]}) + ',"seq":',
        "," + _members({"target": event["target"]}, closing="}"),
    )


def _members(document: dict[str, Any], *, opening: str = "", closing: str = "") -> str:
    return opening + canonical_bytes(document)[1:-1].decode() + closing


def hash_bytes(text: str) -> bytes:
    """Return the 32 bytes of `sha256:<hex>`. Raises: ValueError."""
    kind, _, value = text.partition(":")
    if kind != "sha256" or len(value) != 64:
        raise ValueError(f"{text[:80]!r} is not a SHA-256 hash")
    return bytes.fromhex(value)


def hash_text(value: bytes) -> str:
    """Return `sha256:<hex>` of a node's bytes."""
    return "sha256:" + value.hex()


def event_leaf(hash_of_event: str) -> bytes:
    """Return the leaf of an event: over the 32 bytes of its hash, which covers all of it."""
    return leaf_hash(hash_bytes(hash_of_event))


class ChainWalk:
    """Follows a chain from a known state, event by event, and keeps the tree over it."""

    def __init__(
        self, size: int = 0, head_hash: str = GENESIS, frontier: Frontier | None = None
    ) -> None:
        self.size = size
        self.head_hash = head_hash
        self.frontier = frontier or Frontier()

    def follow(self, event: Mapping[str, Any]) -> list[tuple[int, int, bytes]]:
        """Take the next event; return the subtrees it completed. Raises: BrokenChainError."""
        expected = self.size + 1
        if event["seq"] != expected:
            raise BrokenChainError(
                expected, "missing", f"event {expected} is missing: {event['seq']} comes instead"
            )
        if event["prev_hash"] != self.head_hash:
            raise BrokenChainError(
                expected, "unlinked", f"event {expected} does not continue the event before it"
            )
        try:
            computed = event_hash(event)
        except CanonicalizationError as error:
            raise BrokenChainError(
                expected, "edited", f"event {expected} has a value that was never written: {error}"
            ) from error
        if computed != event["hash"]:
            raise BrokenChainError(
                expected, "edited", f"event {expected} is not what was written: its hash differs"
            )
        completed = self.frontier.append(event_leaf(computed))
        self.size, self.head_hash = expected, computed
        return completed

    def root(self) -> str:
        """Return the root over all events so far."""
        return hash_text(self.frontier.root())


def open_checkpoint(
    signed: SignedCheckpoint, pins: frozenset[str] | None
) -> tuple[Checkpoint, Ed25519PublicKey]:
    """Return the checkpoint once its signature holds, and the key that made it.

    `pins` are fingerprints the reader trusts; None takes the key that the file carries.
    Raises: CheckpointError.
    """
    try:
        key = decode_public(signed.public_key)
        if pins is not None and fingerprint(key) not in pins:
            raise CheckpointError(f"it is signed by {fingerprint(key)}, not by the pinned key")
        document = open_envelope(signed.envelope, CHECKPOINT_TYPE, {"control plane": key})
        # pydantic's ValidationError is a ValueError, as are the errors of version and key.
        return Checkpoint.from_wire(document), key
    except (SignatureError, KeyFileError) as error:
        raise CheckpointError(str(error)) from error
    except CheckpointError:
        raise
    except ValueError as error:
        raise CheckpointError("the signed document is not a checkpoint") from error


def check_succession(before: Checkpoint | None, signed: SignedCheckpoint, now: Checkpoint) -> None:
    """Check that `now` names `before` and proves that it only added to it.

    Raises: CheckpointError.
    """
    if (now.previous is None) != (before is None):
        raise CheckpointError(f"checkpoint {now.size} does not name the one before it")
    if now.previous is None or before is None:
        return
    if (now.previous.size, now.previous.root) != (before.size, before.root):
        raise CheckpointError(
            f"checkpoint {now.size} continues another history: it names {now.previous.size}"
            f" {now.previous.root}, known is {before.size} {before.root}"
        )
    try:
        verify_consistency(
            before.size,
            now.size,
            [bytes.fromhex(part) for part in signed.consistency],
            hash_bytes(before.root),
            hash_bytes(now.root),
        )
    except (ProofError, ValueError) as error:
        raise CheckpointError(
            f"checkpoint {now.size} does not contain checkpoint {before.size}: {error}"
        ) from error


def empty_root() -> str:
    """Return the root over no events."""
    return hash_text(EMPTY_ROOT)
