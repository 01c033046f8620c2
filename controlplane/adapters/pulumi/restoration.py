"""Find in the account what a plan would make anew, and write it into a stack's state.

Called by the saga `install_restore` when the state is lost, or older than the account. Separate
from `recovery`, which knows of each creation that it was sent: here only the program says what
there should be, and what exists is known round by round, as ids of parents become known. Pure
beside the look-ups: nothing here writes, neither to the account nor to the state.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from controlplane.adapters.aws.account import Account
from controlplane.adapters.pulumi.adoption import ADOPTIONS, Adoption, Pending
from controlplane.adapters.pulumi.messages import UNKNOWN, PlannedResource, Result
from controlplane.adapters.pulumi.recovery import Attention
from controlplane.core.errors import RingfenceError

_STACK = "pulumi:pulumi:Stack"
_PROVIDER = "pulumi:providers:"
_ENGINES_OWN = "pulumi:"
_MARK = "project:///adopted"
"""Where a record says the program declared it, until an apply has written where it really did."""
_SECRET = "[secret]"  # noqa: S105 - how the engine prints a secret, not one


class _NotYetKnownError(Exception):
    """An input that a look-up needs is the id of something that is not known yet."""


class _KnownInputs(dict[str, Any]):
    """Inputs of a plan that refuse to give what only an apply, or an adoption, can tell."""

    def __getitem__(self, name: str) -> Any:
        value = super().__getitem__(name)
        if value == UNKNOWN:
            raise _NotYetKnownError(name)
        return value


@dataclass(frozen=True)
class Adopted:
    """One object of the account and the resource of the program that it is."""

    resource: PlannedResource
    id: str


@dataclass(frozen=True)
class Looked:
    """What one look at the account says of the resources that a plan would make anew."""

    found: tuple[Adopted, ...]
    absent: tuple[PlannedResource, ...]
    waiting: tuple[PlannedResource, ...]
    """Cannot be looked for before their parents are known."""
    unclear: tuple[Attention, ...]


def look_up(account: Account, plan: Sequence[PlannedResource]) -> Looked:
    """Ask the account for each resource that a plan would create; a read each, nothing else."""
    found: list[Adopted] = []
    absent: list[PlannedResource] = []
    waiting: list[PlannedResource] = []
    unclear: list[Attention] = []
    for resource in plan:
        if resource.op != "create" or resource.type.startswith(_ENGINES_OWN):
            continue
        rule = ADOPTIONS.get(resource.type)
        if rule is None:
            reason = f"no rule says how a {resource.type} is found"
            unclear.append(Attention(resource.urn, "none", reason))
            continue
        pending = Pending(resource.urn, resource.type, _KnownInputs(resource.inputs))
        try:
            identifier = _find(account, pending, rule)
        except _NotYetKnownError:
            waiting.append(resource)
        except RingfenceError as error:
            unclear.append(Attention(resource.urn, rule.call, error.public_message))
        except _UnclearError as error:
            unclear.append(Attention(resource.urn, error.call, error.reason))
        else:
            if identifier is None:
                absent.append(resource)
            else:
                found.append(Adopted(resource, identifier))
    return Looked(tuple(found), tuple(absent), tuple(waiting), tuple(unclear))


class _UnclearError(Exception):
    def __init__(self, call: str, reason: str) -> None:
        super().__init__(reason)
        self.call, self.reason = call, reason


def _find(account: Account, pending: Pending, rule: Adoption) -> str | None:
    identifiers = rule.find(account, pending)
    if len(identifiers) > 1:
        raise _UnclearError(rule.call, f"found more than one: {', '.join(identifiers)}")
    if identifiers:
        return identifiers[0]
    if rule.doomed is not None and (call := rule.doomed(account, pending)):
        raise _UnclearError(call, "it is about to be deleted, and what it protects with it")
    return None


def unsettled(account: Account, found: Sequence[Adopted]) -> str:
    """Return the id of one that is still being made; empty when all can be used."""
    for item in found:
        rule = ADOPTIONS[item.resource.type]
        if rule.settled is not None and not rule.settled(account, item.id):
            return item.id
    return ""


def write_into(
    exported: Mapping[str, Any], preview: Result, found: Sequence[Adopted]
) -> dict[str, Any]:
    """Return a stack's state with what was found in it, as if its creation had been seen to end.

    A refresh fills in the rest. Shapes: `exported` as the engine exports it; a record of the same
    URN with another id is what the account no longer has, and is replaced.
    """
    deployment = dict(exported["deployment"])
    records = {item["urn"]: item for item in deployment.get("resources") or []}
    for planned in preview.plan:
        known = records.get(planned.urn)
        if known is None and (record := _own_record(planned)) is not None:
            records[planned.urn] = record
        elif known is not None and is_adopted(known):
            records[planned.urn] = {
                **known,
                "inputs": {**_lacking(known, planned), **known["inputs"]},
            }
    for item in found:
        records[item.resource.urn] = {
            **_record(item.resource, records),
            **_lasting(records.get(item.resource.urn)),
            "id": item.id,
            "outputs": {**_plain(item.resource.inputs), "id": item.id},
            "sourcePosition": _MARK,
        }
    deployment["resources"] = list(records.values())
    deployment["manifest"] = _manifest(deployment.get("manifest") or {})
    return {**exported, "deployment": deployment}


def lacks_inputs(exported: Mapping[str, Any], preview: Result) -> bool:
    """Say whether an adopted record lacks inputs that were not known when it was written."""
    records = {item["urn"]: item for item in exported["deployment"].get("resources") or []}
    return any(
        _lacking(records[planned.urn], planned)
        for planned in preview.plan
        if planned.urn in records and is_adopted(records[planned.urn])
    )


def _lacking(record: Mapping[str, Any], planned: PlannedResource) -> dict[str, Any]:
    """Return the inputs of the plan that the record was written without."""
    known = record.get("inputs") or {}
    return {k: v for k, v in _plain(planned.inputs).items() if k not in known}


def is_adopted(record: Mapping[str, Any]) -> bool:
    """Say whether a record was written from the account, and by no apply since.

    It lacks what only the program tells, such as what it depends on.
    """
    return str(record.get("sourcePosition", "")).startswith(_MARK)


def _own_record(resource: PlannedResource) -> dict[str, Any] | None:
    """Return the record of the stack itself or of a provider, which is no object of the cloud."""
    if resource.type == _STACK:
        return {"urn": resource.urn, "custom": False, "type": resource.type}
    if resource.type.startswith(_PROVIDER):
        inputs = _plain(resource.inputs)
        return {
            "urn": resource.urn,
            "custom": True,
            "id": str(uuid5(NAMESPACE_URL, resource.urn)),
            "type": resource.type,
            "inputs": inputs,
            "outputs": inputs,
            "parent": resource.parent,
        }
    return None


def _record(resource: PlannedResource, records: Mapping[str, Any]) -> dict[str, Any]:
    provider = records.get(resource.provider)
    return {
        "urn": resource.urn,
        "custom": True,
        "type": resource.type,
        "inputs": _plain(resource.inputs),
        "parent": resource.parent,
        **({"provider": f"{resource.provider}::{provider['id']}"} if provider else {}),
    }


def _lasting(known: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what of an earlier record also holds for another object of the same resource."""
    kept = ("dependencies", "propertyDependencies", "protect", "ignoreChanges")
    return {name: known[name] for name in kept if name in known} if known else {}


def _plain(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs without what only an apply can tell, and without how a secret is shown."""
    return {
        name: value
        for name, value in inputs.items()
        if value is not None and UNKNOWN not in str(value) and _SECRET not in str(value)
    }


def _manifest(known: Mapping[str, Any]) -> dict[str, Any]:
    # The engine checks its own digest over the version (pkg/resource/deploy/snapshot.go, Manifest).
    version = str(known.get("version") or "")
    return {
        "time": known.get("time") or "0001-01-01T00:00:00Z",
        "magic": hashlib.sha256(version.encode()).hexdigest(),
        "version": version,
    }
