"""One-time enrolment: a token becomes an agent with its own key.

Called by the saga (which issues the token) and by the agent's route. A token may be presented
again by the same key only: the answer to the first attempt may have been lost.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from cryptography.exceptions import InvalidSignature
from sqlalchemy.orm import Session

from controlplane.core import audit
from controlplane.core.actor import OpContext
from controlplane.core.clock import now
from controlplane.core.errors import InvalidRequestError, UnauthenticatedError
from controlplane.core.ids import new_id
from controlplane.domains.agents import repository
from controlplane.domains.identity.tokens import new_token, token_hash
from controlplane.tables.agents import Agent, EnrolmentToken
from proof.keys import KeyFileError, decode_public, fingerprint
from wire.agent import EnrolRequest

TOKEN_LIFETIME = timedelta(hours=2)
REFUSED = "the enrolment token is not known, was used, or has expired"


@dataclass(frozen=True)
class IssuedToken:
    """A new token: the only time its text exists outside the cluster's Secret."""

    id: UUID
    token: str

    def __repr__(self) -> str:
        return f"IssuedToken(id={self.id})"


def issue_token(
    session: Session, ctx: OpContext, organization_id: UUID, boundary_id: UUID, install_id: UUID
) -> IssuedToken:
    """Make a one-time token for an install's agent; it lives two hours."""
    token = new_token("rfe")
    row = EnrolmentToken(
        organization_id=organization_id,
        boundary_id=boundary_id,
        id=new_id(),
        install_id=install_id,
        token_hash=token_hash(token),
        expires_at=now() + TOKEN_LIFETIME,
    )
    session.add(row)
    session.flush()
    audit.append(
        session,
        ctx,
        "enrolment-token.issued",
        target=f"enrolment-token/{row.id}",
        boundary_id=boundary_id,
        detail={"install_id": str(install_id)},
    )
    return IssuedToken(row.id, token)


def enrol(session: Session, ctx: OpContext, request: EnrolRequest) -> Agent:
    """Exchange a token for an agent; the scope is the token's boundary already.

    Raises: UnauthenticatedError for a token that cannot be used; InvalidRequestError when the
    agent cannot show that it holds the key.
    """
    _check_possession(request)
    token = repository.find_token(session, token_hash(request.token))
    if token is None or token.revoked_at is not None or token.expires_at <= now():
        raise UnauthenticatedError(REFUSED)
    if token.used_at is not None:
        known = repository.find_agent_of_token(session, token.id)
        if known is None or known.public_key != request.public_key:
            raise UnauthenticatedError(REFUSED)
        return known
    earlier = repository.find_active_agent(session, token.boundary_id)
    if earlier is not None:
        # Re-enrolment is the customer's act: a new token's agent takes over, the old key is out.
        earlier.revoked_at = now()
        session.flush()
    token.used_at = now()
    agent = Agent(
        organization_id=token.organization_id,
        boundary_id=token.boundary_id,
        id=new_id(),
        install_id=token.install_id,
        enrolment_token_id=token.id,
        public_key=request.public_key,
        fingerprint=fingerprint(decode_public(request.public_key)),
        agent_version=request.agent_version,
    )
    session.add(agent)
    session.flush()
    audit.append(
        session,
        ctx,
        "agent.enrolled",
        target=f"agent/{agent.id}",
        boundary_id=token.boundary_id,
        detail={"fingerprint": agent.fingerprint, "version": agent.agent_version},
    )
    return agent


def _check_possession(request: EnrolRequest) -> None:
    try:
        key = decode_public(request.public_key)
        proof = base64.b64decode(request.proof_of_possession, validate=True)
        key.verify(proof, hashlib.sha256(request.token.encode()).digest())
    except (KeyFileError, binascii.Error, InvalidSignature) as error:
        raise InvalidRequestError(
            "the agent did not prove that it holds the key",
            field="proof_of_possession",
            fix="sign the SHA-256 of the token with the key that is enrolled",
        ) from error
