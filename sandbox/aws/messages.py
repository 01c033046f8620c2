"""Requests and responses as the gate sees them, apart from any server or service.

`Request` keeps the raw path and query, because signatures are made over the raw bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote


@dataclass
class Request:
    """One HTTP request; header names are lower case, repeated headers joined by a comma."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    source_ip: str

    @property
    def raw_path(self) -> str:
        """Give the path as sent, without the query."""
        return self.target.partition("?")[0] or "/"

    @property
    def raw_query(self) -> str:
        """Give the query as sent."""
        return self.target.partition("?")[2]

    @property
    def path(self) -> str:
        """Give the decoded path."""
        return unquote(self.raw_path)

    def query(self) -> list[tuple[str, str]]:
        """Give the decoded query pairs in order, blank values kept."""
        return parse_qsl(self.raw_query, keep_blank_values=True)


@dataclass
class Response:
    """One HTTP response."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    lost: bool = False
    """The connection is cut instead: what was asked is done, and nobody hears of it."""


@dataclass
class Caller:
    """Who signed: a session of a role, or a user; tags and policies of the session included."""

    kind: str  # "session" or "user"
    account: str
    arn: str
    user_id: str
    access_key: str
    name: str  # the role's or user's name
    role_arn: str = ""
    session_name: str = ""
    source_identity: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    session_policies: list[str] = field(default_factory=list)
    session_policy_document: str = ""
    issued_at: str = ""
    expires_at: str = ""
    pod: dict[str, str] = field(default_factory=dict)


@dataclass
class Fate:
    """What the fault plan has in store for one call; an untouched call has none."""

    faults: list[str] = field(default_factory=list)
    """Names of the rules that struck, for the ledger."""
    late: float = 0.0
    """Seconds by which what is created becomes ready later; infinite is never."""
    doom: str = ""
    """Why what is created fails in the end."""
    hidden: float = 0.0
    """Seconds for which reads do not show what is created."""
    lost: bool = False
    error_though_done: bool = False
    acts: list[dict[str, Any]] = field(default_factory=list)
    """What somebody else does in the account once the call is done."""


@dataclass
class Call:
    """One API operation asked for by a caller."""

    id: str
    service: str  # the signing name: ec2, iam, s3, kms, eks, eks-auth, sts, cloudformation, …
    protocol: str
    operation: str
    region: str
    account: str
    caller: Caller
    params: dict[str, Any]
    request: Request
    fate: Fate = field(default_factory=Fate)

    @property
    def mutating(self) -> bool:
        """Tell whether the operation changes something, by AWS's naming."""
        return not self.operation.startswith(
            ("Get", "List", "Describe", "Head", "Lookup", "Decode", "BatchGet", "BatchCheck")
        )
