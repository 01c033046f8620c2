"""Bring a standing install to other inputs, another blueprint version or other models.

Called by the steps of `install_update`. Separate from `stacks`, which builds from nothing: here
something stands, so it is planned from what the account holds now, compared with what was applied
last, and refused where it would take away what cannot be had back.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict
from sqlalchemy import select
from sqlalchemy.orm import Session

from controlplane.adapters.aws.artifacts import object_key
from controlplane.adapters.pulumi import constraint
from controlplane.adapters.pulumi.messages import PlannedResource, Result
from controlplane.adapters.pulumi.recovery import MAX_REMOVED_SHARE
from controlplane.core.errors import ConflictError, InvalidRequestError
from controlplane.core.run_engine.definition import Done, Park, RunView, StepResult
from controlplane.domains.agents import bundles, repository
from controlplane.domains.installs.repository import get_applied_run
from controlplane.sagas.provisioning import boundary, cluster, stacks
from controlplane.sagas.provisioning import params as provision
from controlplane.sagas.provisioning.access import Context, output
from controlplane.sagas.provisioning.images import ENGINE, references
from controlplane.sagas.provisioning.params import ProvisionParams
from controlplane.sagas.provisioning.ports import Ports
from controlplane.sagas.provisioning.removal import Retention, retentions_of
from controlplane.tables.catalog import BlueprintVersion
from wire.certificate import Operation
from wire.manifest import BlueprintManifest

CLUSTER_TYPE = "aws:eks/cluster:Cluster"
HOLDING: dict[str, str] = {
    CLUSTER_TYPE: "all that runs in the boundary goes with the cluster",
    "aws:ec2/vpc:Vpc": "the cluster cannot be moved to another network",
    "aws:ec2/subnet:Subnet": "the cluster's nodes are in it",
}
"""Types that hold the install: replaced, they would take it along."""
_TAKEN = frozenset({"replace", "delete"})
_IDLE = frozenset({"same", "read", "refresh"})
_MODEL_KINDS = frozenset({"SecurityBoundary", "ModelArtifact", "ModelInstance", "AdapterBinding"})
"""Kinds of the desired state that an update is about; who may use a model changes without one."""


class Base(BaseModel):
    """What was applied last: the update starts from there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    revision: int
    blueprint_version: str
    blueprint_digest: str
    inputs: dict[str, Any]


class UpdateParams(ProvisionParams):
    """To what an install is brought, and from where."""

    unwinds: ClassVar[bool] = False
    operation: ClassVar[Operation] = "update"

    reason: str
    base: Base
    retentions: tuple[Retention, ...]


def complete(session: Session, run: RunView, raw: dict[str, Any], ports: Ports) -> UpdateParams:
    """Return the full parameters. Raises: NotFoundError naming what is missing."""
    target = provision.complete(session, run, raw, ports)
    applied = get_applied_run(session, target.install_id).params
    row = session.execute(
        select(BlueprintVersion).where(
            BlueprintVersion.name == target.blueprint,
            BlueprintVersion.version == target.blueprint_version,
        )
    ).scalar_one()
    return UpdateParams(
        **{name: getattr(target, name) for name in ProvisionParams.model_fields},
        reason=raw["reason"],
        base=Base.model_validate({name: applied[name] for name in Base.model_fields}),
        retentions=retentions_of(BlueprintManifest.model_validate(row.manifest)),
    )


# ---- Plan -----------------------------------------------------------------------------------


