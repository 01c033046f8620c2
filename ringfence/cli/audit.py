"""`ringfence audit`: read and export audit chains, keep their checkpoints, and verify both.

Verifying a file needs no server: only the file, the vendor's key by fingerprint, and what the
customer has kept of the checkpoints.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import typer
from pydantic import ValidationError

from proof.audit_log import ExportFormatError, Verdict, verify_export
from ringfence.cli.output import (
    JSON,
    PERSON,
    CommandError,
    Exit,
    connect,
    err,
    out,
    print_json,
    print_table,
    utc,
)
from ringfence.client import Api, ApiError
from wire.audit import SignedCheckpoint
from wire.version import UnsupportedVersionError

app = typer.Typer(help="The record of who did what: read it, keep it, verify it.")
checkpoint_app = typer.Typer(help="Signed states of a chain, to be kept outside the vendor.")
app.add_typer(checkpoint_app, name="checkpoint")

CHAIN = typer.Argument(help="platform, organization/<name> or boundary/<name>")
PAGE = 1000
PLATFORM = "platform"
FORBIDDEN = 403


@app.command()
def chains(person: str | None = PERSON, as_json: bool = JSON) -> None:
    """List the chains you may read, with how far each is signed and anchored."""
    document = {"chains": _chains(connect(person))}
    if as_json:
        print_json(document)
        return
    print_table(
        ("CHAIN", "EVENTS", "SIGNED", "SIGNED AT", "ANCHORED", "ANCHORED AT"),
        (
            (c["name"], c["size"], *_state(c["checkpoint"]), *_state(c["anchored"]))
            for c in document["chains"]
        ),
        "no audit chain that you may read",
    )


def _chains(api: Api) -> list[dict[str, Any]]:
    """Return the chains that the caller may read; without an organization, the platform's."""
    try:
        found: list[dict[str, Any]] = api.get("/v1/audit/chains")["chains"]
    except ApiError as error:
        if error.status != FORBIDDEN:
            raise
        try:
            return [api.get("/v1/platform/audit")]
        except ApiError:
            raise error from None
    return found


def _asked(chain: str, what: str) -> tuple[str, dict[str, str]]:
    """Return the route to a chain and its query; the platform's needs no organization."""
    if chain == PLATFORM:
        return f"/v1/platform/audit/{what}", {}
    return f"/v1/audit/{what}", {"chain": chain}


def _state(summary: dict[str, Any] | None) -> tuple[Any, str]:
    return (summary["size"], utc(summary["at"])) if summary else ("-", "-")


@app.command()
def events(
    chain: str = CHAIN,
    code: str | None = typer.Option(None, help="only this event code, as grant.approved"),
    actor: str | None = typer.Option(None, help="only what this subject did"),
    target: str | None = typer.Option(None, help="only what was done to this, as grant/<id>"),
    since: str | None = typer.Option(None, "--from", help="not before, as 2026-01-31T00:00:00Z"),
    until: str | None = typer.Option(None, "--to", help="before, as 2026-02-01T00:00:00Z"),
    after: int = typer.Option(0, min=0, help="only above this sequence number"),
    limit: int = typer.Option(200, min=1, max=PAGE, help="at most so many"),
    person: str | None = PERSON,
    as_json: bool = JSON,
) -> None:
    """Read a chain; the reading is recorded in it."""
    asked = {"code": code, "actor": actor, "target": target, "from": since, "to": until}
    given = {key: value for key, value in asked.items() if value is not None}
    path, named = _asked(chain, "events")
    document = connect(person).get(path, **named, after=after, limit=limit, **given)
    if as_json:
        print_json(document)
        return
    print_table(
        ("SEQ", "AT", "CODE", "BY", "TARGET"),
        (
            (e["seq"], utc(e["at"]), e["code"], e["actor"].get("subject"), e["target"])
            for e in document["events"]
        ),
        "no such event",
    )
    if document["next_after"] is not None:
        err.print(f"there may be more: add --after {document['next_after']}", markup=False)


@app.command()
def export(
    chain: str = CHAIN,
    file: Path = typer.Argument(help="where to write it; - for the standard output"),
    person: str | None = PERSON,
) -> None:
    """Write a whole chain with its checkpoints as NDJSON; the export is recorded in it."""
    path, named = _asked(chain, "export")
    lines = connect(person).lines(path, **named)
    count = _write(file, lines)
    if str(file) != "-":
        err.print(f"wrote {file}, {count} lines", markup=False)
        err.print(f"  next: ringfence audit verify {file} --pin FINGERPRINT", markup=False)


@checkpoint_app.command("export")
def checkpoint_export(
    chain: str = CHAIN,
    file: Path = typer.Argument(help="where to write them; - for the standard output"),
    person: str | None = PERSON,
) -> None:
    """Write a chain's checkpoints, one a line, to a file that you keep away from the vendor."""
    count = _write(file, _checkpoint_lines(connect(person), chain))
    if str(file) != "-":
        err.print(f"wrote {file}, {count} checkpoints: keep it where we cannot write", markup=False)
        err.print(f"  next: ringfence audit verify --chain {chain} --anchors {file}", markup=False)


def _checkpoint_lines(api: Api, chain: str) -> Iterator[bytes]:
    after: int | None = 0
    while after is not None:
        path, named = _asked(chain, "checkpoints")
        page = api.get(path, **named, after=after, limit=PAGE)
        for checkpoint in page["checkpoints"]:
            yield json.dumps(checkpoint["signed"], sort_keys=True).encode()
        after = page["next_after"]


