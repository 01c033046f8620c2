"""The Merkle tree of a chain as the database keeps it: stored subtrees, and leaves beside them.

Used when a checkpoint is made and when a proof is asked for. Separate from the checkpoints so that
anybody who may read a chain can compute proofs over it.
"""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from controlplane.core.audit import AuditEvent
from controlplane.tables.checkpoints import AuditSubtree
from proof.audit_chain import BrokenChainError, event_leaf, hash_bytes
from proof.merkle import Frontier

STORED_LEVEL = 8
"""Complete subtrees of this level and above are rows; what is below is computed from leaves."""


class StoredTree:
    """Answers with the root of any complete subtree; made for one transaction."""

    def __init__(self, session: Session, chain_id: UUID) -> None:
        self._session = session
        self._chain_id = chain_id
        self._known: dict[tuple[int, int], bytes] = {}

    def learn(self, level: int, position: int, node: bytes) -> None:
        """Take in a subtree that is about to be stored."""
        self._known[level, position] = node

    def __call__(self, level: int, position: int) -> bytes:
        """Return the subtree's root. Raises: BrokenChainError when its rows are gone."""
        found = self._known.get((level, position))
        if found is None:
            read = self._stored if level >= STORED_LEVEL else self._from_leaves
            found = self._known[level, position] = read(level, position)
        return found

    def _stored(self, level: int, position: int) -> bytes:
        text = self._session.scalar(
            select(AuditSubtree.hash).where(
                AuditSubtree.chain_id == self._chain_id,
                AuditSubtree.level == level,
                AuditSubtree.position == position,
            )
        )
        if text is None:
            raise BrokenChainError(
                (position << level) + 1,
                "missing",
                f"the stored subtree {level}/{position} is gone",
            )
        return hash_bytes(text)

    def _from_leaves(self, level: int, position: int) -> bytes:
        frontier = Frontier()
        for leaf in self.leaves(position << level, (position + 1) << level):
            frontier.append(leaf)
        return frontier.root()

    def leaves(self, start: int, end: int) -> list[bytes]:
        """Return the hashes of leaves `[start, end)`. Raises: BrokenChainError for a gap."""
        rows = self._session.execute(
            select(AuditEvent.seq, AuditEvent.hash)
            .where(
                AuditEvent.chain_id == self._chain_id,
                AuditEvent.seq > start,
                AuditEvent.seq <= end,
            )
            .order_by(AuditEvent.seq)
        ).all()
        for expected, row in enumerate(rows, start=start + 1):
            if row.seq != expected:
                raise BrokenChainError(expected, "missing", f"event {expected} is missing")
        if len(rows) != end - start:
            seq = start + len(rows) + 1
            raise BrokenChainError(seq, "missing", f"event {seq} is missing")
        return [event_leaf(row.hash) for row in rows]

    def frontier(self, size: int) -> Frontier:
        """Return the frontier of the first `size` leaves; reads at most 255 of them."""
        whole = size >> STORED_LEVEL << STORED_LEVEL
        frontier = Frontier.resume(whole, self)
        for leaf in self.leaves(whole, size):
            frontier.append(leaf)
        return frontier
