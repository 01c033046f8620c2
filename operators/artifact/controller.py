"""Reconcile ModelArtifacts: start the fetch Job, read its verdict, store the conditions.

Sole writer of a ModelArtifact's status and of the fetch Jobs.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from operators import types
from operators.artifact import plan
from operators.core.api import RawObject
from operators.core.cache import Key, key_of
from operators.core.conditions import Finding, conditions
from operators.core.writer import Writer
from operators.settings import Settings
from operators.status import invalid_findings, parse_status
from operators.view import View
from wire.resources import (
    ArtifactReason,
    InvalidResourceError,
    ModelArtifactSpec,
    ModelArtifactStatus,
    parse_spec,
)

MANAGER = "ringfence/artifact"
KIND = types.custom("ModelArtifact")


class ArtifactReconciler:
    """Acts on one ModelArtifact at a time."""

    def __init__(
        self,
        view: View,
        writer: Writer,
        settings: Settings,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._view = view
        self._writer = writer
        self._settings = settings
        self._now = now

    async def reconcile(self, key: Key) -> float | None:
        artifact = self._view.artifacts.find(key)
        if artifact is None or "deletionTimestamp" in artifact["metadata"]:
            return None
        before = parse_status(artifact, ModelArtifactStatus)
        try:
            spec = parse_spec(KIND.kind, artifact.get("spec"))
        except InvalidResourceError as error:
            await self._store(artifact, before, invalid_findings(KIND.kind, error), None, 0)
            return None
        if not isinstance(spec, ModelArtifactSpec):
            raise TypeError(f"{key}: parse_spec returned {type(spec).__name__}")
        verified = before is not None and before.verified_digest == spec.digest
        job = self._view.jobs.find(Key(key.namespace, plan.fetch_job_name(artifact)))
        verdict = plan.read_verdict(self._pods(job)) if job else None
        base = (
            self._view.artifacts.find(Key(key.namespace, spec.base_ref.name))
            if spec.base_ref
            else None
        )
        failed_at = plan.job_ended(job, "Failed") if job else None
        found = plan.findings(
            spec,
            allowed=self._allowed(key.namespace, spec.digest),
            base=base,
            verdict=verdict,
            gave_up=failed_at is not None,
            verified_before=verified,
        )
        again = await self._act(artifact, spec, found, job, failed_at)
        done = found[0].holds
        attempts = verdict.attempts if verdict else (before.attempts if before and done else 0)
        await self._store(artifact, before, found, spec.digest if done else None, attempts)
        return again

    async def _act(
        self,
        artifact: RawObject,
        spec: ModelArtifactSpec,
        found: list[Finding],
        job: RawObject | None,
        failed_at: datetime | None,
    ) -> float | None:
        """Start, or after a pause restart, the Job; return seconds until the next look."""
        reason = found[0].reason
        if reason == ArtifactReason.FETCHING and job is None:
            wanted = plan.fetch_job(artifact, spec, self._settings)
            await self._writer.apply(types.JOB, wanted, self._view.jobs, MANAGER)
            return None
        completed_at = plan.job_ended(job, "Complete") if job else None
        if reason == ArtifactReason.FETCHING and job and completed_at:
            waited = (self._now() - completed_at).total_seconds()
            if waited < plan.VERDICT_SECONDS:
                return plan.VERDICT_SECONDS - waited
            # Its pod, and with it the verdict, is gone: ask again, the fetcher finds the file.
            await self._writer.delete(types.JOB, key_of(job))
            return 1.0
        if reason == ArtifactReason.FETCH_FAILED and job and failed_at:
            waited = (self._now() - failed_at).total_seconds()
            if waited < plan.RETRY_SECONDS:
                return plan.RETRY_SECONDS - waited
            await self._writer.delete(types.JOB, key_of(job))
            return 1.0
        return None

    def _pods(self, job: RawObject) -> list[RawObject]:
        name = job["metadata"]["labels"][types.ARTIFACT]
        uid = job["metadata"]["uid"]
        return [
            pod
            for pod in self._view.pods.by_index("artifact", name)
            if any(o["uid"] == uid for o in pod["metadata"].get("ownerReferences", []))
        ]

    def _allowed(self, namespace: str, digest: str) -> bool:
        for boundary in self._view.boundaries:
            spec = boundary.get("spec", {})
            listed = spec.get("artifactPolicy", {}).get("allowedDigests", [])
            if spec.get("namespace") == namespace and listed:
                return digest in listed
        return True

    async def _store(
        self,
        artifact: RawObject,
        before: ModelArtifactStatus | None,
        found: list[Finding],
        digest: str | None,
        attempts: int,
    ) -> None:
        generation = artifact["metadata"]["generation"]
        after = ModelArtifactStatus(
            observed_generation=generation,
            conditions=conditions(found, before, generation, self._now()),
            verified_digest=digest,
            path=plan.store_path(digest) if digest else None,
            attempts=attempts,
        )
        await self._writer.status(KIND, artifact, before, after, self._view.artifacts)
