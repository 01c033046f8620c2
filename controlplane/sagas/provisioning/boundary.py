"""What happens inside the boundary, seen through its agent: enrolment, desired state, readiness.

Called by the steps `agent`, `desired`, `ready`, `first-answer` and the verbs of the close. Nothing
here reaches into the boundary: it reads rows that the agent's own calls wrote.
"""

from __future__ import annotations

import base64
import functools
import json
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from controlplane.core.clock import now
from controlplane.core.errors import ConflictError, UnavailableError
from controlplane.core.run_engine.tables import Run, StepRow
from controlplane.domains.agents import bundles, repository, service
from controlplane.sagas.provisioning.access import Context, output
from controlplane.sagas.provisioning.images import ENGINE, references
from controlplane.tables.agents import Agent, BundleRow, EnrolmentToken
from proof.canonical import digest
from wire.agent import AgentStatus, VerbResult
from wire.bundle import CloseVerb, CountersignVerb, Verb
from wire.envelope import Envelope

# Ids of verbs derive from (run, kind): a step that runs again asks for the same verb.
SILENT_AFTER = timedelta(minutes=2)
"""An agent asks for its desired state every few seconds; one silent for this long is dead."""
_VERBS = UUID("6f7b1c0e-4d0a-5a0e-9a52-0f6d2c9d7e11")


class AgentRefusedError(ConflictError):
    """The agent refused a bundle or a verb; the message is its reason."""

    code = "agent-refused"


class NotInTimeError(ConflictError):
    """Something in the boundary did not come true within the step's budget."""

    code = "not-in-time"


def _wait(context: Context, began: float, missing: Callable[[], str], fix: str) -> None:
    """Wait for the next look. Raises: NotInTimeError naming what is missing."""
    waited = time.monotonic() - began
    if waited > context.budget_seconds:
        raise NotInTimeError(f"after {waited:.0f} s: {missing()}", fix=fix)
    context.wait(context.ports.settings.poll_seconds)


def wait_for_agent(context: Context) -> dict[str, Any]:
    """Wait until an agent of this install has enrolled; return who it is.

    Raises: NotInTimeError.
    """
    began = time.monotonic()
    while True:
        with context.transaction() as session:
            agent = repository.find_active_agent(session, context.run.boundary_id)
            if agent is not None and agent.install_id == context.params.install_id:
                return {
                    "agent_id": str(agent.id),
                    "fingerprint": agent.fingerprint,
                    "version": agent.agent_version,
                }
        _wait(
            context,
            began,
            lambda: "no agent has enrolled",
            "look at the pods and the log of the agent in namespace "
            f"{context.params.system_namespace}, and whether "
            f"it may reach {context.ports.settings.agent_url}",
        )


def forget_agent(context: Context) -> None:
    """Revoke the install's agent and its open tokens: their cluster goes away."""
    install = context.params.install_id
    with context.transaction() as session:
        session.execute(
            update(Agent)
            .where(Agent.install_id == install, Agent.revoked_at.is_(None))
            .values(revoked_at=now())
            .execution_options(synchronize_session=False)
        )
        session.execute(
            update(EnrolmentToken)
            .where(
                EnrolmentToken.install_id == install,
                EnrolmentToken.used_at.is_(None),
                EnrolmentToken.revoked_at.is_(None),
            )
            .values(revoked_at=now())
            .execution_options(synchronize_session=False)
        )


