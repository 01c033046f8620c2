"""The tree over a report's rows, the cells of its CSV, and the attachments of its PDF."""

from __future__ import annotations

import hashlib
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proof.canonical import canonical_bytes
from proof.pdf_attachments import PdfError, attachments
from proof.report_cells import guarded, unguarded
from proof.row_tree import BLOCK_SIZE, RowTreeBuilder, leaf_hash, row_bytes

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


@given(st.dictionaries(st.sampled_from(["row", "role", "reason", "idp_source"]), TEXT))
def test_a_rows_bytes_are_canonical_json(cells: dict[str, str]) -> None:
    assert row_bytes(cells) == canonical_bytes(cells)


@given(TEXT)
def test_a_guarded_cell_is_never_run_and_comes_back_as_it_was(text: str) -> None:
    assert not guarded(text).startswith(("=", "+", "-", "@", "\t", "\r"))
    assert unguarded(guarded(text)) == text


def pdf_with(*streams: bytes) -> bytes:
    objects = b"".join(
        b"\n%d 0 obj\n<</Length %d/Type/EmbeddedFile/Filter/FlateDecode>>\nstream\n%s\nendstream\n"
        b"endobj" % (number, len(packed), packed)
        for number, packed in enumerate(streams, start=5)
    )
    named = b"\n4 0 obj\n<</Type/Filespec/F(report.json)/UF(report.json)/EF<</F 5 0 R/UF 5 0 R>>>>"
    return b"%PDF-1.7" + named + b"\nendobj" + objects


def test_an_attachment_is_unpacked_by_its_name() -> None:
    assert attachments(pdf_with(zlib.compress(b"{}"))) == {"report.json": b"{}"}


def test_an_object_that_is_there_twice_is_refused() -> None:
    document = pdf_with(zlib.compress(b"{}"))
    with pytest.raises(PdfError, match="2 times"):
        attachments(
            document + document[8:].replace(b"4 0 obj", b"9 0 obj").replace(b"Filespec", b"X")
        )


def test_what_is_no_pdf_is_refused() -> None:
    with pytest.raises(PdfError, match="not a PDF"):
        attachments(b"{}")
