"""Bring a boundary's state back to the truth after an engine was killed, without a person.

Called by the saga before an apply when an earlier worker of the run, or an earlier run, did not end
in order. Source: install-engine.md 3. The order is the point: fence first (the old engine can write
no checkpoint any more), then its death, then what it may have made, and only then its locks.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from controlplane.adapters.aws.account import Account
from controlplane.adapters.pulumi.adoption import ADOPTIONS, Adoption, Pending
from controlplane.adapters.pulumi.engine import EngineRun, PulumiEngine, PulumiSession
from controlplane.adapters.pulumi.messages import EngineEvent
from controlplane.adapters.pulumi.process import ProcessIdentity, prove_dead
from controlplane.adapters.pulumi.state import StateStore
from controlplane.core.errors import ConflictError, RingfenceError

ABSENCE_SECONDS = 60.0
"""Between the two looks before a record is dropped: reads lag behind writes. At time scale 1."""
SETTLE_SECONDS = 1800.0
MAX_REMOVED_SHARE = 0.3
"""A refresh that would forget more than this of a stack is not kept: unreachable is not gone."""
_PROVIDER = "pulumi:providers:"


@dataclass(frozen=True)
class Attention:
    """A resource whose fate is unclear, and the call that shows it."""

    urn: str
    call: str
    reason: str


class NeedsAttentionError(ConflictError):
    """Recovery cannot decide; nothing was changed in the state."""

    code = "needs-attention"

    def __init__(self, items: Sequence[Attention]) -> None:
        names = ", ".join(item.urn.rsplit("::", 1)[-1] for item in items)
        super().__init__(
            f"it is unclear whether these exist: {names}",
            detail={"resources": [item.__dict__ for item in items]},
            fix="make the named calls, then import or remove each resource and resume the run",
        )
        self.items = tuple(items)


@dataclass
class RecoveryReport:
    """What was done, for the audit."""

    killed: list[int] = field(default_factory=list)
    adopted: dict[str, str] = field(default_factory=dict)
    """URN to the cloud's id."""
    dropped: list[str] = field(default_factory=list)
    locks_cleared: int = 0
    refreshed: list[str] = field(default_factory=list)

    @property
    def was_needed(self) -> bool:
        """Say whether anything had been left behind."""
        return bool(self.killed or self.adopted or self.dropped or self.locks_cleared)


@dataclass(frozen=True)
class _Repair:
    """What a stack's state is to become."""

    stack: str
    deployment: dict[str, Any]
    adopted: dict[str, str]
    dropped: list[str]


