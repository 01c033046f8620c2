"""Attacks on the way in: each is refused alike from outside, and the audit names the reason."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from controlplane.core.clock import shifted
from tests.integration.sign_in.conftest import AuditTrail, Browser
from tests.integration.sign_in.issuer import ALGORITHMS, CLI_CLIENT, Issuer

Forge = Callable[[Issuer, dict[str, Any]], str]


def encoded(part: bytes) -> str:
    """Return a part of a token."""
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def assert_refused(answer: Any, trail: AuditTrail, reason: str) -> None:
    """Check the one public answer, that no session came of it, and the reason in the audit."""
    assert answer.status_code == 401, answer.text
    error = answer.json()["error"]
    assert error["code"] == "sign-in-refused"
    assert error["message"] == "the sign-in was refused"
    assert "__Host-ringfence=" not in str(answer.headers.get_list("set-cookie"))
    assert trail.details("sign-in.refused")[-1]["reason"] == reason
    assert trail.details("sign-in.succeeded") == []


def unsigned(issuer: Issuer, claims: dict[str, Any]) -> str:
    """Return a token that says that it needs no signature."""
    head = encoded(json.dumps({"alg": "none", "kid": issuer.key_id()}).encode())
    return f"{head}.{encoded(json.dumps(claims).encode())}."


def signed_with_the_public_key(issuer: Issuer, claims: dict[str, Any]) -> str:
    """Return a token whose symmetric secret is the issuer's public key, which all know."""
    head = encoded(json.dumps({"alg": "HS256", "kid": issuer.key_id()}).encode())
    body = f"{head}.{encoded(json.dumps(claims).encode())}"
    secret = issuer.key.as_pem(private=False)
    return f"{body}.{encoded(hmac.new(secret, body.encode(), hashlib.sha256).digest())}"


def with_a_key_of_its_own(issuer: Issuer, claims: dict[str, Any]) -> str:
    """Return a token signed by a stranger's key, under the issuer's key id."""
    stranger = RSAKey.generate_key(2048)
    head = {"alg": "RS256", "kid": issuer.key_id(), "jwk": stranger.as_dict(private=False)}
    return jwt.encode(head, claims, stranger, algorithms=ALGORITHMS)


def with_another_key_id(issuer: Issuer, claims: dict[str, Any]) -> str:
    """Return an honest token under a key id that the issuer does not publish."""
    return issuer.sign(claims, {"kid": "nobody-knows"})


def with_changed_claims(issuer: Issuer, claims: dict[str, Any]) -> str:
    """Return an honest token whose subject was changed afterwards."""
    head, _, signature = issuer.sign(claims).split(".")
    return f"{head}.{encoded(json.dumps({**claims, 'sub': 'max@acme.test'}).encode())}.{signature}"


def critical(issuer: Issuer, claims: dict[str, Any]) -> str:
    """Return an honest token that demands to be understood in a way nobody knows."""
    head = encoded(json.dumps({"alg": "RS256", "crit": ["exp"], "kid": issuer.key_id()}).encode())
    return f"{head}.{encoded(json.dumps(claims).encode())}.x"


FORGERIES: list[tuple[Forge, str]] = [
    (unsigned, "algorithm"),
    (signed_with_the_public_key, "algorithm"),
    (with_a_key_of_its_own, "signature"),
    (with_another_key_id, "unknown-key"),
    (with_changed_claims, "signature"),
    (critical, "critical-header"),
    (lambda *_: "not-a-token", "malformed"),
]


@pytest.mark.parametrize(
    ("forge", "reason"), FORGERIES, ids=[f.__name__.strip("<>") for f, _ in FORGERIES]
)
def test_a_forged_token_is_refused(
    browser: Browser, issuer: Issuer, trail: AuditTrail, forge: Forge, reason: str
) -> None:
    issuer.bent.token = lambda claims: forge(issuer, claims)
    assert_refused(browser.sign_in(), trail, reason)


