"""Where the control plane is and who is calling: flags over environment over the context file.

Used by `ringfence.cli` and by scripts. The sandbox writes the context file; a person's own context
names the API's address and a file with the token, never the token in an argument.
"""

from __future__ import annotations

import json
import os
import tempfile
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


@dataclass(frozen=True)
class Login:
    """A person's token as `ringfence login` got it."""

    person: str
    token: str
    token_id: str
    expires_at: str
    organization: str


def require_same_control_plane(api_url: str) -> None:
    """Refuse a context file of another control plane. Raises: ContextError."""
    document = read_context_file() if context_file().exists() else {}
    known = document.get("api_url", api_url)
    if str(known).rstrip("/") != api_url.rstrip("/"):
        raise ContextError(
            f"{context_file()} is of the control plane at {known}; "
            "set RINGFENCE_HOME to another folder for this one"
        )


def save_login(api_url: str, login: Login) -> None:
    """Write a login into the context file and make its person the default one.

    Raises: ContextError when the file belongs to another control plane.
    """
    require_same_control_plane(api_url)
    document = read_context_file() if context_file().exists() else {}
    people = dict(document.get("people", {}))
    people[login.person] = {
        "token": login.token,
        "token_id": login.token_id,
        "expires_at": login.expires_at,
    }
    changed = {"api_url": api_url, "people": people, "default_person": login.person}
    _write(document | changed | {"organization": login.organization})


def find_login(person: str | None) -> Login:
    """Return the login of a person, or of the default one. Raises: ContextError."""
    document = read_context_file()
    chosen = str(person or os.environ.get("RINGFENCE_AS") or document.get("default_person"))
    found = document.get("people", {}).get(chosen)
    if not isinstance(found, dict) or "token_id" not in found:
        raise ContextError(f"{chosen} has not signed in with `ringfence login` here")
    return Login(
        chosen,
        str(found.get("token", "")),
        str(found["token_id"]),
        str(found.get("expires_at", "")),
        str(document.get("organization", "")),
    )


def forget_login(person: str) -> None:
    """Take a person and their token out of the context file. Raises: ContextError."""
    document = read_context_file()
    people = {k: v for k, v in document.get("people", {}).items() if k != person}
    default = document.get("default_person")
    _write(document | {"people": people, "default_person": None if default == person else default})


def _write(document: dict[str, Any]) -> None:
    """Replace the context file, 0600 from its first byte."""
    path = context_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "w") as file:
            file.write(json.dumps(document, indent=2))
        Path(name).replace(path)
    except OSError as error:
        raise ContextError(f"{path}: {error.strerror}") from error


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
            "no control plane is configured; start the sandbox with `ringfence up`, sign in with "
            "`ringfence login --api URL`, or set RINGFENCE_API_URL and RINGFENCE_TOKEN_FILE"
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
