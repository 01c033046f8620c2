"""Cells of a report's CSV: no text may run as a formula where a spreadsheet opens it.

Used by the writer and by the verifier, which must take the guard off again to hash what was meant.
Source: OWASP, "CSV Injection".
"""

from __future__ import annotations

_RISKY = ("=", "+", "-", "@", "\t", "\r", "'")


def guarded(text: str) -> str:
    """Return a cell with an apostrophe before it where a spreadsheet might run it."""
    return f"'{text}" if text.startswith(_RISKY) else text


def unguarded(text: str) -> str:
    """Return what `guarded` was given."""
    return text.removeprefix("'")
