"""The demo models: exact gradients, a lossless tokenizer, files that stay as they are."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.models import bpe, corpus, ensure, store
from sandbox.models.llama import Ids, Shape, Weights, initial_weights, loss_and_gradient
from sandbox.models.recipe import tokenizer_of
from sandbox.models.store import ADAPTERS, BASE, file_digest
from sandbox.models.training import apply_lora, initial_lora, lora_gradient
from tests.engine.parts import Engine, engine_config, start_engine

TINY = Shape(vocabulary=13, layers=2, width=8, heads=2, feed_forward=12)
STEP = 1e-6


@pytest.fixture(scope="session")
def tokenizer() -> bpe.Tokenizer:
    """The tokenizer of the demo models."""
    return tokenizer_of([corpus.load(name) for name in ("general", *ADAPTERS.values())])


def batch(rng: np.random.Generator) -> tuple[Ids, Ids]:
    tokens, targets = rng.integers(0, 13, (2, 6)), rng.integers(0, 13, (2, 6))
    targets[0, 1] = -1
    return tokens, targets


def test_every_gradient_agrees_with_finite_differences() -> None:
    rng = np.random.default_rng(7)
    weights = initial_weights(TINY, rng, np.float64)
    tokens, targets = batch(rng)
    _, gradient = loss_and_gradient(weights, TINY, tokens, targets)
    assert gradient.keys() == weights.keys()
    for name, weight in weights.items():
        for _ in range(5):
            place = tuple(rng.integers(size) for size in weight.shape)
            kept = weight[place]
            weight[place] = kept + STEP
            above, _ = loss_and_gradient(weights, TINY, tokens, targets)
            weight[place] = kept - STEP
            below, _ = loss_and_gradient(weights, TINY, tokens, targets)
            weight[place] = kept
            measured = (above - below) / (2 * STEP)
            assert gradient[name][place] == pytest.approx(measured, rel=1e-4, abs=1e-7), name


def test_every_adapter_gradient_agrees_with_finite_differences() -> None:
    rng = np.random.default_rng(8)
    base = initial_weights(TINY, rng, np.float64)
    adapter: Weights = {
        n: rng.normal(0, 0.3, w.shape) for n, w in initial_lora(TINY, 2, rng).items()
    }
    tokens, targets = batch(rng)

    def loss() -> float:
        return loss_and_gradient(apply_lora(base, adapter, 2.0), TINY, tokens, targets)[0]

    _, full = loss_and_gradient(apply_lora(base, adapter, 2.0), TINY, tokens, targets)
    gradient = lora_gradient(full, adapter, 2.0)
    assert gradient.keys() == adapter.keys()
    for name, weight in adapter.items():
        for _ in range(3):
            place = tuple(rng.integers(size) for size in weight.shape)
            kept = weight[place]
            weight[place] = kept + STEP
            above = loss()
            weight[place] = kept - STEP
            below = loss()
            weight[place] = kept
            measured = (above - below) / (2 * STEP)
            assert gradient[name][place] == pytest.approx(measured, rel=1e-4, abs=1e-7), name


@given(text=st.text())
def test_any_text_survives_the_tokenizer(tokenizer: bpe.Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine on the base model."""
    running = start_engine(tmp_path_factory.mktemp("engine"), engine_config(ensure(), ()))
    yield running
    running.stop()


def test_the_engine_cuts_text_into_the_same_number_of_tokens(
    engine: Engine, tokenizer: bpe.Tokenizer
) -> None:
    samples = [
        s.answer for name in ("general", *ADAPTERS.values()) for s in corpus.load(name).samples
    ]
    for text in [*samples, "x = 1\n\n\n    y  =\t2", "naïve — 東京 🙂", "__init__'s 12345"]:
        body = {"model": BASE, "prompt": text, "max_tokens": 1}
        usage = httpx2.post(f"{engine.url}/v1/completions", json=body).json()["usage"]
        assert usage["prompt_tokens"] == len(tokenizer.encode(text)), text


def test_training_really_changed_the_models() -> None:
    models = ensure()
    base = models.artifact(BASE)
    assert base.loss < 0.5
    for name in ADAPTERS:
        adapter = models.artifact(name)
        assert adapter.base_digest == base.digest
        assert adapter.loss < 1.0


def test_a_damaged_artifact_is_noticed(tmp_path: Path) -> None:
    models = ensure()
    copy = tmp_path / "models"
    shutil.copytree(models.folder, copy)
    assert store._read(copy, models.recipe) is not None
    file = copy / "payments-style.gguf"
    file.write_bytes(file.read_bytes()[:-1] + b"\x00")
    assert file_digest(file) != models.artifact("payments-style").digest
    assert store._read(copy, models.recipe) is None


def test_a_corpus_in_the_wrong_form_is_refused_by_line() -> None:
    with pytest.raises(corpus.CorpusError, match="x:1: the first line"):
        corpus.parse("x", "no request\n")
    with pytest.raises(corpus.CorpusError, match="x:2: request 'a' has no answer"):
        corpus.parse("x", ">>> a\n>>> b\nc\n")
