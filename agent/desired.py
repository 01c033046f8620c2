"""The loop that pulls desired state: verify, apply, answer verbs.

Run by `agent.main`. A bundle that is refused changes nothing and is reported with its reason; the
boundary goes on with what it has.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.apply import apply_bundle
from agent.bundles import Trust, accept_bundle, accept_verb
from agent.cloud import Cloud
from agent.control_plane import ControlPlane
from agent.identity import Volume
from agent.kubernetes import Kubernetes
from agent.observer import Observer
from agent.verbs import close, countersign_certificate
from wire.agent import VerbResult
from wire.bundle import CloseVerb, Refusal, Verb
from wire.envelope import Envelope

log = structlog.get_logger("agent.desired")


@dataclass(frozen=True)
class DesiredLoop:
    """One pass per answer of the control plane; holds no state of its own."""

    control_plane: ControlPlane
    kubernetes: Kubernetes
    cloud: Cloud
    volume: Volume
    trust: Trust
    key: Ed25519PrivateKey
    observer: Observer

    async def run_once(self) -> None:
        """Poll once and act on the answer.

        Raises: ControlPlaneError, KubernetesError, aiohttp.ClientError; the caller backs off.
        """
        applied = self.volume.progress().applied_sequence
        desired = await self.control_plane.desired(applied)
        if desired.bundle is not None:
            await self._take_bundle(desired.bundle, applied)
        for envelope in desired.verbs:
            await self._take_verb(envelope)

    async def _take_bundle(self, envelope: Envelope, applied: int) -> None:
        accepted = accept_bundle(envelope, self.trust, applied)
        if isinstance(accepted, Refusal):
            log.warning("bundle refused", code=accepted.code, reason=accepted.reason)
            self.observer.refused = accepted
            await self.observer.push()
            # The same refused bundle comes back at once: do not spin on it.
            await asyncio.sleep(5)
            return
        await apply_bundle(
            self.kubernetes, accepted, self.trust.namespace, self.trust.boundary_name
        )
        progress = self.volume.progress()
        sequence = accepted.bundle.sequence
        self.volume.save_progress(progress.model_copy(update={"applied_sequence": sequence}))
        self.observer.refused = None
        log.info("bundle applied", sequence=sequence, resources=len(accepted.resources))
        await self.observer.push()

    async def _take_verb(self, envelope: Envelope) -> None:
        verb = accept_verb(envelope, self.trust)
        if isinstance(verb, Refusal):
            # Without a verified signature there is no verb id to answer to: say it in the status.
            log.warning("verb refused", code=verb.code, reason=verb.reason)
            self.observer.refused = verb
            await self.observer.push()
            return
        result = self.volume.verb_result(verb.id)
        if result is None:
            result = await self._carry_out(verb)
            # A refusal may be cured (a lagging status, a throttled call): only deeds are kept.
            if result.refused is None:
                self.volume.save_verb_result(result)
        await self.control_plane.push_verb_result(result)
        log.info("verb answered", kind=verb.action.kind, refused=bool(result.refused))

    async def _carry_out(self, verb: Verb) -> VerbResult:
        action = verb.action
        if isinstance(action, CloseVerb):
            return await asyncio.to_thread(close, verb, action, self.trust, self.cloud)
        reports = [r.close for r in self.volume.verb_results() if r.close is not None]
        return countersign_certificate(
            verb,
            action,
            self.trust,
            self.key,
            await self.observer.observe(),
            {report.role_name: report for report in reports},
        )
