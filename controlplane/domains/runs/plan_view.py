"""Show a plan as a person reads it: what, why, how, what changes, how long, what it costs. Pure.

Called by `service.show_plan` with the stored document and the manifest of its blueprint. Separate
from the constraint (`adapters/pulumi/constraint.py`), which is what is approved and applied: this
only tells it. Values that the approval does not fix stay holes, and secrets are never in it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, JsonValue

from controlplane.domains.runs import list_prices
from wire.manifest import BlueprintManifest, Component, Latency

Operation = Literal["create", "update", "replace", "delete", "same"]
_OPERATIONS: Mapping[str, Operation] = {
    "create": "create",
    "import": "create",
    "update": "update",
    "replace": "replace",
    # Documents that an older worker wrote hold the engine's parts of a replacement.
    "create-replacement": "replace",
    "delete-replaced": "replace",
    "delete": "delete",
    "discard": "delete",
}
_ORDER: tuple[Operation, ...] = ("delete", "replace", "update", "create", "same")
"""What takes something away is read first."""
_HOLE = "$hole"
_WORDS = {
    "aws:ec2/eip:Eip": "public IP address",
    "aws:ec2/natGateway:NatGateway": "NAT gateway",
    "aws:ec2/vpc:Vpc": "network (VPC)",
    "aws:ec2/vpcEndpoint:VpcEndpoint": "private endpoint",
    "aws:ec2/routeTableAssociation:RouteTableAssociation": "subnet's route table",
    "aws:ecr/repository:Repository": "image repository",
    "aws:eks/addon:Addon": "cluster add-on",
    "aws:eks/cluster:Cluster": "Kubernetes cluster",
    "aws:eks/podIdentityAssociation:PodIdentityAssociation": "pod's role",
    "aws:iam/rolePolicy:RolePolicy": "policy of a role",
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": "AWS policy on a role",
    "aws:kms/alias:Alias": "name of a key",
    "aws:kms/key:Key": "encryption key",
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": "bucket's block of public access",
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": (
        "bucket's encryption"
    ),
}


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ChangeOut(_Model):
    """One property that an update or a replacement changes.

    `{"$hole": "computed" | "secret"}` stands for a value known only after the apply, or kept back.
    """

    path: str
    old: JsonValue
    """None when it was not set."""
    new: JsonValue
    """None when it is taken away."""
    forces_replacement: bool


class TimeOut(_Model):
    """How long the cloud takes for a resource, as published, at this deployment's time scale."""

    p50_seconds: float
    p90_seconds: float
    source: str


class CostOut(_Model):
    """What a resource costs a month at list price; an estimate."""

    monthly: float
    basis: str
    beside: str
    """What is charged in addition, by use; empty when nothing is."""
    source: str
    as_of: str


class PlannedOut(_Model):
    """One resource of the plan."""

    stack: str
    urn: str
    type: str
    name: str
    what: str
    """The type in plain words."""
    component: str | None
    """Which part of the blueprint it belongs to."""
    why: str
    """What that part needs it for; empty when the blueprint does not say."""
    operation: Operation
    replaced_for: list[str]
    """The properties that force a replacement."""
    changes: list[ChangeOut]
    holes: int
    """How many of its values are known only after the apply, or kept back."""
    time: TimeOut | None
    cost: CostOut | None
    """None where the table has no price for it."""


class CostSummaryOut(_Model):
    """The plan's cost a month: an estimate from list prices of one region."""

    currency: str
    region: str
    """Of the prices; not always the region of the install."""
    installed_in: str | None
    as_of: str | None
    """The oldest date among the prices used; None when none is used."""
    monthly: float
    """What is there after the apply."""
    added: float
    """Of that, what this plan creates."""
    ended: float
    """What this plan deletes, per month until now."""
    unpriced: int
    """Resources there after the apply that have no price in the table."""


class InputChangeOut(_Model):
    """One input that an update changes."""

    name: str
    old: JsonValue
    new: JsonValue
    """None when it is taken out, so that the blueprint's default holds."""


class DesiredChangeOut(_Model):
    """One resource of the boundary's desired state that an update changes."""

    kind: str
    name: str
    change: Literal["added", "removed", "changed"]


class UpdateOut(_Model):
    """What an update does beside the resources of the cloud, and from where it starts."""

    from_revision: int
    to_revision: int
    from_version: str
    to_version: str
    inputs: list[InputChangeOut]
    desired: list[DesiredChangeOut]
    """Models and adapters that the boundary gains, loses or gets otherwise."""
    release: bool
    """Operator, agent and gateway are upgraded: the way into the cluster is opened for it."""


class RestoredOut(_Model):
    """One resource of which a restoration says more than what it does."""

    stack: str
    urn: str
    type: str
    name: str
    id: str
    """In the account; of one that is lost, what it was."""
    reason: str
    """Why the customer keeps such a resource; empty for what only the install needs."""


class RestoreOut(_Model):
    """What a restoration found: the record it began from, and how that differs from the account."""

    source: str
    """`present`, `empty` or `snapshot N`."""
    saved: int | None
    """Number of the snapshot of what the record was before; None when there was none."""
    stacks: list[str]
    """What the chosen snapshot holds; empty without one."""
    adopted: list[RestoredOut]
    """In the account, and written into the record."""
    lost: list[RestoredOut]
    """In the record, and gone: made anew. One with a reason held data of the customer."""
    kept: list[RestoredOut]
    """The customer's, found as they were, and built upon."""


class SharedOut(_Model):
    """A cluster in which more than one boundary lives: its control plane and its nodes."""

    cluster: str
    host: str | None
    """The boundary whose cluster it is; None: the plan's own."""
    guests: list[str]
    """Who else may live in the plan's own cluster."""


