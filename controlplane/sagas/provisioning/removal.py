"""Take an install out of the account: the list that is approved, its destruction, what is left.

Called by the steps of `install_deprovision` and `install_purge`. Separate from `stacks`, which
brings stacks about from a program: here only the state and the account are asked, so a removal
works without the blueprint's program, with a lost cluster and with resources deleted by hand.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict
from sqlalchemy import select
from sqlalchemy.orm import Session

from controlplane.adapters.pulumi.constraint import ConstrainedResource, PlanConstraint
from controlplane.core.errors import ConflictError
from controlplane.core.run_engine.definition import Done, Park, RunView, Skip, StepResult
from controlplane.sagas.provisioning import params as provision
from controlplane.sagas.provisioning.access import Context, open_account, output
from controlplane.sagas.provisioning.params import ProvisionParams, Stack
from controlplane.sagas.provisioning.ports import Ports
from controlplane.sagas.provisioning.stacks import engine, protect, resources_of, shown
from controlplane.tables.catalog import BlueprintVersion
from wire.certificate import ResidueItem
from wire.manifest import BlueprintManifest

DELETE, RETAIN = "delete", "retain"
# Destroying takes this share of its budget where nothing hinders it; shown until it is measured.
_USUAL_SHARE = 0.3


class Retention(BaseModel):
    """Resources of a stack that a removal leaves, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stack: str
    types: tuple[str, ...]
    reason: str


class RemovalParams(ProvisionParams):
    """What is removed from where, and what of it stays."""

    unwinds: ClassVar[bool] = False
    reason: str
    purge: bool
    """Also what an earlier removal left."""
    retentions: tuple[Retention, ...]

    def retained_because(self, stack: str, kind: str) -> str | None:
        """Return why a resource stays; None when it goes."""
        if self.purge:
            return None
        found = (r.reason for r in self.retentions if r.stack == stack and kind in r.types)
        return next(found, None)


def complete(session: Session, run: RunView, raw: dict[str, Any], ports: Ports) -> RemovalParams:
    """Return the full parameters. Raises: NotFoundError naming what is missing."""
    base = provision.complete(session, run, raw, ports)
    row = session.execute(
        select(BlueprintVersion).where(
            BlueprintVersion.name == base.blueprint,
            BlueprintVersion.version == base.blueprint_version,
        )
    ).scalar_one()
    manifest = BlueprintManifest.model_validate(row.manifest)
    values = {name: getattr(base, name) for name in ProvisionParams.model_fields}
    return RemovalParams(
        **{**values, "stacks": tuple(_destroyed(stack, manifest, base) for stack in base.stacks)},
        reason=raw["reason"],
        purge=bool(raw.get("purge", False)),
        retentions=retentions_of(manifest),
    )


def retentions_of(manifest: BlueprintManifest) -> tuple[Retention, ...]:
    """Return what of a blueprint is the customer's and stays."""
    return tuple(
        Retention(stack=c.stack, types=c.resource_types, reason=c.retained)
        for c in manifest.components
        if c.retained is not None
    )


def _destroyed(stack: Stack, manifest: BlueprintManifest, params: ProvisionParams) -> Stack:
    """Return a stack with the times of its destruction; its own overhead is in the budget."""
    seconds = manifest.budgets.get(f"{stack.name}.destroy", 1800) * params.time_scale
    overhead = provision.OVERHEAD_BUDGET
    return stack.model_copy(
        update={
            "budget": seconds + overhead,
            "estimate": seconds * _USUAL_SHARE + provision.OVERHEAD_ESTIMATE,
            "p90": seconds + provision.OVERHEAD_ESTIMATE,
        }
    )


