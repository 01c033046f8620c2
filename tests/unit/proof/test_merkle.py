"""The Merkle tree: the RFC's vectors, a naive implementation beside it, proofs that can fail."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proof.merkle import (
    EMPTY_ROOT,
    Frontier,
    ProofError,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    peaks,
    tree_root,
    verify_consistency,
    verify_inclusion,
)

# The leaves and roots of the reference tests of certificate-transparency (RFC 6962's authors).
VECTOR_LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
VECTOR_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def naive_root(leaves: list[bytes]) -> bytes:
    """MTH as RFC 6962 writes it, over the leaves' data."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    left, right = naive_root(leaves[:k]), naive_root(leaves[k:])
    return hashlib.sha256(b"\x01" + left + right).digest()


def naive_path(m: int, leaves: list[bytes]) -> list[bytes]:
    """PATH as RFC 6962 writes it."""
    if len(leaves) == 1:
        return []
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    if m < k:
        return [*naive_path(m, leaves[:k]), naive_root(leaves[k:])]
    return [*naive_path(m - k, leaves[k:]), naive_root(leaves[:k])]


def naive_subproof(m: int, leaves: list[bytes], whole: bool) -> list[bytes]:
    """SUBPROOF as RFC 6962 writes it."""
    if m == len(leaves):
        return [] if whole else [naive_root(leaves)]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    if m <= k:
        return [*naive_subproof(m, leaves[:k], whole), naive_root(leaves[k:])]
    return [*naive_subproof(m - k, leaves[k:], False), naive_root(leaves[:k])]


class Stored:
    """Complete subtrees as a frontier reports them; asking for another one fails the test."""

    def __init__(self, leaves: list[bytes]) -> None:
        self.nodes: dict[tuple[int, int], bytes] = {}
        self.roots = [EMPTY_ROOT]
        frontier = Frontier()
        for index, data in enumerate(leaves):
            self.nodes[0, index] = leaf_hash(data)
            for level, position, node in frontier.append(leaf_hash(data)):
                self.nodes[level, position] = node
            self.roots.append(frontier.root())

    def __call__(self, level: int, index: int) -> bytes:
        return self.nodes[level, index]


LEAVES = [b"leaf-%d" % number for number in range(70)]
TREE = Stored(LEAVES)
SIZES = st.integers(0, len(LEAVES))


def test_the_rfcs_vectors_hold() -> None:
    stored = Stored(VECTOR_LEAVES)
    assert [root.hex() for root in stored.roots[1:]] == VECTOR_ROOTS
    for size, expected in enumerate(VECTOR_ROOTS, start=1):
        assert tree_root(size, stored).hex() == expected
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@given(SIZES)
def test_a_root_is_the_naive_root_however_it_is_computed(size: int) -> None:
    assert tree_root(size, TREE) == TREE.roots[size] == naive_root(LEAVES[:size])
    resumed = Frontier.resume(size, TREE)
    for data in LEAVES[size:]:
        resumed.append(leaf_hash(data))
    assert resumed.root() == TREE.roots[-1]


@given(SIZES)
def test_peaks_cover_the_tree_once(size: int) -> None:
    covered = [i for level, index in peaks(size) for i in range(index << level, index + 1 << level)]
    assert covered == list(range(size))


@given(st.data())
def test_an_inclusion_proof_is_the_naive_one_and_holds(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, len(LEAVES)))
    index = data.draw(st.integers(0, size - 1))
    proof = inclusion_proof(index, size, TREE)
    assert proof == naive_path(index, LEAVES[:size])
    verify_inclusion(leaf_hash(LEAVES[index]), index, size, proof, TREE.roots[size])


@given(st.data())
def test_a_consistency_proof_is_the_naive_one_and_holds(data: st.DataObject) -> None:
    second = data.draw(SIZES)
    first = data.draw(st.integers(0, second))
    proof = consistency_proof(first, second, TREE)
    expected = naive_subproof(first, LEAVES[:second], True) if 0 < first < second else []
    assert proof == expected
    verify_consistency(first, second, proof, TREE.roots[first], TREE.roots[second])


@given(st.data())
def test_a_changed_inclusion_proof_is_refused(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, len(LEAVES)))
    index = data.draw(st.integers(0, size - 1))
    proof = inclusion_proof(index, size, TREE)
    place = data.draw(st.integers(0, len(proof) - 1))
    leaf, root = leaf_hash(LEAVES[index]), TREE.roots[size]
    for changed in (
        [*proof[:place], bytes(32), *proof[place + 1 :]],
        [*proof[:place], *proof[place + 1 :]],
        [*proof, bytes(32)],
    ):
        with pytest.raises(ProofError):
            verify_inclusion(leaf, index, size, changed, root)
    with pytest.raises(ProofError):
        verify_inclusion(leaf_hash(b"another"), index, size, proof, root)


@given(st.data())
def test_a_changed_history_has_no_consistency_proof(data: st.DataObject) -> None:
    second = data.draw(st.integers(2, len(LEAVES)))
    first = data.draw(st.integers(1, second - 1))
    edited = data.draw(st.integers(0, first - 1))
    rewritten = Stored([*LEAVES[:edited], b"edited", *LEAVES[edited + 1 : second]])
    proof = consistency_proof(first, second, rewritten)
    with pytest.raises(ProofError):
        verify_consistency(first, second, proof, TREE.roots[first], rewritten.roots[second])
    honest = consistency_proof(first, second, TREE)
    for changed in (honest[:-1], [*honest, bytes(32)]):
        with pytest.raises(ProofError):
            verify_consistency(first, second, changed, TREE.roots[first], TREE.roots[second])


def test_impossible_questions_are_refused() -> None:
    for index, size in ((0, 0), (5, 5), (-1, 3)):
        with pytest.raises(ValueError, match="not in a tree"):
            inclusion_proof(index, size, TREE)
        with pytest.raises(ProofError, match="not in a tree"):
            verify_inclusion(bytes(32), index, size, [], bytes(32))
    with pytest.raises(ValueError, match="no prefix"):
        consistency_proof(4, 3, TREE)
    with pytest.raises(ProofError, match="no prefix"):
        verify_consistency(4, 3, [], bytes(32), bytes(32))
