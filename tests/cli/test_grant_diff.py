"""`ringfence grant show --diff`: what a grant asks for, as text and whole."""

from __future__ import annotations

import json
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from proof.canonical import digest
from ringfence.cli.output import Exit
from tests.cli.conftest import Cli
from tests.postgres import DatabaseUrls

ANA = ("--as", "ana@acme.test")


def ask(acme: Cli) -> str:
    """Ask for a grant of payments and return its id."""
    return acme(
        "grant", "request", "payments", "--purpose", "p", "--reason", "r"
    ).out.strip()  # fmt: skip


def test_the_first_access_is_listed_with_reasons_and_conditions(acme: Cli) -> None:
    ran = acme("grant", "show", ask(acme), "--diff", *ANA)
    assert ran.code == 0, ran.err
    assert ran.out.startswith("the first access of this boundary: ")
    lines = ran.out.splitlines()
    at = next(i for i, line in enumerate(lines) if "+ eks:CreateCluster" in line)
    assert lines[at].endswith("(added; write; can do more)")
    assert lines[at + 2].strip() == "needed: create of eks/cluster (provider, eks:CreateCluster)"
    assert lines[at + 4].strip() == "only if the time is before the end of the grant"
    assert "Who may assume the role" in lines


def test_only_what_differs_is_printed_and_with_unchanged_everything(
    acme: Cli, cli_database: DatabaseUrls
) -> None:
    first = ask(acme)
    acme("grant", "approve", first, "--reason", "y", *ANA)
    with psycopg.connect(cli_database.admin) as connection:
        ((document,),) = connection.execute("SELECT document FROM permission_document").fetchall()
        older: dict[str, Any] = document
        statements = older["Resources"]["Permissions1"]["Properties"]["PolicyDocument"]["Statement"]
        statements[0]["Action"].remove("kms:ListKeys")
        connection.execute(
            "UPDATE permission_document SET document = %s, digest = %s",
            (Jsonb(older), digest(older)),
        )
        connection.execute("UPDATE access_grant SET activated_at = now(), state = 'revoked'")
    second = ask(acme)
    ran = acme("grant", "show", second, "--diff", *ANA)
    assert "compared with g1" in ran.out
    assert "1 added" in ran.out
    assert [line for line in ran.out.splitlines() if line.startswith("  + ")] == [
        "  + kms:ListKeys  (added; list; can do more)"
    ]
    assert "eks:CreateCluster" not in ran.out
    whole = acme("grant", "show", second, "--diff", "--unchanged", *ANA)
    assert "  = eks:CreateCluster  (unchanged; write)" in whole.out.splitlines()


def test_the_document_of_the_api_is_printed_whole(acme: Cli) -> None:
    grant = ask(acme)
    found = json.loads(acme("grant", "show", grant, "--diff", "--json", *ANA).out)
    shown = json.loads(acme("grant", "show", grant, "--json", *ANA).out)
    assert (found["grant_id"], found["digest"]) == (grant, shown["policy_digest"])
    assert {part["name"] for part in found["parts"]} == {line["part"] for line in found["lines"]}


def test_an_approval_says_what_it_is_for(acme: Cli) -> None:
    ran = acme("grant", "approve", ask(acme), "--reason", "y", *ANA)
    assert ran.code == 0, ran.err
    assert "the first access of this boundary" in ran.err


def test_unchanged_without_diff_is_wrong_use(acme: Cli) -> None:
    ran = acme("grant", "show", ask(acme), "--unchanged", *ANA)
    assert (ran.code, "--unchanged" in ran.err) == (Exit.USAGE, True)
