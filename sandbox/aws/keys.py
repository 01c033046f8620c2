"""Access keys and session tokens: who signed a request.

A session token is an encrypted statement of the whole session, as in AWS, so nothing about it is
stored and a restart loses none; its secret is derived from the access key by a master key. A
session dies when its role is deleted: the token names the role's unique id.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken

from sandbox.aws.clock import iso
from sandbox.aws.files import read_json, write_json, write_private
from sandbox.aws.messages import Caller


class UnknownKeyError(LookupError):
    """No such access key, or the token does not belong to it."""


class ExpiredSessionError(LookupError):
    """The session is over."""


class KeyStore:
    """Issue and resolve credentials."""

    def __init__(self, secrets_dir: Path) -> None:
        """Load or make the master key in `aws/master.key`."""
        self._dir = secrets_dir / "aws"
        master = self._dir / "master.key"
        if not master.exists():
            write_private(master, Fernet.generate_key())
        key = master.read_bytes()
        self._fernet = Fernet(key)
        self._hmac_key = hashlib.sha256(b"session-secret:" + key).digest()
        self._users: dict[str, tuple[str, Caller]] = {}
        self._ended: list[str] = read_json(self._dir / "ended.json", [])

    def user_key(self, name: str, caller: Caller) -> Path:
        """Ensure a long-lived key of a user in `aws/<name>.json` and remember it."""
        path = self._dir / f"{name}.json"
        stored = read_json(path, None)
        if stored is None:
            stored = {
                "access_key_id": "AKIA" + _letters(16),
                "secret_access_key": secrets.token_urlsafe(30),
                "account": caller.account,
                "arn": caller.arn,
            }
            write_json(path, stored)
        caller.access_key = stored["access_key_id"]
        self._users[caller.access_key] = (stored["secret_access_key"], caller)
        return path

    def standing_session(self, name: str, caller: Caller) -> Path:
        """Ensure a session without end in `aws/<name>.json`.

        It stands for what a platform (an instance profile) would renew for its own process.
        """
        path = self._dir / f"{name}.json"
        stored = read_json(path, None)
        if stored is not None:
            try:
                known = self._open(stored["session_token"])
            except (UnknownKeyError, KeyError):
                known = None
            if known is not None and known.user_id == caller.user_id:
                return path
        write_json(path, {**self.issue(caller), "account": caller.account, "arn": caller.arn})
        return path

    def issue(self, caller: Caller, expires_at: datetime | None = None) -> dict[str, str]:
        """Make temporary credentials for a session; the caller's access key is set."""
        caller.access_key = "ASIA" + _letters(16)
        caller.expires_at = iso(expires_at) if expires_at else ""
        token = self._fernet.encrypt(json.dumps(asdict(caller), separators=(",", ":")).encode())
        return {
            "access_key_id": caller.access_key,
            "secret_access_key": self._secret(caller.access_key),
            "session_token": token.decode(),
        }

    def resolve(self, access_key: str, token: str, now: datetime) -> tuple[str, Caller]:
        """Find secret and caller of a key. Raises UnknownKeyError or ExpiredSessionError."""
        if access_key.startswith("AKIA"):
            if token or access_key not in self._users:
                raise UnknownKeyError(access_key)
            return self._users[access_key]
        caller = self._open(token)
        if not hmac.compare_digest(caller.access_key, access_key):
            raise UnknownKeyError(access_key)
        if caller.expires_at and now >= datetime.fromisoformat(caller.expires_at):
            raise ExpiredSessionError(access_key)
        if access_key in self._ended:
            raise ExpiredSessionError(access_key)
        return self._secret(access_key), caller

    def registry_token(self, caller: Caller, ends: datetime) -> str:
        """Make a token of a registry: it carries its caller, and ends with the session at most."""
        document = {"caller": asdict(caller), "ends": iso(ends)}
        return self.seal(json.dumps(document, separators=(",", ":")))

    def registry_caller(self, token: str, now: datetime) -> Caller:
        """Find whose token it is. Raises UnknownKeyError or ExpiredSessionError."""
        try:
            document = json.loads(self.unseal(token))
            caller, ends = Caller(**document["caller"]), datetime.fromisoformat(document["ends"])
        except (ValueError, TypeError, KeyError) as exc:
            raise UnknownKeyError("token") from exc
        if caller.expires_at:
            ends = min(ends, datetime.fromisoformat(caller.expires_at))
        if now >= ends or caller.access_key in self._ended:
            raise ExpiredSessionError(caller.access_key)
        return caller

    def end(self, access_key: str) -> None:
        """End a session before its time, as the fault plan may."""
        self._ended = [*self._ended, access_key]
        write_json(self._dir / "ended.json", self._ended)

    def seal(self, text: str) -> str:
        """Encrypt a text for a client to carry, for example why a call was denied."""
        return self._fernet.encrypt(text.encode()).decode()

    def unseal(self, sealed: str) -> str:
        """Decrypt what `seal` made. Raises UnknownKeyError for anything else."""
        try:
            return self._fernet.decrypt(sealed.encode()).decode()
        except InvalidToken as exc:
            raise UnknownKeyError("not a message of this account") from exc

    def _open(self, token: str) -> Caller:
        """Read a session token. Raises UnknownKeyError where it is not ours."""
        try:
            return Caller(**json.loads(self._fernet.decrypt(token.encode())))
        except (InvalidToken, ValueError, TypeError) as exc:
            raise UnknownKeyError("token") from exc

    def _secret(self, access_key: str) -> str:
        """Derive the secret of a session's access key."""
        digest = hmac.new(self._hmac_key, access_key.encode(), hashlib.sha256).digest()
        return base64.b64encode(digest[:30]).decode()


def _letters(count: int) -> str:
    """Give random letters as access keys have them."""
    return "".join(secrets.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") for _ in range(count))
