"""Put the parts of a take-over kit together; called by the step of `install_takeover`.

First what rows hold (in a transaction), then everything else without one: deriving keys and reading
files takes a second or two.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from controlplane.adapters.pulumi.secrets import reencrypt
from controlplane.core.errors import ConflictError, InternalError, NotFoundError
from controlplane.core.run_engine.definition import RunView
from controlplane.domains.agents.repository import find_newest_bundle
from controlplane.domains.certificates import service as certificates
from controlplane.sagas.provisioning.cluster import RUNNER_IMAGE
from controlplane.sagas.provisioning.params import ProvisionParams
from controlplane.sagas.provisioning.ports import Ports
from controlplane.sagas.takeover import documents, keys
from controlplane.tables.catalog import BlueprintVersion
from controlplane.tables.organizations import CloudConnection
from proof.canonical import bytes_digest
from proof.takeover import MANIFEST, listed, pack, program_digest
from wire.manifest import BlueprintManifest
from wire.takeover import KitStack, Recipient, TakeoverFile, TakeoverManifest

SCRIPT_FILES = ("takeover.py", "way_in.py", "requirements.txt")
GUEST_FILES = ("guest_place.py",)
CHART = "boundary-stack"
_HIDDEN = ("pulumi:pulumi:", "pulumi:providers:")


@dataclass(frozen=True)
class Rows:
    """What the database holds for a kit."""

    manifest: BlueprintManifest
    bundle: dict[str, Any] | None
    """The newest desired state, with both signatures."""
    bundle_sequence: int | None
    certificate: dict[str, Any] | None
    image_digests: Mapping[str, str]
    """Of the images that were installed, as its certificate has them; empty without one."""
    canaries: tuple[str, ...]
    """Secrets of ours that must not be in the kit; it is not made if one is."""


@dataclass(frozen=True)
class Kit:
    """A kit that only lacks the signature."""

    manifest: TakeoverManifest
    files: Mapping[str, bytes]

    def packed(self, manifest: TakeoverFile) -> bytes:
        """Return the whole archive."""
        return pack({**self.files, MANIFEST: text(manifest.to_wire())})


def digest_of(archive: bytes) -> str:
    """Return the digest under which an archive is handed out."""
    return bytes_digest(archive)


def text(document: Any) -> bytes:
    """Return a document as it lies in a kit: for people and programs alike."""
    return (json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def read_rows(session: Session, run: RunView, applied: ProvisionParams, ports: Ports) -> Rows:
    """Read what a kit needs of the database. Raises: NotFoundError."""
    registered = session.scalars(
        select(BlueprintVersion).where(
            BlueprintVersion.name == applied.blueprint,
            BlueprintVersion.version == applied.blueprint_version,
        )
    ).one()
    bundle = find_newest_bundle(session, run.boundary_id, 0)
    connection = session.scalars(
        select(CloudConnection).where(CloudConnection.id == applied.connection_id)
    ).one()
    ours = (ports.signer.fingerprint, ports.signer.public)
    try:
        file = certificates.certificate_file(session, applied.install_id, ours)
        images = json.loads(base64.b64decode(file.envelope.payload))["image_digests"]
    except NotFoundError:
        file, images = None, {}
    return Rows(
        manifest=BlueprintManifest.model_validate(registered.manifest),
        bundle=None if bundle is None else dict(bundle.envelope),
        bundle_sequence=None if bundle is None else bundle.sequence,
        certificate=None if file is None else file.to_wire(),
        image_digests=images,
        canaries=(connection.external_id,),
    )


def make(
    run: RunView,
    applied: ProvisionParams,
    outputs: Mapping[str, Mapping[str, Any]],
    rows: Rows,
    recipient: Recipient,
    ports: Ports,
) -> Kit:
    """Return the kit. Raises: ConflictError when the install cannot be handed over as it stands."""
    _require_same_images(rows.image_digests, documents.images(ports, outputs))
    derived = keys.derive(ports.settings.state_passphrase_file, applied.install_id, recipient)
    stacks, states = _states(run, applied, derived, ports)
    facts = documents.facts(applied, stacks, outputs)
    files: dict[str, bytes] = {
        **_programs(applied, ports),
        **_scripts(applied, ports),
        **_chart(outputs, ports),
        **{f"state/{name}.json": text(state) for name, state in states.items()},
        "state/passphrase.sealed.json": text(derived.sealed.model_dump(mode="json")),
        "chart/values.json": text(documents.chart_values(run, applied, outputs, ports)),
        "inputs.json": text(applied.inputs),
        "inputs.schema.json": text(rows.manifest.inputs_schema),
        "images.json": text(documents.images(ports, outputs)),
        "kit.json": text(facts),
    }
    if rows.bundle is not None:
        files["desired/bundle.json"] = text(rows.bundle)
    if rows.certificate is not None:
        files["certificate.json"] = text(rows.certificate)
    manifest = TakeoverManifest(
        **_named(run, applied, ports),
        cluster=facts["cluster"],
        host=documents.host(applied),
        stacks=stacks,
        bundle_sequence=rows.bundle_sequence,
        has_certificate=rows.certificate is not None,
        recipient=recipient,
        tools=documents.tools(rows.manifest, is_guest=applied.host is not None),
        files=listed(files),
    )
    files["RUNBOOK.md"] = documents.runbook(manifest, applied, ports)
    manifest = manifest.model_copy(update={"files": listed(files)})
    _refuse_secrets(files, (*rows.canaries, derived.ours.decode(), derived.passphrase.decode()))
    return Kit(manifest, files)


def _named(run: RunView, applied: ProvisionParams, ports: Ports) -> dict[str, Any]:
    """Return whose kit it is and what it is of."""
    return {
        "organization": applied.organization,
        "boundary": applied.boundary,
        "boundary_id": run.boundary_id,
        "install_id": applied.install_id,
        "account": applied.account,
        "region": applied.region,
        "project": applied.project,
        "blueprint": applied.blueprint,
        "blueprint_version": applied.blueprint_version,
        "blueprint_digest": applied.blueprint_digest,
        "revision": applied.revision,
        "emulated": ports.settings.is_rehearsal,
    }


def _states(
    run: RunView, applied: ProvisionParams, derived: keys.KitKeys, ports: Ports
) -> tuple[tuple[KitStack, ...], dict[str, Any]]:
    """Return every stack's state under the customer's key."""
    stacks: list[KitStack] = []
    states: dict[str, Any] = {}
    for stack in applied.stacks:
        found = ports.state.read_stack(run.boundary_id, applied.project, stack.name)
        if found is None:
            continue
        deployment, written = found
        if deployment.get("pending_operations"):
            raise ConflictError(
                f"the state of stack {stack.name} holds an operation that never ended",
                code="pending-operations",
                fix="let a run of the install end first: it puts the state in order",
            )
        moved = reencrypt(deployment, derived.ours, derived.passphrase, derived.salt)
        states[stack.name] = {"version": 3, "deployment": moved}
        stacks.append(_described(stack.name, stack.entry, deployment, written))
    if not any(stack.resources for stack in stacks):
        raise ConflictError(
            f"the engine knows no resource of install {applied.install_id}", code="not-installed"
        )
    return tuple(stacks), states


def _described(name: str, entry: str, deployment: dict[str, Any], written: datetime) -> KitStack:
    held = [
        resource
        for resource in deployment.get("resources") or []
        if not str(resource["type"]).startswith(_HIDDEN)
    ]
    return KitStack(name=name, entry=entry, resources=len(held), state_at=written)


def _programs(applied: ProvisionParams, ports: Ports) -> dict[str, bytes]:
    """Return the programs, proven to be those that were installed. Raises: ConflictError."""
    root = ports.settings.blueprints_root
    package = applied.stacks[0].entry.partition(":")[0].rpartition(".")[0]
    folder = root.joinpath(*package.split("."))
    programs = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*.py"))
    }
    found = program_digest(programs)
    if found != applied.blueprint_digest:
        raise ConflictError(
            f"{applied.blueprint} {applied.blueprint_version} was installed at "
            f"{applied.blueprint_digest}; this control plane holds {found}",
            code="program-changed",
            fix="update the install to the version that is registered now, then make the kit",
        )
    place = f"programs/{package.replace('.', '/')}"
    parents = {
        f"programs/{'/'.join(package.split('.')[:depth])}/__init__.py": b""
        for depth in range(1, package.count(".") + 1)
    }
    return {**parents, **{f"{place}/{path}": data for path, data in programs.items()}}


def _scripts(applied: ProvisionParams, ports: Ports) -> dict[str, bytes]:
    folder = documents.script_folder(ports)
    names = SCRIPT_FILES if applied.host is None else (*SCRIPT_FILES, *GUEST_FILES)
    return {name: (folder / name).read_bytes() for name in names}


def _chart(outputs: Mapping[str, Mapping[str, Any]], ports: Ports) -> dict[str, bytes]:
    """Return the chart, proven to be of the version that was applied. Raises: ConflictError."""
    folder = ports.settings.charts / CHART
    found = documents.chart_name(folder)
    applied = outputs.get("stack", {}).get("chart", found)
    if applied != found:
        raise ConflictError(
            f"the cluster runs {applied}; this control plane holds {found}",
            code="chart-changed",
            fix="update the install, then make the kit",
        )
    return {
        f"chart/{CHART}/{path.relative_to(folder).as_posix()}": path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0] != "ci"
    }


def _require_same_images(installed: Mapping[str, str], present: Mapping[str, str]) -> None:
    """Refuse when the deployment's images are no longer those installed. Raises: ConflictError."""
    for name, digest in sorted(installed.items()):
        if name != RUNNER_IMAGE and not present.get(name, "").endswith(f"@{digest}"):
            raise ConflictError(
                f"the install runs {name}@{digest}; this control plane holds "
                f"{present.get(name, 'no such image')}",
                code="images-changed",
                fix="update the install, then make the kit",
            )


def _refuse_secrets(files: Mapping[str, bytes], canaries: tuple[str, ...]) -> None:
    """Refuse a kit with a secret of ours in it. Raises: InternalError that names the file."""
    for path, data in files.items():
        for canary in canaries:
            if canary.encode() in data:
                raise InternalError(f"a secret would be in {path} of the kit: it is not made")