class Recovery:
    """Automatic recovery of one boundary's stacks."""

    def __init__(
        self,
        engine: PulumiEngine,
        state: StateStore,
        *,
        absence_seconds: float = ABSENCE_SECONDS,
        settle_seconds: float = SETTLE_SECONDS,
    ) -> None:
        self._engine = engine
        self._state = state
        self._absence = absence_seconds
        self._settle = settle_seconds

    def run(
        self,
        run: EngineRun,
        stacks: Sequence[str],
        account: Account,
        *,
        former_runs: Sequence[UUID] = (),
    ) -> RecoveryReport:
        """Recover `stacks` under the run's new fence; harmless when nothing is wrong.

        `former_runs` are other runs of the boundary whose engine may still live on this host.
        Raises: ProcessAliveError, NeedsAttentionError, StaleFenceError, those of `translated`.
        """
        report = RecoveryReport()
        self._state.claim(run.boundary_id, run.run_id, run.fence)
        for former in (run.run_id, *former_runs):
            report.killed += self._bury(former)
        cut_off = [
            stack
            for stack in stacks
            if self._state.has_pending(run.boundary_id, run.project, stack)
        ]
        if not cut_off:
            report.locks_cleared = self._clear_locks(run)
            return report
        self._state.snapshot(run.boundary_id, run.run_id, f"before recovery, fence {run.fence}")
        with self._engine.open(run) as session:
            repairs = [self._examine(session, stack, account) for stack in cut_off]
            # Only now, when everything is known and the old engine is dead.
            report.locks_cleared = self._clear_locks(run)
            for repair in repairs:
                session.import_state(repair.stack, repair.deployment)
                self._refresh(session, repair.stack)
                report.adopted.update(repair.adopted)
                report.dropped += repair.dropped
                report.refreshed.append(repair.stack)
        return report

    def _bury(self, run_id: UUID) -> list[int]:
        file = self._engine.folder(run_id).identity
        try:
            text = file.read_text()
        except FileNotFoundError:
            return []
        killed = prove_dead(ProcessIdentity.model_validate_json(text))
        file.unlink(missing_ok=True)
        return killed

    def _clear_locks(self, run: EngineRun) -> int:
        if not self._state.locks(run.boundary_id):
            return 0
        return self._state.clear_locks(run.boundary_id, run.run_id, run.fence)

    def _examine(self, session: PulumiSession, stack: str, account: Account) -> _Repair:
        """Find out what became of a stack's pending operations; changes nothing."""
        exported = session.export(stack)
        deployment: dict[str, Any] = exported["deployment"]
        operations = deployment.get("pending_operations") or []
        found, absent = self._look_up(account, operations)
        for operation in operations:
            resource = operation["resource"]
            identifier = found.get(resource["urn"])
            if identifier is not None:
                deployment["resources"].append(_adopted(resource, identifier))
        # Updates and deletions keep their record; the refresh reads how far they came.
        deployment["pending_operations"] = []
        return _Repair(stack, exported, found, absent)

    def _look_up(
        self, account: Account, operations: Sequence[dict[str, Any]]
    ) -> tuple[dict[str, str], list[str]]:
        unclear: list[Attention] = []
        found: dict[str, str] = {}
        missing: list[tuple[Pending, Adoption]] = []
        for operation in operations:
            resource = operation["resource"]
            # A provider, a component or a stack is no object of the cloud.
            if operation["type"] != "creating" or not _is_cloud_object(resource):
                continue
            pending = Pending(resource["urn"], resource["type"], resource.get("inputs") or {})
            rule = ADOPTIONS.get(pending.type)
            if rule is None:
                reason = f"no rule says how a {pending.type} is found"
                unclear.append(Attention(pending.urn, "none", reason))
            elif (identifier := _find(account, pending, rule, unclear)) is not None:
                found[pending.urn] = identifier
            elif all(item.urn != pending.urn for item in unclear):
                missing.append((pending, rule))
        if missing and not unclear:
            time.sleep(self._absence)
            for pending, rule in missing:
                if (identifier := _find(account, pending, rule, unclear)) is not None:
                    found[pending.urn] = identifier
        if unclear:
            raise NeedsAttentionError(unclear)
        self._wait_until_settled(account, found, operations)
        return found, [pending.urn for pending, _ in missing if pending.urn not in found]

    def _wait_until_settled(
        self, account: Account, found: dict[str, str], operations: Sequence[dict[str, Any]]
    ) -> None:
        deadline = time.monotonic() + self._settle
        types = {item["resource"]["urn"]: item["resource"]["type"] for item in operations}
        for urn, identifier in found.items():
            rule = ADOPTIONS[types[urn]]
            while rule.settled is not None and not rule.settled(account, identifier):
                if time.monotonic() > deadline:
                    reason = f"{identifier} exists and is still being made"
                    raise NeedsAttentionError([Attention(urn, rule.call, reason)])
                time.sleep(0.5)

    def _refresh(self, session: PulumiSession, stack: str) -> None:
        """Read the cloud into the state, unless that would forget too much of it."""
        before = session.export(stack)
        total = len(_cloud_objects(before))
        session.refresh(stack, _unseen)
        left = len(_cloud_objects(session.export(stack)))
        if total and (total - left) / total > MAX_REMOVED_SHARE:
            session.import_state(stack, before)
            raise NeedsAttentionError(
                [
                    Attention(
                        stack,
                        "a refresh of the stack by hand",
                        f"a refresh would forget {total - left} of {total} resources",
                    )
                ]
            )


def _find(
    account: Account, pending: Pending, rule: Adoption, unclear: list[Attention]
) -> str | None:
    try:
        identifiers = rule.find(account, pending)
    except RingfenceError as error:
        unclear.append(Attention(pending.urn, rule.call, error.public_message))
        return None
    if len(identifiers) > 1:
        reason = f"found more than one: {', '.join(identifiers)}"
        unclear.append(Attention(pending.urn, rule.call, reason))
        return None
    return identifiers[0] if identifiers else None


def _is_cloud_object(resource: dict[str, Any]) -> bool:
    return bool(resource.get("custom")) and not resource["type"].startswith(_PROVIDER)


def _cloud_objects(exported: dict[str, Any]) -> list[str]:
    resources = exported["deployment"].get("resources") or []
    return [item["urn"] for item in resources if _is_cloud_object(item)]


def _adopted(resource: dict[str, Any], identifier: str) -> dict[str, Any]:
    """Return the record as if its creation had been seen to end; the refresh fills the rest."""
    inputs = resource.get("inputs") or {}
    return {**resource, "id": identifier, "outputs": {**inputs, "id": identifier}}


def _unseen(_: EngineEvent) -> None:
    """Take no notice: the report holds what was done."""
