"""Verify an exported audit chain offline, against pinned keys and anchored checkpoints.

Used by `ringfence audit verify` (also online, over what it has just downloaded) and by tests. The
reader brings the pins and the anchors; nothing in the file is trusted because the file says so.
The file is read twice and never held: checkpoints first, so that the roots they claim can be
compared while the events pass.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from proof.audit_chain import (
    BrokenChainError,
    ChainWalk,
    CheckpointError,
    check_succession,
    open_checkpoint,
)
from wire.audit import Checkpoint, ExportHeader, ExportTrailer, SignedCheckpoint

Lines = Callable[[], Iterable[bytes]]
"""Opens the export anew and yields its lines."""
UNSIGNED_TOLERANCE = timedelta(minutes=10)
"""Checkpoints are due after 60 seconds; events unsigned for longer than this are a finding."""


class ExportFormatError(ValueError):
    """The file is not an export of an audit chain."""


@dataclass(frozen=True)
class Finding:
    """One thing that does not hold; `seq` is the first event it puts in doubt."""

    kind: str
    seq: int | None
    message: str


@dataclass
class Verdict:
    """What was checked, and what does not hold."""

    chain: str
    events: int
    checkpoints: int
    anchors: int
    newer_anchors: int
    """Anchored checkpoints made after the export, which say nothing about it."""
    generated_at: datetime
    signed_size: int
    """Events covered by the newest checkpoint that holds."""
    head_hash: str
    root: str
    pinned: bool
    """False when the reader brought no key: then a forger's own key would pass."""
    findings: list[Finding] = field(default_factory=list)

    @property
    def first_bad(self) -> int | None:
        """Return the first sequence number in doubt, or None."""
        return min((f.seq for f in self.findings if f.seq is not None), default=None)

    @property
    def holds(self) -> bool:
        """Say whether nothing was found."""
        return not self.findings

    def to_wire(self) -> dict[str, Any]:
        """Return the verdict as JSON."""
        return {
            "chain": self.chain,
            "holds": self.holds,
            "first_bad_sequence": self.first_bad,
            "findings": [vars(f) for f in self.findings],
            "events": self.events,
            "checkpoints": self.checkpoints,
            "anchors": self.anchors,
            "newer_anchors": self.newer_anchors,
            "generated_at": self.generated_at.isoformat(),
            "signed_size": self.signed_size,
            "head_hash": self.head_hash,
            "root": self.root,
            "key_pinned": self.pinned,
        }


@dataclass(frozen=True)
class _Claim:
    """A checkpoint whose signature holds, and where it comes from."""

    signed: SignedCheckpoint
    checkpoint: Checkpoint
    is_anchor: bool


@dataclass
class _Walked:
    """What the events said: how far they hold, and the states at the sizes that were asked for."""

    walk: ChainWalk = field(default_factory=ChainWalk)
    states: dict[int, tuple[str, str]] = field(default_factory=dict)
    times: dict[int, str] = field(default_factory=dict)
    checkpoint_lines: int = 0
    trailer: ExportTrailer | None = None
    broken: Finding | None = None


def verify_export(
    lines: Lines,
    pins: frozenset[str] | None,
    anchors: Sequence[SignedCheckpoint] = (),
    *,
    is_current: bool = False,
) -> Verdict:
    """Return what holds and what does not.

    `pins` are fingerprints of the control-plane key; None takes the keys that the file carries.
    `is_current` says that the export was made just now, whatever it says itself: then an anchor
    that is newer than the chain counts against it, and else is only counted.
    Raises: ExportFormatError when the file does not begin as an export.
    """
    header = _header(lines)
    findings: list[Finding] = []
    own = _claims(_checkpoints(lines), header, pins, findings, is_anchor=False)
    kept = _claims(anchors, header, pins, findings, is_anchor=True)
    newer = [] if is_current else [c for c in kept if c.checkpoint.at > header.generated_at]
    kept = [c for c in kept if c not in newer]
    claims = sorted(own + kept, key=lambda c: (c.checkpoint.size, c.is_anchor))
    walked = _walk(lines, {c.checkpoint.size for c in claims})
    if walked.broken is not None:
        findings.append(walked.broken)
    # What was just exported ends with the event of that export, which nobody can have cut.
    own_event = 1 if is_current else 0
    signed_size = _compare(claims, walked, own_event, findings)
    _check_links(own, findings)
    _check_anchors(own, kept, findings)
    _check_end(header, walked, signed_size, findings)
    return Verdict(
        chain=header.chain,
        events=walked.walk.size,
        checkpoints=len(own),
        anchors=len(kept),
        newer_anchors=len(newer),
        generated_at=header.generated_at,
        signed_size=signed_size,
        head_hash=walked.walk.head_hash,
        root=walked.walk.root(),
        pinned=pins is not None,
        findings=findings,
    )


