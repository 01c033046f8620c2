"""What is known of one boundary while the demo is played.

Filled by `sandbox.demo.story`, read by `sandbox.demo.facts`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proof.certificates import Verdict
from sandbox.demo.result import Answer, Use


class DemoError(RuntimeError):
    """The main job did not go as it must; the message says which fact was otherwise."""


def require(condition: bool, message: str) -> None:
    """Raise DemoError unless the condition holds."""
    if not condition:
        raise DemoError(message)


@dataclass
class Scene:
    """What is known of one boundary as the story goes on."""

    name: str
    boundary_id: str
    account: str
    region: str
    adapter: str
    group: str
    connection_id: str = ""
    template: dict[str, Any] = field(default_factory=dict)
    closed: list[dict[str, Any]] = field(default_factory=list)
    opened: list[dict[str, Any]] = field(default_factory=list)
    grant: dict[str, Any] = field(default_factory=dict)
    install_id: str = ""
    run_id: str = ""
    planned: dict[str, Any] = field(default_factory=dict)
    """The plan in one line: digest and counts per stack."""
    plan: dict[str, Any] = field(default_factory=dict)
    run: dict[str, Any] = field(default_factory=dict)
    gateway_url: str = ""
    key: str = ""
    answers: list[Answer] = field(default_factory=list)
    foreign_status: int = 0
    usage: Use = field(default_factory=lambda: Use(requests=0, output_tokens=0))
    certificate: Path = Path()
    verdict: Verdict | None = None
    wrong_pin_refused: bool = False