def _write(file: Path, lines: Iterable[bytes]) -> int:
    """Write lines to a file or the standard output; return how many."""
    count = 0
    try:
        with contextlib.ExitStack() as stack:
            opened = None if str(file) == "-" else stack.enter_context(file.open("wb"))
            for line in lines:
                count += 1
                if opened is None:
                    typer.echo(line.decode())
                else:
                    opened.write(line + b"\n")
    except OSError as error:
        raise CommandError(f"{file}: {error.strerror}", Exit.USAGE) from error
    return count


@app.command()
def verify(
    file: Path | None = typer.Argument(None, help="an export; without one, ask the control plane"),
    chain: list[str] = typer.Option([], help="only this chain; without a file; may be repeated"),
    pin: list[str] = typer.Option(
        [],
        "--pin",
        "--key",
        help="fingerprint of the vendor's key, from your own template; may be repeated",
    ),
    anchors: Path | None = typer.Option(
        None, help="checkpoints you have kept: a file, or a copy of audit/checkpoints/"
    ),
    person: str | None = PERSON,
    as_json: bool = JSON,
) -> None:
    """Check a chain's events, order, end and signatures, and name the first bad sequence."""
    if file is not None and chain:
        raise CommandError("--chain: a file holds one chain already; leave one out", Exit.USAGE)
    pins = frozenset(pin) or None
    kept = _anchors(anchors) if anchors else []
    if file is not None:
        verdicts = [_verify_file(file, pins, kept)]
    else:
        api = connect(person)
        names = chain or [c["name"] for c in _chains(api)]
        verdicts = [_verify_online(api, name, pins, kept) for name in names]
    if as_json:
        print_json({"verdicts": [verdict.to_wire() for verdict in verdicts]})
    else:
        for verdict in verdicts:
            _print(verdict)
    if pins is None:
        err.print(
            "the signing key was taken from what was checked: bring your own with --pin",
            markup=False,
        )
    bad = [verdict.chain for verdict in verdicts if not verdict.holds]
    if bad:
        raise CommandError(
            f"NOT valid: {', '.join(bad)}",
            Exit.FAILURE,
            "keep this copy and your anchored checkpoints as they are, and ask who had access",
        )


def _verify_file(file: Path, pins: frozenset[str] | None, kept: list[SignedCheckpoint]) -> Verdict:
    def lines() -> Iterator[bytes]:
        with file.open("rb") as opened:
            yield from opened

    try:
        return verify_export(lines, pins, kept)
    except OSError as error:
        raise CommandError(f"{file}: {error.strerror}", Exit.USAGE) from error
    except ExportFormatError as error:
        raise CommandError(
            f"{file}: {error}", Exit.USAGE, "make one: ringfence audit export CHAIN FILE"
        ) from error


def _verify_online(
    api: Api, chain: str, pins: frozenset[str] | None, kept: list[SignedCheckpoint]
) -> Verdict:
    """Export into a temporary file, which is read twice, and verify that."""
    with tempfile.TemporaryFile() as spool:
        path, named = _asked(chain, "export")
        for line in api.lines(path, **named):
            spool.write(line + b"\n")

        def lines() -> Iterator[bytes]:
            spool.seek(0)
            # Not `yield from spool`, which would close it with the first reader.
            yield from iter(spool.readline, b"")

        try:
            return verify_export(lines, pins, kept, is_current=True)
        except ExportFormatError as error:
            raise CommandError(f"{chain}: the control plane sent no export: {error}") from error


def _anchors(path: Path) -> list[SignedCheckpoint]:
    """Return the checkpoints in a file (JSON or a line each) or in a folder's JSON files."""
    try:
        files = sorted(path.rglob("*.json")) if path.is_dir() else [path]
        found = [checkpoint for file in files for checkpoint in _read_anchors(file)]
    except OSError as error:
        raise CommandError(f"--anchors: {error.filename}: {error.strerror}", Exit.USAGE) from error
    if not found:
        raise CommandError(
            f"--anchors: {path} holds no checkpoint",
            Exit.USAGE,
            "copy audit/checkpoints/ of your bucket, or use `ringfence audit checkpoint export`",
        )
    return found


def _read_anchors(file: Path) -> list[SignedCheckpoint]:
    text = file.read_bytes()
    try:
        try:
            documents = [json.loads(text)]
        except ValueError:
            documents = [json.loads(line) for line in text.splitlines() if line.strip()]
        return [SignedCheckpoint.from_wire(document) for document in documents]
    except (ValidationError, UnsupportedVersionError, ValueError, TypeError) as error:
        raise CommandError(f"--anchors: {file}: not a signed checkpoint", Exit.USAGE) from error


def _print(verdict: Verdict) -> None:
    """Say what holds, then what does not."""
    mark = "holds" if verdict.holds else "does NOT hold"
    out.print(f"{verdict.chain}: {mark}", markup=False)
    if verdict.first_bad is not None:
        out.print(f"  first bad sequence: {verdict.first_bad}", markup=False)
    for finding in verdict.findings:
        out.print(f"  {finding.kind}: {finding.message}", markup=False)
    waiting = verdict.events - verdict.signed_size
    out.print(
        f"  {verdict.events} events checked, {verdict.signed_size} covered by"
        f" {verdict.checkpoints} checkpoints"
        + (f", {waiting} not signed yet" if waiting and verdict.holds else ""),
        markup=False,
    )
    if verdict.anchors or verdict.newer_anchors:
        newer = f", {verdict.newer_anchors} newer than it" if verdict.newer_anchors else ""
        out.print(f"  {verdict.anchors} kept checkpoints compared{newer}", markup=False)
    out.print(f"  root {verdict.root}", markup=False)
