"""`ringfence certificate`: fetch an install certificate, and verify one without any server."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import typer
from pydantic import ValidationError

from proof.certificates import CertificateError, Verdict, verify_certificate
from proof.keys import KeyFileError
from ringfence.cli.output import PERSON, CommandError, Exit, connect, err, out, print_json
from ringfence.client import route
from wire.certificate import CertificateFile, RemovalCertificate, WayInSeen
from wire.version import UnsupportedVersionError

app = typer.Typer(help="The signed record at the end of an install.")


@app.command()
def fetch(
    install: str = typer.Argument(help="id of the install"),
    file: Path = typer.Argument(help="where to write it; - for the standard output"),
    person: str | None = PERSON,
) -> None:
    """Download an install's certificate."""
    document = connect(person).get(f"{route('installs', install)}/certificate")
    if str(file) == "-":
        print_json(document)
        return
    try:
        file.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n")
    except OSError as error:
        raise CommandError(f"{file}: {error.strerror}", Exit.USAGE) from error
    err.print(
        f"wrote {file}; check it: ringfence certificate verify {file} --pin FINGERPRINT",
        markup=False,
    )


@app.command()
def verify(
    file: Path = typer.Argument(help="the certificate's file"),
    pin: str = typer.Option(
        ..., help="fingerprint of the vendor's key, as pinned in your own template's closer role"
    ),
    agent_key: Path | None = typer.Option(
        None, help="the agent's public key, from your own bucket (agent/<boundary>.pub)"
    ),
    as_json: bool = typer.Option(False, "--json", help="as JSON"),
) -> None:
    """Check both signatures against your own pins, offline, and say what the certificate proves."""
    certificate_file, expected_agent = _read(file, agent_key)
    try:
        verdict = verify_certificate(certificate_file, pin, expected_agent)
    except (CertificateError, UnsupportedVersionError, ValidationError) as error:
        raise CommandError(f"{file}: NOT valid: {_brief(error)}", Exit.FAILURE) from error
    except KeyFileError as error:
        raise CommandError(f"--agent-key: {agent_key}: {error}", Exit.USAGE) from error
    if as_json:
        print_json(verdict.to_wire())
    else:
        _print(verdict)


def _read(file: Path, agent_key: Path | None) -> tuple[CertificateFile, str | None]:
    """Return what stands in the files. Raises: CommandError."""
    try:
        document = json.loads(file.read_text())
        expected_agent = agent_key.read_text().strip() if agent_key else None
        return CertificateFile.from_wire(document), expected_agent
    except OSError as error:
        raise CommandError(f"{error.filename}: {error.strerror}", Exit.USAGE) from error
    except (ValueError, TypeError, AttributeError) as error:
        raise CommandError(
            f"{file}: not a certificate: {_brief(error)}",
            Exit.USAGE,
            "fetch it anew: ringfence certificate fetch INSTALL FILE",
        ) from error


def _brief(error: Exception) -> str:
    """Return an error in one line; a shape error as field and reason, without what was given."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        return f"{place}: {first['msg']}" if place else str(first["msg"])
    return str(error).splitlines()[0]


def _print(verdict: Verdict) -> None:
    certificate = verdict.certificate
    access = certificate.access
    out.print(f"valid: signed by the pinned key {verdict.control_plane_key}", markup=False)
    if verdict.agent_key is None:
        out.print("countersigned: no (no agent has confirmed it)")
    else:
        checked = "matches your bucket" if verdict.agent_key_checked else "not checked: --agent-key"
        out.print(f"countersigned by the agent {verdict.agent_key} ({checked})", markup=False)
    if isinstance(certificate, RemovalCertificate):
        what = "removal"
    else:
        what = "install" if certificate.operation == "provision" else certificate.operation
    out.print(
        f"{what} of {certificate.blueprint} {certificate.blueprint_version} in "
        f"{certificate.organization}/{certificate.boundary}"
        + (" (rehearsal: the account is emulated)" if certificate.emulated else ""),
        markup=False,
    )
    out.print(f"outcome: {certificate.outcome}, {_moment(certificate.finished_at)}", markup=False)
    out.print(
        f"access of {access.role_arn.rsplit('/', 1)[-1]}: closed by {access.closed_by}, "
        f"role deleted {_moment(access.role_deleted_at)}, "
        f"{len(access.proofs)} denied attempts as proof",
        markup=False,
    )
    if access.way_in is not None:
        out.print(f"way in: {_way_in(access.way_in)}", markup=False)
    if isinstance(certificate, RemovalCertificate):
        _print_removal(certificate)
    findings = [item for item in certificate.residue if not item.expected]
    out.print(f"residue: {len(findings)} findings, {len(certificate.residue)} things counted")


def _way_in(way: WayInSeen) -> str:
    """Return what was seen of the way into the cluster once it was shut."""
    seen = [way.way, f"{way.access_entries} access entries of ours left"]
    if way.public_endpoint is not None:
        seen.append(f"endpoint {'public' if way.public_endpoint else 'private'}")
    if way.endpoint_changes is not None:
        never = way.endpoint_changes == 0 and not way.public_endpoint
        seen.append("never public" if never else f"its access changed {way.endpoint_changes} times")
    if way.running_tasks is not None:
        seen.append(f"{way.running_tasks} runner tasks left")
    return ", ".join(seen)


def _print_removal(certificate: RemovalCertificate) -> None:
    out.print(f"removed: {len(certificate.removed)} resources", markup=False)
    reasons = dict.fromkeys(item.reason for item in certificate.retained)
    for reason in reasons:
        ids = [item.id for item in certificate.retained if item.reason == reason]
        out.print(f"retained: {', '.join(dict.fromkeys(ids))} ({reason})", markup=False)
    if certificate.cluster == "lost":
        out.print("the cluster did not answer and was destroyed from outside")


def _moment(at: datetime | None) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if at else "not seen"
