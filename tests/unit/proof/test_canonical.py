"""The fast way to canonical JSON and the exact one give the same bytes or the same refusal."""

from __future__ import annotations

from typing import Any

import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from proof.canonical import canonical_bytes

TEXT = st.text(st.characters(exclude_categories=()))
"""Any text, half surrogate pairs and control characters too."""
SCALARS = (
    st.none()
    | st.booleans()
    | TEXT
    | st.integers(-(2**53) - 1, 2**53 + 1)
    | st.floats(allow_nan=True, allow_infinity=True)
)
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(TEXT, inner)
        | st.dictionaries(st.sampled_from(["a", "B", "b1", "", "é", "€", "😀"]), inner)
    ),
    max_leaves=20,
)


def exact(document: Any) -> bytes | type[Exception]:
    try:
        return rfc8785.dumps(document)
    except rfc8785.CanonicalizationError as error:
        return type(error)
    except UnicodeEncodeError:
        # What it does with half a surrogate pair in a key; ours says it like all the others.
        return rfc8785.CanonicalizationError


@given(DOCUMENTS)
@example({"\ue000": 1, "\U00010000": 2})
@example({"a": 1.0, "b": 1e21, "c": -0.0})
@example([2**53, -(2**53), 2**53 - 1])
@example({"half": "\ud800"})
@example({"\ud800": 1, "a": 2})
@example({"\ud800": 1})
@example({"\x7f": '\x00\x1f\u2028\u2029\x7f/\\"\b\f\n\r\t'})
def test_both_ways_agree(document: Any) -> None:
    wanted = exact(document)
    if isinstance(wanted, bytes):
        assert canonical_bytes(document) == wanted
    else:
        with pytest.raises(wanted):
            canonical_bytes(document)


@pytest.mark.parametrize("document", [{1: "a"}, {"a": {2}}, {"a": b"bytes"}, {"a": object()}])
def test_what_json_lacks_is_refused(document: Any) -> None:
    with pytest.raises(rfc8785.CanonicalizationError):
        canonical_bytes(document)
