"""`audit.checkpoint`: sign the present state of one chain.

Called by the worker with ids when the scheduler found the chain due. Before it signs, it follows
every new event from the last checkpoint on, and computes that checkpoint's root once more: what
does not hold is not signed. Repeating it is harmless: an unchanged chain gets no new checkpoint.
"""

from __future__ import annotations

from typing import Protocol
from uuid import UUID

from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.orm import Session

from controlplane.core import audit
from controlplane.core.audit import AuditChain
from controlplane.core.clock import now
from controlplane.core.db import Database
from controlplane.core.errors import ConflictError
from controlplane.domains.audit import repository
from controlplane.domains.audit.chains import Chain
from controlplane.domains.audit.tree import STORED_LEVEL, StoredTree
from controlplane.tables.checkpoints import AuditCheckpoint, AuditSubtree
from proof.audit_chain import GENESIS, BrokenChainError, ChainWalk, hash_text
from proof.merkle import consistency_proof
from wire.audit import Checkpoint, CheckpointRef, SignedCheckpoint
from wire.envelope import Envelope

CHECKPOINT = "audit.checkpoint"
PAGE = 1000


class Signer(Protocol):
    """Signs with the control-plane key (`adapters.signing.control_plane_key`)."""

    @property
    def public(self) -> str: ...

    def sign(self, message: Checkpoint) -> Envelope: ...


def sign_checkpoint(
    database: Database,
    signer: Signer,
    *,
    chain_id: str,
    organization_id: str | None = None,
    boundary_id: str | None = None,
) -> None:
    """Sign a chain as it stands; ids come as text.

    Raises: ConflictError `audit-chain-broken` when it does not continue what was signed before.
    """
    place = Chain("", *(UUID(value) if value else None for value in (organization_id, boundary_id)))
    assert str(place.chain_id) == chain_id
    with database.transaction(place.scope) as session:
        try:
            _sign(session, signer, repository.named(session, place))
        except BrokenChainError as error:
            raise ConflictError(
                f"the audit chain is not signed: {error}",
                code="audit-chain-broken",
                fix="run `ringfence audit verify` and keep the anchored checkpoints",
                internal_context={"chain_id": chain_id, "seq": error.seq, "kind": error.kind},
            ) from error


def _sign(session: Session, signer: Signer, chain: Chain) -> None:
    head = session.get(AuditChain, chain.chain_id)
    before = repository.find_newest_checkpoint(session, chain.chain_id)
    if head is None or (before is not None and before.size >= head.head_seq):
        return
    tree = StoredTree(session, chain.chain_id)
    walk = _known_state(tree, before)
    _follow(session, chain, tree, walk, head)
    checkpoint = Checkpoint(
        chain=chain.name,
        chain_id=chain.chain_id,
        organization_id=chain.organization_id,
        boundary_id=chain.boundary_id,
        size=walk.size,
        root=walk.root(),
        head_hash=walk.head_hash,
        at=now(),
        previous=CheckpointRef(size=before.size, root=before.root) if before else None,
    )
    proof = consistency_proof(before.size if before else 0, walk.size, tree)
    signed = SignedCheckpoint(
        envelope=signer.sign(checkpoint),
        public_key=signer.public,
        consistency=tuple(part.hex() for part in proof),
    )
    # Two workers may do the same chain: the first one's checkpoint stays.
    session.execute(
        pg_insert(AuditCheckpoint)
        .values(
            chain_id=chain.chain_id,
            size=walk.size,
            organization_id=chain.organization_id,
            boundary_id=chain.boundary_id,
            root=checkpoint.root,
            head_hash=checkpoint.head_hash,
            previous_size=before.size if before else None,
            signed=signed.to_wire(),
        )
        .on_conflict_do_nothing()
    )


def _known_state(tree: StoredTree, before: AuditCheckpoint | None) -> ChainWalk:
    """Return the chain as it was last signed. Raises: BrokenChainError when it no longer is."""
    if before is None:
        return ChainWalk(0, GENESIS)
    frontier = tree.frontier(before.size)
    if hash_text(frontier.root()) != before.root:
        raise BrokenChainError(
            (before.previous_size or 0) + 1,
            "rewritten",
            f"the first {before.size} events are not those that were signed",
        )
    return ChainWalk(before.size, before.head_hash, frontier)


def _follow(
    session: Session, chain: Chain, tree: StoredTree, walk: ChainWalk, head: AuditChain
) -> None:
    """Follow the events up to the head, storing the subtrees they complete."""
    completed: list[dict[str, object]] = []
    while walk.size < head.head_seq:
        limit = min(PAGE, head.head_seq - walk.size)
        page = repository.list_events(session, chain.chain_id, after=walk.size, limit=limit)
        if not page:
            seq = walk.size + 1
            raise BrokenChainError(seq, "missing", f"event {seq} is missing")
        for event in page:
            for level, position, node in walk.follow(audit.record(event)):
                tree.learn(level, position, node)
                if level >= STORED_LEVEL:
                    completed.append({"level": level, "position": position, "hash": node})
        session.expunge_all()
    if walk.head_hash != head.head_hash:
        raise BrokenChainError(walk.size, "edited", "the chain's head is not its last event")
    if completed:
        place = {
            "chain_id": chain.chain_id,
            "organization_id": chain.organization_id,
            "boundary_id": chain.boundary_id,
        }
        rows = [{**place, **c, "hash": hash_text(c["hash"])} for c in completed]  # type: ignore[arg-type]
        session.execute(pg_insert(AuditSubtree).values(rows).on_conflict_do_nothing())
