"""The sign-in routes: to the provider, back from it, the session, out again, and the exchange.

All but sign-out are open to anybody. They hold no transaction of the request: `SignIn` opens its
own, so that a refusal is recorded although the request fails.
"""

from __future__ import annotations

from html import escape
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from controlplane.core.client_address import client_address
from controlplane.core.clock import now
from controlplane.core.db import Scope
from controlplane.core.errors import (
    InvalidRequestError,
    NotFoundError,
    QuotaError,
    RingfenceError,
    UnavailableError,
)
from controlplane.core.http import Context, CurrentDatabase, StreamRoute, request_id
from controlplane.domains.identity import sessions
from controlplane.domains.identity.browser_secrets import (
    SESSION_COOKIE,
    SIGN_IN_COOKIE,
    csrf_token,
)
from controlplane.domains.identity.schemas import PersonOut
from controlplane.domains.identity.sign_in import ATTEMPT_LIFETIME, Answer, SignIn
from controlplane.domains.identity.sign_in_refusals import Visit
from controlplane.domains.identity.sign_in_schemas import (
    ExchangeIn,
    ExchangeOut,
    KeySetOut,
    ProviderOut,
    SessionOut,
    SignOutOut,
)

router = APIRouter(prefix="/v1", tags=["sign-in"], route_class=StreamRoute)
NOT_KEPT = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
PAGE_HEADERS = {
    **NOT_KEPT,
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
}
Text = Annotated[str | None, Query(max_length=4096)]


async def current_sign_in(request: Request) -> SignIn:
    """Return the use cases of signing in. Raises: NotFoundError where they are not set up."""
    found: SignIn | None = request.app.state.sign_in
    if found is None:
        raise NotFoundError(
            "this control plane has no sign-in",
            code="no-sign-in",
            fix="set RINGFENCE_SIGN_IN_KEY_FILE, or use a bearer token",
        )
    return found


async def current_visit(request: Request) -> Visit:
    """Return the request as it is counted and recorded."""
    return Visit(request_id(request), client_address(request))


CurrentSignIn = Annotated[SignIn, Depends(current_sign_in)]
CurrentVisit = Annotated[Visit, Depends(current_visit)]


@router.get("/session", operation_id="session_show")
def session_show(request: Request, response: Response, database: CurrentDatabase) -> SessionOut:
    """Say whether this browser is signed in; asking does not keep the session alive."""
    response.headers.update(NOT_KEPT)
    secret = request.cookies.get(SESSION_COOKIE, "")
    with database.transaction(Scope(None)) as session:
        found = sessions.find_session(session, secret)
    if found is None or not found.is_live(now()) or found.actor.principal_id is None:
        return SessionOut(
            state="signed-out", person=None, csrf_token=None, idle_ends_at=None, ends_at=None
        )
    return SessionOut(
        state="signed-in",
        person=PersonOut(
            id=found.actor.principal_id, subject=found.actor.subject, display=found.actor.display
        ),
        csrf_token=csrf_token(secret),
        idle_ends_at=found.idle_ends_at,
        ends_at=found.ends_at,
    )


@router.get("/sign-in/start", operation_id="sign_in_start", response_class=RedirectResponse)
def sign_in_start(
    request: Request,
    sign_in: CurrentSignIn,
    visit: CurrentVisit,
    organization: Annotated[str | None, Query(max_length=100)] = None,
    return_to: Annotated[str, Query(max_length=4096)] = "/",
    moved: bool = False,
) -> Response:
    """Send the browser to the organization's identity provider."""
    own_host = sign_in.public_url.partition("://")[2]
    if request.headers.get("host") != own_host and not moved:
        # Cookies belong to one host, and the provider sends people back to this one only.
        query = {"return_to": return_to, "moved": "true"}
        query |= {"organization": organization} if organization is not None else {}
        return _go(f"{sign_in.public_url}/v1/sign-in/start?{urlencode(query)}")
    try:
        url, browser = sign_in.start(organization, return_to, visit)
    except RingfenceError as error:
        return _shown(request, error)
    response = _go(url)
    _set_cookie(response, SIGN_IN_COOKIE, browser, int(ATTEMPT_LIFETIME.total_seconds()))
    return response


