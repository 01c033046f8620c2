"""Where the control plane is and who is calling: flags over environment over the context file.

Used by `ringfence.cli` and by scripts. The sandbox writes the context file; a person's own context
names the API's address and a file with the token, never the token in an argument.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class ContextError(ValueError):
    """No control plane or no such person is configured; the message says what to do."""


def home() -> Path:
    """Return the folder of the sandbox and its context (`RINGFENCE_HOME` or the user's default)."""
    named = os.environ.get("RINGFENCE_HOME")
    if named:
        return Path(named).expanduser()
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(state) / "ringfence"


@dataclass(frozen=True)
class Context:
    """An API address and a bearer token."""

    api_url: str
    token: str
    person: str

    @classmethod
    def load(cls, person: str | None, environment: Mapping[str, str] = os.environ) -> Context:
        """Return the context of `person` (or the default one). Raises: ContextError."""
        url, token_file = (
            environment.get("RINGFENCE_API_URL"),
            environment.get("RINGFENCE_TOKEN_FILE"),
        )
        if url and token_file and person is None:
            try:
                token = Path(token_file).read_text().strip()
            except OSError as error:
                raise ContextError(
                    f"RINGFENCE_TOKEN_FILE: cannot read {token_file}: {error.strerror}"
                ) from error
            return cls(url, token, "the token's owner")
        document = read_context_file()
        people: dict[str, Any] = document.get("people", {})
        chosen = person or environment.get("RINGFENCE_AS") or document.get("default_person")
        if chosen not in people:
            known = ", ".join(people) or "nobody"
            raise ContextError(f"--as: {chosen} is not in the context; known are: {known}")
        return cls(url or document["api_url"], people[chosen]["token"], str(chosen))


def read_context_file() -> dict[str, Any]:
    """Return the context file's document. Raises: ContextError when there is none."""
    path = home() / "context.json"
    if not path.exists():
        raise ContextError(
            "no control plane is configured; start the sandbox with `ringfence up`, or set "
            "RINGFENCE_API_URL and RINGFENCE_TOKEN_FILE"
        )
    document: dict[str, Any] = json.loads(path.read_text())
    return document
