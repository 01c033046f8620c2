"""The tree over a report's rows, the cells of its CSV, and the attachments of its PDF."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proof.pdf_parts import PdfError, attachments
from proof.report_cells import guarded, unguarded
from proof.row_tree import BLOCK_SIZE, RowTreeBuilder, leaf_hash

TEXT = st.text(alphabet=st.characters(codec="utf-8"))


def naive_root(leaves: list[bytes]) -> bytes:
    """Return the root as RFC 6962, 2.1 writes it down, recursively over the leaves' data."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(
        b"\x01" + naive_root(leaves[:split]) + naive_root(leaves[split:])
    ).digest()


@pytest.mark.parametrize("count", [0, 1, 2, 3, 63, 64, 65, 127, 128, 129, 200, 321])
def test_the_root_is_that_of_rfc_6962(count: int) -> None:
    leaves = [str(n).encode() for n in range(count)]
    tree = RowTreeBuilder()
    for leaf in leaves:
        tree.add(leaf_hash(leaf))
    assert tree.root() == naive_root(leaves).hex()
    assert len(tree.blocks()) == -(-count // BLOCK_SIZE)


@given(TEXT)
def test_a_guarded_cell_is_never_run_and_comes_back_as_it_was(text: str) -> None:
    assert not guarded(text).startswith(("=", "+", "-", "@", "\t", "\r"))
    assert unguarded(guarded(text)) == text


def test_what_is_no_pdf_of_ours_is_refused() -> None:
    for data in (b"{}", b"%PDF-1.7\n", b"%PDF-1.7\nstartxref\n3\n%%EOF\n"):
        with pytest.raises(PdfError):
            attachments(data)
