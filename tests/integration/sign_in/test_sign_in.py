"""Signing in with an honest provider: what a person gets, and what is written down."""

from __future__ import annotations

from collections.abc import Callable

from tests.integration.api.people import Person, organization, token_of
from tests.integration.sign_in.conftest import PUBLIC_URL, AuditTrail, Browser
from tests.integration.sign_in.issuer import Issuer


def test_a_person_signs_in_and_is_known_by_the_cookie(browser: Browser) -> None:
    answer = browser.sign_in("sam@acme.test")
    assert answer.status_code == 303, answer.text
    assert answer.headers["location"] == "/home"
    me = browser.http.get("/v1/me").json()
    assert me["subject"] == "sam@acme.test"
    assert "solution-architect" in {role["role"] for role in me["roles"]}
    session = browser.session()
    assert session["state"] == "signed-in"
    assert session["person"]["subject"] == "sam@acme.test"


def test_the_cookie_is_bound_to_this_host_and_hidden_from_pages(browser: Browser) -> None:
    answer = browser.sign_in()
    cookies = answer.headers.get_list("set-cookie")
    (session,) = [c for c in cookies if c.startswith("__Host-ringfence=")]
    for attribute in ("HttpOnly", "Secure", "SameSite=lax", "Path=/"):
        assert attribute in session
    assert "Domain" not in session


def test_a_browser_that_never_signed_in_is_signed_out(browser: Browser) -> None:
    session = browser.session()
    assert session == {
        "state": "signed-out",
        "person": None,
        "csrf_token": None,
        "idle_ends_at": None,
        "ends_at": None,
    }
    assert browser.http.get("/v1/me").status_code == 401


def test_the_groups_claim_decides_which_known_groups_a_person_is_in(
    browser: Browser, issuer: Issuer, trail: AuditTrail
) -> None:
    issuer.people["eve@acme.test"] = {"groups": ["payments-engineers", "not-of-this-organization"]}
    browser.sign_in("eve@acme.test")
    names = {b["name"] for b in browser.http.get("/v1/boundaries").json()["boundaries"]}
    assert names == {"payments"}
    assert trail.details("sign-in.succeeded")[-1]["groups"] == ["payments-engineers"]
    issuer.people["eve@acme.test"] = {"groups": ["research-engineers"]}
    browser.sign_in("eve@acme.test")
    names = {b["name"] for b in browser.http.get("/v1/boundaries").json()["boundaries"]}
    assert names == {"research"}
    changes = [d for d in trail.details("group.changed") if d["source"] == "claim"]
    assert [(d["group"], bool(d["added"])) for d in changes] == [
        ("payments-engineers", True),
        ("research-engineers", True),
        ("payments-engineers", False),
    ]


def test_the_claim_and_the_file_keep_their_own_members(
    browser: Browser, issuer: Issuer, acme: Person, trail: AuditTrail
) -> None:
    members = (
        "SELECT p.subject, m.source FROM group_member m JOIN principal p ON p.id = m.principal_id"
        " JOIN principal_group g ON g.id = m.group_id"
        " WHERE m.valid_until IS NULL AND g.name = 'payments-engineers' ORDER BY 1, 2"
    )
    issuer.people["eve@acme.test"] = {"groups": ["payments-engineers"]}
    browser.sign_in("eve@acme.test")
    assert acme.put("/v1/organizations/acme", organization()).status_code == 200
    assert [tuple(r) for r in trail.run(members)] == [
        ("eve@acme.test", "claim"),
        ("pia@acme.test", "file"),
    ]
    browser.sign_in("pia@acme.test")
    assert ("pia@acme.test", "file") in [tuple(r) for r in trail.run(members)]


def test_display_and_person_key_come_from_the_token(
    browser: Browser, issuer: Issuer, trail: AuditTrail
) -> None:
    issuer.people["sam@acme.test"] = {"name": "Samuel Okafor", "employee_number": 1007}
    browser.sign_in("sam@acme.test")
    (row,) = trail.run("SELECT display, person_key FROM principal WHERE subject = 'sam@acme.test'")
    assert tuple(row) == ("Samuel Okafor", "1007")
    assert trail.details("sign-in.succeeded")[-1]["person_key_changed"] is True


def test_a_second_identity_of_the_same_person_is_that_person_for_four_eyes(
    open_browser: Callable[[], Browser], issuer: Issuer, acme: Person
) -> None:
    for subject in ("sam@acme.test", "sam.admin@acme.test"):
        issuer.people[subject] = {"employee_number": "1007"}
    open_browser().sign_in("sam@acme.test")
    asked = acme.post("/v1/boundaries/payments/grants", {"purpose": "first install"})
    assert asked.status_code == 201, asked.text
    other = open_browser()
    other.sign_in("sam.admin@acme.test")
    answer = other.http.post(
        f"/v1/grants/{asked.json()['id']}/approve",
        json={},
        headers={"Ringfence-CSRF": other.session()["csrf_token"], "Origin": PUBLIC_URL},
    )
    assert answer.status_code == 403, answer.text
    assert answer.json()["error"]["code"] == "four-eyes"


