"""Exports of made-up chains, as the control plane writes them; used by verifier and CLI tests."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from proof.audit_chain import GENESIS, ChainWalk, event_hash
from proof.dsse import seal
from proof.keys import encode_public, fingerprint
from proof.merkle import consistency_proof, leaf_hash
from wire.audit import CHECKPOINT_TYPE, Checkpoint, CheckpointRef, ExportHeader, SignedCheckpoint

CHAIN = UUID(int=7)
ORGANIZATION = UUID(int=8)
START = datetime(2026, 1, 31, 9, tzinfo=UTC)


def rehash(events: list[dict[str, Any]], start: int = 0) -> list[dict[str, Any]]:
    """Make a chain hold again from an index on, as somebody with the database would."""
    changed = [dict(event) for event in events]
    for index in range(start, len(changed)):
        changed[index]["seq"] = index + 1
        changed[index]["prev_hash"] = changed[index - 1]["hash"] if index else GENESIS
        changed[index]["hash"] = event_hash(changed[index])
    return changed


def make_events(count: int, *, marker: str = "") -> list[dict[str, Any]]:
    """Return a chain of events, one second apart."""
    events = [
        {
            "seq": number,
            "chain_id": str(CHAIN),
            "organization_id": str(ORGANIZATION),
            "boundary_id": str(CHAIN),
            "at": (START + timedelta(seconds=number)).isoformat(timespec="microseconds"),
            "code": "boundary.updated",
            "actor": {"principal_id": None, "issuer": "i", "subject": "s", "kind": "human"},
            "request_id": f"request-{number}",
            "target": "boundary/7",
            "detail": {"number": number, "marker": marker},
            "prev_hash": "",
            "hash": "",
        }
        for number in range(1, count + 1)
    ]
    return rehash(events)


def make_checkpoints(
    events: list[dict[str, Any]], sizes: Iterable[int], key: Ed25519PrivateKey
) -> list[SignedCheckpoint]:
    """Return the signed checkpoints of a chain at these sizes, each naming the one before."""
    walk, before, found = ChainWalk(), None, []
    nodes: dict[tuple[int, int], bytes] = {}
    wanted = set(sizes)

    def subtree(level: int, index: int) -> bytes:
        return nodes[level, index]

    for event in events:
        nodes[0, walk.size] = leaf_hash(bytes.fromhex(event["hash"][7:]))
        nodes.update({(level, index): node for level, index, node in walk.follow(event)})
        if walk.size not in wanted:
            continue
        checkpoint = Checkpoint(
            chain="boundary/payments",
            chain_id=CHAIN,
            organization_id=ORGANIZATION,
            boundary_id=CHAIN,
            size=walk.size,
            root=walk.root(),
            head_hash=walk.head_hash,
            at=START + timedelta(seconds=walk.size + 1),
            previous=CheckpointRef(size=before.size, root=before.root) if before else None,
        )
        first = before.size if before else 0
        proof = consistency_proof(first, walk.size, subtree)
        found.append(
            SignedCheckpoint(
                envelope=seal(key, CHECKPOINT_TYPE, checkpoint.to_wire()),
                public_key=encode_public(key),
                consistency=tuple(part.hex() for part in proof),
            )
        )
        before = checkpoint
    return found


@dataclass
class Export:
    """An export whose parts a test may change before it is written."""

    events: list[dict[str, Any]]
    checkpoints: list[SignedCheckpoint]
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    generated_at: datetime = START + timedelta(minutes=5)
    ends: bool = True

    def lines(self) -> list[bytes]:
        """Return the lines, with a trailer that fits what is there now."""
        walk = ChainWalk()
        for event in rehash(self.events):
            walk.follow(event)
        header = ExportHeader(
            chain="boundary/payments",
            chain_id=CHAIN,
            organization_id=ORGANIZATION,
            boundary_id=CHAIN,
            size=len(self.events),
            generator="test",
            generated_at=self.generated_at,
            ocsf_version="1.5.0",
            keys={fingerprint(self.key): encode_public(self.key)},
        )
        documents: list[dict[str, Any]] = [header.to_wire()]
        documents += [{"type": "event", "event": event, "ocsf": {}} for event in self.events]
        documents += [{"type": "checkpoint", "checkpoint": c.to_wire()} for c in self.checkpoints]
        if self.ends:
            last = self.events[-1]["hash"] if self.events else GENESIS
            documents.append(
                {
                    "type": "trailer",
                    "count": len(self.events),
                    "checkpoints": len(self.checkpoints),
                    "head_hash": last,
                    "root": walk.root(),
                }
            )
        return [json.dumps(document).encode() + b"\n" for document in documents]

    def write(self, path: Path) -> Path:
        """Write the export to a file."""
        path.write_bytes(b"".join(self.lines()))
        return path


def make_export(
    count: int = 40, sizes: Iterable[int] = (10, 25, 38), key: Ed25519PrivateKey | None = None
) -> Export:
    """Return a whole and honest export."""
    key = key or Ed25519PrivateKey.generate()
    events = make_events(count)
    return Export(events, make_checkpoints(events, sizes, key), key)