CLAIMS: list[tuple[dict[str, Any], str]] = [
    ({"nonce": "another"}, "nonce"),
    ({"nonce": None}, "nonce"),
    ({"iss": "https://idp.elsewhere.example"}, "issuer"),
    ({"iss": "https://sandbox.ringfence.dev/"}, "issuer"),
    ({"aud": "another-client"}, "audience"),
    ({"aud": ["ringfence", "another-client"], "azp": "ringfence"}, "audience"),
    ({"aud": []}, "audience"),
    ({"azp": "another-client"}, "authorized-party"),
    ({"exp": 1}, "expired"),
    ({"exp": None}, "times-missing"),
    ({"exp": "soon"}, "malformed"),
    ({"iat": time.time() + 3600, "exp": time.time() + 7200}, "from-the-future"),
    ({"nbf": time.time() + 3600, "exp": time.time() + 7200}, "from-the-future"),
    ({"iat": time.time() - 3600}, "stale"),
    ({"sub": ""}, "subject"),
    ({"sub": 7}, "subject"),
    ({"groups": "payments-engineers"}, "groups-claim"),
    ({"employee_number": ["1001"]}, "person-key-claim"),
]


@pytest.mark.parametrize(
    ("changes", "reason"), CLAIMS, ids=[f"{reason}-{'-'.join(sorted(c))}" for c, reason in CLAIMS]
)
def test_a_token_that_was_not_made_for_this_sign_in_is_refused(
    browser: Browser, issuer: Issuer, trail: AuditTrail, changes: dict[str, Any], reason: str
) -> None:
    issuer.bent.claims = lambda claims: {
        k: v for k, v in {**claims, **changes}.items() if v is not None
    }
    assert_refused(browser.sign_in(), trail, reason)


def test_a_clock_that_is_a_little_off_is_no_attack(browser: Browser, issuer: Issuer) -> None:
    issuer.bent.claims = lambda c: {**c, "iat": time.time() + 15, "exp": time.time() + 300}
    assert browser.sign_in().status_code == 303


def test_a_code_that_was_used_is_refused_by_the_provider(
    open_browser: Callable[[], Browser], issuer: Issuer, trail: AuditTrail
) -> None:
    thief = open_browser()
    url = thief.start()
    victim = issuer.authorize(thief.start(), "max@acme.test")
    issuer.grants[victim["code"]].used = True
    state = issuer.authorize(url, "eve@acme.test")["state"]
    assert_refused(thief.come_back({**victim, "state": state}), trail, "other-browser")
    url = thief.start()
    own = issuer.authorize(url, "eve@acme.test")
    assert_refused(thief.come_back({**own, "code": victim["code"]}), trail, "code-refused")


def test_a_stolen_code_does_not_fit_the_thiefs_own_sign_in(
    open_browser: Callable[[], Browser], issuer: Issuer, trail: AuditTrail
) -> None:
    victim, thief = open_browser(), open_browser()
    stolen = issuer.authorize(victim.start(), "max@acme.test")
    own = issuer.authorize(thief.start(), "eve@acme.test")
    # The strict provider sees that the verifier is another one.
    assert_refused(thief.come_back({**own, "code": stolen["code"]}), trail, "code-refused")
    # A careless one does not; then the nonce in the token is the victim's.
    issuer.bent.skips_checks = True
    own = issuer.authorize(thief.start(), "eve@acme.test")
    assert_refused(thief.come_back({**own, "code": stolen["code"]}), trail, "nonce")


def test_a_state_counts_once(browser: Browser, issuer: Issuer, trail: AuditTrail) -> None:
    issuer.bent.skips_checks = True
    issuer.bent.claims = lambda claims: {**claims, "aud": "another-client"}
    parameters = issuer.authorize(browser.start(), "sam@acme.test")
    assert_refused(browser.come_back(parameters), trail, "audience")
    issuer.bent.claims = lambda claims: claims
    # Also what failed is used up: there is no second try with one state.
    assert_refused(browser.come_back(parameters), trail, "state-used")


