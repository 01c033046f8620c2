"""The offline verifier names the first bad sequence of every kind of tampering."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from proof.audit_log import ExportFormatError, Verdict, verify_export
from proof.keys import fingerprint
from tests.unit.proof.audit_exports import (
    START,
    Export,
    make_checkpoints,
    make_events,
    make_export,
    rehash,
)
from wire.audit import SignedCheckpoint


def verdict(
    export: Export, anchors: Sequence[SignedCheckpoint] = (), *, is_current: bool = False
) -> Verdict:
    pins = frozenset({fingerprint(export.key)})
    return verify_export(export.lines, pins, anchors, is_current=is_current)


def only(found: Verdict) -> tuple[str, int | None]:
    assert [f.kind for f in found.findings] == [found.findings[0].kind], found.findings
    return found.findings[0].kind, found.first_bad


def test_an_honest_export_holds() -> None:
    export = make_export()
    found = verdict(export, export.checkpoints)
    assert found.holds
    assert found.findings == []
    assert (found.events, found.checkpoints, found.anchors) == (40, 3, 3)
    assert found.signed_size == 38
    assert found.first_bad is None


def test_an_empty_chain_holds() -> None:
    assert verdict(make_export(0, ())).holds


@given(st.integers(1, 40))
def test_an_edit_is_found_at_its_sequence(seq: int) -> None:
    export = make_export()
    export.events[seq - 1]["detail"] = {"number": "edited"}
    assert only(verdict(export)) == ("edited", seq)


@pytest.mark.parametrize("name", ["at", "code", "actor", "request_id", "target", "boundary_id"])
def test_no_field_of_an_event_can_be_changed(name: str) -> None:
    export = make_export()
    export.events[11][name] = "changed"
    assert only(verdict(export)) == ("edited", 12)


@given(st.integers(1, 39))
def test_a_deletion_is_found_at_its_sequence(seq: int) -> None:
    export = make_export()
    del export.events[seq - 1]
    found = verdict(export)
    assert found.findings[0].kind == "missing"
    assert found.first_bad == seq


@given(st.integers(1, 39))
def test_a_reorder_is_found_at_its_sequence(seq: int) -> None:
    export = make_export()
    events = export.events
    events[seq - 1], events[seq] = events[seq], events[seq - 1]
    assert verdict(export).first_bad == seq
    events[seq - 1]["seq"], events[seq]["seq"] = seq, seq + 1
    assert only(verdict(export)) == ("unlinked", seq)


@given(st.integers(0, 37))
def test_a_cut_tail_is_found_where_it_begins(left: int) -> None:
    export = make_export()
    del export.events[left:]
    assert only(verdict(export)) == ("cut-tail", left + 1)


def test_a_history_that_was_hashed_anew_is_found_by_the_checkpoints() -> None:
    export = make_export()
    export.events[17]["detail"] = {"number": "edited"}
    export.events = rehash(export.events, 17)
    found = verdict(export)
    # Checkpoint 10 still holds, 25 does not: the first event in doubt is 11.
    assert only(found) == ("rewritten", 11)
    assert found.signed_size == 10


def test_a_history_with_all_its_checkpoints_made_anew_is_found_by_the_anchors() -> None:
    export = make_export()
    anchors = list(export.checkpoints)
    export.events[17]["detail"] = {"number": "edited"}
    export.events = rehash(export.events, 17)
    export.checkpoints = make_checkpoints(export.events, (10, 25, 38), export.key)
    assert verdict(export).holds
    found = verdict(export, anchors)
    assert {f.kind for f in found.findings} == {"rewritten", "missing-checkpoint"}
    assert found.first_bad == 11


def test_a_replayed_backup_is_found_by_an_anchor_it_does_not_know() -> None:
    export = make_export()
    anchors = list(export.checkpoints)
    del export.events[30:]
    del export.checkpoints[2:]
    assert verdict(export).holds
    assert only(verdict(export, anchors)) == ("replayed-backup", 31)


def test_a_backup_that_grew_again_is_found_by_the_anchors() -> None:
    export = make_export()
    anchors = list(export.checkpoints)
    old = export.events[:30]
    export.events = rehash([*old, *make_events(45, marker="again")[30:]], 30)
    export.checkpoints = make_checkpoints(export.events, (10, 25, 41), export.key)
    found = verdict(export, anchors)
    assert {f.kind for f in found.findings} == {"rewritten", "missing-checkpoint"}
    assert found.first_bad == 26


def test_anchors_newer_than_an_export_do_not_count_against_it() -> None:
    later = make_export(60, (10, 25, 38, 55))
    early = Export(later.events[:40], later.checkpoints[:3], later.key, START + timedelta(0, 45))
    found = verdict(early, later.checkpoints)
    assert found.holds
    assert found.newer_anchors == 1
    # Unless it was made just now: then the chain itself is older than what is anchored.
    assert only(verdict(early, later.checkpoints, is_current=True)) == ("replayed-backup", 40)


def test_a_checkpoint_by_another_key_is_forged() -> None:
    export = make_export()
    export.checkpoints = make_checkpoints(export.events, (10, 25, 38), Ed25519PrivateKey.generate())
    found = verdict(export)
    assert {f.kind for f in found.findings} == {"forged-checkpoint"}
    assert "not by the pinned key" in found.findings[0].message
    assert found.signed_size == 0


def test_a_forged_anchor_is_named() -> None:
    export = make_export()
    forged = make_checkpoints(export.events, (10,), Ed25519PrivateKey.generate())
    assert only(verdict(export, forged)) == ("forged-checkpoint", None)


def test_a_checkpoint_that_was_removed_from_the_middle_is_missed() -> None:
    export = make_export()
    del export.checkpoints[1]
    assert only(verdict(export)) == ("missing-checkpoint", None)


def test_a_checkpoint_needs_its_consistency_proof() -> None:
    export = make_export()
    export.checkpoints[2] = export.checkpoints[2].model_copy(update={"consistency": ()})
    found = verdict(export)
    assert only(found) == ("missing-checkpoint", None)
    assert "does not contain checkpoint 25" in found.findings[0].message


def test_a_file_without_its_trailer_was_cut() -> None:
    export = make_export()
    export.ends = False
    assert only(verdict(export)) == ("cut-file", 41)


def test_a_file_cut_within_a_line_is_found() -> None:
    export = make_export()
    whole = b"".join(export.lines())
    cut = whole[: whole.index(b'"seq": 20')]
    found = verify_export(lambda: cut.splitlines(), frozenset({fingerprint(export.key)}))
    assert found.first_bad == 20
    assert {f.kind for f in found.findings} == {"unreadable", "cut-file"}


def test_events_that_nobody_signed_in_time_are_a_finding() -> None:
    export = make_export()
    export.generated_at = START + timedelta(minutes=30)
    assert only(verdict(export)) == ("unsigned", 39)


def test_without_a_pin_the_verdict_says_so() -> None:
    export = make_export()
    found = verify_export(export.lines, None)
    assert found.holds
    assert not found.pinned


@pytest.mark.parametrize("text", [b"", b"not json\n", b"[]\n", b'{"type": "event"}\n', b"{}\n"])
def test_what_is_not_an_export_is_refused(text: bytes) -> None:
    with pytest.raises(ExportFormatError):
        verify_export(lambda: text.splitlines(), None)
