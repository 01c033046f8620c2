"""`bundle.publish`: sign and publish a boundary's desired state again when it has changed.

Called by the worker with ids after a gateway key or an entitlement changed. The first bundle is the
install's own step; where artifacts are and which images run is taken from the newest bundle, so
that day-2 changes need no access to the cloud. Repeating it is harmless: nothing changed, nothing
published.
"""

from __future__ import annotations

import base64
import json
from typing import Any, Protocol
from uuid import UUID

from controlplane.core.actor import OpContext, system_actor
from controlplane.core.db import Database, Scope
from controlplane.core.errors import ConflictError, UnavailableError
from controlplane.domains.agents import bundles, repository, service
from proof.canonical import digest
from wire.bundle import Bundle
from wire.envelope import Envelope
from wire.resources import (
    ModelArtifactSpec,
    ModelInstanceSpec,
    SecurityBoundarySpec,
    parse_spec,
)

ATTEMPTS = 3
"""Another publisher may take the sequence between building and storing; then build again."""


class Signer(Protocol):
    """Signs with the control-plane key (`adapters.signing.control_plane_key`)."""

    def sign(self, message: Bundle) -> Envelope: ...


class Countersigner(Protocol):
    """Gives the customer's signature (`adapters.signing.countersigner`)."""

    def countersign(self, envelope: Envelope) -> Envelope: ...


def publish_changes(
    database: Database,
    signer: Signer,
    countersigner: Countersigner,
    *,
    organization_id: str,
    boundary_id: str,
) -> None:
    """Publish a new bundle if it would differ from the newest one; ids come as text.

    Raises: UnavailableError (retryable) when others kept publishing meanwhile.
    """
    scope = Scope.boundary(UUID(organization_id), UUID(boundary_id))
    context = OpContext(system_actor("worker"), f"bundle/{boundary_id}", scope)
    for _ in range(ATTEMPTS):
        bundle = _changed_bundle(database, scope, UUID(boundary_id))
        if bundle is None:
            return
        # Signing asks another process: no transaction is open meanwhile.
        envelope = countersigner.countersign(signer.sign(bundle))
        try:
            with database.transaction(scope) as session:
                service.publish_bundle(
                    session,
                    context,
                    bundle.organization_id,
                    bundle.boundary_id,
                    bundle.sequence,
                    envelope,
                )
        except ConflictError:
            continue
        return
    raise UnavailableError("another publisher took every sequence; this is tried again")


def _changed_bundle(database: Database, scope: Scope, boundary_id: UUID) -> Bundle | None:
    """Return the next bundle, or None when there is no first one yet or nothing changed.

    A boundary that runs a bundle we do not know gets the next one, whatever is in it.
    """
    with database.transaction(scope) as session:
        newest = repository.find_newest_bundle(session, boundary_id, 0)
        if newest is None:
            return None
        resources = _resources(Envelope.model_validate(newest.envelope))
        bundle = bundles.build_bundle(session, boundary_id, _placement(resources))
        if bundles.is_ahead(session, boundary_id):
            return bundle
    wanted = [item.model_dump(mode="json") for item in bundle.resources]
    return None if digest(wanted) == digest(resources) else bundle


def _resources(envelope: Envelope) -> list[dict[str, Any]]:
    """Return the resources of a bundle of ours; its signatures were checked when it was stored."""
    found: list[dict[str, Any]] = json.loads(base64.b64decode(envelope.payload))["resources"]
    return found


def _placement(resources: list[dict[str, Any]]) -> bundles.Placement:
    """Return where the newest bundle says that artifacts are, and with which image it runs."""
    keys: dict[str, str] = {}
    bucket = region = image = ""
    network: tuple[Any, ...] = ()
    for resource in resources:
        spec = parse_spec(resource["kind"], resource["spec"])
        if isinstance(spec, ModelArtifactSpec) and spec.source.s3 is not None:
            bucket, region = spec.source.s3.bucket, spec.source.s3.region
            keys[spec.digest] = spec.source.s3.key
        elif isinstance(spec, ModelInstanceSpec):
            image = spec.engine.image
        elif isinstance(spec, SecurityBoundarySpec):
            network = spec.network.egress_to
    return bundles.Placement(
        bucket=bucket, region=region, engine_image=image, object_keys=keys, network=network
    )
