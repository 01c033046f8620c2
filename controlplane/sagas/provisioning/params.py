"""The parameters of an install, read once from rows and then fixed for the run.

`complete` is called by the engine on the first claim. Separate from the saga's file because it is
the only part that reads the request's tables; the steps see the result.
"""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict
from sqlalchemy import select
from sqlalchemy.orm import Session

from controlplane.core.errors import NotFoundError
from controlplane.core.run_engine.definition import RunView
from controlplane.domains.installs.hosting import find_host, host_named
from controlplane.sagas.provisioning.ports import Ports
from controlplane.tables.catalog import Artifact, BlueprintVersion, ModelVersion
from controlplane.tables.installs import InstallRevision
from controlplane.tables.organizations import Boundary, CloudConnection, Organization
from wire.certificate import Operation
from wire.manifest import BlueprintManifest

IN_VPC_RUNNER = "in-vpc-runner"
COPIED = "copied"
SYSTEM_NAMESPACE = "ringfence-system"


class Model(BaseModel):
    """One file that has to be in the boundary."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: str
    digest: str
    size_bytes: int
    format: str
    base: str | None
    """Name of the base model, for an adapter."""


class Stack(BaseModel):
    """One stack of the blueprint with its times at this deployment's scale. Units: seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    entry: str
    budget: float
    estimate: float
    p90: float


class ProvisionParams(BaseModel):
    """What is installed where; carries no secret and not the External ID."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    unwinds: ClassVar[bool] = True
    """Whether a run that turns around takes back what stands (`Definition.keeps` is the other)."""
    operation: ClassVar[Operation] = "provision"
    """What the run is for, as its certificate names it."""

    organization: str
    boundary: str
    boundary_display: str
    install_id: UUID
    revision: int
    connection_id: UUID
    account: str
    region: str
    partition: str
    blueprint: str
    blueprint_version: str
    blueprint_digest: str
    stacks: tuple[Stack, ...]
    inputs: dict[str, Any]
    models: tuple[Model, ...]
    time_scale: float

    @property
    def reach(self) -> str:
        """Return how we get to the cluster; a blueprint without the input has one way only."""
        return str(self.inputs.get("reach", "public-cidr"))

    @property
    def images(self) -> str:
        """Return where nodes get images from; a blueprint without the input has them pulled."""
        return str(self.inputs.get("images", "pulled"))

    @property
    def copies_images(self) -> bool:
        """Say whether the boundary has repositories of its own."""
        return self.images == COPIED

    @property
    def project(self) -> str:
        """Return the engine's project: one per boundary."""
        return f"ringfence-{self.boundary}"

    @property
    def host(self) -> str | None:
        """Return the boundary in whose cluster this one lives; None: in its own."""
        return host_named(self.inputs)

    @property
    def guests(self) -> tuple[str, ...]:
        """Return the boundaries that may live in this one's cluster."""
        return tuple(self.inputs.get("guests") or ())

    @property
    def cluster(self) -> str:
        """Return the name that the blueprint gives the cluster, or gave the host's."""
        return f"ringfence-{self.host or self.boundary}"

    @property
    def hosts_cluster(self) -> str | None:
        """Return the cluster of a boundary that is a guest; None where it has its own."""
        return self.cluster if self.host is not None else None

    @property
    def system_namespace(self) -> str:
        """Return the agent's namespace; in a host's cluster the plain name is the host's."""
        return SYSTEM_NAMESPACE if self.host is None else f"{SYSTEM_NAMESPACE}-{self.boundary}"

    def shared(self) -> dict[str, Any] | None:
        """Return for a plan's reader what is shared, and with whom; None where nothing is."""
        if self.host is not None:
            return {"cluster": self.cluster, "host": self.host, "guests": []}
        if self.guests:
            return {"cluster": self.cluster, "host": None, "guests": list(self.guests)}
        return None

    @property
    def guest_group(self) -> str:
        """Return the group as whose member a guest's installer comes into its host's cluster."""
        return f"ringfence-guest-{self.boundary}"

    @property
    def namespace(self) -> str:
        """Return the boundary's namespace in the cluster."""
        return f"boundary-{self.boundary}"

    @property
    def bucket(self) -> str:
        """Return the name that the blueprint gives the artifact bucket."""
        return f"ringfence-{self.boundary}-{self.account}-artifacts"

    def stack(self, name: str) -> Stack:
        """Return a stack by name. Raises: NotFoundError naming the blueprint."""
        for stack in self.stacks:
            if stack.name == name:
                return stack
        raise NotFoundError(f"blueprint {self.blueprint} has no stack {name!r}")

    @property
    def p90_seconds(self) -> float:
        """Return how long the applies take at worst, as published, one after the other."""
        return sum(stack.p90 for stack in self.stacks)


# Our own work beside the cloud's: starting the engine, previews, state, on a busy machine.
OVERHEAD_BUDGET = 90.0
OVERHEAD_ESTIMATE = 8.0