def make_plan(
    context: Context, *, may_be_lost: bool = False
) -> tuple[dict[str, Any], str, dict[str, Any]]:
    """Compare what is wanted with the account; return document, digest, and facts for the steps.

    With `may_be_lost` what is gone is planned anew however much it is, for a person to approve.
    Raises: InvalidRequestError `would-replace`; ConflictError `unclear-refresh`, `lost-cluster`.
    """
    params = params_of(context)
    previews = _preview(context, may_be_lost=may_be_lost)
    built = constraint.build(previews)
    standing = {preview.stack: preview.outputs for preview in previews}
    idle = [p.stack for p in previews if _is_idle(p) and _same_program(params)]
    release = _upgrades_release(context, standing)
    models = _desired_changes(context, standing)
    seconds = sum(stack.p90 for stack in params.stacks if stack.name not in idle)
    document = {
        "kind": "update",
        "reason": params.reason,
        "constraint": built.model_dump(mode="json"),
        "counts": built.counts(),
        "holes": built.holes(),
        "blueprint": params.blueprint,
        "blueprint_version": params.blueprint_version,
        "blueprint_digest": params.blueprint_digest,
        "seconds_p90": seconds,
        "changes": constraint.changes(previews),
        "time_scale": params.time_scale,
        "region": params.region,
        "shared": params.shared(),
        "update": {
            "from_revision": params.base.revision,
            "to_revision": params.revision,
            "from_version": params.base.blueprint_version,
            "to_version": params.blueprint_version,
            "inputs": changed_inputs(params),
            "desired": models,
            "release": release,
        },
    }
    facts = {
        "standing": standing,
        "idle": idle,
        "seconds_p90": seconds,
        "nothing": len(idle) == len(params.stacks) and not release and not models,
    }
    return document, built.digest, facts


def _preview(context: Context, *, may_be_lost: bool) -> list[Result]:
    """Preview every stack from what the account holds, each with what the one before gives."""
    params, run = params_of(context), context.run
    previews: list[Result] = []
    upstream: dict[str, Any] | None = None
    with stacks.engine(context) as session:
        for stack in params.stacks:
            context.check()
            context.progress(message=f"comparing {stack.name} with the account")
            exported = context.ports.state.export_stack(run.boundary_id, params.project, stack.name)
            known = stacks.resources_of(exported) if exported else []
            target = stacks.program(context, stack.name, upstream)
            preview = session.preview(target, stacks.quiet(context), refresh=exported is not None)
            require_untouched(params, stack.name, preview.plan)
            if not may_be_lost:
                require_found(stack.name, preview.plan, known)
            previews.append(preview)
            upstream = preview.outputs
    return previews


def require_untouched(params: UpdateParams, stack: str, plan: tuple[PlannedResource, ...]) -> None:
    """Refuse a plan that would take away what holds the install or is the customer's.

    Raises: InvalidRequestError `would-replace` naming the input.
    """
    for resource in plan:
        if resource.op in _TAKEN and (why := _untouchable(params, stack, resource.type)):
            raise _refusal(params, resource, why)


def require_found(
    stack: str, plan: tuple[PlannedResource, ...], known: list[dict[str, Any]]
) -> None:
    """Refuse a plan that would make anew what the state knows: the cluster, or a large part.

    Shapes: `known` are the state's resources. Raises: ConflictError `unclear-refresh` or
    `lost-cluster`.
    """
    urns = {item["urn"] for item in known if item.get("id")}
    missing = [item for item in plan if item.op == "create" and item.urn in urns]
    if any(item.type == CLUSTER_TYPE for item in missing):
        raise ConflictError(
            "the cluster is not found in the account: an update does not bring one back",
            code="lost-cluster",
            fix="restore the install: ringfence install restore",
        )
    if urns and len(missing) / len(urns) > MAX_REMOVED_SHARE:
        raise ConflictError(
            f"{len(missing)} of {len(urns)} resources of {stack} are not found: unreachable is not"
            " gone",
            code="unclear-refresh",
            fix="look whether the account and the region are the right ones and answer; if what is"
            " missing is lost, restore the install: ringfence install restore",
        )


def _untouchable(params: UpdateParams, stack: str, kind: str) -> str | None:
    kept = (r.reason for r in params.retentions if r.stack == stack and kind in r.types)
    return HOLDING.get(kind) or next(kept, None)