@router.get("/sign-in/callback", operation_id="sign_in_callback", response_class=RedirectResponse)
def sign_in_callback(
    request: Request,
    sign_in: CurrentSignIn,
    visit: CurrentVisit,
    state: Text = None,
    code: Text = None,
    iss: Text = None,
    error: Text = None,
) -> Response:
    """Take what the provider sent back, open a session, and go where the person was."""
    cookies = request.cookies
    try:
        secret, path = sign_in.finish(
            Answer(state or "", code, iss, error),
            cookies.get(SIGN_IN_COOKIE, ""),
            cookies.get(SESSION_COOKIE, ""),
            visit,
        )
    except RingfenceError as refusal:
        return _shown(request, refusal)
    response = _go(path)
    _set_cookie(response, SESSION_COOKIE, secret, None)
    _drop_cookie(response, SIGN_IN_COOKIE)
    return response


@router.post("/sign-out", operation_id="sign_out")
def sign_out(
    request: Request, response: Response, sign_in: CurrentSignIn, ctx: Context
) -> SignOutOut:
    """End this browser's session."""
    found = getattr(request.state, "browser_session", None)
    if found is None:
        raise InvalidRequestError(
            "only a browser's session is signed out",
            fix="revoke a token instead, or run: ringfence logout",
        )
    response.headers.update(NOT_KEPT)
    _drop_cookie(response, SESSION_COOKIE)
    return SignOutOut(end_session_url=sign_in.sign_out(found, ctx.request_id))


@router.get("/sign-in/keys", operation_id="sign_in_keys")
def sign_in_keys(sign_in: CurrentSignIn) -> KeySetOut:
    """Return the key set by which identity providers know the control plane."""
    return KeySetOut(**sign_in.key_set())


@router.get("/sign-in/providers/{organization}", operation_id="sign_in_provider")
def sign_in_provider(organization: str, sign_in: CurrentSignIn, visit: CurrentVisit) -> ProviderOut:
    """Say where an organization's people sign in, for the command line."""
    provider, metadata = sign_in.described_provider(organization, visit)
    return ProviderOut(
        issuer=metadata.issuer,
        authorization_endpoint=metadata.authorization_endpoint,
        token_endpoint=metadata.token_endpoint,
        device_authorization_endpoint=metadata.device_authorization_endpoint,
        cli_client_id=provider.pins.cli_client_id,
        scopes=list(provider.pins.scopes),
    )


@router.post("/sign-in/exchange", operation_id="sign_in_exchange")
def sign_in_exchange(
    response: Response, body: ExchangeIn, sign_in: CurrentSignIn, visit: CurrentVisit
) -> ExchangeOut:
    """Give an expiring API token for an ID token of the command line's client."""
    response.headers.update(NOT_KEPT)
    issued = sign_in.exchange(body.organization, body.id_token, visit)
    return ExchangeOut(
        token=issued.token,
        token_id=issued.token_id,
        expires_at=issued.expires_at,
        subject=issued.subject,
        display=issued.display,
    )


def _go(url: str) -> Response:
    return RedirectResponse(url, status_code=303, headers=NOT_KEPT)


def _set_cookie(response: Response, name: str, value: str, seconds: int | None) -> None:
    response.set_cookie(
        name, value, max_age=seconds, path="/", secure=True, httponly=True, samesite="lax"
    )


def _drop_cookie(response: Response, name: str) -> None:
    response.delete_cookie(name, path="/", secure=True, httponly=True, samesite="lax")


def _shown(request: Request, error: RingfenceError) -> Response:
    """Return an error as a page to a person who came by a link; raise it to a program."""
    if "text/html" not in request.headers.get("accept", ""):
        raise error
    if isinstance(error, UnavailableError):
        title = "The identity provider cannot be used now"
    elif isinstance(error, QuotaError):
        title = "There are too many sign-ins now"
    else:
        title = "You are not signed in"
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<h1>{title}</h1><p>{escape(error.public_message)}. {escape(error.fix or '')}</p>"
        f"<p>Request: <code>{escape(request_id(request))}</code></p>"
        '<p><a href="/">Back to the start</a></p></html>'
    )
    headers = {"Retry-After": str(error.retry_after)} if error.retryable else {}
    return HTMLResponse(page, error.http_status, headers={**PAGE_HEADERS, **headers})
