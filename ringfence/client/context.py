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

ANEW = "`ringfence up` writes it anew"
OWNER_OF_FILE = "the token's owner"


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
            except UnicodeDecodeError as error:
                raise ContextError(f"RINGFENCE_TOKEN_FILE: {token_file} is no text") from error
            return cls(url, _sound(token, f"RINGFENCE_TOKEN_FILE: {token_file}"), OWNER_OF_FILE)
        document = read_context_file()
        people: dict[str, Any] = document.get("people", {})
        chosen = person or environment.get("RINGFENCE_AS") or document.get("default_person")
        if chosen not in people:
            known = ", ".join(people) or "nobody"
            asked = "--as" if person else "RINGFENCE_AS or the context's default"
            raise ContextError(f"{asked}: {chosen} is not in the context; known are: {known}")
        try:
            found = str(url or document["api_url"]), str(people[chosen]["token"])
        except (KeyError, TypeError) as error:
            raise ContextError(f"{context_file()}: {error} is missing; {ANEW}") from error
        return cls(found[0], _sound(found[1], f"{context_file()}: {chosen}"), str(chosen))


def context_file() -> Path:
    """Return where the context file stands."""
    return home() / "context.json"


def read_context_file() -> dict[str, Any]:
    """Return the context file's document. Raises: ContextError when there is none."""
    path = context_file()
    try:
        document = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise ContextError(
            "no control plane is configured; start the sandbox with `ringfence up`, or set "
            "RINGFENCE_API_URL and RINGFENCE_TOKEN_FILE"
        ) from error
    except OSError as error:
        raise ContextError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise ContextError(f"{path}: not JSON; {ANEW}") from error
    if not isinstance(document, dict) or not isinstance(document.get("people", {}), dict):
        raise ContextError(f"{path}: not a context; {ANEW}")
    return document


def _sound(token: str, source: str) -> str:
    """Return a token that fits into a header. Raises: ContextError, which does not show it."""
    # Checked here because the HTTP library's own error would print the header with the token.
    if not token or not token.isascii() or any(c.isspace() or not c.isprintable() for c in token):
        raise ContextError(f"{source}: this is no token (one line of printable characters)")
    return token
