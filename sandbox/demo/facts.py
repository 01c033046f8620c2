"""Turn what the demo read back into its result file and its closing lines; pure.

Called by `sandbox.demo.story` at its end.
"""

from __future__ import annotations

from typing import Any

from sandbox.aws.latencies import played_seconds, step_seconds
from sandbox.demo.result import Attempt, BoundaryResult, StepSeconds
from sandbox.demo.scene import Scene
from sandbox.demo.screen import OK


def creates(scene: Scene) -> int:
    """Return how many resources the plan creates, over all stacks."""
    counts: dict[str, dict[str, int]] = scene.planned["counts"]
    return sum(operations.get("create", 0) for operations in counts.values())


def one_line(text: str, width: int = 40) -> str:
    """Return the beginning of a text on one line."""
    return " ".join(text.split())[:width]


def cloud_seconds(scale: float) -> float:
    """Return how much longer AWS takes at scale 1 than what was played of it at `scale`."""
    return step_seconds() - scale * sum(played_seconds().values())


def boundary_result(scene: Scene, foreign_adapter: str, scale: float) -> BoundaryResult:
    """Return the facts of one boundary for the result file."""
    assert scene.verdict is not None
    certificate = scene.verdict.certificate
    seconds = (certificate.finished_at - certificate.started_at).total_seconds()
    return BoundaryResult(
        name=scene.name,
        boundary_id=scene.boundary_id,
        connection_id=scene.connection_id,
        grant_id=scene.grant["id"],
        install_id=scene.install_id,
        run_id=scene.run_id,
        run_state=scene.run["state"],
        role_arn=certificate.access.role_arn,
        gateway_url=scene.gateway_url,
        plan_digest=scene.plan["digest"],
        resources_planned=creates(scene),
        closed_attempts=tuple(_attempt(a) for a in scene.closed),
        open_attempts=tuple(_attempt(a) for a in scene.opened),
        steps=tuple(
            StepSeconds(
                key=step["key"],
                state=step["state"],
                seconds=step["elapsed_seconds"] or 0.0,
                budget_seconds=step["budget_seconds"],
            )
            for step in scene.run["steps"]
        ),
        critical_path=tuple(scene.run["critical_path"]["keys"]),
        seconds=seconds,
        simulated_seconds=seconds + cloud_seconds(scale),
        answers=tuple(scene.answers),
        foreign_adapter=foreign_adapter,
        foreign_adapter_status=scene.foreign_status,
        usage=scene.usage,
        denied_after_close=tuple(p.error_code for p in certificate.access.proofs),
        residue_findings=sum(1 for item in certificate.residue if not item.expected),
        certificate_path=str(scene.certificate),
        certificate_countersigned=scene.verdict.agent_key_checked,
        wrong_pin_refused=scene.wrong_pin_refused,
    )


def _attempt(raw: dict[str, Any]) -> Attempt:
    return Attempt(
        external_id=raw["external_id"], allowed=raw["allowed"], error_code=raw.get("error_code")
    )


def closing_facts(scene: Scene) -> list[str]:
    """Return the lines about the end of the vendor's access, as the certificate has them."""
    assert scene.verdict is not None
    certificate = scene.verdict.certificate
    access = certificate.access
    findings = sum(1 for item in certificate.residue if not item.expected)
    proofs = "   ".join(f"{p.action.split(':')[-1]} {p.error_code}" for p in access.proofs)
    return [
        f"{scene.name:<10} way in shut {OK}   power removed {OK}   role deleted by the "
        f"{access.closed_by} {OK}   residue: {findings} findings, "
        f"{len(certificate.residue)} things counted",
        f"{'':<10} denied: {proofs}",
    ]
