"""`ringfence certificate`: fetch an install certificate, and verify one without any server."""

from __future__ import annotations

import json
from pathlib import Path

import typer
from pydantic import ValidationError

from proof.certificates import CertificateError, Verdict, verify_certificate
from ringfence.cli.output import PERSON, CommandError, Exit, connect, err, out, print_json
from wire.certificate import CertificateFile

app = typer.Typer(help="The signed record at the end of an install.")


@app.command()
def fetch(
    install: str = typer.Argument(help="id of the install"),
    file: Path = typer.Argument(help="where to write it"),
    person: str | None = PERSON,
) -> None:
    """Download an install's certificate."""
    document = connect(person).get(f"/v1/installs/{install}/certificate")
    file.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n")
    err.print(f"wrote {file}; check it: ringfence certificate verify {file} --pin FINGERPRINT")


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
    try:
        certificate_file = CertificateFile.model_validate_json(file.read_text())
        expected_agent = agent_key.read_text().strip() if agent_key else None
    except OSError as error:
        raise CommandError(f"{error.filename}: {error.strerror}", Exit.USAGE) from error
    except ValidationError as error:
        raise CommandError(f"{file}: not a certificate: {error}", Exit.USAGE) from error
    try:
        verdict = verify_certificate(certificate_file, pin, expected_agent)
    except CertificateError as error:
        raise CommandError(f"{file}: NOT valid: {error}", Exit.FAILURE) from error
    if as_json:
        print_json(verdict.to_wire())
    else:
        _print(verdict)


def _print(verdict: Verdict) -> None:
    certificate = verdict.certificate
    access = certificate.access
    out.print(f"valid: signed by the pinned key {verdict.control_plane_key}", markup=False)
    if verdict.agent_key is None:
        out.print("countersigned: no (no agent has confirmed it)")
    else:
        checked = "matches your bucket" if verdict.agent_key_checked else "not checked: --agent-key"
        out.print(f"countersigned by the agent {verdict.agent_key} ({checked})", markup=False)
    out.print(
        f"install of {certificate.blueprint} {certificate.blueprint_version} in "
        f"{certificate.organization}/{certificate.boundary}"
        + (" (rehearsal: the account is emulated)" if certificate.emulated else "")
    )
    out.print(
        f"access of {access.role_arn.rsplit('/', 1)[-1]}: closed by {access.closed_by}, "
        f"role deleted {access.role_deleted_at or 'not seen'}, "
        f"{len(access.proofs)} denied attempts as proof"
    )
    findings = [item for item in certificate.residue if not item.expected]
    out.print(f"residue: {len(findings)} findings, {len(certificate.residue)} things counted")