def test_an_invented_state_is_refused(browser: Browser, issuer: Issuer, trail: AuditTrail) -> None:
    parameters = issuer.authorize(browser.start(), "sam@acme.test")
    assert_refused(browser.come_back({**parameters, "state": "x" * 43}), trail, "state-unknown")
    assert_refused(browser.come_back({"code": parameters["code"]}), trail, "state-unknown")


def test_a_state_ends_after_ten_minutes(
    browser: Browser, issuer: Issuer, trail: AuditTrail
) -> None:
    parameters = issuer.authorize(browser.start(), "sam@acme.test")
    with shifted(timedelta(minutes=10, seconds=1)):
        assert_refused(browser.come_back(parameters), trail, "state-expired")


def test_the_state_of_another_browser_is_refused(
    open_browser: Callable[[], Browser], issuer: Issuer, trail: AuditTrail
) -> None:
    attacker, victim = open_browser(), open_browser()
    parameters = issuer.authorize(attacker.start(), "eve@acme.test")
    # The victim follows a link of the attacker's, to be signed in as the attacker.
    assert_refused(victim.come_back(parameters), trail, "other-browser")
    victim.start()
    parameters = issuer.authorize(attacker.start(), "eve@acme.test")
    assert_refused(victim.come_back(parameters), trail, "other-browser")


def test_an_answer_of_another_provider_is_refused(
    browser: Browser, issuer: Issuer, trail: AuditTrail
) -> None:
    honest = issuer.authorize(browser.start(), "sam@acme.test")
    mixed_up = {**honest, "iss": "https://idp.elsewhere.example"}
    assert_refused(browser.come_back(mixed_up), trail, "other-provider")
    honest = issuer.authorize(browser.start(), "sam@acme.test")
    unnamed = {k: v for k, v in honest.items() if k != "iss"}
    assert_refused(browser.come_back(unnamed), trail, "other-provider")


def test_an_error_of_the_provider_is_refused_and_not_shown(
    browser: Browser, issuer: Issuer, trail: AuditTrail
) -> None:
    honest = issuer.authorize(browser.start(), "sam@acme.test")
    answer = browser.come_back(
        {"state": honest["state"], "iss": issuer.issuer, "error": "<script>alert(1)</script>"}
    )
    assert "script" not in answer.text
    assert_refused(answer, trail, "provider-refused")


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example",
        "\\\\evil.example",
        "/\t/evil.example",
        "/\n/evil.example",
        "javascript:alert(1)",
        "evil.example",
        "/ok\x7f",
        "/é",
        "",
    ],
)
def test_nobody_is_sent_to_another_site(browser: Browser, trail: AuditTrail, target: str) -> None:
    answer = browser.http.get(
        "/v1/sign-in/start", params={"organization": "acme", "return_to": target}
    )
    assert_refused(answer, trail, "return-path")


def test_a_key_that_the_provider_rotated_is_found_once_and_then_not_asked_for_again(
    browser: Browser, issuer: Issuer, trail: AuditTrail
) -> None:
    assert browser.sign_in("omar@acme.test").status_code == 303
    assert issuer.key_fetches == 1
    issuer.rotate()
    assert browser.sign_in("omar@acme.test").status_code == 303
    assert issuer.key_fetches == 2
    # Invented key ids make nobody ask the provider again and again.
    issuer.bent.token = lambda claims: with_another_key_id(issuer, claims)
    for _ in range(5):
        assert browser.sign_in("omar@acme.test").status_code == 401
    assert issuer.key_fetches == 2
    assert {d["reason"] for d in trail.details("sign-in.refused")} == {"unknown-key"}


def test_metadata_of_another_issuer_is_not_believed(browser: Browser, issuer: Issuer) -> None:
    issuer.bent.metadata = lambda document: {**document, "issuer": "https://evil.example"}
    answer = browser.http.get("/v1/sign-in/start", params={"organization": "acme"})
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "provider-unavailable"


