"""The authorizer of the HTTP edge: route table first, then the caller, then the decision.

Given to the application by `app.py`. A bearer token goes before a session's cookie: a program that
sends one means it, and no foreign page can make a browser send one. A denial of a known caller is
an audit event in a transaction of its own, since the request's transaction never begins.
"""

from __future__ import annotations

from starlette.requests import Request

from controlplane.core import audit
from controlplane.core.actor import Actor, OpContext
from controlplane.core.db import Database, Scope
from controlplane.core.errors import ForbiddenError, InvalidRequestError, NotFoundError
from controlplane.core.http import ORGANIZATION_QUERY
from controlplane.domains.identity import service
from controlplane.domains.identity.browser_gate import BrowserGate
from controlplane.domains.identity.browser_secrets import SESSION_COOKIE
from controlplane.domains.identity.route_table import DOWNLOADS, find_rule
from controlplane.domains.identity.service import ORGANIZATION_HEADER, Caller

_ANYONE = Actor(None, "ringfence", "anyone", "anonymous", None, "anyone")


class PeopleAuthorizer:
    """Decides on routes for people and for anyone; agents have their own route class."""

    def __init__(self, database: Database, gate: BrowserGate) -> None:
        self._database = database
        self._gate = gate

    def __call__(self, request: Request, method: str, path: str) -> OpContext:
        """Return the caller's context. Raises: UnauthenticatedError, ForbiddenError."""
        rule = find_rule(method, path)
        identifier: str = request.state.request_id
        if rule is not None and rule.layer == "public":
            return OpContext(_ANYONE, identifier, Scope(None))
        bearer = request.headers.get("authorization")
        by_cookie = None
        if bearer is None and SESSION_COOKIE in request.cookies:
            by_cookie = self._gate.authenticate(request)
        with self._database.transaction(Scope(None)) as session:
            caller = by_cookie or service.authenticate(session, bearer)
            if rule is None or rule.layer == "agent":
                raise NotFoundError("there is no such route for people")
            named = _named(request, (method, path))
            try:
                return service.decide(session, caller, rule, named, identifier)
            except ForbiddenError as error:
                denial = error
        self._record(caller, identifier, method, path, named, denial)
        raise denial

    def again(self, request: Request, method: str, path: str) -> OpContext:
        """Decide once more while the answer is being sent; no event, and no session is kept alive.

        Raises: UnauthenticatedError, ForbiddenError, NotFoundError.
        """
        rule = find_rule(method, path)
        if rule is None or rule.layer in ("public", "agent"):
            raise NotFoundError("there is no such route for people")
        bearer = request.headers.get("authorization")
        with self._database.transaction(Scope(None)) as session:
            if bearer is None and SESSION_COOKIE in request.cookies:
                caller = self._gate.caller_now(session, request)
            else:
                caller = service.authenticate(session, bearer)
            return service.decide(
                session, caller, rule, _named(request, (method, path)), request.state.request_id
            )

    def _record(
        self,
        caller: Caller,
        identifier: str,
        method: str,
        path: str,
        named: str | None,
        denial: ForbiddenError,
    ) -> None:
        # The denial belongs to the chain of the organization that was named, or of the caller's
        # only one; otherwise to the platform's. Never to one in which the caller has no role.
        organizations = {
            r.organization_id
            for r in caller.roles
            if r.organization_id and named in (None, r.organization_name)
        }
        scope = Scope(organizations.pop()) if len(organizations) == 1 else Scope.platform()
        context = OpContext(caller.actor, identifier, scope)
        with self._database.transaction(scope) as session:
            audit.append(
                session,
                context,
                "access.denied",
                target=f"route/{method} {path}",
                detail={"code": denial.stable_code, **denial.decided},
            )


def _named(request: Request, route: tuple[str, str]) -> str | None:
    """Return the organization that a request names, in its path, its header or a download's query.

    Raises: InvalidRequestError for two of them.
    """
    if "/organizations/" in route[1] and (named := request.path_params.get("name")):
        return str(named)
    header = request.headers.get(ORGANIZATION_HEADER)
    query = request.query_params.get(ORGANIZATION_QUERY) if route in DOWNLOADS else None
    if header is not None and query is not None and header != query:
        raise InvalidRequestError(
            "the request names two organizations",
            field=ORGANIZATION_QUERY,
            fix=f"name one, in the query or in the header {ORGANIZATION_HEADER}",
        )
    return header if query is None else query
