"""What a caller of the gateway sees, with a real engine and a real database."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from gateway.keys import new_key
from sandbox.home import free_port
from sandbox.models import ensure
from tests.engine.parts import PROMPT, Engine, engine_config, start_engine
from tests.gateway.parts import Boundary, key_entry, until


def client(boundary: Boundary, key: str | None = None) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{boundary.url}/v1", api_key=key or boundary.key, max_retries=0)


def ask(openai_client: openai.OpenAI, model: str) -> str:
    with openai_client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": PROMPT}],
        temperature=0,
        max_tokens=60,
        stream=True,
    ) as stream:
        return "".join(c.choices[0].delta.content or "" for c in stream if c.choices)


def test_the_official_client_streams_and_each_adapter_answers_differently(
    shared: Boundary,
) -> None:
    with (
        client(shared) as mine,
        client(shared, shared.other_key) as theirs,
    ):
        base, payments = ask(mine, "tiny-coder"), ask(mine, "payments-style")
        research = ask(theirs, "research-style")
    assert len({base, payments, research}) == 3
    assert "settle" in payments
    assert "FROM trial" in research


def test_only_the_models_of_the_callers_group_are_listed(shared: Boundary) -> None:
    with (
        client(shared) as mine,
        client(shared, shared.other_key) as theirs,
    ):
        assert {m.id for m in mine.models.list()} == {"tiny-coder", "payments-style"}
        assert {m.id for m in theirs.models.list()} == {"research-style"}


def test_a_foreign_model_answers_exactly_as_one_that_does_not_exist(
    shared: Boundary,
) -> None:
    foreign, missing = shared.chat("research-style"), shared.chat("nowhere")
    assert foreign.status_code == missing.status_code == 404
    assert foreign.content == missing.content
    assert foreign.json()["error"]["code"] == "model_not_found"
    with client(shared) as mine, pytest.raises(openai.NotFoundError):
        mine.models.retrieve("research-style")


def test_a_second_model_key_in_the_body_does_not_reach_around_the_entitlement(
    shared: Boundary,
) -> None:
    for first, second in (("payments-style", "research-style"), ("research-style", "tiny-coder")):
        body = (
            f'{{"model":"{first}","model":"{second}","max_tokens":4,'
            '"messages":[{"role":"user","content":"x"}]}'
        )
        answer = httpx2.post(
            f"{shared.url}/v1/chat/completions?model=research-style",
            content=body,
            headers={"Authorization": f"Bearer {shared.key}"},
        )
        if answer.status_code == 200:
            assert answer.headers["x-served-model"] == answer.json()["model"] == second
            assert second != "research-style"
        else:
            assert answer.status_code == 404


@pytest.mark.parametrize("field", ["lora", "cache_prompt", "id_slot", "adapter"])
def test_a_field_that_could_pick_another_adapter_is_refused_by_name(
    shared: Boundary, field: str
) -> None:
    extra: dict[str, Any] = {field: [{"id": 1, "scale": 1.0}]}
    answer = shared.chat("tiny-coder", **extra)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == field


def test_a_missing_unknown_or_expired_key_is_refused(boundary: Boundary) -> None:
    expired = new_key()
    boundary.publish_access(
        keys=[
            key_entry(boundary.key, "pia@acme.test", "payments-engineers"),
            key_entry(expired, "old@acme.test", "payments-engineers", days=-1),
        ]
    )
    until(lambda: boundary.chat("research-style", boundary.other_key).status_code == 401)
    for key in (expired, new_key(), "sk-something", "rf_short"):
        answer = boundary.chat("tiny-coder", key)
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "invalid_api_key"
    assert httpx2.get(f"{boundary.url}/v1/models").status_code == 401
    assert boundary.chat("tiny-coder").status_code == 200


def test_usage_reaches_a_streaming_caller_only_when_asked_for(shared: Boundary) -> None:
    silent = shared.chat("tiny-coder", stream=True)
    asked = shared.chat("tiny-coder", stream=True, stream_options={"include_usage": True})
    for answer in (silent, asked):
        assert answer.headers["x-served-model"] == "tiny-coder"
        assert answer.text.endswith("data: [DONE]\n\n")
    assert '"usage":{' not in silent.text
    chunks = [json.loads(part[6:]) for part in asked.text.split("\n\n") if part[:7] == "data: {"]
    reported = chunks[-1]["usage"]
    for answer in (silent, asked):
        event = shared.event_of(answer)
        assert event == ("tiny-coder", "none", reported["completion_tokens"])


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[]", 400),
        (b'{"model": 3}', 400),
        (b'{"model": "tiny-coder", "messages": "no"}', 400),
        (b'{"model": "tiny-coder", "stream": "yes", "messages": []}', 400),
        (b'{"model": "tiny-coder", "x": "' + b"a" * 5_000_000 + b'"}', 413),
    ],
)
def test_a_wrong_request_is_answered_in_the_api_shape(
    shared: Boundary, body: bytes, status: int
) -> None:
    answer = httpx2.post(
        f"{shared.url}/v1/chat/completions",
        content=body,
        headers={"Authorization": f"Bearer {shared.key}"},
    )
    assert answer.status_code == status
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert shared.event_of(answer)[1] == "invalid_request"


def test_a_model_without_an_engine_is_a_typed_503(bare_boundary: Boundary) -> None:
    bare_boundary.publish(None)
    bare_boundary.start()
    answer = bare_boundary.chat("tiny-coder")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "model_not_ready")
    bare_boundary.publish("http://127.0.0.1:9")
    until(lambda: bare_boundary.chat("tiny-coder").json()["error"]["code"] == "engine_unreachable")


def test_an_engine_that_restarts_is_waited_for(bare_boundary: Boundary, tmp_path: Path) -> None:
    port = free_port()
    bare_boundary.publish(f"http://127.0.0.1:{port}")
    bare_boundary.start(GATEWAY_RETRY_SECONDS="20")
    config = engine_config(ensure(), ("payments-style", "research-style"))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(bare_boundary.chat, "payments-style")
        engine = start_engine(tmp_path / "late", config, ENGINE_PORT=str(port))
        try:
            assert waiting.result(timeout=30).status_code in {200, 503}
            assert bare_boundary.chat("payments-style").status_code == 200
        finally:
            engine.stop()


def test_a_change_of_the_resources_is_in_force_without_a_restart(
    boundary: Boundary, engine: Engine
) -> None:
    boundary.publish_access(
        groups=[
            {"name": "payments-engineers", "models": ["research-style"]},
            {"name": "research-engineers", "models": []},
        ]
    )
    until(lambda: boundary.chat("tiny-coder").status_code == 404)
    assert boundary.chat("research-style").status_code == 200
    boundary.api.delete("adapterbindings", "research-style")
    until(lambda: boundary.chat("research-style").status_code == 404)


def test_a_deletion_that_no_watch_reported_is_found_by_the_next_list(boundary: Boundary) -> None:
    assert boundary.chat("payments-style").status_code == 200
    boundary.api.delete("adapterbindings", "payments-style", silently=True)
    assert boundary.chat("payments-style").status_code == 200
    boundary.api.expire_watches()
    until(lambda: boundary.chat("payments-style").status_code == 404)