def test_a_provider_that_is_away_is_said_to_be_away(
    browser: Browser, issuer: Issuer, trail: AuditTrail
) -> None:
    parameters = issuer.authorize(browser.start(), "sam@acme.test")
    issuer.bent.is_away = True
    assert browser.come_back(parameters).status_code == 503
    assert trail.details("sign-in.refused")[-1]["reason"] == "provider-unavailable"


def test_a_disabled_person_is_refused(browser: Browser, issuer: Issuer, trail: AuditTrail) -> None:
    trail.run("UPDATE principal SET disabled_at = now() WHERE subject = 'sam@acme.test'")
    issuer.people["sam@acme.test"] = {"name": "Somebody New"}
    assert_refused(browser.sign_in("sam@acme.test"), trail, "principal-disabled")
    (row,) = trail.run("SELECT display FROM principal WHERE subject = 'sam@acme.test'")
    assert row.display == "Sam"


def test_an_organizations_file_cannot_say_where_another_hosts_keys_are() -> None:
    from controlplane.domains.identity.providers import is_same_host

    issuer = "https://login.vendor.example"
    assert is_same_host(f"{issuer}/tenant/.well-known/openid-configuration", issuer)
    for address in (
        "https://evil.example/.well-known/openid-configuration",
        "https://login.vendor.example.evil.example/x",
        "https://login.vendor.example@evil.example/x",
        "http://login.vendor.example/x",
        "https://login.vendor.example:8443/x",
    ):
        assert not is_same_host(address, issuer)


def exchange(browser: Browser, token: str) -> Any:
    """Bring an ID token as the command line does."""
    return browser.http.post(
        "/v1/sign-in/exchange", json={"organization": "acme", "id_token": token}
    )


def test_an_id_token_is_exchanged_once_for_an_expiring_token(
    browser: Browser, issuer: Issuer, trail: AuditTrail
) -> None:
    token = issuer.sign(issuer.claims("sam@acme.test", CLI_CLIENT))
    answer = exchange(browser, token)
    assert answer.status_code == 200, answer.text
    issued = answer.json()["token"]
    headers = {"Authorization": f"Bearer {issued}"}
    assert browser.http.get("/v1/me", headers=headers).json()["subject"] == "sam@acme.test"
    again = exchange(browser, token)
    assert again.status_code == 401
    # Another signature over the same content is the same token.
    head, body, signature = token.split(".")
    assert exchange(browser, f"{head}.{body}.{signature[:-2]}AA").status_code == 401
    reasons = [d["reason"] for d in trail.details("sign-in.refused")]
    assert reasons == ["replayed", "signature"]
    everything = trail.everything()
    assert issued not in everything
    assert token not in everything


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"aud": "ringfence"}, "audience"),
        ({"iat": time.time() - 3600}, "stale"),
        ({"exp": 1}, "expired"),
        ({"iss": "https://idp.elsewhere.example"}, "issuer"),
    ],
)
def test_an_id_token_that_is_not_the_command_lines_own_is_refused(
    browser: Browser, issuer: Issuer, trail: AuditTrail, changes: dict[str, Any], reason: str
) -> None:
    claims = {**issuer.claims("sam@acme.test", CLI_CLIENT), **changes}
    assert_refused(exchange(browser, issuer.sign(claims)), trail, reason)


def test_no_refusal_and_no_success_puts_a_secret_into_the_audit(
    browser: Browser, issuer: Issuer, trail: AuditTrail
) -> None:
    tokens: list[str] = []

    def remembered(claims: dict[str, Any]) -> str:
        tokens.append(issuer.sign(claims))
        return tokens[-1]

    issuer.bent.token = remembered
    parameters = issuer.authorize(browser.start(), "sam@acme.test")
    browser.come_back(parameters)
    cookie = browser.http.cookies["__Host-ringfence"]
    browser.come_back(parameters)
    everything = trail.everything()
    for secret in (*tokens, parameters["code"], parameters["state"], cookie):
        assert secret not in everything
    stored = json.dumps([str(r) for r in trail.run("SELECT to_jsonb(s)::text FROM session s")])
    assert cookie not in stored
