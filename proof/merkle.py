"""The Merkle tree of RFC 6962 over an append-only log: root, proofs, and their verification.

Used by the worker that signs checkpoints (reads stored subtrees), by the agent that witnesses them,
and by the offline verifier (`Frontier`, constant memory). Separate from the chain itself: the tree
knows leaves only, and proves that one of its states is a prefix of another.
Source: RFC 6962 section 2.1; verification of proofs as in RFC 9162 sections 2.1.3.2 and 2.1.4.2.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

Subtree = Callable[[int, int], bytes]
"""`(level, index)` -> root of the complete subtree over leaves `[index << level, ... + 2**level)`;
level 0 is a leaf's hash."""

EMPTY_ROOT = hashlib.sha256().digest()


class ProofError(ValueError):
    """A proof does not show what it is said to show."""


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of a leaf; the prefix keeps a leaf from passing for a node."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Frontier:
    """The roots of the complete subtrees that make up a tree, largest first: O(log n) memory."""

    def __init__(self) -> None:
        self.size = 0
        self._roots: list[bytes] = []

    def append(self, leaf: bytes) -> list[tuple[int, int, bytes]]:
        """Add the hash of a leaf; return the subtrees it completed as (level, index, root)."""
        completed: list[tuple[int, int, bytes]] = []
        index, level, node = self.size, 0, leaf
        # As many subtrees are complete now as the old size had trailing one bits.
        while index & 1:
            node = node_hash(self._roots.pop(), node)
            index >>= 1
            level += 1
            completed.append((level, index, node))
        self._roots.append(node)
        self.size += 1
        return completed

    def root(self) -> bytes:
        """Return the root of the tree as it stands."""
        if not self._roots:
            return EMPTY_ROOT
        node = self._roots[-1]
        for left in reversed(self._roots[:-1]):
            node = node_hash(left, node)
        return node

    @classmethod
    def resume(cls, size: int, subtree: Subtree) -> Frontier:
        """Return the frontier of a tree of `size` leaves from its complete subtrees."""
        frontier = cls()
        frontier.size = size
        frontier._roots = [subtree(level, index) for level, index in peaks(size)]
        return frontier


def peaks(size: int) -> list[tuple[int, int]]:
    """Return (level, index) of the complete subtrees that make up `size` leaves, largest first."""
    found: list[tuple[int, int]] = []
    start = 0
    for level in range(size.bit_length() - 1, -1, -1):
        if size >> level & 1:
            found.append((level, start >> level))
            start += 1 << level
    return found


def tree_root(size: int, subtree: Subtree) -> bytes:
    """Return the root over the first `size` leaves."""
    return Frontier.resume(size, subtree).root()


def _range_root(start: int, end: int, subtree: Subtree) -> bytes:
    """Return the root over leaves `[start, end)`, where `start` is a multiple of a covering power.

    The RFC's recursion only ever asks for such ranges, so its complete parts are stored subtrees.
    """
    count = end - start
    roots = [subtree(level, (start >> level) + index) for level, index in _peaks_from(start, count)]
    node = roots[-1]
    for left in reversed(roots[:-1]):
        node = node_hash(left, node)
    return node


def _peaks_from(start: int, count: int) -> list[tuple[int, int]]:
    """Return the peaks of `count` leaves as (level, index relative to `start >> level`)."""
    assert start % (1 << max(count - 1, 0).bit_length()) == 0
    return peaks(count)


def _split(count: int) -> int:
    """Return the largest power of two smaller than `count` (RFC 6962's k)."""
    return 1 << ((count - 1).bit_length() - 1)


def inclusion_proof(index: int, size: int, subtree: Subtree) -> list[bytes]:
    """Return the audit path of leaf `index` (from 0) in the tree of `size` leaves.

    Raises: ValueError when the leaf is not in the tree.
    """
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not in a tree of {size}")
    path: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(_range_root(middle, end, subtree))
            end = middle
        else:
            path.append(_range_root(start, middle, subtree))
            start = middle
    return path[::-1]


def consistency_proof(first: int, second: int, subtree: Subtree) -> list[bytes]:
    """Return the proof that the tree of `first` leaves is a prefix of the one of `second`.

    Empty when they are the same, or when the first is empty. Raises: ValueError for an impossible
    pair.
    """
    if not 0 <= first <= second:
        raise ValueError(f"a tree of {first} leaves is no prefix of one of {second}")
    if first in (0, second):
        return []
    path: list[bytes] = []
    start, end, whole = 0, second, True
    while first != end:
        middle = start + _split(end - start)
        if first <= middle:
            path.append(_range_root(middle, end, subtree))
            end = middle
        else:
            path.append(_range_root(start, middle, subtree))
            start, whole = middle, False
    if not whole:
        path.append(_range_root(start, end, subtree))
    return path[::-1]


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Check that `leaf` (a leaf's hash) is number `index` of the tree with this root.

    Raises: ProofError.
    """
    if not 0 <= index < size:
        raise ProofError(f"leaf {index} is not in a tree of {size}")
    position, last, node = index, size - 1, leaf
    for part in proof:
        if last == 0:
            raise ProofError("the inclusion proof is too long")
        if position & 1 or position == last:
            node = node_hash(part, node)
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            node = node_hash(node, part)
        position >>= 1
        last >>= 1
    if last != 0:
        raise ProofError("the inclusion proof is too short")
    if node != root:
        raise ProofError(f"leaf {index} is not in the tree with this root")


def verify_consistency(
    first: int, second: int, proof: Sequence[bytes], first_root: bytes, second_root: bytes
) -> None:
    """Check that the tree of `first` leaves is a prefix of the one of `second`.

    Raises: ProofError.
    """
    if not 0 <= first <= second:
        raise ProofError(f"a tree of {first} leaves is no prefix of one of {second}")
    if first in (0, second):
        if proof:
            raise ProofError("the consistency proof is too long")
        expected = EMPTY_ROOT if first == 0 else second_root
        if first_root != expected:
            raise ProofError("the two trees of the same size have different roots")
        return
    # A first tree of a power of two leaves is itself a node of the second: the proof omits it.
    parts = [first_root, *proof] if first & (first - 1) == 0 else list(proof)
    if not parts:
        raise ProofError("the consistency proof is too short")
    position, last = first - 1, second - 1
    while position & 1:
        position >>= 1
        last >>= 1
    old = new = parts[0]
    for part in parts[1:]:
        if last == 0:
            raise ProofError("the consistency proof is too long")
        if position & 1 or position == last:
            old, new = node_hash(part, old), node_hash(part, new)
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            new = node_hash(new, part)
        position >>= 1
        last >>= 1
    if last != 0:
        raise ProofError("the consistency proof is too short")
    if old != first_root or new != second_root:
        raise ProofError("the first tree is not a prefix of the second")
