"""The fetch Job of a ModelArtifact, and the conditions that follow from what it said; pure.

Called by `artifact.controller` and by tests. The verdict is the Job's termination message: the
operator never sees the bytes, but it compares the digest that the Job computed with the spec.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from operators import types
from operators.children import child_name, container_security, labels, metadata, pod_security
from operators.core.api import RawObject
from operators.core.conditions import Finding, summary
from operators.settings import Settings
from wire.resources import ArtifactReason, ModelArtifactSpec

COMPONENT = "fetcher"
STORE = "/models"
MISMATCH_EXIT_CODE = 3
"""Also in `operators.fetcher`: the Job must not be tried again, the source has other bytes."""
BACKOFF_LIMIT = 4
RETRY_SECONDS = 60.0
"""Between a Job that gave up and the next one."""
VERDICT_SECONDS = 10.0
"""How long a completed Job may wait for its pod to be seen: jobs and pods are watched apart."""


def store_path(digest: str) -> str:
    """Return where a verified artifact is in the model store."""
    return f"{STORE}/{digest.replace(':', '-')}"


def fetch_job_name(artifact: RawObject) -> str:
    """Return the name of an artifact's fetch Job."""
    return child_name(artifact["metadata"]["name"], "fetch")


def fetch_job(artifact: RawObject, spec: ModelArtifactSpec, settings: Settings) -> RawObject:
    """Return the Job that downloads, verifies and stores the artifact."""
    name = artifact["metadata"]["name"]
    marked = labels(COMPONENT, {types.ARTIFACT: name})
    return {
        "apiVersion": types.JOB.api_version,
        "kind": types.JOB.kind,
        "metadata": metadata(
            artifact, fetch_job_name(artifact), artifact["metadata"]["namespace"], marked
        ),
        "spec": {
            "backoffLimit": BACKOFF_LIMIT,
            "activeDeadlineSeconds": 6 * 3600,
            "podFailurePolicy": {
                "rules": [
                    {
                        "action": "FailJob",
                        "onExitCodes": {
                            "containerName": "fetch",
                            "operator": "In",
                            "values": [MISMATCH_EXIT_CODE],
                        },
                    }
                ]
            },
            "template": {
                "metadata": {"labels": marked},
                "spec": _pod(spec, settings),
            },
        },
    }


def _pod(spec: ModelArtifactSpec, settings: Settings) -> dict[str, Any]:
    source = spec.source.s3
    arguments = {
        "bucket": source.bucket,
        "key": source.key,
        "region": source.region,
        "digest": spec.digest,
        "size": str(spec.size),
        "store": STORE,
    }
    return {
        "restartPolicy": "Never",
        "serviceAccountName": "fetcher",
        # Cloud credentials come from pod identity; the Kubernetes API is none of its business.
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pod_security(),
        "containers": [
            {
                "name": "fetch",
                "image": settings.fetcher_image,
                "args": [f"--{name}={value}" for name, value in arguments.items()],
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "securityContext": container_security(),
                "resources": {
                    "requests": {"cpu": "50m", "memory": "64Mi"},
                    "limits": {"memory": "256Mi"},
                },
                "volumeMounts": [{"name": "models", "mountPath": STORE}],
            }
        ],
        "volumes": [
            {
                "name": "models",
                "persistentVolumeClaim": {"claimName": settings.model_store_claim},
            }
        ],
    }


@dataclass(frozen=True)
class Verdict:
    """What the fetch Job said at its end."""

    digest: str | None
    """What it computed; None when it got no further than an error."""
    error: str | None
    """Why it failed; None when it stored the file."""
    attempts: int = 0


def read_verdict(pods: list[RawObject]) -> Verdict | None:
    """Return the newest termination message among a Job's pods, or None before there is one."""
    newest: tuple[str, Verdict] | None = None
    failed = sum(pod.get("status", {}).get("phase") == "Failed" for pod in pods)
    for pod in pods:
        for container in pod.get("status", {}).get("containerStatuses", []):
            ended = container.get("state", {}).get("terminated")
            if ended is None:
                continue
            verdict = _parse(ended.get("message", ""), ended.get("exitCode"), failed)
            moment = ended.get("finishedAt") or ""
            if newest is None or moment >= newest[0]:
                newest = (moment, verdict)
    return newest[1] if newest else None


def _parse(message: str, exit_code: int | None, attempts: int) -> Verdict:
    lines = message.strip().splitlines()
    try:
        said = json.loads(lines[-1]) if lines else {}
    except json.JSONDecodeError:
        said = {}
    if not isinstance(said, dict):
        said = {}
    digest = said.get("digest")
    error = said.get("error")
    if exit_code != 0 and not error:
        error = f"exit code {exit_code}: {message.strip()[-300:] or 'no message'}"
    return Verdict(
        digest if isinstance(digest, str) else None, str(error) if error else None, attempts
    )


def job_ended(job: RawObject, type_: str) -> datetime | None:
    """Return when the Job became `Complete` or `Failed`, or None while it is not."""
    for condition in job.get("status", {}).get("conditions", []):
        if condition["type"] == type_ and condition["status"] == "True":
            return datetime.fromisoformat(condition["lastTransitionTime"])
    return None


def findings(
    spec: ModelArtifactSpec,
    *,
    allowed: bool,
    base: RawObject | None,
    verdict: Verdict | None,
    gave_up: bool,
    verified_before: bool,
) -> list[Finding]:
    """Return all conditions, `Ready` first.

    `allowed`: the boundary's list holds the digest. `base`: the adapter's base artifact.
    `gave_up`: the Job failed for good. `verified_before`: our own status says that these very
    bytes were verified (the Job's pod may be gone by now).
    """
    if not allowed:
        message = f"{spec.digest} is not in the boundary's artifactPolicy.allowedDigests"
        return _refused(ArtifactReason.NOT_ALLOWED, message)
    if spec.base_ref is not None and not (base and base["spec"].get("kind") == "Base"):
        message = f"baseRef {spec.base_ref.name} is not a ModelArtifact of kind Base here"
        return _refused(ArtifactReason.BASE_NOT_FOUND, message)
    if verified_before or (verdict and verdict.error is None and verdict.digest == spec.digest):
        done = [
            Finding("Fetched", "True", ArtifactReason.FETCHED),
            Finding("Verified", "True", ArtifactReason.DIGEST_VERIFIED, spec.digest),
        ]
        return [summary(done, ArtifactReason.READY), *done]
    if verdict and verdict.digest and verdict.digest != spec.digest:
        message = (
            f"the source has {verdict.digest}, wanted {spec.digest}; nothing was stored. "
            "Put the right object into the bucket and delete the Job to fetch again"
        )
        return _refused(ArtifactReason.DIGEST_MISMATCH, message)
    if gave_up:
        why = verdict.error if verdict and verdict.error else "the Job failed without a message"
        return _unfetched(ArtifactReason.FETCH_FAILED, why)
    message = verdict.error if verdict and verdict.error else "the fetch Job has not ended yet"
    return _unfetched(ArtifactReason.FETCHING, message)


def _refused(reason: ArtifactReason, message: str) -> list[Finding]:
    return [
        Finding("Ready", "False", reason, message),
        Finding("Fetched", "False", reason, "nothing was stored"),
        Finding("Verified", "False", reason, message),
    ]


def _unfetched(reason: ArtifactReason, message: str) -> list[Finding]:
    return [
        Finding("Ready", "False", reason, message),
        Finding("Fetched", "False", reason, message),
        Finding("Verified", "Unknown", ArtifactReason.NOT_FETCHED, "nothing to verify yet"),
    ]
