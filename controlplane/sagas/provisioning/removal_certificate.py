"""The signed record at the end of a removal: what went, what stays and why, that access ended.

Called by the step `certificate` of `install_deprovision` and `install_purge`. No agent is left to
countersign it, so the account's inventory in it is what a reader can check.
"""

from __future__ import annotations

from typing import Literal
from uuid import uuid5

from sqlalchemy import select
from sqlalchemy.orm import Session

from controlplane.core.clock import now
from controlplane.core.run_engine.definition import Done, StepResult
from controlplane.core.run_engine.tables import Run
from controlplane.domains.certificates import service as certificates
from controlplane.sagas.provisioning.access import Context, OpenRole, current_role, output
from controlplane.sagas.provisioning.certificate import CERTIFICATES, access_end, step_times
from controlplane.sagas.provisioning.closing import set_axes
from controlplane.sagas.provisioning.removal import RETAIN, RemovalParams
from controlplane.tables.installs import Install
from wire.certificate import RemovalCertificate, RemovedResource, ResidueItem, RetainedResource

Outcome = Literal["removed", "purged", "cancelled", "failed"]


def issue(context: Context) -> StepResult:
    """Sign and store the certificate, and write what has become of the install."""
    role = current_role(context)
    with context.transaction() as session:
        envelope = certificates.find_envelope(session, context.run.id)
        document = None if envelope else build(session, context, role)
    if envelope is None and document is not None:
        envelope = context.ports.signer.sign(document)
        with context.transaction() as session:
            certificates.store(
                session,
                context.ctx,
                organization_id=context.run.organization_id,
                boundary_id=context.run.boundary_id,
                install_id=context.params.install_id,
                run_id=context.run.id,
                envelope=envelope,
            )
    with context.transaction() as session:
        _write_end(session, context)
    return Done({"outcome": _outcome(context), "retained": len(_retained(context))})


def build(session: Session, context: Context, role: OpenRole) -> RemovalCertificate:
    """Return the certificate from the run's rows and its steps' outputs."""
    run, params = context.run, context.params
    assert isinstance(params, RemovalParams)
    started = session.execute(select(Run.started_at).where(Run.id == run.id)).scalar_one()
    steps, path = step_times(session, run.id, context.step)
    return RemovalCertificate(
        id=uuid5(CERTIFICATES, str(run.id)),
        organization=params.organization,
        organization_id=run.organization_id,
        boundary=params.boundary,
        boundary_id=run.boundary_id,
        install_id=params.install_id,
        run_id=run.id,
        blueprint=params.blueprint,
        blueprint_version=params.blueprint_version,
        blueprint_digest=params.blueprint_digest,
        outcome=_outcome(context),
        reason=params.reason,
        plan_digest=run.approved_digest,
        removed=_removed(context),
        retained=_retained(context),
        cluster=output(context, "reach_open").get("cluster", "untouched"),
        started_at=started,
        finished_at=now(),
        time_scale=params.time_scale,
        emulated=context.ports.settings.is_rehearsal,
        steps=steps,
        critical_path=path,
        residue=tuple(
            ResidueItem.model_validate(item)
            for item in output(context, "census").get("residue", [])
        ),
        access=access_end(context, role),
        pins=output(context, "preflight").get("pins", {}),
        issued_at=now(),
    )


def _outcome(context: Context) -> Outcome:
    if context.run.outcome is None:
        assert isinstance(context.params, RemovalParams)
        return "purged" if context.params.purge else "removed"
    return "failed" if context.run.outcome == "failed" else "cancelled"


def _removed(context: Context) -> tuple[RemovedResource, ...]:
    """Return what the run destroyed: known only when it came to its end."""
    if context.run.outcome is not None:
        return ()
    return tuple(
        RemovedResource(stack=i["stack"], type=i["type"], name=i["name"], id=i["id"])
        for i in output(context, "plan")["resources"]
        if i["op"] != RETAIN
    )


def _retained(context: Context) -> tuple[RetainedResource, ...]:
    return tuple(
        RetainedResource(
            stack=i["stack"], type=i["type"], name=i["name"], id=i["id"], reason=i["reason"]
        )
        for i in output(context, "plan").get("resources", [])
        if i["op"] == RETAIN
    )


def _write_end(session: Session, context: Context) -> None:
    install = session.get(Install, (context.run.boundary_id, context.params.install_id))
    assert install is not None
    if context.run.outcome is None:
        install.retained = [item.model_dump(mode="json") for item in _retained(context)]
        set_axes(session, context, lifecycle="removed", health="unknown", drift="unknown")
    elif install.lifecycle == "removing":
        # It was begun and not finished: what is left is told by the next removal's list.
        set_axes(session, context, lifecycle="partial", health="unknown")
