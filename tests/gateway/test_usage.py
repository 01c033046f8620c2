"""Usage is exact: one event per request, whatever dies in between; and it holds no content."""

from __future__ import annotations

import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import httpx2
import psycopg
import pytest

from gateway.spool import read_segment
from tests.engine.parts import Engine
from tests.gateway.parts import AGENT, Boundary, until
from wire.usage import SUPPRESSED, RollupPush


def rollups(boundary: Boundary, after: int = 0, token: str = "agent-token") -> httpx2.Response:
    return httpx2.get(
        f"{boundary.internal_url}/internal/v1/rollups",
        params={"after": after},
        headers={"Authorization": f"Bearer {token}"},
    )


def pushed(boundary: Boundary, requests: int) -> RollupPush:
    """Wait until the roll-ups count so many requests and return them."""

    def enough() -> RollupPush | None:
        push = RollupPush.from_wire(rollups(boundary).json())
        return push if sum(r.requests for h in push.hours for r in h.rows) >= requests else None

    boundary.api.tokens["agent-token"] = AGENT
    result = until(enough)
    assert isinstance(result, RollupPush)
    return result


def test_each_request_is_one_event_and_the_roll_up_adds_them_up(boundary: Boundary) -> None:
    answers = [boundary.chat("tiny-coder", stream=stream) for stream in (True, False, False)]
    answers.append(boundary.chat("payments-style"))
    answers.append(boundary.chat("research-style", boundary.other_key))
    refused = boundary.chat("research-style")
    assert [a.status_code for a in [*answers, refused]] == [200] * 5 + [404]
    events = boundary.events(6)
    assert len(events) == 6
    assert len({subject for *_, subject, _ in events}) == 2
    push = pushed(boundary, 6)
    columns = "group_id, model_version, adapter_id, requests, errors, output_tokens, input_tokens"
    rows = {row[:3]: row[3:] for row in boundary.rows(f"SELECT {columns} FROM usage_hourly")}
    assert rows["payments-engineers", "tiny-coder", ""][0] == 3
    assert rows["payments-engineers", "tiny-coder", "payments-style"][0] == 1
    assert rows["payments-engineers", "unknown", ""][:2] == (1, {"model_not_found": 1})
    assert sum(row[2] for row in rows.values()) == sum(event[3] for event in events)
    assert sum(row[3] for row in rows.values()) == sum(event[2] for event in events)
    # Two people are too few for a cell: what leaves is the whole of the boundary, unnamed.
    (whole,) = [row for hour in push.hours for row in hour.rows]
    assert {whole.group_id, whole.model_version, whole.feature} == {SUPPRESSED}
    assert (whole.requests, sum(whole.errors.values())) == (6, 1)
    assert whole.output_tokens == sum(event[3] for event in events)
    assert {h.boundary_id for h in push.hours} == {"b-payments"}
    assert sum(whole.ttft_buckets) == 5
    assert rollups(boundary, after=push.sequence).json()["hours"] == []


def test_only_the_agents_token_reads_roll_ups(boundary: Boundary) -> None:
    boundary.api.tokens["other"] = "system:serviceaccount:boundary-payments:engine"
    assert rollups(boundary, token="unknown").status_code == 401
    assert rollups(boundary, token="other").status_code == 403
    assert httpx2.get(f"{boundary.internal_url}/internal/v1/rollups").status_code == 401
    boundary.api.tokens["agent-token"] = AGENT
    assert rollups(boundary).status_code == 200
    assert rollups(boundary, after=-1).status_code == 400


def test_a_killed_gateway_loses_no_answered_request_and_counts_none_twice(
    boundary: Boundary,
) -> None:
    boundary.stop()
    # Usage stays in the spool: it is shipped once a minute only.
    boundary.start(GATEWAY_SHIP_SECONDS="60")
    until(lambda: boundary.rows("SELECT count(*) FROM usage_event") == [(0,)])
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: boundary.chat("tiny-coder"), range(3)))
    boundary.chat("tiny-coder")
    answered = 4
    boundary.kill()
    segments = sorted(boundary.spool.glob("*.wal"))
    assert segments
    copies = {path: path.read_bytes() for path in segments}
    boundary.start()
    assert len(boundary.events(answered)) == answered
    # The same segments once more: as if we had died after the commit and before the deletion.
    boundary.kill()
    for path, content in copies.items():
        path.write_bytes(content)
    boundary.start()
    boundary.chat("payments-style")
    assert len(boundary.events(answered + 1)) == answered + 1
    assert (
        sum(r.requests for h in pushed(boundary, answered + 1).hours for r in h.rows)
        == answered + 1
    )