def complete(session: Session, run: RunView, raw: dict[str, Any], ports: Ports) -> ProvisionParams:
    """Return the full parameters. Raises: NotFoundError naming what is missing."""
    revision = session.execute(
        select(InstallRevision)
        .where(InstallRevision.install_id == run.install_id)
        .order_by(InstallRevision.number.desc())
        .limit(1)
    ).scalar_one_or_none()
    if revision is None or run.install_id is None:
        raise NotFoundError(f"run {run.id} belongs to no install with a revision")
    boundary = session.execute(select(Boundary).where(Boundary.id == run.boundary_id)).scalar_one()
    organization = session.execute(
        select(Organization.name).where(Organization.id == run.organization_id)
    ).scalar_one()
    connection = session.execute(select(CloudConnection)).scalar_one_or_none()
    if connection is None:
        raise NotFoundError(f"boundary {boundary.name} has no cloud connection")
    blueprint = session.execute(
        select(BlueprintVersion).where(BlueprintVersion.id == revision.blueprint_version_id)
    ).scalar_one()
    manifest = BlueprintManifest.model_validate(blueprint.manifest)
    return ProvisionParams(
        organization=organization,
        boundary=boundary.name,
        boundary_display=boundary.display_name or boundary.name,
        install_id=run.install_id,
        revision=revision.number,
        connection_id=connection.id,
        account=connection.account,
        region=connection.region,
        partition=connection.partition,
        blueprint=blueprint.name,
        blueprint_version=blueprint.version,
        blueprint_digest=blueprint.digest,
        stacks=_stacks(manifest, ports.settings.time_scale, revision.inputs),
        inputs={
            **_server_inputs(manifest, run, organization, boundary, connection, ports),
            **_hosts_inputs(session, boundary, revision.inputs),
            **revision.inputs,
        },
        models=_models(session),
        time_scale=ports.settings.time_scale,
    )


def _server_inputs(
    manifest: BlueprintManifest,
    run: RunView,
    organization: str,
    boundary: Boundary,
    connection: CloudConnection,
    ports: Ports,
) -> dict[str, Any]:
    """Return the inputs that the control plane fills in, as far as the blueprint has them."""
    given = {
        "organization": organization,
        "boundary": boundary.name,
        "install_id": str(run.install_id),
        "account": connection.account,
        "region": connection.region,
        "partition": connection.partition,
        "control_plane_cidrs": list(ports.settings.control_plane_cidrs),
        "reach": boundary.target.get("reach", "public-cidr"),
    }
    if boundary.target.get("images") == COPIED:
        given |= {"images": COPIED, "image_names": sorted(ports.settings.images)}
    known = manifest.inputs_schema.get("properties")
    names = known if isinstance(known, dict) else given
    return {key: value for key, value in given.items() if key in names}


def _hosts_inputs(session: Session, boundary: Boundary, inputs: dict[str, Any]) -> dict[str, Any]:
    """Return what a guest takes over from its host; empty for a boundary with its own cluster.

    Raises: NotFoundError when the host's cluster is not there.
    """
    name = host_named(inputs)
    if name is None:
        return {}
    host = find_host(session, boundary.id, name)
    if host is None or host.applied is None:
        raise NotFoundError(f"host {name} of boundary {boundary.name} has no cluster")
    # Nobody but the host opens or shuts its endpoint: a guest always has a runner.
    return {"cidr": host.cidr, "reach": IN_VPC_RUNNER}


def _stacks(manifest: BlueprintManifest, scale: float, inputs: dict[str, Any]) -> tuple[Stack, ...]:
    return tuple(
        Stack(
            name=stack.name,
            entry=stack.entry,
            budget=manifest.budgets.get(f"{stack.name}.up", 1800) * scale + OVERHEAD_BUDGET,
            estimate=scale * manifest.stack_seconds(stack.name, "p50", inputs) + OVERHEAD_ESTIMATE,
            p90=scale * manifest.stack_seconds(stack.name, "p90", inputs) + OVERHEAD_ESTIMATE,
        )
        for stack in manifest.stacks
    )


def _models(session: Session) -> tuple[Model, ...]:
    rows = session.execute(
        select(ModelVersion, Artifact)
        .join(
            Artifact,
            (Artifact.boundary_id == ModelVersion.boundary_id)
            & (Artifact.id == ModelVersion.artifact_id),
        )
        .where(ModelVersion.retired_at.is_(None))
        .order_by(ModelVersion.kind.desc(), ModelVersion.name)
    ).all()
    names = {version.id: version.name for version, _ in rows}
    return tuple(
        Model(
            name=version.name,
            kind=version.kind,
            digest=artifact.digest,
            size_bytes=artifact.size_bytes,
            format=artifact.format,
            base=names.get(version.parent_id) if version.parent_id else None,
        )
        for version, artifact in rows
    )
