"""The policies: each role by each layer as the route table says, and what no role can do."""

from __future__ import annotations

import re
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from controlplane.adapters.cedar import CedarEngine, PolicyError
from controlplane.authorization_table import groups, unlisted_routes
from controlplane.core.policy import LAYERS, Uid, Verdict
from controlplane.domains.identity import decision
from controlplane.domains.identity.decision import POLICIES, Asker, Place
from controlplane.domains.identity.principals import HeldRole
from controlplane.domains.identity.route_table import ROUTES, Rule
from controlplane.tables.identity import RoleName

ACME, GLOBEX = uuid4(), uuid4()
PAYMENTS, RESEARCH = Place(ACME, uuid4()), Place(ACME, uuid4())
WHOLE = Place(ACME)
EVIDENCE_BY_POST: frozenset[tuple[str, str]] = frozenset(
    {
        ("POST", "/v1/access/explain"),
        ("POST", "/v1/reports"),
        ("POST", "/v1/boundaries/{boundary}/trail-extracts"),
    }
)
"""What an auditor may send: it makes evidence and changes nothing of a tenant."""
APPROVE = "POST /v1/grants/{grant_id}/approve"
READ = "GET /v1/runs/{run_id}"
REQUEST = "POST /v1/boundaries/{boundary}/grants"


def somebody(*roles: HeldRole, kind: str = "human", home: UUID | None = ACME) -> Asker:
    """Return a person of acme with these roles."""
    return Asker("somebody", kind, home, roles)


def holding(role: str, place: Place = WHOLE, *, is_pending: bool = False) -> HeldRole:
    """Return a role held at a place."""
    return HeldRole(place.organization_id, "acme", place.boundary_id, role, is_pending)


def ask(asker: Asker, action: str, place: Place) -> Verdict:
    """Return the verdict on one place."""
    return decision.decide(asker, action, [place])[0]


def names(verdict: Verdict) -> list[str]:
    """Return the policies that decided."""
    return [policy.id for policy in verdict.policies]


@pytest.mark.parametrize("role", list(RoleName))
def test_a_role_permits_what_the_route_table_says_and_nothing_else(role: RoleName) -> None:
    for (method, path), rule in ROUTES.items():
        if rule.layer not in ("organization", "boundary", "document"):
            continue
        action, expected = f"{method} {path}", role in rule.roles
        assert ask(somebody(holding(role)), action, WHOLE).is_allowed == expected, action
        if rule.layer == "boundary":
            at_boundary = somebody(holding(role, PAYMENTS))
            assert ask(at_boundary, action, PAYMENTS).is_allowed == expected, action
            assert ask(somebody(holding(role)), action, PAYMENTS).is_allowed == expected, action
            assert not ask(at_boundary, action, RESEARCH).is_allowed, action
            assert not ask(at_boundary, action, WHOLE).is_allowed, action


def test_the_layer_that_decided_is_the_one_where_the_role_is_held() -> None:
    by_organization = ask(somebody(holding("auditor")), READ, PAYMENTS)
    by_boundary = ask(somebody(holding("auditor", PAYMENTS)), READ, PAYMENTS)
    both = ask(somebody(holding("auditor"), holding("auditor", PAYMENTS)), READ, PAYMENTS)
    assert by_organization.layer == both.layer == "organization"
    assert by_boundary.layer == "boundary"
    assert names(by_boundary) == [f"{READ} on boundary by boundary role"]
    assert len(both.policies) == 2


def test_what_nothing_permits_is_denied_at_the_innermost_layer() -> None:
    verdict = ask(somebody(holding("engineer")), APPROVE, PAYMENTS)
    assert (verdict.is_allowed, verdict.policies, verdict.layer) == (False, (), "action")


def test_a_platform_role_opens_nothing_inside_an_organization() -> None:
    asker = somebody(HeldRole(None, None, None, "platform-admin", False))
    assert not ask(asker, READ, PAYMENTS).is_allowed
    assert ask(asker, "POST /v1/organizations:validate", Place()).is_allowed


def test_a_pending_guest_may_do_nothing_whatever_the_role() -> None:
    guest = somebody(holding("approver", is_pending=True), home=None)
    for place in (WHOLE, PAYMENTS):
        verdict = ask(guest, APPROVE, place)
        assert not verdict.is_allowed
        assert names(verdict) == ["foreign-provider", "guest-pending"]
        assert verdict.layer == "organization"


def test_a_guest_who_was_let_in_may_do_what_the_role_says() -> None:
    for home in (None, GLOBEX):
        assert ask(somebody(holding("approver"), home=home), APPROVE, PAYMENTS).is_allowed


def test_a_waiver_for_one_boundary_opens_no_other_and_not_the_whole() -> None:
    guest = somebody(
        holding("approver", PAYMENTS), holding("approver", RESEARCH, is_pending=True), home=None
    )
    assert ask(guest, APPROVE, PAYMENTS).is_allowed
    assert names(ask(guest, APPROVE, RESEARCH)) == ["guest-pending"]
    whole = ask(guest, APPROVE, WHOLE)
    # Nothing permits it, and nothing forbids it either: what the one boundary permits stands.
    assert (whole.is_allowed, whole.policies) == (False, ())