def _refusal(params: UpdateParams, resource: PlannedResource, why: str) -> InvalidRequestError:
    changed = [item["name"] for item in changed_inputs(params)]
    forcing = [c.path for c in resource.changes if c.kind.endswith("-replace")]
    because = f" because of {', '.join(forcing)}" if forcing else ""
    name = resource.urn.rsplit("::", 1)[-1]
    return InvalidRequestError(
        f"the update would {resource.op} {resource.type} {name}{because}: {why}",
        code="would-replace",
        field=f"inputs.{changed[0]}" if changed else "version",
        fix=(
            f"leave {', '.join(changed)} as it was" if changed else "take another blueprint version"
        )
        + "; or remove the install, which keeps its data, and install it anew",
    )


def changed_inputs(params: UpdateParams) -> list[dict[str, Any]]:
    """Return which inputs differ from those of the last apply, old beside new."""
    old, new = params.base.inputs, params.inputs
    return [
        {"name": name, "old": old.get(name), "new": new.get(name)}
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]


def _is_idle(preview: Result) -> bool:
    return all(resource.op in _IDLE for resource in preview.plan)


def _same_program(params: UpdateParams) -> bool:
    # Another version may export more although no resource changes: then its stacks are applied.
    return params.base.blueprint_digest == params.blueprint_digest


def _upgrades_release(context: Context, standing: dict[str, dict[str, Any]]) -> bool:
    """Say whether the chart or what it is given differs, or its agent must be brought back."""
    outputs = {**context.outputs, **standing}
    return needs_release(context, outputs)


def needs_release(context: Context, outputs: Any) -> bool:
    """Say whether helm is needed for what the given outputs make of the chart."""
    if not boundary.has_live_agent(context):
        return True
    with context.transaction() as session:
        last = boundary.last_release(session, context.params.install_id)
    return last != cluster.release_digest(context, outputs)


def _desired_changes(context: Context, standing: dict[str, dict[str, Any]]) -> list[dict[str, str]]:
    """Return which models the boundary gains, loses or gets otherwise."""
    placement = bundles.Placement(
        bucket=standing["foundation"].get("artifact_bucket", ""),
        region=context.params.region,
        engine_image=references(context.ports, standing["foundation"])[ENGINE],
        object_keys={model.digest: object_key(model.digest) for model in context.params.models},
    )
    with context.transaction() as session:
        bundle = bundles.build_bundle(session, context.run.boundary_id, placement)
        newest = repository.find_newest_bundle(session, context.run.boundary_id, 0)
        envelope = newest.envelope if newest is not None else None
    new = {(r.kind, r.name): r.spec for r in bundle.resources if r.kind in _MODEL_KINDS}
    old = {
        (r["kind"], r["name"]): r["spec"]
        for r in (
            json.loads(base64.b64decode(envelope["payload"]))["resources"] if envelope else []
        )
        if r["kind"] in _MODEL_KINDS
    }
    return [
        {
            "kind": kind,
            "name": name,
            "change": "added" if (kind, name) not in old
            else "removed" if (kind, name) not in new else "changed",
        }
        for kind, name in sorted({*old, *new})
        if old.get((kind, name)) != new.get((kind, name))
    ]  # fmt: skip


# ---- Apply ----------------------------------------------------------------------------------


def apply_stack(context: Context, stack: str, upstream: dict[str, Any] | None) -> StepResult:
    """Apply one stack from what the account holds, or leave one that is as it should be."""
    planned = output(context, "plan")
    if stack in planned["idle"]:
        return Done(planned["standing"][stack])
    applied = stacks.apply_stack(context, stack, upstream, refresh=True)
    return applied if isinstance(applied, Park) else Done(applied.outputs)


def has_nothing_to_do(context: Context) -> bool:
    """Say whether the plan found everything as it should be."""
    return found_nothing(context.outputs)


def found_nothing(outputs: Mapping[str, Mapping[str, Any]]) -> bool:
    """Say the same by the outputs of a run's steps."""
    return bool(outputs.get("plan", {}).get("nothing", False))


def params_of(context: Context) -> UpdateParams:
    """Return the run's parameters as an update's."""
    assert isinstance(context.params, UpdateParams)
    return context.params
