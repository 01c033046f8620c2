"""The Merkle tree over a report's rows: hashes of RFC 6962, computed while rows stream by.

Used by the control plane to sign a report and by the offline verifier. It keeps one hash per block
of rows and not one per row, so that a report of any length is signed in little memory.
Source: RFC 6962, section 2.1.
"""

from __future__ import annotations

from collections.abc import Mapping

from proof.canonical import canonical_bytes
from proof.merkle import EMPTY_ROOT, leaf_hash, node_hash

__all__ = ["BLOCK_SIZE", "RowTreeBuilder", "leaf_hash", "root_hash", "row_bytes"]

BLOCK_SIZE = 64
"""Rows per block; a power of two, so that a block is a subtree of the whole tree."""


def row_bytes(cells: Mapping[str, str]) -> bytes:
    """Return the canonical JSON (RFC 8785) of a row, whose cells are all text."""
    return canonical_bytes(cells)


def root_hash(hashes: list[bytes]) -> bytes:
    """Return the root over hashes of leaves, or of complete subtrees of one size."""
    if not hashes:
        return EMPTY_ROOT
    level = hashes
    while len(level) > 1:
        paired = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        # The odd one out moves up as it is: that is RFC 6962's split at the largest power of two.
        level = paired + level[len(paired) * 2 :]
    return level[0]


class RowTreeBuilder:
    """Takes the leaves of a report in order."""

    def __init__(self) -> None:
        self.count = 0
        self._open: list[bytes] = []
        self._blocks: list[bytes] = []

    def add(self, leaf: bytes) -> None:
        """Take the next leaf."""
        self.count += 1
        self._open.append(leaf)
        if len(self._open) == BLOCK_SIZE:
            self._blocks.append(root_hash(self._open))
            self._open = []

    def blocks(self) -> list[str]:
        """Return the hash of every block in order; the last may hold fewer rows."""
        found = [*self._blocks, root_hash(self._open)] if self._open else self._blocks
        return [block.hex() for block in found]

    def root(self) -> str:
        """Return the root of the tree."""
        return root_hash([bytes.fromhex(block) for block in self.blocks()]).hex()
