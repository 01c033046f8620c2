"""Take the attached files out of a report's PDF without a PDF library.

Used by the offline verifier. It reads what our own typesetter writes: objects in plain text, each
attachment a stream of its own. A PDF that another program wrote anew is not what was signed, and
then nothing may be found here.
Source: ISO 32000-1, 7.3.8 (streams), 7.11.3 (file specifications).
"""

from __future__ import annotations

import re
import zlib

LARGEST_ATTACHMENT = 256_000_000
"""Bytes; a stream that unpacks to more is refused."""
_FILE = re.compile(rb"/Type/Filespec/F\(([^()\\]{1,200})\)[^>]*?/EF<</F (\d+) 0 R")


class PdfError(ValueError):
    """The file is not a PDF that holds what was asked for."""


def attachments(pdf: bytes) -> dict[str, bytes]:
    """Return the attached files by name. Raises: PdfError."""
    if not pdf.startswith(b"%PDF-"):
        raise PdfError("this is not a PDF")
    found: dict[str, bytes] = {}
    for match in _FILE.finditer(pdf):
        name = match.group(1).decode("utf-8", "replace")
        if name in found:
            raise PdfError(f"two attachments are called {name}")
        found[name] = _stream(pdf, int(match.group(2)))
    return found


def _stream(pdf: bytes, number: int) -> bytes:
    """Return the content of a stream object; only the last definition of an object counts."""
    starts = [m.end() for m in re.finditer(rb"(?:^|[\r\n])%d 0 obj\s" % number, pdf)]
    if len(starts) != 1:
        raise PdfError(f"object {number} is there {len(starts)} times")
    head_end = pdf.find(b"stream", starts[0])
    head = pdf[starts[0] : head_end]
    length = re.search(rb"/Length (\d+)", head)
    if head_end < 0 or length is None or b"/Type/EmbeddedFile" not in head:
        raise PdfError(f"object {number} is not an attached file")
    begin = head_end + len(b"stream")
    begin += 2 if pdf[begin : begin + 2] == b"\r\n" else 1
    data = pdf[begin : begin + int(length.group(1))]
    if b"/FlateDecode" not in head:
        return data
    unpacker = zlib.decompressobj()
    try:
        content = unpacker.decompress(data, LARGEST_ATTACHMENT)
    except zlib.error as error:
        raise PdfError(f"object {number} does not unpack") from error
    if unpacker.unconsumed_tail:
        raise PdfError(f"object {number} unpacks to more than {LARGEST_ATTACHMENT} bytes")
    return content
