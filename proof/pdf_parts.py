"""Take a report's PDF apart without a PDF library: its attached files, and its pages' contents.

Used by the signer (which digests the pages) and by the offline verifier. It reads what our own
typesetter writes: one table of objects, each in plain text. A PDF that another program wrote anew,
or added to, is not what was signed, and then nothing may be found here.
Source: ISO 32000-1, 7.3.8 (streams), 7.5.4 (cross-reference table), 7.7.3 (pages), 7.11.4 (files).
"""

from __future__ import annotations

import re
import zlib

from proof.canonical import bytes_digest

LARGEST_ATTACHMENT = 256_000_000
"""Bytes; a stream that unpacks to more is refused."""
MOST_PAGES = 5_000
_FILES = re.compile(rb"/EmbeddedFiles<</Names\[((?:\([^()\\]{1,200}\)\d+ 0 R\s?)+)\]")


class PdfError(ValueError):
    """The file is not a PDF that holds what was asked for."""


class PdfParts:
    """One PDF with the places of its objects."""

    def __init__(self, pdf: bytes) -> None:
        """Raises: PdfError."""
        if not pdf.startswith(b"%PDF-"):
            raise PdfError("this is not a PDF")
        self._pdf = pdf
        self._places, trailer = self._table()
        root = re.search(rb"/Root (\d+) 0 R", trailer)
        if root is None or b"/Prev" in trailer:
            raise PdfError("this PDF was not written in one go by our typesetter")
        self._catalog = self._head(int(root.group(1)))

    def attachments(self) -> dict[str, bytes]:
        """Return the attached files by name. Raises: PdfError."""
        listed = _FILES.search(self._catalog)
        if listed is None:
            return {}
        found: dict[str, bytes] = {}
        for match in re.finditer(rb"\(([^()\\]+)\)(\d+) 0 R", listed.group(1)):
            name = match.group(1).decode("utf-8", "replace")
            place = re.search(rb"/EF<</F (\d+) 0 R", self._head(int(match.group(2))))
            if place is None or name in found:
                raise PdfError(f"the attachment {name} is not one file")
            found[name] = self._stream(int(place.group(1)))
        return found

    def page_digests(self) -> list[str]:
        """Return the digest of each page's content, in order. Raises: PdfError."""
        root = re.search(rb"/Pages (\d+) 0 R", self._catalog)
        if root is None:
            raise PdfError("this PDF names no pages")
        digests: list[str] = []
        pending = [int(root.group(1))]
        while pending:
            head = self._head(pending.pop(0))
            kids = re.search(rb"/Kids\[([\d R]*)\]", head)
            content = re.search(rb"/Contents (\d+) 0 R", head)
            if kids is not None:
                pending = [int(n) for n in re.findall(rb"(\d+) 0 R", kids.group(1))] + pending
            elif content is not None:
                digests.append(bytes_digest(self._stream(int(content.group(1)))))
            else:
                raise PdfError("a page has no content")
            if len(digests) + len(pending) > MOST_PAGES:
                raise PdfError(f"this PDF has more than {MOST_PAGES} pages")
        return digests

    def _table(self) -> tuple[dict[int, int], bytes]:
        """Return where each object begins, and the trailer."""
        start = re.search(rb"startxref\s+(\d+)\s+%%EOF\s*$", self._pdf[-64:])
        if start is None:
            raise PdfError("this PDF has no end")
        table = self._pdf[int(start.group(1)) :]
        head = re.match(rb"xref\s+0 (\d+)\s+", table)
        if head is None:
            raise PdfError("this PDF was not written by our typesetter")
        count, begin = int(head.group(1)), head.end()
        entries = table[begin : begin + 20 * count]
        places = {
            number: int(entries[20 * number : 20 * number + 10])
            for number in range(1, count)
            if entries[20 * number + 17 : 20 * number + 18] == b"n"
        }
        return places, table[begin + 20 * count :]

    def _begin(self, number: int) -> int:
        place = self._places.get(number, -1)
        head = b"%d 0 obj" % number
        if place < 0 or self._pdf[place : place + len(head)] != head:
            raise PdfError(f"object {number} is not where the table says")
        return place + len(head)

    def _head(self, number: int) -> bytes:
        """Return the text of an object up to its stream or its end."""
        begin = self._begin(number)
        end = self._pdf.find(b"endobj", begin)
        return self._pdf[begin:end].split(b"stream", 1)[0]

    def _stream(self, number: int) -> bytes:
        head = self._head(number)
        length = re.search(rb"/Length (\d+)", head)
        begin = self._pdf.find(b"stream", self._begin(number)) + len(b"stream")
        if length is None or begin < len(b"stream"):
            raise PdfError(f"object {number} holds no data")
        begin += 2 if self._pdf[begin : begin + 2] == b"\r\n" else 1
        data = self._pdf[begin : begin + int(length.group(1))]
        return _unpacked(data, number) if b"/FlateDecode" in head else data


def _unpacked(data: bytes, number: int) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        content = unpacker.decompress(data, LARGEST_ATTACHMENT)
    except zlib.error as error:
        raise PdfError(f"object {number} does not unpack") from error
    if unpacker.unconsumed_tail:
        raise PdfError(f"object {number} unpacks to more than {LARGEST_ATTACHMENT} bytes")
    return content


def attachments(pdf: bytes) -> dict[str, bytes]:
    """Return the attached files of a PDF by name. Raises: PdfError."""
    return PdfParts(pdf).attachments()
