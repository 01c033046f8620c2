"""The signed record at the end of a run: what was done in which time, and that access has ended.

Called by the step `certificate`, the last of every run. After a failure the same document is the
record of failure: its outcome says so, and `closed_by` says who ended the access (decision 5).
"""

from __future__ import annotations

from typing import Literal
from uuid import UUID, uuid5

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from controlplane.core.clock import now
from controlplane.core.errors import InternalError
from controlplane.core.run_engine.critical_path import critical_path
from controlplane.core.run_engine.definition import Done, StepResult
from controlplane.core.run_engine.graph import Node, StepGraph
from controlplane.core.run_engine.tables import Run, StepRow
from controlplane.domains.certificates import service as certificates
from controlplane.sagas.provisioning import boundary
from controlplane.sagas.provisioning.access import Context, OpenRole, current_role, output
from controlplane.sagas.provisioning.closing import is_taken_back, may_answer, parse_time, set_axes
from controlplane.tables.installs import Install
from wire.agent import DeniedAttempt, SmokeReport
from wire.bundle import CountersignVerb
from wire.certificate import AccessEnd, InstallCertificate, ResidueItem, StepTime, WayInSeen
from wire.envelope import Envelope

CERTIFICATES = UUID("0b3c8f3e-3b0e-5c55-8a3f-7d1c6a0c9e42")
_OUTCOMES: dict[str | None, Literal["succeeded", "kept", "unwound", "cancelled", "failed"]] = {
    None: "succeeded",
    "failed": "unwound",
    "cancelled": "cancelled",
    "denied": "cancelled",
    "kept": "kept",
}
_LIFECYCLES: dict[str | None, str] = {None: "installed", "kept": "partial"}


def issue(context: Context) -> StepResult:
    """Sign and store the certificate; have it countersigned where an agent lives."""
    role = current_role(context)
    with context.transaction() as session:
        envelope = certificates.find_envelope(session, context.run.id)
        if envelope is None:
            document = build(session, context, role)
    if envelope is None:
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
    countersigned = _is_heard(context)
    if countersigned:
        envelope = _countersign(context, envelope)
    with context.transaction() as session:
        if not is_taken_back(context):
            _take_over_retained(session, context)
        set_axes(
            session,
            context,
            **_lifecycle(session, context),
            **({"health": "healthy"} if context.run.outcome is None and countersigned else {}),
        )
    return Done(
        {"countersigned": countersigned, "signers": [item.keyid for item in envelope.signatures]}
    )


def _is_heard(context: Context) -> bool:
    """Say whether an agent is there to countersign."""
    if context.run.outcome is None or context.params.unwinds:
        return not context.run.is_unwound and boundary.has_agent(context)
    # A run that keeps what stands may have failed because the agent is dead: nobody waits for it.
    return may_answer(context)


def _lifecycle(session: Session, context: Context) -> dict[str, str]:
    """Return what becomes of the install."""
    if context.params.unwinds or context.run.outcome is None:
        return {"lifecycle": _LIFECYCLES.get(context.run.outcome, "failed")}
    install = session.get(Install, (context.run.boundary_id, context.params.install_id))
    # One that had not begun leaves the install as it was.
    begun = install is not None and install.lifecycle == "updating"
    return {"lifecycle": "partial"} if begun else {}


def _take_over_retained(session: Session, context: Context) -> None:
    """What an earlier removal had retained is part of the install again."""
    install = session.get(Install, (context.run.boundary_id, context.params.install_id))
    if install is not None:
        install.retained = []


def _countersign(context: Context, envelope: Envelope) -> Envelope:
    result = boundary.ask(context, CountersignVerb(certificate=envelope))
    signed = result.certificate
    if signed is None or signed.payload != envelope.payload:
        raise InternalError("the agent countersigned another document than it was given")
    with context.transaction() as session:
        certificates.add_countersignature(session, context.ctx, context.run.id, signed)
    return signed


def build(session: Session, context: Context, role: OpenRole) -> InstallCertificate:
    """Return the certificate from the run's rows and its steps' outputs."""
    run, params = context.run, context.params
    started = session.execute(select(Run.started_at).where(Run.id == run.id)).scalar_one()
    steps, path = step_times(session, run.id, context.step)
    ready = output(context, "ready")
    outcome = _OUTCOMES[run.outcome]
    if outcome == "unwound" and not any(step.state == "unwound" for step in steps):
        outcome = "failed"
    return InstallCertificate(
        operation=params.operation,
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
        outcome=outcome,
        plan_digest=run.approved_digest,
        artifact_digests=ready.get("artifact_digests", {}),
        image_digests=_image_digests(context),
        started_at=started,
        finished_at=now(),
        cluster=params.cluster,
        host=params.host,
        time_scale=params.time_scale,
        emulated=context.ports.settings.is_rehearsal,
        steps=steps,
        critical_path=path,
        permissions_granted=output(context, "preflight").get("permissions_granted", 0),
        # Nobody of ours can read the trail after the close; reconciliation is an addendum.
        permissions_used=None,
        smoke=tuple(
            SmokeReport.model_validate(item)
            for item in output(context, "first-answer").get("smoke", [])
        ),
        residue=tuple(
            ResidueItem.model_validate(item)
            for item in output(context, "census").get("residue", [])
        ),
        access=access_end(context, role),
        pins=output(context, "preflight").get("pins", {}),
        issued_at=now(),
    )


def access_end(context: Context, role: OpenRole) -> AccessEnd:
    """Return how and by whom the access ended, from the outputs of the close."""
    shut, power = output(context, "reach_close"), output(context, "power-off")
    ended, proof = output(context, "role-delete"), output(context, "proof")
    proofs = [*shut.get("proofs", []), power.get("proof"), proof.get("proof")]
    return AccessEnd(
        role_arn=role.target.role_arn,
        grant_number=role.number,
        grant_until=role.grant_until,
        closed_by=ended.get("closed_by", "customer"),
        way_in_closed_at=parse_time(shut.get("closed_at")),
        power_removed_at=parse_time(power.get("removed_at")),
        role_deleted_at=parse_time(ended.get("role_deleted_at")),
        proofs=tuple(DeniedAttempt.model_validate(item) for item in proofs if item),
        way_in=WayInSeen.model_validate(shut["way_in"]) if "way_in" in shut else None,
    )


def step_times(
    session: Session, run_id: UUID, current: str
) -> tuple[tuple[StepTime, ...], tuple[str, ...]]:
    """Return every other step's measured time, and the critical path through them."""
    elapsed = func.extract("epoch", StepRow.finished_at - StepRow.started_at)
    rows = session.execute(
        select(StepRow, func.coalesce(elapsed, 0))
        .where(StepRow.run_id == run_id, StepRow.key != current)
        .order_by(StepRow.position)
    ).all()
    graph = StepGraph.of(Node(row.key, tuple(row.after)) for row, _ in rows)
    path = critical_path(graph, {row.key: float(seconds) for row, seconds in rows}).keys
    times = tuple(
        StepTime(
            key=row.key,
            state=row.state,
            seconds=round(float(seconds), 3),
            budget_seconds=row.budget_seconds,
            on_critical_path=row.key in path,
        )
        for row, seconds in rows
    )
    return times, path


def _image_digests(context: Context) -> dict[str, str]:
    if is_taken_back(context):
        return {}
    return {
        name: reference.rsplit("@", 1)[1]
        for name, reference in context.ports.settings.images.items()
        if "@" in reference
    }
