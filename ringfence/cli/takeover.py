"""`ringfence install takeover` and `ringfence takeover`: fetch, verify and unlock a take-over kit.

Fetching asks the control plane; all of `ringfence takeover` works offline. The private key, or the
passphrase, is read here and never sent.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import typer
from pydantic import ValidationError

from proof.sealing import (
    SealingError,
    create_key,
    encode_public,
    key_of_passphrase,
    load_key,
    read_passphrase,
    salt_of,
    unseal,
)
from proof.takeover import MANIFEST, WORK, KitError, Verdict, unpack, verify_folder
from ringfence.cli.output import (
    JSON,
    PERSON,
    CommandError,
    Exit,
    connect,
    err,
    out,
    print_facts,
    print_json,
)
from ringfence.client import Api, route
from wire.takeover import SealedSecret

app = typer.Typer(help="Take-over kits, offline: what goes on without us.")
FOLDER = typer.Argument(help="folder of the kit", metavar="FOLDER")
KEY = typer.Option(None, "--key", help="your private key, from `ringfence takeover key`")
PASSPHRASE = typer.Option(None, "--passphrase-file", help="instead of a key: a passphrase of yours")
WAIT_SECONDS = 300.0
POLL_SECONDS = 0.5
SEALED = "state/passphrase.sealed.json"


def fetch(
    install: str = typer.Argument(help="id of the install", metavar="INSTALL"),
    to: Path = typer.Option(..., "--to", help="folder for the kit; new or empty"),
    public_key: Path | None = typer.Option(
        None, "--public-key", help="your public key, from `ringfence takeover key`"
    ),
    passphrase_file: Path | None = PASSPHRASE,
    person: str | None = PERSON,
    as_json: bool = JSON,
) -> None:
    """Fetch the take-over kit of an install: what is needed to update and delete it without us."""
    if to.exists() and any(to.iterdir()):
        raise CommandError(f"--to: {to} is not empty", Exit.USAGE, "name a new folder")
    recipient = _recipient(install, public_key, passphrase_file)
    api = connect(person)
    path = f"{route('installs', install)}/takeover"
    run: str = api.post(path, {"recipient": recipient})["run_id"]
    kit = _wait(api, f"{path}/{run}", run)
    with tempfile.TemporaryDirectory(prefix="ringfence-takeover-") as name:
        archive = Path(name) / "kit.tar.gz"
        api.download(f"{path}/{run}/archive", archive)
        try:
            unpack(archive.read_bytes(), to)
        except KitError as error:
            raise CommandError(f"the kit cannot be used: {error}") from error
        except OSError as error:
            raise CommandError(f"--to: {error.filename}: {error.strerror}", Exit.USAGE) from error
    if as_json:
        print_json({"folder": str(to), "run_id": run, "digest": kit["digest"]})
        return
    out.print(str(to), markup=False)
    err.print(f"check it: ringfence takeover verify {to} --pin FINGERPRINT", markup=False)
    err.print(f"then read {to / 'RUNBOOK.md'}", markup=False)


def _recipient(
    install: str, public_key: Path | None, passphrase_file: Path | None
) -> dict[str, str | None]:
    """Return for whom the kit is sealed. Raises: CommandError."""
    if (public_key is None) == (passphrase_file is None):
        raise CommandError(
            "give --public-key or --passphrase-file",
            Exit.USAGE,
            "make a key: ringfence takeover key FILE",
        )
    if public_key is not None:
        try:
            return {"public": public_key.read_text().strip(), "salt": None}
        except (OSError, ValueError) as error:
            raise CommandError(f"--public-key: {public_key}: {error}", Exit.USAGE) from error
    assert passphrase_file is not None
    salt = salt_of(install)
    try:
        key = key_of_passphrase(read_passphrase(passphrase_file), salt)
    except SealingError as error:
        raise CommandError(f"--passphrase-file: {error}", Exit.USAGE) from error
    return {"public": encode_public(key), "salt": salt}


def _wait(api: Api, path: str, run: str) -> Any:
    """Return the finished kit. Raises: CommandError when it cannot be made, or not in time."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        kit = api.get(path)
        if kit["state"] == "succeeded":
            return kit
        if kit["state"] in ("failed", "unwound", "cancelled", "stuck", "needs-attention"):
            raise _refusal(api, run)
        if time.monotonic() > deadline:
            raise CommandError(
                f"the kit was not made within {WAIT_SECONDS:.0f} s",
                Exit.TIMED_OUT,
                f"watch it: ringfence run watch {run}",
            )
        time.sleep(POLL_SECONDS)


