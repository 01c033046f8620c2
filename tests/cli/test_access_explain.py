"""`ringfence access explain` against the real API."""

from __future__ import annotations

import json

from ringfence.cli.output import Exit
from tests.cli.conftest import Cli

GRANTS = "/v1/boundaries/payments/grants"


def test_an_auditor_reads_what_decides_and_at_which_layer(acme: Cli) -> None:
    ran = acme(
        *("access", "explain", "ana@acme.test", "GET", GRANTS),
        *("--boundary", "payments", "--as", "omar@acme.test"),
    )
    assert ran.code == 0, ran.err
    facts = dict(line.split(None, 1) for line in ran.out.splitlines())
    assert facts["decision"] == "allowed"
    assert facts["layer"] == "organization"
    assert facts["roles"] == "approver everywhere"
    assert facts["policy"].startswith("GET /v1/boundaries/{boundary}/grants")


def test_a_denial_as_json_has_the_status_that_a_request_would_get(acme: Cli) -> None:
    ran = acme(
        *("access", "explain", "pia@acme.test", "post", "/v1/installs", "--json"),
        *("--as", "omar@acme.test"),
    )
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    assert (found["allowed"], found["status"], found["policies"]) == (False, 403, [])


def test_an_engineer_may_not_ask(acme: Cli) -> None:
    ran = acme(
        *("access", "explain", "ana@acme.test", "GET", GRANTS, "--as", "pia@acme.test"),
    )
    assert ran.code == Exit.FORBIDDEN
    assert "auditor" in ran.err


def test_a_path_that_is_no_route_is_named_with_where_to_look(acme: Cli) -> None:
    ran = acme("access", "explain", "ana@acme.test", "GET", "/v1/nowhere", "--as", "omar@acme.test")
    assert ran.code == Exit.USAGE
    assert "authorization.md" in ran.err
