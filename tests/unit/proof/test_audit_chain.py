"""What an event's hash covers, and that the database's way of computing it is the same."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from proof.audit_chain import (
    GENESIS,
    CheckpointError,
    check_succession,
    event_hash,
    hash_bytes,
    hash_template,
    open_checkpoint,
)
from proof.dsse import seal
from proof.keys import encode_public, fingerprint
from tests.unit.proof.audit_exports import make_checkpoints, make_events
from wire.audit import Checkpoint, SignedCheckpoint

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
)


@given(
    actor=st.dictionaries(TEXT, VALUES),
    detail=st.dictionaries(TEXT, VALUES),
    texts=st.lists(TEXT, min_size=3, max_size=3),
    boundary=st.none() | st.uuids().map(str),
    seq=st.integers(1, 2**53 - 1),
)
def test_the_parts_around_time_hash_and_sequence_are_the_canonical_form(
    actor: dict[str, Any], detail: dict[str, Any], texts: list[str], boundary: Any, seq: int
) -> None:
    event: dict[str, Any] = {
        "chain_id": "00000000-0000-0000-0000-000000000007",
        "organization_id": boundary,
        "boundary_id": boundary,
        "code": texts[0],
        "actor": actor,
        "request_id": texts[1],
        "target": texts[2],
        "detail": detail,
    }
    stamp = "2026-01-31T09:00:00.000000+00:00"
    part1, part2, part3, part4 = hash_template(event)
    together = f"{part1}{stamp}{part2}{GENESIS}{part3}{seq}{part4}"
    whole = {**event, "at": stamp, "prev_hash": GENESIS, "seq": seq, "hash": "ignored"}
    assert "sha256:" + hashlib.sha256(together.encode()).hexdigest() == event_hash(whole)


@pytest.mark.parametrize("text", ["", "sha256:", "sha1:" + "0" * 64, "sha256:" + "g" * 64])
def test_what_is_no_hash_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"SHA-256|hexadecimal"):
        hash_bytes(text)


def opened(signed: SignedCheckpoint) -> Checkpoint:
    return open_checkpoint(signed, None)[0]


def test_a_checkpoint_follows_only_the_one_it_names() -> None:
    key = Ed25519PrivateKey.generate()
    events = make_events(30)
    first, second, third = make_checkpoints(events, (5, 16, 30), key)
    check_succession(None, first, opened(first))
    check_succession(opened(first), second, opened(second))
    for before, signed, message in (
        (None, second, "does not name"),
        (opened(first), first, "does not name"),
        (opened(first), third, "continues another history"),
    ):
        with pytest.raises(CheckpointError, match=message):
            check_succession(before, signed, opened(signed))


def test_a_checkpoint_needs_a_pinned_key_and_the_right_type() -> None:
    key, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    (signed,) = make_checkpoints(make_events(3), (3,), key)
    pins = frozenset({fingerprint(key)})
    assert open_checkpoint(signed, pins)[0].size == 3
    with pytest.raises(CheckpointError, match="not by the pinned key"):
        open_checkpoint(signed, frozenset({fingerprint(other)}))
    swapped = signed.model_copy(update={"public_key": encode_public(other)})
    with pytest.raises(CheckpointError, match="no signature by the control plane key"):
        open_checkpoint(swapped, None)
    bundle = seal(key, "application/vnd.ringfence.bundle+json", opened(signed).to_wire())
    with pytest.raises(CheckpointError, match="expected a"):
        open_checkpoint(signed.model_copy(update={"envelope": bundle}), pins)