def publish(context: Context) -> dict[str, Any]:
    """Build, sign, have countersigned and publish the desired state, unless it is out already.

    Raises: UnavailableError (retryable) when another bundle came between.
    """
    foundation = output(context, "foundation")
    placement = bundles.Placement(
        bucket=foundation["artifact_bucket"],
        region=context.params.region,
        engine_image=references(context.ports, foundation)[ENGINE],
        object_keys={item["digest"]: item["key"] for item in output(context, "weights")["models"]},
    )
    with context.transaction() as session:
        bundle = bundles.build_bundle(session, context.run.boundary_id, placement)
        newest = repository.find_newest_bundle(session, context.run.boundary_id, 0)
        known = not bundles.is_ahead(session, context.run.boundary_id)
    content = digest([item.model_dump(mode="json") for item in bundle.resources])
    facts = {
        "sequence": bundle.sequence,
        "content": content,
        "resources": len(bundle.resources),
        "instances": [r.name for r in bundle.resources if r.kind == "ModelInstance"],
    }
    if known and newest is not None and _content(newest) == content:
        return {**facts, "sequence": newest.sequence}
    context.check()
    envelope = context.ports.countersigner.countersign(context.ports.signer.sign(bundle))
    try:
        with context.transaction() as session:
            service.publish_bundle(
                session,
                context.ctx,
                context.run.organization_id,
                context.run.boundary_id,
                bundle.sequence,
                envelope,
            )
    except ConflictError as error:
        raise UnavailableError(f"{error.public_message}; it is built again") from error
    return {**facts, "signers": [signature.keyid for signature in envelope.signatures]}


def _content(row: BundleRow) -> str:
    """Return the digest of a published bundle's resources."""
    payload = json.loads(base64.b64decode(Envelope.model_validate(row.envelope).payload))
    return digest(payload["resources"])


def wait_until_ready(context: Context) -> dict[str, Any]:
    """Wait until the agent applied the bundle and everything in it is ready; show what changes.

    Raises: AgentRefusedError with the agent's own reason; NotInTimeError.
    """
    began = time.monotonic()
    sequence = output(context, "desired")["sequence"]
    wanted = output(context, "desired")["resources"]
    shown: dict[tuple[str, str], tuple[bool, str]] = {}
    while True:
        status = _status_of_known(context)
        if status is not None:
            if status.refused is not None and status.applied_sequence < sequence:
                raise AgentRefusedError(
                    f"the agent refused bundle {sequence}: {status.refused.reason}",
                    detail={"refusal": status.refused.code},
                )
            _show_changes(context, status, shown)
            done = [
                r for r in status.resources if r.ready and r.observed_generation == r.generation
            ]
            if status.applied_sequence >= sequence and len(done) >= wanted == len(status.resources):
                return {
                    "gateway_url": status.gateway_url,
                    "artifact_digests": dict(status.verified_artifacts),
                    "ready": [f"{r.kind}/{r.name}" for r in status.resources],
                }
        _wait(
            context,
            began,
            functools.partial(_not_ready, status, sequence),
            "look at the conditions of the named resources and at the operator's log",
        )


def _not_ready(status: AgentStatus | None, sequence: int) -> str:
    """Say what keeps the boundary from being ready."""
    if status is None:
        return "the agent has not reported that it applied a bundle of ours"
    if status.applied_sequence < sequence:
        return f"the agent has applied bundle {status.applied_sequence}, not {sequence}"
    waiting = [
        f"{r.kind}/{r.name}: {r.reason} {r.message}".strip()
        for r in status.resources
        if not r.ready or r.observed_generation != r.generation
    ]
    return "; ".join(waiting) or "not every resource of the bundle is reported"


def _show_changes(
    context: Context, status: AgentStatus, shown: dict[tuple[str, str], tuple[bool, str]]
) -> None:
    for report in status.resources:
        key, value = (report.kind, report.name), (report.ready, report.reason)
        if shown.get(key) != value:
            shown[key] = value
            context.resource(
                "ready" if report.ready else "waiting",
                kind=report.kind,
                name=report.name,
                reason=report.reason,
                message=report.message,
            )


def wait_for_first_answer(context: Context) -> dict[str, Any]:
    """Wait until every instance has answered one real completion; return the answers' facts.

    Raises: NotInTimeError.
    """
    began = time.monotonic()
    wanted = set(output(context, "desired")["instances"])
    while True:
        status = _status(context)
        if status is not None:
            answered = {report.instance: report for report in status.smoke}
            if wanted <= set(answered):
                return {
                    "smoke": [answered[name].model_dump(mode="json") for name in sorted(wanted)],
                    "gateway_url": status.gateway_url,
                }
        _wait(
            context,
            began,
            lambda: f"no completion yet from each of {', '.join(sorted(wanted))}",
            "look at the engine's log in the boundary's namespace",
        )