def test_every_answer_seen_whole_is_in_the_database_after_a_kill_under_load(
    boundary: Boundary,
) -> None:
    boundary.stop()
    boundary.start()
    seen: list[str] = []
    sent: list[int] = []

    def hammer(number: int) -> None:
        while True:
            sent.append(number)
            try:
                answer = boundary.chat("tiny-coder", stream=bool(number % 2))
            except httpx2.TransportError:
                return
            if answer.status_code == 200 and (number % 2 == 0 or "[DONE]" in answer.text):
                seen.append(answer.headers["x-request-id"])

    with ThreadPoolExecutor(6) as pool:
        futures = [pool.submit(hammer, number) for number in range(6)]
        until(lambda: len(seen) > 40)
        boundary.kill()
        for future in futures:
            future.result(timeout=30)
    boundary.start()
    boundary.events(len(seen))
    stored = dict(boundary.rows("SELECT event_id::text, error_type FROM usage_event"))
    assert len(seen) == len(set(seen)) > 40
    assert {stored.get(each) for each in seen} == {"none"}
    assert len(seen) <= len(stored) <= len(sent)
    push = pushed(boundary, len(stored))
    assert sum(r.requests for h in push.hours for r in h.rows) == len(stored)


def test_a_request_under_way_when_the_gateway_is_killed_is_reported_as_interrupted(
    boundary: Boundary,
) -> None:
    started, cut = threading.Event(), threading.Event()

    def endless() -> None:
        body = {
            "model": "tiny-coder",
            "stream": True,
            "max_tokens": 2000,
            "logit_bias": {"0": -100},
            "messages": [{"role": "user", "content": "Write a test."}],
        }
        headers = {"Authorization": f"Bearer {boundary.key}"}
        url = f"{boundary.url}/v1/chat/completions"
        with httpx2.stream("POST", url, json=body, headers=headers, timeout=30) as answer:
            try:
                for _ in answer.iter_bytes():
                    started.set()
            except httpx2.TransportError:
                cut.set()

    caller = threading.Thread(target=endless)
    caller.start()
    assert started.wait(10)
    boundary.kill()
    caller.join(timeout=10)
    assert cut.is_set()
    boundary.start()
    events = boundary.events(1)
    assert [(e[0], e[1]) for e in events] == [("tiny-coder", "interrupted")]


def test_a_torn_last_line_of_the_spool_is_skipped(boundary: Boundary) -> None:
    boundary.stop()
    boundary.start(GATEWAY_SHIP_SECONDS="60")
    boundary.chat("tiny-coder")
    boundary.chat("tiny-coder")
    boundary.kill()
    segment = max(boundary.spool.glob("*.wal"), key=lambda path: path.stat().st_size)
    lines = segment.read_bytes().splitlines(keepends=True)
    assert len(list(read_segment(segment))) == 4
    segment.write_bytes(b"".join(lines[:-1]) + lines[-1][:40])
    boundary.start()
    assert sorted(e[1] for e in boundary.events(2)) == ["interrupted", "none"]


def test_a_caller_who_leaves_is_counted_as_cancelled_with_the_tokens_so_far(
    boundary: Boundary,
) -> None:
    body = {
        "model": "tiny-coder",
        "stream": True,
        "max_tokens": 2000,
        "logit_bias": {"0": -100},
        "messages": [{"role": "user", "content": "Write a test."}],
    }
    headers = {"Authorization": f"Bearer {boundary.key}"}
    url = f"{boundary.url}/v1/chat/completions"
    with httpx2.stream("POST", url, json=body, headers=headers, timeout=30) as answer:
        # The first chunk only opens the answer; tokens have been seen from the third on.
        chunks = (line for line in answer.iter_lines() if line.startswith("data:"))
        for _ in range(5):
            next(chunks)
    (event,) = boundary.events(1)
    assert event[1] == "client_cancelled"
    assert 0 < event[3] < 2000


def test_answers_go_on_while_the_database_is_away_and_usage_arrives_later(
    boundary: Boundary,
) -> None:
    name = boundary.database.rsplit("/", 1)[-1].split("?")[0]
    admin = boundary.database.replace(f"/{name}", "/postgres")
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
        )
        assert boundary.chat("tiny-coder").status_code == 200
        assert boundary.chat("tiny-coder", stream=True).status_code == 200
        connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
    assert len(boundary.events(2)) == 2


def test_a_full_spool_refuses_requests_instead_of_losing_usage(bare_boundary: Boundary) -> None:
    bare_boundary.publish("http://127.0.0.1:9")
    bare_boundary.start(
        GATEWAY_SHIP_SECONDS="60", GATEWAY_SPOOL_MAX_BYTES=str(2**16), GATEWAY_RETRY_SECONDS="0"
    )

    def refused() -> bool:
        answer = bare_boundary.chat("tiny-coder")
        return bool(answer.json()["error"]["code"] == "usage_backlog")

    until(refused, seconds=40)
    written = sum(path.stat().st_size for path in bare_boundary.spool.glob("*.wal"))
    assert 2**16 <= written < 2**16 + 10_000


