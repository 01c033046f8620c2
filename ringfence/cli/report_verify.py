"""`ringfence report verify`: three verdicts on a report's file, without any server.

Separate from `reports.py`, which talks to one.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import typer
from pydantic import ValidationError

from proof.reports import ReportError, ReportVerdict, verify_report
from ringfence.cli.output import CommandError, Exit, err, out, print_json
from wire.version import UnsupportedVersionError


def verify(
    file: Path = typer.Argument(help="the report's JSON, CSV or PDF"),
    pin: str = typer.Option(
        ..., help="fingerprint of the vendor's key, as pinned in your own template's closer role"
    ),
    manifest: Path | None = typer.Option(
        None, help="the report's manifest; by default the one beside the file"
    ),
    max_age: int | None = typer.Option(
        None, "--max-age", min=0, help="oldest that is still fresh, in days"
    ),
    as_json: bool = typer.Option(False, "--json", help="as JSON"),
) -> None:
    """Judge a report's integrity, completeness and freshness, offline; each on its own."""
    beside = file.parent / f"{file.stem}.manifest.json"
    found = manifest or (beside if beside.exists() else None)
    try:
        verdict = verify_report(
            file.read_bytes(),
            pin,
            now=datetime.now(UTC),
            manifest=found.read_bytes() if found is not None else None,
            max_age=timedelta(days=max_age) if max_age is not None else None,
        )
    except OSError as error:
        raise CommandError(f"{error.filename}: {error.strerror}", Exit.USAGE) from error
    except (ReportError, ValidationError, UnsupportedVersionError) as error:
        raise CommandError(f"{file}: NOT valid: {_brief(error)}", Exit.FAILURE) from error
    if as_json:
        print_json(_document(verdict))
    else:
        _print(verdict)
    if not verdict.holds:
        raise typer.Exit(Exit.FAILURE)


def _brief(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return str(error).splitlines()[0]


def _document(verdict: ReportVerdict) -> dict[str, object]:
    return {
        "holds": verdict.holds,
        "report_id": str(verdict.statement.id),
        "form": verdict.form,
        "key": verdict.key,
        "integrity": {
            "holds": verdict.integrity.holds,
            "problems": verdict.integrity.problems,
            "rows": verdict.integrity.rows,
        },
        "completeness": {
            "verdict": verdict.completeness.verdict,
            "reasons": list(verdict.completeness.reasons),
        },
        "freshness": {
            "verdict": verdict.freshness.verdict,
            "reasons": list(verdict.freshness.reasons),
        },
    }


def _print(verdict: ReportVerdict) -> None:
    statement = verdict.statement
    covers = f"/{statement.boundary}" if statement.boundary else ""
    out.print(
        f"{statement.kind} {statement.title}, {statement.organization}{covers}, "
        f"{statement.completeness.row_count} rows, made "
        f"{statement.finished_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC",
        markup=False,
    )
    if verdict.integrity.holds:
        out.print(f"integrity: holds; signed by the pinned key {verdict.key}", markup=False)
    else:
        out.print("integrity: BROKEN", style="red", markup=False)
        for problem in verdict.integrity.problems:
            out.print(f"  {problem}", markup=False)
    for name, judged in (
        ("completeness", verdict.completeness),
        ("freshness", verdict.freshness),
    ):
        word = judged.verdict.replace("-", " ")
        out.print(f"{name}: {word if judged.holds else word.upper()}", markup=False)
        for reason in judged.reasons:
            out.print(f"  {reason}", markup=False)
    found = sum(f.count for f in statement.findings if f.severity == "finding")
    if found:
        err.print(f"the report itself has {found} findings; read them", markup=False)