def make_plan(context: Context) -> tuple[dict[str, Any], str, list[dict[str, Any]]]:
    """List what the state knows, as what goes and what stays; return document, digest and list."""
    params = _params(context)
    listed: list[dict[str, Any]] = []
    with engine(context) as session:
        for stack in reversed(params.stacks):
            context.check()
            if _knows(context, stack.name):
                listed += _listed(params, stack.name, session.export(stack.name))
    constraint = PlanConstraint(
        stacks={
            stack.name: tuple(
                ConstrainedResource(
                    urn=item["urn"], type=item["type"], op=item["op"], properties={}
                )
                for item in listed
                if item["stack"] == stack.name
            )
            for stack in reversed(params.stacks)
        }
    )
    document = {
        "constraint": constraint.model_dump(mode="json"),
        "counts": constraint.counts(),
        "holes": 0,
        "kind": "purge" if params.purge else "removal",
        "reason": params.reason,
        "retained": [item for item in listed if item["op"] == RETAIN],
        "blueprint": params.blueprint,
        "blueprint_version": params.blueprint_version,
        "blueprint_digest": params.blueprint_digest,
        "seconds_p90": params.p90_seconds,
    }
    return document, constraint.digest, listed


def remove_stack(context: Context, stack: str) -> StepResult:
    """Destroy what was approved of one stack, and see in the state that only that which stays is
    left. Raises: ConflictError when something else is left.
    """
    if not _knows(context, stack):
        return Skip(f"no state of {stack} is known")
    approved = PlanConstraint.model_validate(output(context, "plan")["constraint"]).stacks
    wanted = {item.urn: item.op for item in approved.get(stack, ())}
    keep = {urn for urn, op in wanted.items() if op == RETAIN}
    with engine(context) as session:
        deployment = session.export(stack)
        present = [item["urn"] for item in resources_of(deployment)]
        unknown = [urn for urn in present if urn not in wanted]
        if unknown:
            return Park(
                "needs-attention",
                f"{len(unknown)} resource(s) of {stack} are not in the approved list, first: "
                f"{unknown[0]}; cancel and ask for the removal again",
            )
        if set(present) <= keep:
            return Skip(f"nothing of {stack} is left to destroy")
        context.ports.state.snapshot(context.run.boundary_id, context.run.id, f"before {stack}")
        if protect(deployment, keep):
            session.import_state(stack, deployment)
        session.destroy(stack, shown(context), keep_protected=bool(keep))
        left = [r["urn"] for r in resources_of(session.export(stack)) if r["urn"] not in keep]
    if left:
        raise ConflictError(
            f"stack {stack} still holds {len(left)} resource(s) after its destruction: {left[0]}",
            code="residue",
        )
    return Done({"destroyed": len(set(present) - keep), "retained": len(keep)})


def take_inventory(context: Context) -> list[ResidueItem]:
    """Return all of the boundary that the account holds, each expected or a finding."""
    retained = {
        item["id"]: item["reason"]
        for item in output(context, "plan").get("resources", [])
        if item["op"] == RETAIN
    }
    with open_account(context) as opened:
        params = context.params
        return context.ports.cloud.inventory(
            opened.account, retained, params.hosts_cluster, images=params.copies_images
        )


def _listed(params: RemovalParams, stack: str, deployment: dict[str, Any]) -> list[dict[str, Any]]:
    listed = []
    for resource in sorted(resources_of(deployment), key=lambda item: str(item["urn"])):
        reason = params.retained_because(stack, resource["type"])
        listed.append(
            {
                "stack": stack,
                "urn": resource["urn"],
                "type": resource["type"],
                "name": resource["urn"].rsplit("::", 1)[-1],
                "id": resource.get("id", ""),
                "op": DELETE if reason is None else RETAIN,
                "reason": reason or "",
            }
        )
    return listed


def _knows(context: Context, stack: str) -> bool:
    context.ports.state.ensure(context.run.boundary_id)
    return context.ports.state.has_stack(context.run.boundary_id, context.params.project, stack)


def _params(context: Context) -> RemovalParams:
    assert isinstance(context.params, RemovalParams)
    return context.params