def has_agent(context: Context) -> bool:
    """Say whether a live agent of this install could carry out a verb."""
    with context.transaction() as session:
        found = session.execute(
            select(Agent.id).where(
                Agent.install_id == context.params.install_id, Agent.revoked_at.is_(None)
            )
        ).scalar_one_or_none()
    return found is not None


def has_live_agent(context: Context) -> bool:
    """Say whether the agent of this install has spoken lately: a dead one answers no verb."""
    with context.transaction() as session:
        found = session.execute(
            select(Agent.id).where(
                Agent.install_id == context.params.install_id,
                Agent.revoked_at.is_(None),
                Agent.last_seen_at > func.now() - SILENT_AFTER,
            )
        ).scalar_one_or_none()
    return found is not None


def last_release(session: Session, install_id: UUID) -> str | None:
    """Return the digest of what the chart was last given; None when no run has noted one."""
    found: str | None = session.scalars(
        select(StepRow.output["release_digest"].astext)
        .join(Run, (Run.boundary_id == StepRow.boundary_id) & (Run.id == StepRow.run_id))
        .where(Run.install_id == install_id, StepRow.key == "stack", StepRow.state == "succeeded")
        .order_by(StepRow.finished_at.desc())
        .limit(1)
    ).one_or_none()
    return found


def wait_for_live_agent(context: Context) -> dict[str, Any]:
    """Wait until an agent of this install speaks; return who it is. Raises: NotInTimeError."""
    began = time.monotonic()
    while not has_live_agent(context):
        _wait(
            context,
            began,
            lambda: "the agent does not speak",
            "look at the pods and the log of the agent in namespace "
            f"{context.params.system_namespace}",
        )
    return wait_for_agent(context)


def ask(context: Context, action: CloseVerb | CountersignVerb) -> VerbResult:
    """Issue a narrowing verb once per run and wait for the agent's answer.

    A refusal may be cured (a lagging status, a throttled call): the agent tries again while the
    verb is open, so only a refusal that lasts ends the wait. Raises: AgentRefusedError.
    """
    verb_id = _issue(context, action)
    patience = time.monotonic() + context.ports.settings.refusal_seconds
    while True:
        with context.transaction() as session:
            result = service.verb_result(session, context.run.boundary_id, verb_id)
        if result is not None and result.refused is None:
            return result
        if result is not None and result.refused is not None and time.monotonic() > patience:
            raise AgentRefusedError(
                f"the agent refused to {action.kind}: {result.refused.reason}",
                detail={"refusal": result.refused.code},
            )
        context.wait(context.ports.settings.poll_seconds)


def _issue(context: Context, action: CloseVerb | CountersignVerb) -> UUID:
    verb_id = uuid5(_VERBS, f"{context.run.id}/{action.kind}")
    verb = Verb(id=verb_id, boundary_id=context.run.boundary_id, issued_at=now(), action=action)
    with context.transaction() as session:
        service.issue_verb(
            session,
            context.ctx,
            context.run.organization_id,
            context.run.boundary_id,
            verb_id=verb_id,
            kind=action.kind,
            run_id=context.run.id,
            envelope=context.ports.signer.sign(verb),
        )
    return verb_id


def _status_of_known(context: Context) -> AgentStatus | None:
    """Return the newest status if what it applied was published: of another, nothing is known."""
    with context.transaction() as session:
        if bundles.is_ahead(session, context.run.boundary_id):
            return None
        return service.latest_status(session, context.run.boundary_id)


def _status(context: Context) -> AgentStatus | None:
    with context.transaction() as session:
        return service.latest_status(session, context.run.boundary_id)