def test_people_of_another_provider_without_an_assignment_are_refused() -> None:
    stranger = somebody(home=GLOBEX)
    assert names(ask(stranger, READ, PAYMENTS)) == ["foreign-provider"]


def test_an_outer_forbid_wins_over_an_inner_permit() -> None:
    pending = somebody(
        holding("approver", PAYMENTS), holding("engineer", is_pending=True), home=None
    )
    verdict = ask(pending, APPROVE, PAYMENTS)
    assert not verdict.is_allowed
    assert verdict.layer == "organization"


def test_a_service_identity_may_ask_but_never_decide() -> None:
    service = somebody(holding("approver"), holding("solution-architect"), kind="service")
    assert ask(service, REQUEST, PAYMENTS).is_allowed
    for path in ("grants/{grant_id}", "runs/{run_id}"):
        for verb in ("approve", "deny"):
            verdict = ask(service, f"POST /v1/{path}/{verb}", PAYMENTS)
            assert names(verdict) == ["service-never-approves"]


def test_the_break_glass_identity_stays_on_the_platform() -> None:
    sealed = somebody(
        holding("platform-admin"),
        HeldRole(None, None, None, "platform-admin", False),
        kind="break-glass",
    )
    assert ask(sealed, "GET /v1/me", Place()).is_allowed
    assert ask(sealed, "POST /v1/organizations:validate", Place()).is_allowed
    assert names(ask(sealed, READ, PAYMENTS)) == ["break-glass-platform-only"]


def test_a_disabled_principal_may_not_even_ask_who_it_is() -> None:
    disabled = replace(somebody(holding("platform-admin")), is_disabled=True)
    for action, place in (("GET /v1/me", Place()), (READ, PAYMENTS), (READ, WHOLE)):
        assert "disabled-principal" in names(ask(disabled, action, place))


def test_an_auditor_changes_nothing_also_with_another_role_beside_it() -> None:
    for auditor in (holding("auditor"), holding("auditor", PAYMENTS)):
        both = somebody(auditor, holding("solution-architect"))
        assert not ask(both, REQUEST, PAYMENTS).is_allowed
        assert ask(both, READ, PAYMENTS).is_allowed
    elsewhere = somebody(holding("auditor", RESEARCH), holding("solution-architect", PAYMENTS))
    assert ask(elsewhere, REQUEST, PAYMENTS).is_allowed


def test_what_an_auditor_may_send_makes_evidence_only() -> None:
    sent = {
        key for key, rule in ROUTES.items() if key[0] != "GET" and RoleName.AUDITOR in rule.roles
    }
    assert sent <= EVIDENCE_BY_POST


def test_every_other_change_is_in_the_group_that_auditors_are_kept_from() -> None:
    for (method, path), rule in ROUTES.items():
        if method != "GET" and rule.layer in ("document", "organization", "boundary"):
            expected = (method, path) not in EVIDENCE_BY_POST
            assert ("write" in groups(method, path, rule)) == expected, path


def test_no_policy_names_a_single_principal_or_place() -> None:
    """One decision for the organization may then stand for all of its boundaries."""
    for path in POLICIES.glob("*.cedar"):
        text = re.sub(r"//.*", "", path.read_text())
        assert not re.search(r"\b(Principal|Organization|Boundary|Environment|Resource)::\"", text)


def test_every_policy_says_its_name_and_layer_and_a_forbid_what_to_do() -> None:
    engine = CedarEngine.load(POLICIES)
    forbids = [p for p in engine.policies.values() if p.effect == "forbid"]
    assert len(forbids) >= 6
    assert all(p.code and p.message and p.fix for p in forbids)
    assert {p.layer for p in engine.policies.values()} <= set(LAYERS)


def test_an_action_without_a_policy_is_denied() -> None:
    assert not ask(somebody(holding("platform-admin")), "GET /v1/secrets", WHOLE).is_allowed


@pytest.mark.parametrize(
    "policy",
    [
        "permit (principal, action, resource",
        '@id("x") permit (principal, action, resource);',
        '@id("x") @layer("cellar") permit (principal, action, resource);',
        '@id("x") @layer("action") permit (principal, action, resource)'
        " when { principal.nothing };",
    ],
    ids=["syntax", "no layer", "unknown layer", "unknown attribute"],
)
def test_a_policy_that_is_wrong_stops_the_process(policy: str) -> None:
    schema = (POLICIES / "entities.cedarschema").read_text()
    schema += (POLICIES / "actions.cedarschema").read_text()
    with pytest.raises(PolicyError):
        CedarEngine(policy, schema)


def test_entities_that_do_not_fit_the_schema_are_refused() -> None:
    wrong = {"uid": Uid("Principal", "x").json(), "attrs": {"kind": 1}, "parents": []}
    with pytest.raises(PolicyError):
        decision.engine().prepare([wrong])


def test_a_route_of_the_application_outside_the_table_is_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert unlisted_routes() == []
    monkeypatch.delitem(ROUTES, ("GET", "/v1/me"))
    monkeypatch.setitem(ROUTES, ("GET", "/v1/gone"), Rule("authenticated"))
    assert unlisted_routes() == [
        "GET /v1/me is not in the table",
        "GET /v1/gone is in the table only",
    ]
