"""The demo's result file `build/demo/result.json`: the facts that were shown, for scripts.

Written by `sandbox.demo.story`, read by the end-to-end test; documented in
docs/reference/demo-result.md, with the JSON Schema beside it (`python -m sandbox.demo.result`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from sandbox.toolchain import ROOT
from wire.version import Document, Message


class Attempt(Document):
    """One attempt to assume the role, and what came of it."""

    external_id: str
    """`ours`, `none`, `wrong` or `foreign`."""
    allowed: bool
    error_code: str | None = None


class StepSeconds(Document):
    """One step of the install."""

    key: str
    state: str
    seconds: float
    budget_seconds: float


class Answer(Document):
    """One streamed chat completion through the gateway."""

    model: str
    prompt: str
    text: str
    output_tokens: int
    ttft_ms: float


class Use(Document):
    """Use of one boundary as the control plane counts it; aggregates only."""

    requests: int
    output_tokens: int


class BoundaryResult(Document):
    """All facts of one boundary."""

    name: str
    boundary_id: str
    connection_id: str
    grant_id: str
    install_id: str
    run_id: str
    run_state: str
    role_arn: str
    gateway_url: str
    plan_digest: str
    resources_planned: int
    closed_attempts: tuple[Attempt, ...]
    """Before the customer opened the role: all denied."""
    open_attempts: tuple[Attempt, ...]
    steps: tuple[StepSeconds, ...]
    critical_path: tuple[str, ...]
    seconds: float
    simulated_seconds: float
    """The same with the emulated cloud's latencies at scale 1, p50: an estimate, labelled so."""
    answers: tuple[Answer, ...]
    """The base model, then the boundary's own adapter, to the same prompt."""
    foreign_adapter: str
    foreign_adapter_status: int
    """HTTP status of asking for the other boundary's adapter: 404."""
    usage: Use
    denied_after_close: tuple[str, ...]
    """Error codes of the calls that prove the end of access."""
    residue_findings: int
    certificate_path: str
    certificate_countersigned: bool
    wrong_pin_refused: bool


class DemoResult(Message):
    """The whole file."""

    SCHEMA: ClassVar[str] = "ringfence.demo-result"

    organization: str
    emulated: str
    real: str
    time_scale: float
    wall_seconds: float = Field(ge=0)
    """From the organization's file to both certificates."""
    sandbox_seconds: float = Field(ge=0)
    pinned_key: str
    console_url: str
    boundaries: tuple[BoundaryResult, ...]


def write_result(result: DemoResult, path: Path) -> None:
    """Write the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result.to_wire(), indent=2, ensure_ascii=False) + "\n")


SCHEMA_FILE = ROOT / "docs/reference/demo-result.schema.json"


def schema_text() -> str:
    """Return the JSON Schema of the file."""
    return json.dumps(DemoResult.model_json_schema(), indent=2, sort_keys=True) + "\n"


if __name__ == "__main__":
    SCHEMA_FILE.write_text(schema_text())