def _documents(lines: Lines) -> Iterator[dict[str, Any]]:
    """Yield each line as a JSON object, and an empty one for a line that is none."""
    for line in lines():
        if not line.strip():
            continue
        try:
            document = json.loads(line)
        except ValueError:
            document = {}
        yield document if isinstance(document, dict) else {}


def _header(lines: Lines) -> ExportHeader:
    first = next(iter(_documents(lines)), {})
    if first.get("type") != "header":
        raise ExportFormatError("it does not begin with the header of an audit export")
    try:
        return ExportHeader.from_wire(first)
    except ValueError as error:
        raise ExportFormatError(f"its header is not one: {str(error).splitlines()[0]}") from error


def _checkpoints(lines: Lines) -> Iterator[SignedCheckpoint | None]:
    for document in _documents(lines):
        if document.get("type") == "checkpoint":
            try:
                yield SignedCheckpoint.from_wire(document.get("checkpoint", {}))
            except (ValueError, AttributeError):
                yield None


def _claims(
    candidates: Iterable[SignedCheckpoint | None],
    header: ExportHeader,
    pins: frozenset[str] | None,
    findings: list[Finding],
    *,
    is_anchor: bool,
) -> list[_Claim]:
    """Return the checkpoints that are signed as they must be; what is not becomes a finding."""
    where = "anchored checkpoint" if is_anchor else "checkpoint"
    found: list[_Claim] = []
    for signed in candidates:
        try:
            if signed is None:
                raise CheckpointError("it cannot be read")
            checkpoint, _ = open_checkpoint(signed, pins)
        except CheckpointError as error:
            findings.append(Finding("forged-checkpoint", None, f"a {where} does not hold: {error}"))
            continue
        if checkpoint.chain_id == header.chain_id:
            found.append(_Claim(signed, checkpoint, is_anchor))
        elif not is_anchor:
            # Anchors of several chains may lie in one place; an export carries its own only.
            findings.append(
                Finding("forged-checkpoint", None, f"a {where} is of {checkpoint.chain}")
            )
    return found


def _walk(lines: Lines, sizes: set[int]) -> _Walked:
    walked = _Walked()
    walk = walked.walk
    for document in _documents(lines):
        kind = document.get("type")
        if kind == "trailer":
            try:
                walked.trailer = ExportTrailer.model_validate(document)
            except ValueError:
                walked.trailer = None
        elif kind == "checkpoint":
            walked.checkpoint_lines += 1
        elif kind != "header" and walked.broken is None:
            event = document.get("event")
            try:
                if kind != "event" or not isinstance(event, dict):
                    raise KeyError(kind)
                walk.follow(event)
                walked.times[walk.size] = event["at"]
            except BrokenChainError as error:
                walked.broken = Finding(error.kind, error.seq, str(error))
            except (KeyError, TypeError, ValueError):
                seq = walk.size + 1
                walked.broken = Finding("unreadable", seq, f"event {seq} cannot be read")
            if walk.size in sizes:
                walked.states[walk.size] = (walk.root(), walk.head_hash)
            # Only the time of the first event after each checkpoint is asked for later.
            if walk.size > 1 and walk.size - 1 not in sizes:
                walked.times.pop(walk.size, None)
    return walked


