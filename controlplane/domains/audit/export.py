"""A whole chain as NDJSON, in constant memory: header, events, checkpoints, trailer.

Used by the export route. The export is an event before the first byte leaves, and that event is the
export's last: a reader sees who made the file. Each page is a transaction of its own, which works
because a chain is only ever appended to: the size is fixed when the export begins.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from typing import Any

from controlplane.core import audit
from controlplane.core.actor import OpContext
from controlplane.core.audit_facts import OCSF_VERSION
from controlplane.core.clock import now
from controlplane.core.db import Database
from controlplane.domains.audit import repository, service
from controlplane.domains.audit.chains import Chain
from controlplane.domains.audit.ocsf import ocsf_event
from proof.audit_chain import GENESIS, event_leaf, hash_text
from proof.keys import decode_public, fingerprint
from proof.merkle import Frontier
from wire.audit import ExportHeader, ExportTrailer

PAGE = 500


@dataclass(frozen=True)
class Export:
    """What an export covers, fixed when it begins."""

    chain: Chain
    size: int
    signed_size: int
    """Size of the newest checkpoint there was; above `size` only if the chain lost its tail."""
    checkpoints: int
    keys: dict[str, str]
    generated_at: datetime


def begin(database: Database, ctx: OpContext, chain: Chain, public_key: str) -> Export:
    """Record that the chain is exported, and fix what the export covers."""
    with database.transaction(chain.scope) as session:
        before, _ = repository.find_head(session, chain.chain_id) or (0, "")
        size = service.record(session, ctx, chain, "audit.exported", {"events": before + 1})
        # The head is locked since the append: no checkpoint can come that covers more than it.
        newest = repository.find_newest_checkpoint(session, chain.chain_id)
        signed_size = newest.size if newest else 0
        signers = {public_key, *repository.list_signers(session, chain.chain_id)}
        return Export(
            chain,
            size,
            signed_size,
            repository.count_checkpoints(session, chain.chain_id, signed_size),
            {fingerprint(decode_public(key)): key for key in sorted(signers)},
            now(),
        )


def lines(database: Database, export: Export) -> Iterator[bytes]:
    """Yield the export, a page of lines at a time."""
    yield _line(_header(export))
    frontier, head_hash = Frontier(), GENESIS
    after = 0
    while after < export.size:
        page = _events(database, export, after)
        if not page:
            # An event is missing: the trailer says what is there, and the verifier says the rest.
            break
        for record in page:
            frontier.append(event_leaf(record["hash"]))
        after, head_hash = page[-1]["seq"], page[-1]["hash"]
        yield b"".join(
            _line({"type": "event", "event": record, "ocsf": ocsf_event(record)}) for record in page
        )
    yield from _checkpoints(database, export)
    trailer = ExportTrailer(
        count=frontier.size,
        checkpoints=export.checkpoints,
        head_hash=head_hash,
        root=hash_text(frontier.root()),
    )
    yield _line(trailer.model_dump(mode="json"))


def _header(export: Export) -> dict[str, Any]:
    chain = export.chain
    return ExportHeader(
        chain=chain.name,
        chain_id=chain.chain_id,
        organization_id=chain.organization_id,
        boundary_id=chain.boundary_id,
        size=export.size,
        generator=f"ringfence {version('ringfence')}",
        generated_at=export.generated_at,
        ocsf_version=OCSF_VERSION,
        keys=export.keys,
    ).to_wire()


def _events(database: Database, export: Export, after: int) -> list[dict[str, Any]]:
    limit = min(PAGE, export.size - after)
    with database.transaction(export.chain.scope) as session:
        rows = repository.list_events(session, export.chain.chain_id, after=after, limit=limit)
        return [audit.record(row) for row in rows if row.seq <= export.size]


def _checkpoints(database: Database, export: Export) -> Iterator[bytes]:
    after = 0
    while True:
        with database.transaction(export.chain.scope) as session:
            rows = repository.list_checkpoints(
                session, export.chain.chain_id, after=after, limit=PAGE, up_to=export.signed_size
            )
            page = [_line({"type": "checkpoint", "checkpoint": row.signed}) for row in rows]
        if not rows:
            return
        after = rows[-1].size
        yield b"".join(page)


def _line(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode() + b"\n"
