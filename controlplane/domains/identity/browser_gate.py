"""Requests of signed-in browsers: is the session live, and does the change come from our own page?

Used by the authorizer when a request has no bearer token. A browser sends a cookie along with what
foreign pages make it ask, so a cookie alone never changes anything: the request must name our own
origin and carry the token that only a page of ours can have read.
Source: OWASP cross-site request forgery prevention; Fetch Metadata (W3C).
"""

from __future__ import annotations

from urllib.parse import urlsplit

from sqlalchemy.orm import Session
from starlette.requests import Request

from controlplane.core import audit
from controlplane.core.actor import OpContext
from controlplane.core.clock import now
from controlplane.core.db import Database, Scope
from controlplane.core.errors import ForbiddenError, UnauthenticatedError
from controlplane.domains.identity import repository, sessions
from controlplane.domains.identity.browser_secrets import SESSION_COOKIE, csrf_token, is_same
from controlplane.domains.identity.principals import FoundSession
from controlplane.domains.identity.service import Caller
from controlplane.domains.identity.sessions import SessionLimits

CSRF_HEADER = "Ringfence-CSRF"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def origin_of(url: str) -> str:
    """Return an address as the `Origin` header writes it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def cross_site_reason(request: Request, secret: str, origin: str) -> str | None:
    """Return why a change is not believed to come from a page of ours, or None."""
    sent, site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
    if sent is None and site is None:
        return "origin-missing"
    if sent not in (None, origin) or site not in (None, "same-origin"):
        return "foreign-origin"
    token = request.headers.get(CSRF_HEADER)
    if token is None:
        return "csrf-missing"
    return None if is_same(token, csrf_token(secret)) else "csrf-wrong"


class BrowserGate:
    """Knows callers by their session's cookie."""

    def __init__(self, database: Database, limits: SessionLimits, public_url: str) -> None:
        self._database = database
        self._limits = limits
        self._origin = origin_of(public_url)

    def authenticate(self, request: Request) -> Caller:
        """Return the caller. Raises: UnauthenticatedError, ForbiddenError."""
        secret, at = request.cookies[SESSION_COOKIE], now()
        with self._database.transaction(Scope(None)) as session:
            found = sessions.find_session(session, secret)
        if found is None:
            raise _signed_out()
        with self._database.transaction(found.scope()) as session:
            refusal = self._refusal(session, request, found, secret)
            if refusal is None:
                sessions.keep_alive(session, found, self._limits, at)
                assert found.actor.principal_id is not None
                roles = tuple(repository.list_roles(session, found.actor.principal_id))
        if refusal is not None:
            raise refusal
        request.state.browser_session = found
        return Caller(found.actor, roles)

    @staticmethod
    def caller_now(session: Session, request: Request) -> Caller:
        """Return the caller while the session lasts. Raises: UnauthenticatedError.

        For a request that is being answered: it is no new act of the person, so the idle end stays
        where it is, and a session that is over is ended by the next request or by the scheduler.
        """
        found = sessions.find_session(session, request.cookies[SESSION_COOKIE])
        if found is None or not found.is_live(now()) or found.actor.principal_id is None:
            raise _signed_out()
        return Caller(found.actor, tuple(repository.list_roles(session, found.actor.principal_id)))

    def _refusal(
        self, session: Session, request: Request, found: FoundSession, secret: str
    ) -> UnauthenticatedError | ForbiddenError | None:
        """Return why the request is refused, after recording it; None when it is not."""
        identifier: str = request.state.request_id
        reason = None if found.ended_at is not None else found.reason_to_end(now())
        if reason is not None and sessions.end_session(session, identifier, found, reason, now()):
            return _signed_out()
        if found.ended_at is not None or reason is not None:
            self._record(session, identifier, found, "ended")
            return _signed_out()
        if request.method in SAFE_METHODS:
            return None
        cross_site = cross_site_reason(request, secret, self._origin)
        if cross_site is None:
            return None
        self._record(session, identifier, found, cross_site)
        return ForbiddenError(
            "this request did not come from a page of the control plane",
            code="cross-site",
            fix=f"send the header {CSRF_HEADER} with the csrf_token of GET /v1/session",
        )

    @staticmethod
    def _record(session: Session, identifier: str, found: FoundSession, reason: str) -> None:
        audit.append(
            session,
            OpContext(found.actor, identifier, found.scope()),
            "session.refused",
            target=f"session/{found.id}",
            detail={"reason": reason},
        )


def _signed_out() -> UnauthenticatedError:
    return UnauthenticatedError(
        "you are signed out", code="signed-out", fix="sign in again: GET /v1/sign-in/start"
    )
