"""Usage at the control plane: snapshots replace, formulae hold, nothing small is shown."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, date, datetime
from typing import Any

import pytest

from tests.integration.api.agents import AgentClient, Boundary
from tests.integration.api.conftest import PersonOf
from wire.usage import (
    SUPPRESSED,
    ChangeRow,
    DayBucket,
    Export,
    Feature,
    HourBucket,
    Ide,
    Language,
    PeopleRow,
    RequestRow,
    RollupPush,
    UsageRollup,
)

HOUR = datetime(2026, 11, 22, 14, tzinfo=UTC)
DAY = date(2026, 11, 22)
PYTHON = {
    "group_id": "payments-engineers",
    "model_version": "tiny-coder",
    "adapter_id": "payments-style",
    "feature": Feature.CODE_COMPLETION,
    "language": Language.PYTHON,
    "ide": Ide.VSCODE,
}
REST = {**PYTHON, "language": SUPPRESSED, "ide": SUPPRESSED}


def requests(cell: dict[str, Any], number: int, **changed: Any) -> RequestRow:
    """Return a row of so many requests, all as fast as the third bucket."""
    buckets = (0, 0, number, *([0] * 12))
    values: dict[str, Any] = {
        "requests": number,
        "requests_expected": number,
        "requests_decided": number // 2,
        "input_tokens": 10 * number,
        "output_tokens": 41 * number,
        "errors": {},
        "ttft_buckets": buckets,
        "duration_buckets": buckets,
        "ttft_sum_ms": 38.0,
        "duration_sum_ms": 400.0,
    }
    return RequestRow(**cell, **{**values, **changed})


def changes(cell: dict[str, Any], **changed: int) -> ChangeRow:
    """Return a row of changes; what is not given is zero."""
    names = set(ChangeRow.model_fields) - set(PYTHON) - {"synthetic"}
    return ChangeRow(**cell, **{**dict.fromkeys(names, 0), **changed})


def hour(boundary: Boundary, sequence: int, *rows: RequestRow, **changed: Any) -> HourBucket:
    """Return one hour's snapshot."""
    values: dict[str, Any] = {
        "boundary_id": str(boundary.boundary_id),
        "sequence": sequence,
        "as_of": datetime(2026, 11, 22, 15, tzinfo=UTC),
        "is_final": False,
        "hour_start": HOUR,
        "rows": rows,
    }
    return HourBucket(**{**values, **changed})


def day(
    boundary: Boundary, sequence: int, *rows: ChangeRow, people: tuple[PeopleRow, ...] = ()
) -> DayBucket:
    """Return one day's snapshot."""
    return DayBucket(
        boundary_id=str(boundary.boundary_id),
        sequence=sequence,
        as_of=datetime(2026, 11, 22, 16, tzinfo=UTC),
        is_final=False,
        day=DAY,
        shown_ms=750,
        events_rejected=2,
        rows=rows,
        people=people,
    )


def push(agent: AgentClient, **fields: Any) -> Any:
    """Push as the agent does."""
    document = RollupPush(**{"sequence": 9, **fields}).to_wire()
    return agent.call("POST", "/agent/v1/usage", document)