def test_a_second_gateway_on_the_same_spool_is_refused(boundary: Boundary) -> None:
    first, boundary.process = boundary.process, None
    with pytest.raises(AssertionError, match="another gateway uses this spool"):
        boundary.start()
    boundary.process = first


def test_sigterm_lets_a_live_stream_end_and_its_usage_arrive(boundary: Boundary) -> None:
    body = {
        "model": "tiny-coder",
        "stream": True,
        "max_tokens": 1500,
        "logit_bias": {"0": -100},
        "messages": [{"role": "user", "content": "Write a test."}],
    }
    headers = {"Authorization": f"Bearer {boundary.key}"}
    url = f"{boundary.url}/v1/chat/completions"
    assert boundary.process is not None
    with httpx2.stream("POST", url, json=body, headers=headers, timeout=30) as answer:
        chunks = answer.iter_text()
        text = next(chunks)
        boundary.process.terminate()
        text += "".join(chunks)
    assert text.endswith("data: [DONE]\n\n")
    assert boundary.process.wait(timeout=30) == 0
    (event,) = boundary.events(1)
    assert (event[1], event[3]) == ("none", 1500)
    assert not [p for p in boundary.spool.glob("*.wal") if p.stat().st_size]


def test_no_canary_of_a_request_reaches_the_database_the_spool_or_a_log(
    boundary: Boundary, engine: Engine
) -> None:
    canary = "CANARY-7f3a"
    boundary.stop()
    boundary.start(GATEWAY_SHIP_SECONDS="3")
    headers = {
        "Authorization": f"Bearer {boundary.key}",
        "User-Agent": canary,
        "X-Ringfence-Ide": canary,
        "X-Ringfence-Language": canary,
        "X-Ringfence-Feature": canary,
        "X-Request-Id": canary,
    }
    message = {"messages": [{"role": "user", "content": canary}], "max_tokens": 4}
    bodies = [
        {"model": "tiny-coder", **message},
        {"model": "tiny-coder", "stream": True, **message},
        {"model": canary, **message},
        {"model": "tiny-coder", canary: canary, **message},
        {"model": "tiny-coder", "user": canary, "metadata": {"k": canary}, **message},
        {"model": "tiny-coder", "messages": canary},
    ]
    port = int(boundary.url.rsplit(":", 1)[1])
    for raw in (f"{canary}\0 / HTTP/1.1\r\n\r\n", f"GET / HTTP/1.1\r\n{canary}\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(raw.encode())
            connection.recv(4096)
    for body in bodies:
        httpx2.post(f"{boundary.url}/v1/chat/completions?q={canary}", json=body, headers=headers)
    kept = b"".join(path.read_bytes() for path in boundary.spool.glob("*.wal"))
    assert kept.count(b"usage.request.completed.v1") >= len(bodies)
    boundary.events(len(bodies))
    stored = json.dumps(boundary.rows("SELECT to_jsonb(e) FROM usage_event AS e"))
    stored += json.dumps(boundary.rows("SELECT to_jsonb(h) FROM usage_hourly AS h"))
    boundary.stop()
    logs = b"".join(path.read_bytes() for path in boundary.folder.glob("gateway-*.log"))
    for text in (kept, stored.encode(), logs, engine.log.read_bytes()):
        for secret in (canary, boundary.key, "pia@acme.test"):
            assert secret.encode() not in text


def test_hours_become_final_and_old_raw_events_are_dropped(boundary: Boundary) -> None:
    boundary.chat("tiny-coder")
    boundary.events(1)
    with psycopg.connect(boundary.database) as connection:
        columns = [
            str(row[0])
            for row in connection.execute(
                "SELECT column_name FROM information_schema.columns"
                " WHERE table_name = 'usage_event' AND column_name NOT IN"
                " ('event_id', 'occurred_at')"
            ).fetchall()
        ]
        names = ", ".join(columns)
        for days in (4, 40):
            moment = datetime.now(UTC) - timedelta(days=days)
            day = moment.date()
            connection.execute(
                f"CREATE TABLE usage_event_{day:%Y%m%d} PARTITION OF usage_event"
                f" FOR VALUES FROM ('{day}') TO ('{day + timedelta(days=1)}')"
            )
            connection.execute(
                f"INSERT INTO usage_event (event_id, occurred_at, {names})"
                f" SELECT gen_random_uuid(), %s, {names} FROM usage_event LIMIT 1",
                [moment],
            )
            connection.execute(
                "INSERT INTO usage_dirty_hour VALUES (date_trunc('hour', %s::timestamptz), now())",
                [moment],
            )
    push = pushed(boundary, 2)
    assert sorted(h.is_final for h in push.hours) == [False, True]
    boundary.stop()
    boundary.start()
    until(lambda: boundary.rows("SELECT count(*) FROM usage_event") == [(2,)])
    assert sum(r.requests for h in pushed(boundary, 2).hours for r in h.rows) == 2
