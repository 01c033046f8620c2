"""The agent's key, who it is after enrolment, and what it has applied: files on its own volume.

Used by `agent.main`. After a close, re-enrolment is the customer's act (decision 14): an agent
that finds an identity here never enrols again by itself.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from proof.keys import create_private_key, load_private_key
from wire.agent import EnrolResponse, VerbResult
from wire.audit import Checkpoint
from wire.version import Document


class Progress(Document):
    """What must survive a restart: the last bundle applied, and the usage already pushed."""

    applied_sequence: int = 0
    rollup_cursor: int = 0
    """What the gateway is asked `after` next."""


class Volume:
    """The files of one agent."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def key(self) -> Ed25519PrivateKey:
        """Return the agent's key, making it at first start; it never leaves this volume."""
        path = self._folder / "agent-key.pem"
        return load_private_key(path) if path.exists() else create_private_key(path)

    def identity(self) -> EnrolResponse | None:
        """Return who the agent is, or None before enrolment."""
        path = self._folder / "identity.json"
        return EnrolResponse.from_wire(json.loads(path.read_text())) if path.exists() else None

    def save_identity(self, identity: EnrolResponse) -> None:
        self._write("identity.json", json.dumps(identity.to_wire()))

    def progress(self) -> Progress:
        path = self._folder / "progress.json"
        return Progress.model_validate_json(path.read_text()) if path.exists() else Progress()

    def save_progress(self, progress: Progress) -> None:
        self._write("progress.json", progress.model_dump_json())

    def event_cursor(self) -> str:
        """Return after which page of events the gateway is asked; empty at first.

        A file of its own: `Progress` of the version before refuses fields that it does not know.
        """
        path = self._folder / "event-cursor"
        return path.read_text() if path.exists() else ""

    def save_event_cursor(self, cursor: str) -> None:
        self._write("event-cursor", cursor)

    def anchored(self) -> Checkpoint | None:
        """Return the newest checkpoint of the audit that this agent has kept, None before one."""
        path = self._folder / "anchored.json"
        return Checkpoint.from_wire(json.loads(path.read_text())) if path.exists() else None

    def save_anchored(self, checkpoint: Checkpoint) -> None:
        self._write("anchored.json", json.dumps(checkpoint.to_wire()))

    def verb_result(self, verb_id: UUID) -> VerbResult | None:
        """Return the stored answer to a verb: a verb that comes twice is answered, not redone."""
        path = self._folder / f"verb-{verb_id}.json"
        return VerbResult.from_wire(json.loads(path.read_text())) if path.exists() else None

    def verb_results(self) -> list[VerbResult]:
        """Return every stored answer, in no order."""
        paths = self._folder.glob("verb-*.json")
        return [VerbResult.from_wire(json.loads(path.read_text())) for path in paths]

    def save_verb_result(self, result: VerbResult) -> None:
        self._write(f"verb-{result.verb_id}.json", json.dumps(result.to_wire()))

    def _write(self, name: str, text: str) -> None:
        handle, temporary = tempfile.mkstemp(dir=self._folder)
        with os.fdopen(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(self._folder / name)