def _compare(claims: list[_Claim], walked: _Walked, own_event: int, findings: list[Finding]) -> int:
    """Compare what was signed with what is there; return the newest size up to which all holds."""
    good, count = 0, walked.walk.size
    own_sizes = {c.checkpoint.size for c in claims if not c.is_anchor}
    for size in sorted({c.checkpoint.size for c in claims}):
        state = walked.states.get(size)
        wrong = [
            c.checkpoint
            for c in claims
            if c.checkpoint.size == size and state != (c.checkpoint.root, c.checkpoint.head_hash)
        ]
        if not wrong:
            good = size
            continue
        if size <= count:
            findings.append(_rewritten(good, wrong[0]))
        elif walked.broken is None:
            findings.append(_shorter(count - own_event, wrong[0], is_own=size in own_sizes))
        # What comes after the first contradiction rests on it; beyond a bad event nothing is known.
        break
    return good


def _rewritten(good: int, signed: Checkpoint) -> Finding:
    return Finding(
        "rewritten",
        good + 1,
        f"events {good + 1} to {signed.size} are not those that were signed at"
        f" {signed.at.isoformat()}",
    )


def _shorter(count: int, signed: Checkpoint, *, is_own: bool) -> Finding:
    reason = "its tail was cut" if is_own else "an older state was put in its place"
    return Finding(
        "cut-tail" if is_own else "replayed-backup",
        count + 1,
        f"the chain ended at {count}, but {signed.size} events were signed at"
        f" {signed.at.isoformat()}: {reason}",
    )


def _check_links(own: list[_Claim], findings: list[Finding]) -> None:
    """Check that each checkpoint of the chain continues the one before it."""
    before: Checkpoint | None = None
    for claim in sorted(own, key=lambda c: c.checkpoint.size):
        try:
            check_succession(before, claim.signed, claim.checkpoint)
        except CheckpointError as error:
            findings.append(Finding("missing-checkpoint", None, str(error)))
        before = claim.checkpoint


def _check_anchors(own: list[_Claim], kept: list[_Claim], findings: list[Finding]) -> None:
    """Check that the chain still has every checkpoint that the customer keeps."""
    known = {(c.checkpoint.size, c.checkpoint.root) for c in own}
    newest = max((c.checkpoint.size for c in own), default=0)
    for claim in kept:
        checkpoint = claim.checkpoint
        if (checkpoint.size, checkpoint.root) not in known and checkpoint.size <= newest:
            findings.append(
                Finding(
                    "missing-checkpoint",
                    None,
                    f"you keep a checkpoint of {checkpoint.size} events that the chain no longer"
                    " has",
                )
            )


def _check_end(
    header: ExportHeader, walked: _Walked, signed_size: int, findings: list[Finding]
) -> None:
    """Check that the file is whole, and that nothing waited too long for a signature."""
    trailer, walk, checkpoints = walked.trailer, walked.walk, walked.checkpoint_lines
    if trailer is None:
        findings.append(
            Finding("cut-file", walk.size + 1, "the file has no trailer: it was cut off")
        )
    elif walked.broken is None and (
        (trailer.count, trailer.head_hash, trailer.root, trailer.checkpoints)
        != (walk.size, walk.head_hash, walk.root(), checkpoints)
        or header.size != walk.size
    ):
        findings.append(
            Finding(
                "cut-file",
                min(walk.size, trailer.count, header.size) + 1,
                f"the file says {trailer.count} events and {trailer.checkpoints} checkpoints,"
                f" and holds {walk.size} and {checkpoints}",
            )
        )
    waiting = walked.times.get(signed_size + 1)
    if waiting is not None and not findings:
        age = header.generated_at - datetime.fromisoformat(waiting)
        if age > UNSIGNED_TOLERANCE:
            findings.append(
                Finding(
                    "unsigned",
                    signed_size + 1,
                    f"event {signed_size + 1} and later have no checkpoint although they are"
                    f" {int(age.total_seconds() // 60)} minutes old",
                )
            )