def summary(acme: PersonOf, **query: str) -> Any:
    """Ask for the summary of the day."""
    shown = "&".join(f"{k}={v}" for k, v in {"from": str(DAY), "to": str(DAY), **query}.items())
    answer = acme("max").get(f"/v1/boundaries/payments/usage/summary?{shown}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def values(document: Any) -> dict[str, Any]:
    return {metric["key"]: metric["value"] for metric in document["metrics"]}


def test_a_snapshot_replaces_the_hour_under_repeats_and_reordering(
    agent: AgentClient, boundary: Boundary, acme: PersonOf
) -> None:
    early = hour(boundary, 1, requests(REST, 6))
    late = hour(boundary, 2, requests(PYTHON, 5), requests(REST, 7))
    for bucket in (early, late, early, late):
        assert push(agent, hours=(bucket,)).status_code == 204
    items = acme("max").get("/v1/boundaries/payments/usage").json()["items"]
    assert sorted((i["language"], i["requests"]) for i in items) == [(SUPPRESSED, 7), ("python", 5)]
    # A cell that is gone inside the boundary is gone here.
    assert push(agent, hours=(hour(boundary, 3, requests(REST, 12)),)).status_code == 204
    items = acme("max").get("/v1/boundaries/payments/usage").json()["items"]
    assert [(i["language"], i["requests"]) for i in items] == [(SUPPRESSED, 12)]


def test_a_push_of_version_1_is_taken_cell_by_cell_and_gives_way_to_the_whole_hour(
    agent: AgentClient, boundary: Boundary, acme: PersonOf
) -> None:
    def old(feature: Feature, sequence: int, number: int) -> dict[str, Any]:
        row = requests(PYTHON, number)
        kept = set(UsageRollup.model_fields) & set(RequestRow.model_fields)
        return UsageRollup(
            **{**row.model_dump(include=kept), "feature": feature},
            boundary_id=str(boundary.boundary_id),
            hour_start=HOUR,
            sequence=sequence,
            as_of=HOUR,
            is_final=False,
        ).to_wire()

    def send(*rollups: dict[str, Any]) -> None:
        document = {
            "schema": "ringfence.rollup-push",
            "version": 1,
            "rollups": list(rollups),
            "sequence": 3,
        }
        assert agent.call("POST", "/agent/v1/usage", document).status_code == 204

    send(old(Feature.CLI, 1, 2), old(Feature.CHAT_ASK, 2, 3))
    send(old(Feature.CLI, 3, 4))
    send(old(Feature.CLI, 1, 2))
    rows = {row["by"]: row["metrics"]["requests"] for row in summary(acme, by="feature")["rows"]}
    assert rows == {"chat_ask": 3, "cli": 4}
    assert push(agent, hours=(hour(boundary, 4, requests(REST, 8)),)).status_code == 204
    send(old(Feature.CLI, 3, 4))
    assert values(summary(acme))["requests"] == 8


def test_an_agent_reports_no_usage_of_another_boundary(
    agent: AgentClient, boundary: Boundary, acme: PersonOf
) -> None:
    research = acme("max").get("/v1/boundaries/research").json()["id"]
    foreign = hour(boundary, 1, requests(PYTHON, 5), boundary_id=research)
    assert push(agent, hours=(foreign,)).status_code == 403
    assert acme("max").get("/v1/boundaries/research/usage").json()["items"] == []
    shown = acme("max").get("/v1/boundaries/research/usage/summary").json()
    assert (shown["export"], shown["as_of"]) == ("unknown", None)


def test_the_summary_shows_each_figure_with_its_parts_and_its_formula(
    agent: AgentClient, boundary: Boundary, acme: PersonOf
) -> None:
    rows = (
        changes(
            PYTHON,
            changes_shown=10,
            changes_decided=9,
            changes_offered=8,
            changes_accepted=3,
            lines_suggested=40,
            lines_accepted=10,
            changes_reviewed=8,
            not_applied_rejected=2,
            not_applied_dismissed=1,
            not_applied_lapsed=1,
            lines_applied_user=30,
            lines_applied_autonomous=12,
            lines_undone=5,
        ),
        changes(REST, changes_shown=2, changes_offered=2, lines_suggested=10),
    )
    people = (PeopleRow(group_id=None, window_days=1, active=9, with_requests=8, with_events=6),)
    failed = requests(PYTHON, 5, errors={"upstream_error": 1})
    answer = push(
        agent,
        hours=(hour(boundary, 1, failed, requests(REST, 7)),),
        days=(day(boundary, 2, *rows, people=people),),
    )
    assert answer.status_code == 204, answer.text
    shown = summary(acme)
    figures = {metric["key"]: metric for metric in shown["metrics"]}
    assert all(figure["formula"] and figure["label"] for figure in figures.values())
    rate = figures["acceptance_rate"]
    assert (rate["value"], rate["numerator"], rate["denominator"]) == (0.3, 3, 10)
    assert figures["acceptance_rate_lines"]["value"] == 0.2
    assert figures["changes_reviewed_not_applied"]["value"] == 4
    assert figures["reviewed_not_applied_rate"]["value"] == 0.5
    assert figures["lines_applied_gross"]["value"] == 42
    assert figures["lines_applied_net"]["value"] == 37
    assert figures["active_users"]["value"] == 9
    assert figures["telemetry_coverage_people"]["value"] == 0.75
    assert figures["error_rate"]["numerator"] == 1
    assert figures["requests"]["value"] == 12
    # Twelve requests in the bucket (0.02, 0.04]: the sixth of twelve lies in its middle.
    assert figures["ttft_p50"]["value"] == pytest.approx(0.03)
    assert (shown["export"], shown["synthetic"], shown["is_final"]) == ("aggregate", False, False)
    assert (shown["as_of"], shown["shown_ms"]) == ("2026-11-22T16:00:00Z", [750])
    assert shown["events_rejected"] == 2


@pytest.mark.parametrize(
    ("by", "names"),
    [
        ("day", ["2026-11-22"]),
        ("group", ["payments-engineers"]),
        ("model_version", ["tiny-coder"]),
        ("feature", ["code_completion"]),
        ("language", [SUPPRESSED, "python"]),
        ("none", []),
    ],
)
def test_a_split_names_its_values_and_keeps_the_suppressed_ones_visible(
    by: str, names: list[str], agent: AgentClient, boundary: Boundary, acme: PersonOf
) -> None:
    rows = (changes(PYTHON, changes_shown=6), changes(REST, changes_shown=5))
    people = (
        PeopleRow(
            group_id="payments-engineers", window_days=1, active=7, with_requests=7, with_events=0
        ),
    )
    push(
        agent,
        hours=(hour(boundary, 1, requests(PYTHON, 5), requests(REST, 7)),),
        days=(day(boundary, 2, *rows, people=people),),
    )
    shown = summary(acme, by=by)
    assert [row["by"] for row in shown["rows"]] == names
    if names:
        assert sum(row["metrics"]["requests"] for row in shown["rows"]) == 12
        assert shown["rows"][0]["denominators"]["ttft_p95"] > 0
    if by == "group":
        assert shown["rows"][0]["metrics"]["active_users"] == 7
        # The whole boundary was withheld: it is not the sum of its groups.
        assert values(shown)["active_users"] is None


def test_made_up_use_stays_marked(agent: AgentClient, boundary: Boundary, acme: PersonOf) -> None:
    made_up = {**PYTHON, "synthetic": True}
    rows = (requests(PYTHON, 5), requests(made_up, 6))
    push(agent, hours=(hour(boundary, 1, *rows),))
    assert summary(acme)["synthetic"] is True
    items = acme("max").get("/v1/boundaries/payments/usage").json()["items"]
    assert sorted((i["synthetic"], i["requests"]) for i in items) == [(False, 5), (True, 6)]


def test_export_none_is_shown_and_nothing_comes_with_it(
    agent: AgentClient, boundary: Boundary, acme: PersonOf
) -> None:
    document = RollupPush(export=Export.NONE, sequence=0).to_wire()
    assert agent.call("POST", "/agent/v1/usage", document).status_code == 204
    assert summary(acme)["export"] == "none"
    leak = hour(boundary, 1, requests(PYTHON, 5)).model_dump(mode="json")
    answer = agent.call("POST", "/agent/v1/usage", {**document, "hours": [leak]})
    assert answer.status_code == 400
    assert values(summary(acme))["requests"] == 0


@pytest.mark.parametrize("format", ["csv", "ndjson"])
def test_the_files_hold_the_same_lines_as_the_boundary_let_out(
    format: str, agent: AgentClient, boundary: Boundary, acme: PersonOf
) -> None:
    people = (PeopleRow(group_id=None, window_days=7, active=9, with_requests=8, with_events=6),)
    push(
        agent,
        hours=(hour(boundary, 1, requests(PYTHON, 5)),),
        days=(day(boundary, 2, changes(PYTHON, changes_shown=6), people=people),),
    )
    path = f"/v1/boundaries/payments/usage/export?from={DAY}&to={DAY}&format={format}"
    answer = acme("omar").get(path)
    assert answer.status_code == 200
    assert f'.{format}"' in answer.headers["content-disposition"]
    if format == "csv":
        lines: list[dict[str, Any]] = list(csv.DictReader(io.StringIO(answer.text)))
        assert lines[0]["ttft_buckets"].split()[2] == "5"
    else:
        lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["kind"] for line in lines] == ["requests", "changes", "people"]
    assert [int(lines[0]["requests"]), int(lines[1]["changes_shown"]), int(lines[2]["active"])] == [
        *(5, 6, 9)
    ]


@pytest.mark.parametrize(
    ("query", "field"),
    [("from=2026-11-23&to=2026-11-22", "from"), ("from=2020-01-01&to=2026-11-22", "from")],
)
def test_a_window_that_cannot_be_is_refused_by_name(query: str, field: str, acme: PersonOf) -> None:
    answer = acme("max").get(f"/v1/boundaries/payments/usage/summary?{query}")
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, field)


def test_engineers_do_not_read_the_summary(acme: PersonOf) -> None:
    for path in ("summary", "export"):
        answer = acme("pia").get(f"/v1/boundaries/payments/usage/{path}")
        assert answer.status_code == 403
