"""Settings of the runner, from the environment that its task is started with.

Read once by `runner.main`. Holds no secret: the credentials come from the task's own endpoint, and
what is secret in an order is sealed to a key that is made after this.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from proof.keys import KeyFileError, decode_public

RUNNER_VERSION = "0.1.0"
LONGEST_LIFE_SECONDS = 4 * 3600
_NAMES = ("BUCKET", "MAILBOX", "REGION", "RUN", "FENCE", "DEADLINE", "CONTROL_PLANE_KEY")


class SettingsError(ValueError):
    """A setting is missing or cannot be used; the message names it."""


@dataclass(frozen=True)
class Settings:
    """What the runner needs to know; names in the environment carry the prefix `RUNNER_`."""

    bucket: str
    mailbox: str
    """The prefix of this runner alone, ending with `/`."""
    region: str
    run_id: UUID
    fence: int
    """Of the worker that started it: an order with a lower one comes from a worker of the past."""
    deadline: datetime
    control_plane_key: Ed25519PublicKey
    """The pin: only what this key signed is an order."""
    helm: Path
    poll_seconds: float

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], now: datetime) -> Settings:
        """Read the settings. Raises: SettingsError naming what is missing or wrong."""
        missing = [f"RUNNER_{name}" for name in _NAMES if not environment.get(f"RUNNER_{name}")]
        if missing:
            raise SettingsError(f"set {', '.join(missing)} (who starts the task does)")
        get = {name: environment[f"RUNNER_{name}"] for name in _NAMES}
        try:
            settings = cls(
                bucket=get["BUCKET"],
                mailbox=get["MAILBOX"],
                region=get["REGION"],
                run_id=UUID(get["RUN"]),
                fence=int(get["FENCE"]),
                deadline=datetime.fromisoformat(get["DEADLINE"]).astimezone(UTC),
                control_plane_key=decode_public(get["CONTROL_PLANE_KEY"]),
                helm=Path(environment.get("RUNNER_HELM", "/usr/local/bin/helm")),
                poll_seconds=float(environment.get("RUNNER_POLL_SECONDS", "1")),
            )
        except (ValueError, KeyFileError) as error:
            raise SettingsError(f"a setting cannot be used: {error}") from error
        settings.check(now)
        return settings

    def check(self, now: datetime) -> None:
        """Refuse what would let it write elsewhere or live for ever. Raises: SettingsError."""
        if not (self.mailbox.startswith(f"runner/{self.run_id}/") and self.mailbox.endswith("/")):
            raise SettingsError(f"RUNNER_MAILBOX: {self.mailbox} is not below the run's prefix")
        left = (self.deadline - now).total_seconds()
        if not 0 < left <= LONGEST_LIFE_SECONDS:
            raise SettingsError(
                f"RUNNER_DEADLINE: in {left:.0f} s; it must lie ahead, by at most "
                f"{LONGEST_LIFE_SECONDS} s"
            )