def test_a_bearer_token_goes_before_the_cookie_and_needs_no_csrf(browser: Browser) -> None:
    browser.sign_in("omar@acme.test")
    headers = {"Authorization": f"Bearer {token_of('sam@acme.test')}"}
    assert browser.http.get("/v1/me", headers=headers).json()["subject"] == "sam@acme.test"
    answer = browser.http.post("/v1/organizations:validate", json=organization(), headers=headers)
    assert answer.status_code == 200, answer.text


def test_a_page_of_our_own_may_make_changes(browser: Browser) -> None:
    browser.sign_in("sam@acme.test")
    assert browser.change().status_code == 200
    assert browser.change(Sec_Fetch_Site="same-origin").status_code == 200


def test_signing_out_ends_the_session_here_and_names_the_providers_end(
    browser: Browser, issuer: Issuer, trail: AuditTrail
) -> None:
    browser.sign_in()
    headers = {"Ringfence-CSRF": browser.session()["csrf_token"], "Origin": PUBLIC_URL}
    answer = browser.http.post("/v1/sign-out", headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.json()["end_session_url"].startswith(f"{issuer.url}/end?client_id=ringfence")
    assert browser.session()["state"] == "signed-out"
    assert [d["reason"] for d in trail.details("sign-out")] == ["sign-out"]


def test_a_person_without_an_organization_signs_in_with_the_operators_provider(
    browser: Browser,
) -> None:
    url = browser.http.get("/v1/sign-in/start").headers["location"]
    answer = browser.come_back(browser.issuer.authorize(url, "max@acme.test"))
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


def test_another_host_name_of_the_same_server_leads_to_the_public_one(browser: Browser) -> None:
    answer = browser.http.get(
        "/v1/sign-in/start", params={"return_to": "/x"}, headers={"Host": "localhost:8400"}
    )
    assert answer.status_code == 303
    assert answer.headers["location"].startswith(f"{PUBLIC_URL}/v1/sign-in/start?")


def test_what_a_client_needs_is_public_and_nothing_else(browser: Browser, issuer: Issuer) -> None:
    found = browser.http.get("/v1/sign-in/providers/acme").json()
    assert found == {
        "issuer": issuer.issuer,
        "authorization_endpoint": f"{issuer.url}/authorize",
        "token_endpoint": f"{issuer.url}/token",
        "device_authorization_endpoint": f"{issuer.url}/device",
        "cli_client_id": "ringfence-cli",
        "scopes": ["openid"],
    }
    assert browser.http.get("/v1/sign-in/providers/nobody").status_code == 404
    (key,) = browser.http.get("/v1/sign-in/keys").json()["keys"]
    assert key["use"] == "sig"
    assert "d" not in key


def test_how_a_person_signed_in_stays_with_session_and_person(
    browser: Browser, issuer: Issuer, trail: AuditTrail
) -> None:
    issuer.bent.claims = lambda claims: {**claims, "amr": ["pwd", "otp", 7, ""], "acr": "phr"}
    assert browser.sign_in().status_code == 303
    (kept,) = trail.run("SELECT methods, context FROM session")
    assert (kept.methods, kept.context) == (["pwd", "otp"], "phr")
    query = (
        "SELECT signed_in_methods, signed_in_context, signed_in_at FROM principal"
        " WHERE subject = 'sam@acme.test'"
    )
    (person,) = trail.run(query)
    assert (person.signed_in_methods, person.signed_in_context) == (["pwd", "otp"], "phr")
    assert trail.details("sign-in.succeeded")[-1]["context"] == "phr"
    # The next sign-in says nothing of it: then nothing is known of it.
    issuer.bent.claims = lambda claims: claims
    assert browser.sign_in().status_code == 303
    (later,) = trail.run(query)
    assert (later.signed_in_methods, later.signed_in_context) == ([], None)
    assert later.signed_in_at > person.signed_in_at


def test_a_provider_that_sends_no_name_leaves_the_known_one(
    browser: Browser, issuer: Issuer, trail: AuditTrail
) -> None:
    issuer.bent.claims = lambda claims: {**claims, "name": "Sam Okafor"}
    browser.sign_in()
    issuer.bent.claims = lambda claims: {k: v for k, v in claims.items() if k != "name"}
    browser.sign_in()
    (row,) = trail.run("SELECT display FROM principal WHERE subject = 'sam@acme.test'")
    assert row.display == "Sam Okafor"
    assert browser.session()["person"]["display"] == "Sam Okafor"
    browser.sign_in("new@acme.test")
    (row,) = trail.run("SELECT display FROM principal WHERE subject = 'new@acme.test'")
    assert row.display == "new@acme.test"