class PlanViewOut(_Model):
    """A plan as a person reads it."""

    shared: SharedOut | None
    """None where the boundary has its cluster for itself."""
    update: UpdateOut | None
    """Of an update or a restoration only."""
    restore: RestoreOut | None
    """Of a restoration only."""
    operations: dict[Operation, int]
    resources: list[PlannedOut]
    time_scale: float
    """Below 1 the cloud is rehearsed: times are simulated."""
    cost: CostSummaryOut


def view(document: Mapping[str, Any], manifest: BlueprintManifest | None) -> PlanViewOut:
    """Return a plan's document as a person reads it; without a manifest it says no reasons."""
    stacks: Mapping[str, list[dict[str, Any]]] = document.get("constraint", {}).get("stacks", {})
    scale = float(document.get("time_scale", 1.0))
    told = _Teller(document.get("changes", {}), manifest, scale)
    resources = [
        told.resource(stack, item)
        for stack in _in_order(stacks, manifest)
        for item in stacks[stack]
        # What the engine keeps for itself is no resource of the customer's.
        if not item["type"].startswith("pulumi:")
    ]
    places = {name: at for at, name in enumerate(_in_order(stacks, manifest))}
    resources.sort(key=lambda r: (places[r.stack], _ORDER.index(r.operation), r.what, r.name))
    update, restored = document.get("update"), document.get("restore")
    shared = document.get("shared")
    return PlanViewOut(
        shared=SharedOut.model_validate(shared) if shared else None,
        update=UpdateOut.model_validate(update) if update else None,
        restore=RestoreOut.model_validate(restored) if restored else None,
        operations=dict(Counter(r.operation for r in resources)),
        resources=resources,
        time_scale=scale,
        cost=_sum(resources, document.get("region")),
    )


def _in_order(stacks: Mapping[str, Any], manifest: BlueprintManifest | None) -> list[str]:
    """Return the stacks in the order of their applies, which the stored document does not keep."""
    known = [stack.name for stack in manifest.stacks] if manifest else []
    return [name for name in known if name in stacks] + sorted(set(stacks) - set(known))


class _Teller:
    """Tells one resource at a time, from what the whole plan knows."""

    def __init__(
        self,
        changes: Mapping[str, list[dict[str, Any]]],
        manifest: BlueprintManifest | None,
        scale: float,
    ) -> None:
        self._changes = changes
        self._scale = scale
        self._components: dict[tuple[str, str], Component] = {}
        self._latencies: dict[tuple[str, str], Latency] = {}
        if manifest is not None:
            self._components = {
                (c.stack, kind): c for c in manifest.components for kind in c.resource_types
            }
            self._latencies = {(x.stack, x.resource_type): x for x in manifest.latencies}

    def resource(self, stack: str, item: Mapping[str, Any]) -> PlannedOut:
        """Return one resource of the constraint as a person reads it."""
        kind, urn = str(item["type"]), str(item["urn"])
        operation = _OPERATIONS.get(item["op"], "same")
        changes = [_change(c) for c in self._changes.get(urn, ())]
        component = self._components.get((stack, kind))
        return PlannedOut(
            stack=stack,
            urn=urn,
            type=kind,
            name=urn.rsplit("::", 1)[-1],
            what=plain(kind),
            component=component.name if component else None,
            why=component.purposes.get(kind, component.description) if component else "",
            operation=operation,
            replaced_for=[c.path for c in changes if c.forces_replacement],
            changes=changes,
            holes=sum(1 for _ in _holes(item["properties"])),
            time=self._time(stack, kind) if operation in ("create", "replace") else None,
            cost=_cost(kind, item["properties"]),
        )

    def _time(self, stack: str, kind: str) -> TimeOut | None:
        found = self._latencies.get((stack, kind))
        if found is None:
            return None
        return TimeOut(
            p50_seconds=found.p50_seconds * self._scale,
            p90_seconds=found.p90_seconds * self._scale,
            source=found.source,
        )


def plain(kind: str) -> str:
    """Return a type in plain words: `aws:ec2/internetGateway:InternetGateway` is one of them."""
    if kind in _WORDS:
        return _WORDS[kind]
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", kind.rsplit(":", 1)[-1]).lower()


def _change(change: Mapping[str, Any]) -> ChangeOut:
    return ChangeOut(
        path=change["path"],
        old=change["old"],
        new=change["new"],
        forces_replacement=change["kind"].endswith("-replace"),
    )


def _holes(value: Any) -> Iterator[None]:
    if isinstance(value, Mapping):
        if set(value) == {_HOLE}:
            yield None
            return
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _holes(item)


def _cost(kind: str, properties: Mapping[str, Any]) -> CostOut | None:
    found = list_prices.cost_of(kind, properties)
    if found is None:
        return None
    return CostOut(
        monthly=round(found.monthly, 2),
        basis=found.basis,
        beside=found.price.beside,
        source=found.price.source,
        as_of=found.price.as_of,
    )


def _sum(resources: list[PlannedOut], region: str | None) -> CostSummaryOut:
    after = [r for r in resources if r.operation != "delete"]
    costs = [r.cost for r in after if r.cost]

    def total(operation: Operation) -> float:
        found = [r.cost.monthly for r in resources if r.cost and r.operation == operation]
        return round(sum(found), 2)

    return CostSummaryOut(
        currency=list_prices.CURRENCY,
        region=list_prices.REGION,
        installed_in=region,
        as_of=min((cost.as_of for cost in costs), default=None),
        monthly=round(sum(cost.monthly for cost in costs), 2),
        added=total("create"),
        ended=total("delete"),
        unpriced=len(after) - len(costs),
    )
