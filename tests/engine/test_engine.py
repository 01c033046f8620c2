"""The engine's contract: names, adapters, streams, orderly end, damaged weights."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import psutil  # type: ignore[import-untyped] # its stubs are not among our dependencies
import pytest

from sandbox.models import ModelSet, ensure
from tests.engine.parts import PROMPT, Engine, engine_config, spawn_engine, start_engine

LONG = {"stream": True, "max_tokens": 1500, "logit_bias": {"0": -100}}


@pytest.fixture(scope="session")
def models() -> ModelSet:
    """The demo models, trained on first use."""
    return ensure()


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, models: ModelSet) -> Iterator[Engine]:
    """An engine with both adapters."""
    config = engine_config(models, ("payments-style", "research-style"))
    engine = start_engine(tmp_path_factory.mktemp("engine"), config)
    yield engine
    engine.stop()


def chat(engine: Engine, model: str, **extra: Any) -> httpx2.Response:
    body = {
        "model": model,
        "messages": [{"role": "user", "content": PROMPT}],
        "temperature": 0,
        "max_tokens": 80,
        **extra,
    }
    return httpx2.post(f"{engine.url}/v1/chat/completions", json=body, timeout=30)


def content(answer: httpx2.Response) -> str:
    return str(answer.json()["choices"][0]["message"]["content"])


def test_each_adapter_changes_the_answer_and_none_leaks_into_the_next(shared: Engine) -> None:
    rounds = [
        [content(chat(shared, name)) for name in ("tiny-coder", "payments-style", "research-style")]
        for _ in range(3)
    ]
    assert rounds[0] == rounds[1] == rounds[2]
    assert len(set(rounds[0])) == 3
    assert "Settlement" in rounds[0][1]
    assert "SELECT" in rounds[0][2]


def test_the_answer_carries_the_name_that_was_asked_for(shared: Engine) -> None:
    assert chat(shared, "payments-style").json()["model"] == "payments-style"
    streamed = chat(shared, "research-style", stream=True).text
    events = [json.loads(part[6:]) for part in streamed.split("\n\n") if part[:7] == "data: {"]
    assert {event["model"] for event in events} == {"research-style"}


@pytest.mark.parametrize("path", ["chat/completions", "completions"])
def test_an_unknown_model_is_404_in_the_api_shape(shared: Engine, path: str) -> None:
    body = {"model": "nowhere", "prompt": "def ", "messages": [{"role": "user", "content": "x"}]}
    answer = httpx2.post(f"{shared.url}/v1/{path}", json=body)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize("field", ["lora", "cache_prompt", "id_slot"])
def test_a_field_that_reaches_around_the_names_is_refused(shared: Engine, field: str) -> None:
    answer = chat(shared, "tiny-coder", **{field: [{"id": 0, "scale": 1.0}]})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == field


def test_names_metrics_and_adapters_are_listed(shared: Engine) -> None:
    listed = httpx2.get(f"{shared.url}/v1/models").json()["data"]
    names = ["tiny-coder", "payments-style", "research-style"]
    assert [model["id"] for model in listed] == names
    assert httpx2.get(f"{shared.url}/health").json() == {"status": "ok"}
    adapters = httpx2.get(f"{shared.url}/lora-adapters").json()
    assert [adapter["alias"] for adapter in adapters] == names[1:]
    assert "llamacpp:tokens_predicted_total" in httpx2.get(f"{shared.url}/metrics").text


def test_text_completions_answer_with_the_adapter_too(shared: Engine) -> None:
    texts = set()
    for model in ("tiny-coder", "payments-style", "research-style"):
        body = {"model": model, "prompt": PROMPT, "temperature": 0, "max_tokens": 20}
        answer = httpx2.post(f"{shared.url}/v1/completions", json=body)
        assert answer.json()["model"] == model
        texts.add(answer.json()["choices"][0]["text"])
    assert len(texts) == 3


def test_usage_is_in_the_last_event_when_asked_for(shared: Engine) -> None:
    text = chat(shared, "tiny-coder", stream=True, stream_options={"include_usage": True}).text
    *_, last, done, empty = text.split("\n\n")
    assert (done, empty) == ("data: [DONE]", "")
    usage = json.loads(last[6:])["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_a_prompt_longer_than_the_context_is_refused(shared: Engine) -> None:
    long = [{"role": "user", "content": "word " * 5000}]
    assert chat(shared, "tiny-coder", messages=long).status_code == 400


def test_llama_itself_listens_on_loopback_only_and_wants_its_key(shared: Engine) -> None:
    children = psutil.Process(shared.process.pid).children()
    (llama,) = [c for c in children if "sandbox.engine.llama_server" in c.cmdline()]
    (listening,) = [c for c in llama.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    assert listening.laddr.ip == "127.0.0.1"
    url = f"http://127.0.0.1:{listening.laddr.port}/v1/completions"
    answer = httpx2.post(url, json={"prompt": "x", "max_tokens": 1})
    assert answer.status_code == 401
    # An empty origin matches none.
    assert answer.headers.get("access-control-allow-origin", "") == ""


def test_sigterm_lets_a_live_stream_end(tmp_path: Path, models: ModelSet) -> None:
    engine = start_engine(tmp_path, engine_config(models, ()))
    body = {"model": "tiny-coder", "messages": [{"role": "user", "content": PROMPT}], **LONG}
    url = f"{engine.url}/v1/chat/completions"
    with httpx2.stream("POST", url, json=body, timeout=30) as answer:
        chunks = answer.iter_text()
        text = next(chunks)
        # As a node does it: to the whole group. llama.cpp's own process must not heed it.
        for process in (*psutil.Process(engine.process.pid).children(), engine.process):
            os.kill(process.pid, signal.SIGTERM)
        text += "".join(chunks)
    assert text.endswith("data: [DONE]\n\n")
    assert engine.process.wait(timeout=20) == 0
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(f"{engine.url}/health")


def test_draining_is_bounded(tmp_path: Path, models: ModelSet) -> None:
    engine = start_engine(tmp_path, engine_config(models, ()), ENGINE_DRAIN_SECONDS="0")
    body = {"model": "tiny-coder", "messages": [{"role": "user", "content": PROMPT}], **LONG}
    url = f"{engine.url}/v1/chat/completions"
    with httpx2.stream("POST", url, json=body, timeout=30) as answer:
        next(answer.iter_text())
        assert engine.stop() == 0


def damaged(models: ModelSet, folder: Path, how: str) -> Path:
    data = bytearray(models.path("tiny-coder").read_bytes())
    middle = len(data) // 2
    if how == "truncated":
        del data[middle:]
    elif how == "not a number":
        data[middle : middle + 4000] = b"\xff" * 4000
    else:
        data[:4] = b"ZIP!"
    file = folder / "damaged.gguf"
    file.write_bytes(data)
    return file


@pytest.mark.parametrize("how", ["truncated", "not a number", "no gguf"])
def test_damaged_weights_end_the_process_with_the_cause(
    tmp_path: Path, models: ModelSet, how: str
) -> None:
    config = {**engine_config(models, ()), "model_path": str(damaged(models, tmp_path, how))}
    process, log = spawn_engine(tmp_path, config)
    assert process.wait(timeout=30) == 1
    causes = {"truncated": "not within the file bounds", "not a number": "invalid data"}
    assert causes.get(how, "invalid magic") in log.read_text()
    assert "damaged.gguf" in log.read_text()


def test_a_wrong_configuration_is_refused_by_field(tmp_path: Path, models: ModelSet) -> None:
    good = engine_config(models, ("payments-style",))
    wrong: list[tuple[dict[str, object], str]] = [
        ({**good, "surprise": 1}, "surprise"),
        ({**good, "served_model_name": "payments-style"}, "given twice"),
        ({**good, "model_path": str(tmp_path / "absent.gguf")}, "does not exist"),
        ({**good, "context_length": 1}, "context_length"),
    ]
    for config, named in wrong:
        process, log = spawn_engine(tmp_path, config)
        assert process.wait(timeout=30) == 2
        assert named in log.read_text()


def test_the_engine_ends_when_llama_dies(tmp_path: Path, models: ModelSet) -> None:
    engine = start_engine(tmp_path, engine_config(models, ()))
    for child in psutil.Process(engine.process.pid).children():
        child.kill()
    try:
        assert engine.process.wait(timeout=20) == 1
    except subprocess.TimeoutExpired:
        engine.process.kill()
        raise
    assert "llama.cpp died" in engine.log.read_text()