def _refusal(api: Api, run: str) -> CommandError:
    """Return why a kit's run did not succeed, with the next action that the control plane names."""
    found = api.get(route("runs", run))
    failure = found["failure"] or {}
    words = found["error_message"] or failure.get("message") or f"see run {run}"
    message = f"the kit cannot be made: {words}"
    return CommandError(message, Exit.DEPLOYMENT_FAILED, str(failure.get("next_action") or ""))


@app.command("key")
def make_key(
    file: Path = typer.Argument(help="where to write the private key (mode 0600)"),
) -> None:
    """Make a key pair for take-over kits; the public half is written beside it, with .pub."""
    public = file.with_name(file.name + ".pub")
    try:
        key = create_key(file)
        public.write_text(encode_public(key) + "\n")
    except OSError as error:
        raise CommandError(f"{error.filename}: {error.strerror}", Exit.USAGE) from error
    out.print(str(public), markup=False)
    err.print(f"keep {file}: without it no kit can be unlocked", markup=False)


@app.command()
def verify(
    folder: Path = FOLDER,
    pin: str = typer.Option(
        ..., help="fingerprint of the vendor's key, as pinned in your own template's closer role"
    ),
    as_json: bool = typer.Option(False, "--json", help="as JSON"),
) -> None:
    """Check a kit offline: signature against your pin, and every file against the manifest."""
    try:
        verdict = verify_folder(folder, pin)
    except KitError as error:
        raise CommandError(f"{folder}: NOT valid: {error}") from error
    except OSError as error:
        raise CommandError(f"{error.filename}: {error.strerror}", Exit.USAGE) from error
    if as_json:
        print_json(
            {"valid": True, "control_plane_key": pin, "manifest": verdict.manifest.to_wire()}
        )
    else:
        _print(verdict)


def _print(verdict: Verdict) -> None:
    manifest = verdict.manifest
    out.print(f"valid: signed by the pinned key {verdict.control_plane_key}", markup=False)
    rehearsal = "   (rehearsal: the account is emulated)" if manifest.emulated else ""
    stacks = ", ".join(f"{s.name} ({s.resources} resources)" for s in manifest.stacks)
    whose = f", of {manifest.host.boundary}; it is not in the kit" if manifest.host else ""
    print_facts(
        [
            ("install", f"{manifest.install_id}{rehearsal}"),
            ("boundary", f"{manifest.organization}/{manifest.boundary}"),
            ("account", f"{manifest.account} {manifest.region}"),
            ("cluster", f"{manifest.cluster}{whose}"),
            ("blueprint", f"{manifest.blueprint} {manifest.blueprint_version}"),
            ("programs", manifest.blueprint_digest),
            ("stacks", stacks),
            ("bundle", manifest.bundle_sequence),
            ("certificate", "yes" if manifest.has_certificate else "none was issued"),
            ("tools", ", ".join(f"{t.name} {t.version}" for t in manifest.tools)),
            ("files", f"{len(manifest.files)}, all as signed"),
        ]
    )


@app.command()
def unlock(
    folder: Path = FOLDER,
    key: Path | None = KEY,
    passphrase_file: Path | None = PASSPHRASE,
    to: Path | None = typer.Option(
        None, "--to", help="file for the state's passphrase (mode 0600); FOLDER/work/passphrase"
    ),
) -> None:
    """Open a kit's sealed passphrase with your key, for its script to use."""
    if (key is None) == (passphrase_file is None):
        raise CommandError("give --key or --passphrase-file", Exit.USAGE)
    sealed = _sealed(folder)
    try:
        if key is not None:
            private = load_key(key)
        else:
            assert passphrase_file is not None
            if sealed.recipient.salt is None:
                raise CommandError("this kit was sealed to a key: give --key", Exit.USAGE)
            private = key_of_passphrase(read_passphrase(passphrase_file), sealed.recipient.salt)
        secret = unseal(sealed, private)
    except SealingError as error:
        raise CommandError(str(error), Exit.USAGE) from error
    target = to or folder / WORK / "passphrase"
    try:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            # A file that was there keeps its mode otherwise.
            os.fchmod(file.fileno(), 0o600)
            file.write(secret)
    except OSError as error:
        raise CommandError(f"{error.filename}: {error.strerror}", Exit.USAGE) from error
    out.print(str(target), markup=False)


def _sealed(folder: Path) -> SealedSecret:
    """Return the sealed passphrase of a kit. Raises: CommandError."""
    try:
        return SealedSecret.model_validate(json.loads((folder / SEALED).read_text()))
    except OSError as error:
        raise CommandError(
            f"{folder} is not a take-over kit: {SEALED}: {error.strerror}",
            Exit.USAGE,
            f"name the folder that holds {MANIFEST}",
        ) from error
    except (ValueError, ValidationError) as error:
        raise CommandError(f"{folder / SEALED} is not a sealed passphrase", Exit.USAGE) from error
