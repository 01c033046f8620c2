"""Sign in with an identity provider: begin in a browser, come back, or bring an ID token.

Called by `sign_in_router`. Each function opens its own short transactions: an attempt is used up
and a refusal is recorded also when the sign-in fails, and the provider is asked in between.
Every refusal looks the same from outside; its reason is in the audit.
Source: OpenID Connect Core 1.0, 3.1; RFC 7636; RFC 9207; RFC 9700 (security best practice).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NoReturn
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from controlplane.adapters.oidc.client import SignInClient
from controlplane.adapters.oidc.provider import ProviderError, ProviderMetadata
from controlplane.adapters.oidc.tokens import Expected, TokenRefusedError
from controlplane.core.clock import now
from controlplane.core.db import Database, Scope
from controlplane.core.errors import NotFoundError, UnauthenticatedError, UnavailableError
from controlplane.core.ids import new_id
from controlplane.domains.identity import api_tokens, sessions
from controlplane.domains.identity.api_tokens import TokenScope
from controlplane.domains.identity.browser_secrets import derived, is_same, new_secret
from controlplane.domains.identity.principals import FoundSession
from controlplane.domains.identity.providers import Provider, Providers
from controlplane.domains.identity.return_path import is_local_path
from controlplane.domains.identity.sessions import SessionLimits
from controlplane.domains.identity.sign_in_limits import SignInLimits
from controlplane.domains.identity.sign_in_refusals import Refusals, Visit, scope_of
from controlplane.domains.identity.signed_in_people import SignedIn, admit, claimed_person
from controlplane.domains.identity.tokens import token_hash
from controlplane.tables.sign_in import SessionEnd, SignInAttempt

ATTEMPT_LIFETIME = timedelta(minutes=10)
TOKEN_LIFETIME = timedelta(hours=12)
"""Of an API token that the command line gets for an ID token."""
CALLBACK = "/v1/sign-in/callback"


@dataclass(frozen=True)
class Answer:
    """What the provider sent back through the browser."""

    state: str
    code: str | None
    issuer: str | None
    error: str | None


@dataclass(frozen=True)
class Issued:
    """An API token made for an ID token; the only time its secret exists here."""

    token: str
    token_id: UUID
    expires_at: datetime
    subject: str
    display: str


class SignIn:
    """The use cases of signing in."""

    def __init__(
        self,
        database: Database,
        client: SignInClient,
        providers: Providers,
        public_url: str,
        limits: SessionLimits,
        bounds: SignInLimits,
        refusals: Refusals,
    ) -> None:
        self._database = database
        self._client = client
        self._providers = providers
        self.public_url = public_url.rstrip("/")
        self._limits = limits
        self._bounds = bounds
        self._refusals = refusals

    def close(self) -> None:
        """Write what is counted and not yet written."""
        self._refusals.flush()

    @property
    def redirect_uri(self) -> str:
        """The one address to which a provider sends browsers back."""
        return self.public_url + CALLBACK

    def key_set(self) -> dict[str, Any]:
        """Return the public half of our key, as identity providers fetch it."""
        return self._client.key_set()

    def provider_of(self, organization: str | None) -> Provider:
        """Return where an organization's people sign in. Raises: NotFoundError."""
        with self._database.transaction(Scope(None)) as session:
            return self._providers.of_organization(session, organization)

    def described_provider(
        self, organization: str, visit: Visit
    ) -> tuple[Provider, ProviderMetadata]:
        """Return it with its addresses. Raises: NotFoundError, QuotaError, UnavailableError."""
        provider = self._bounded_provider(organization, visit)
        try:
            return provider, self._client.metadata(provider.pins)
        except ProviderError as error:
            raise _unavailable(error) from error

    def _bounded_provider(self, organization: str | None, visit: Visit) -> Provider:
        """Return an organization's provider for a visit within the bounds. Raises: QuotaError."""
        self._bounds.take_address(visit)
        provider = self.provider_of(organization)
        self._bounds.take_provider(provider, visit)
        return provider

    def start(self, organization: str | None, return_to: str, visit: Visit) -> tuple[str, str]:
        """Return where the browser goes, and the secret of the cookie that binds the attempt.

        Raises: UnauthenticatedError for a `return_to` that leads elsewhere; NotFoundError;
        QuotaError; UnavailableError when the provider does not answer.
        """
        provider = self._bounded_provider(organization, visit)
        if not is_local_path(return_to):
            self._refuse(provider, "return-path", visit)
        state, seed, browser = new_secret(), new_secret(), new_secret()
        try:
            url = self._client.authorization_url(
                provider.pins,
                redirect_uri=self.redirect_uri,
                state=state,
                nonce=derived(browser, "nonce", seed),
                verifier=derived(browser, "verifier", seed),
            )
        except ProviderError as error:
            raise _unavailable(error) from error
        at = now()
        with self._database.transaction(Scope.platform()) as session:
            session.add(
                SignInAttempt(
                    id=new_id(),
                    kind="browser",
                    state_hash=token_hash(state),
                    browser_hash=token_hash(browser),
                    seed=seed,
                    issuer=provider.pins.issuer,
                    return_to=return_to,
                    created_at=at,
                    expires_at=at + ATTEMPT_LIFETIME,
                )
            )
        return url, browser

    def finish(
        self, answer: Answer, browser: str, earlier_session: str, visit: Visit
    ) -> tuple[str, str]:
        """Return the new session's secret and where the browser goes.

        `browser` and `earlier_session` are the cookies that came along, empty for none.
        Raises: UnauthenticatedError; QuotaError; UnavailableError when the provider does not
        answer. Only the address is bounded: whoever comes back was counted for the provider.
        """
        self._bounds.take_address(visit)
        at = now()
        attempt = self._use_attempt(answer.state, at)
        provider = self._provider_of_attempt(attempt)
        reason = _refusal_of_attempt(attempt, browser, at)
        if attempt is None or reason is not None or provider is None:
            self._refuse(provider, reason or "provider-withdrawn", visit)
        try:
            token = self._redeem(provider, attempt, answer, browser)
            expected = Expected(
                provider.pins.issuer,
                provider.pins.client_id,
                derived(browser, "nonce", attempt.seed),
                attempt.created_at,
            )
            claims = self._client.verify(provider.pins, token, expected, at)
            person = claimed_person(provider.pins, claims)
        except TokenRefusedError as error:
            self._refuse(provider, error.reason, visit)
        except ProviderError as error:
            self._refusals.count(provider, "provider-unavailable", visit, "browser")
            raise _unavailable(error) from error
        with self._database.transaction(scope_of(provider)) as session:
            signed_in = admit(session, provider, person, visit.request_id)
            if signed_in.is_enabled:
                secret = self._open_session(session, signed_in, at)
        if not signed_in.is_enabled:
            self._refuse(provider, "principal-disabled", visit)
        self._bounds.remember(provider, visit)
        self._end_earlier(earlier_session, visit.request_id, at)
        return secret, attempt.return_to

    def exchange(self, organization: str | None, token: str, visit: Visit) -> Issued:
        """Return an API token for an ID token of the command line's client; each counts once.

        Raises: UnauthenticatedError, NotFoundError, QuotaError, UnavailableError.
        """
        provider, at = self._bounded_provider(organization, visit), now()
        if provider.pins.cli_client_id is None:
            self._refuse(provider, "no-command-line-client", visit, "exchange")
        expected = Expected(
            provider.pins.issuer, provider.pins.cli_client_id, None, at - ATTEMPT_LIFETIME
        )
        try:
            claims = self._client.verify(provider.pins, token, expected, at)
            person = claimed_person(provider.pins, claims)
            self._use_token(provider, token, at)
        except TokenRefusedError as error:
            self._refuse(provider, error.reason, visit, "exchange")
        except ProviderError as error:
            self._refusals.count(provider, "provider-unavailable", visit, "exchange")
            raise _unavailable(error) from error
        with self._database.transaction(scope_of(provider)) as session:
            signed_in = admit(session, provider, person, visit.request_id)
            if signed_in.is_enabled:
                token_card, secret = api_tokens.create(
                    session,
                    signed_in.context,
                    signed_in.principal_id,
                    name="ringfence login",
                    lifetime=TOKEN_LIFETIME,
                    scope=TokenScope(),
                )
                signed_in.record(session, "exchange", {"token": str(token_card.id)})
        if not signed_in.is_enabled:
            self._refuse(provider, "principal-disabled", visit, "exchange")
        self._bounds.remember(provider, visit)
        return Issued(
            secret,
            token_card.id,
            token_card.expires_at,
            person.subject,
            signed_in.context.actor.display,
        )

    def sign_out(self, found: FoundSession, request_id: str) -> str | None:
        """End a session; return where the provider's own session ends, when it says so."""
        with self._database.transaction(found.scope()) as session:
            sessions.end_session(session, request_id, found, SessionEnd.SIGN_OUT, now())
        try:
            with self._database.transaction(Scope(None)) as session:
                provider = self._providers.of_issuer(session, found.actor.issuer)
            return self._client.sign_out_url(provider.pins, return_to=f"{self.public_url}/")
        except (ProviderError, NotFoundError):
            # Here the person is signed out already; the provider's page is not to be had.
            return None

    def _use_attempt(self, state: str, at: datetime) -> SignInAttempt | None:
        """Mark an attempt as used and return it as it was before, or None when there is none."""
        with self._database.transaction(Scope.platform()) as session:
            wanted = SignInAttempt.state_hash == token_hash(state)
            attempt = session.scalars(
                select(SignInAttempt)
                .where(wanted, SignInAttempt.kind == "browser")
                .with_for_update()
            ).one_or_none()
            if attempt is not None:
                session.expunge(attempt)
                session.execute(
                    update(SignInAttempt)
                    .where(wanted, SignInAttempt.used_at.is_(None))
                    .values(used_at=at)
                )
            return attempt

    def _use_token(self, provider: Provider, token: str, at: datetime) -> None:
        """Take a verified ID token once. Raises: TokenRefusedError."""
        # What is signed, without the signature: of one ECDSA signature anybody can make another.
        signed = token.rpartition(".")[0]
        with self._database.transaction(Scope.platform()) as session:
            taken = session.execute(
                insert(SignInAttempt)
                .values(
                    id=new_id(),
                    kind="exchange",
                    state_hash=token_hash(signed),
                    seed="",
                    issuer=provider.pins.issuer,
                    return_to="",
                    created_at=at,
                    expires_at=at + ATTEMPT_LIFETIME,
                    used_at=at,
                )
                .on_conflict_do_nothing()
                .returning(SignInAttempt.id)
            ).one_or_none()
        if taken is None:
            raise TokenRefusedError("replayed")

    def _provider_of_attempt(self, attempt: SignInAttempt | None) -> Provider | None:
        if attempt is None:
            return None
        with self._database.transaction(Scope(None)) as session:
            try:
                return self._providers.of_issuer(session, attempt.issuer)
            except NotFoundError:
                return None

    def _redeem(
        self, provider: Provider, attempt: SignInAttempt, answer: Answer, browser: str
    ) -> str:
        """Return the ID token for the answer's code. Raises: TokenRefusedError, ProviderError."""
        names_itself = self._client.metadata(provider.pins).names_itself
        if answer.issuer != provider.pins.issuer and (answer.issuer is not None or names_itself):
            raise TokenRefusedError("other-provider")
        if answer.error is not None:
            raise TokenRefusedError("provider-refused")
        if not answer.code:
            raise TokenRefusedError("code-missing")
        return self._client.redeem(
            provider.pins,
            code=answer.code,
            verifier=derived(browser, "verifier", attempt.seed),
            redirect_uri=self.redirect_uri,
        )

    def _open_session(self, session: Session, signed_in: SignedIn, at: datetime) -> str:
        """Open a session and return its secret: always a new one, whatever the browser had."""
        identifier, secret = sessions.open_session(
            session,
            signed_in.principal_id,
            self._limits,
            at,
            methods=signed_in.facts["methods"],
            context=signed_in.facts["context"],
        )
        signed_in.record(session, "browser", {"session": str(identifier)})
        return secret

    def _end_earlier(self, secret: str, request_id: str, at: datetime) -> None:
        """End the session that this browser had; in its own scope, for it may be another's."""
        with self._database.transaction(Scope(None)) as session:
            earlier = sessions.find_session(session, secret)
        if earlier is not None:
            with self._database.transaction(earlier.scope()) as session:
                sessions.end_session(session, request_id, earlier, SessionEnd.REPLACED, at)

    def _refuse(
        self, provider: Provider | None, reason: str, visit: Visit, method: str = "browser"
    ) -> NoReturn:
        """Record a refusal and raise the one error that all of them show."""
        self._refusals.count(provider, reason, visit, method)
        raise UnauthenticatedError(
            "the sign-in was refused",
            code="sign-in-refused",
            fix="start again; if it is refused again, give an administrator the request id",
        )


def _refusal_of_attempt(attempt: SignInAttempt | None, browser: str, at: datetime) -> str | None:
    """Return why an attempt does not count for this browser now, or None."""
    if attempt is None:
        return "state-unknown"
    if attempt.used_at is not None:
        return "state-used"
    if at >= attempt.expires_at:
        return "state-expired"
    if not is_same(token_hash(browser), attempt.browser_hash or ""):
        return "other-browser"
    return None


def _unavailable(error: ProviderError) -> UnavailableError:
    return UnavailableError(
        "the identity provider cannot be used now",
        code="provider-unavailable",
        fix="try again in a moment",
        internal_context={"cause": str(error)},
    )
