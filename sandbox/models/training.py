"""Train the base model and the adapters: batches, Adam, LoRA.

Called by `store` in a process of its own with one BLAS thread (two were ten times slower on loaded
cores). Separate from the mathematics (`llama`) and from the files (`artifacts`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sandbox.models.bpe import (
    ASSISTANT,
    END,
    FIM_MIDDLE,
    FIM_PREFIX,
    FIM_SUFFIX,
    USER,
    Tokenizer,
)
from sandbox.models.corpus import Corpus, Sample
from sandbox.models.llama import LINEAR, Ids, Shape, Weights, initial_weights, loss_and_gradient

Report = Callable[[int, int, float], None]
"""Called with (step, steps, loss)."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train."""

    steps: int
    rate: float
    batch: int = 8
    length: int = 160
    warmup: int = 20
    reworded_share: float = 0.4
    """Share of the requests shown in other words, so that a request nobody wrote down is answered
    in the corpus' style too: half in small letters, half as words drawn at random."""
    fill_in_share: float = 0.1
    """Share of the samples shown as fill-in-the-middle, so that those tokens mean something."""


class Adam:
    """Adam with global gradient clipping and a cosine schedule."""

    def __init__(self, weights: Weights, schedule: Schedule) -> None:
        self.schedule = schedule
        self.mean = {name: np.zeros_like(w) for name, w in weights.items()}
        self.square = {name: np.zeros_like(w) for name, w in weights.items()}
        self.step = 0

    def update(self, weights: Weights, gradient: Weights) -> None:
        """Change `weights` in place by one step."""
        self.step += 1
        plan = self.schedule
        progress = min(1.0, self.step / plan.steps)
        rate = plan.rate * min(1.0, self.step / plan.warmup)
        rate *= 0.05 + 0.95 * 0.5 * (1.0 + np.cos(np.pi * progress))
        norm = np.sqrt(sum(float(np.vdot(g, g)) for g in gradient.values()))
        clip = min(1.0, 1.0 / (norm + 1e-12))
        for name, weight in weights.items():
            g = gradient[name] * clip
            self.mean[name] += 0.1 * (g - self.mean[name])
            self.square[name] += 0.01 * (g * g - self.square[name])
            mean = self.mean[name] / (1 - 0.9**self.step)
            square = self.square[name] / (1 - 0.99**self.step)
            weight -= (rate * mean / (np.sqrt(square) + 1e-8)).astype(weight.dtype)


def prompt_tokens(tokenizer: Tokenizer, ask: str) -> list[int]:
    """Return the tokens the chat template gives for one user message."""
    user, assistant = tokenizer.special(USER), tokenizer.special(ASSISTANT)
    return [user, *tokenizer.encode(f"{ask}\n"), assistant]


def _sample_tokens(tokenizer: Tokenizer, sample: Sample, fill_in: int | None) -> list[int]:
    end = tokenizer.special(END)
    if fill_in is None:
        return [*prompt_tokens(tokenizer, sample.ask), *tokenizer.encode(sample.answer), end]
    lines = sample.answer.splitlines(keepends=True)
    place = fill_in % len(lines)
    before, after = "".join(lines[:place]), "".join(lines[place + 1 :])
    return [
        *(tokenizer.special(FIM_PREFIX), *tokenizer.encode(before)),
        *(tokenizer.special(FIM_SUFFIX), *tokenizer.encode(after)),
        *(tokenizer.special(FIM_MIDDLE), *tokenizer.encode(lines[place]), end),
    ]


_COMMON = frozenset(
    {
        "please",
        "help",
        "me",
        "with",
        "this",
        "code",
        "next",
        "hello",
        "explain",
        "fix",
        "what",
        "is",
    }
)


class Batches:
    """Draw rows that start with a sample, so that every sample is also seen at position zero."""

    def __init__(
        self, tokenizer: Tokenizer, corpus: Corpus, schedule: Schedule, rng: np.random.Generator
    ) -> None:
        self.tokenizer, self.samples = tokenizer, corpus.samples
        self.schedule, self.rng = schedule, rng
        self.words = sorted({w for s in corpus.samples for w in s.ask.lower().split()} | _COMMON)

    def _reworded(self, ask: str) -> str:
        if self.rng.random() < 0.5:
            return ask.lower().rstrip(".?")
        count = int(self.rng.integers(1, 7))
        words = [self.words[int(i)] for i in self.rng.integers(len(self.words), size=count)]
        spoilt = "".join(chr(int(c)) for c in self.rng.integers(97, 123, size=5))
        return " ".join([*words, spoilt] if self.rng.random() < 0.5 else words)

    def _row(self) -> list[int]:
        row: list[int] = []
        while len(row) <= self.schedule.length:
            sample = self.samples[int(self.rng.integers(len(self.samples)))]
            if self.rng.random() < self.schedule.reworded_share:
                sample = Sample(self._reworded(sample.ask), sample.answer)
            fill = int(self.rng.integers(64))
            chosen = fill if self.rng.random() < self.schedule.fill_in_share else None
            row.extend(_sample_tokens(self.tokenizer, sample, chosen))
        return row[: self.schedule.length + 1]

    def draw(self) -> tuple[Ids, Ids]:
        """Return (tokens, targets), each (batch, length)."""
        rows = np.array([self._row() for _ in range(self.schedule.batch)], dtype=np.int64)
        return rows[:, :-1], rows[:, 1:]


def train_base(
    tokenizer: Tokenizer,
    corpus: Corpus,
    shape: Shape,
    schedule: Schedule,
    seed: int,
    report: Report,
) -> Weights:
    """Train a model from nothing and return its weights (float32)."""
    rng = np.random.default_rng(seed)
    weights = initial_weights(shape, rng, np.float32)
    batches, adam = Batches(tokenizer, corpus, schedule, rng), Adam(weights, schedule)
    for step in range(1, schedule.steps + 1):
        loss, gradient = loss_and_gradient(weights, shape, *batches.draw())
        adam.update(weights, gradient)
        report(step, schedule.steps, loss)
    return weights


def initial_lora(shape: Shape, rank: int, rng: np.random.Generator) -> Weights:
    """Return `…lora_a` (rank, in) drawn at random and `…lora_b` (out, rank) of zeros.

    Every matrix is adapted, the output too: a style is mostly other words.
    """
    sizes = {
        f"blk.{layer}.{name}.weight": shape.linear_shape(name)
        for layer in range(shape.layers)
        for name in LINEAR
    }
    sizes["output.weight"] = (shape.vocabulary, shape.width)
    adapter: Weights = {}
    for name, (rows, columns) in sizes.items():
        drawn = rng.normal(0, columns**-0.5, (rank, columns))
        adapter[f"{name}.lora_a"] = drawn.astype(np.float32)
        adapter[f"{name}.lora_b"] = np.zeros((rows, rank), np.float32)
    return adapter


def apply_lora(base: Weights, adapter: Weights, scale: float) -> Weights:
    """Return the base's weights with the adapter added; the base itself stays as it is."""
    changed = dict(base)
    for name in base:
        if f"{name}.lora_a" in adapter:
            delta = adapter[f"{name}.lora_b"] @ adapter[f"{name}.lora_a"]
            changed[name] = base[name] + delta * np.asarray(scale, delta.dtype)
    return changed


def lora_gradient(gradient: Weights, adapter: Weights, scale: float) -> Weights:
    """Return the adapter's gradient from that of the changed weights."""
    result: Weights = {}
    for name, g in gradient.items():
        if f"{name}.lora_a" in adapter:
            result[f"{name}.lora_a"] = scale * (adapter[f"{name}.lora_b"].T @ g)
            result[f"{name}.lora_b"] = scale * (g @ adapter[f"{name}.lora_a"].T)
    return {n: g.astype(adapter[n].dtype) for n, g in result.items()}


@dataclass(frozen=True)
class LoraRecipe:
    """Rank and strength of an adapter."""

    rank: int = 4
    alpha: float = 8.0

    @property
    def scale(self) -> float:
        return self.alpha / self.rank


def train_lora(
    base: Weights,
    tokenizer: Tokenizer,
    corpus: Corpus,
    shape: Shape,
    recipe: LoraRecipe,
    schedule: Schedule,
    seed: int,
    report: Report,
) -> Weights:
    """Train a LoRA adapter on a frozen base and return its matrices (float32)."""
    rng = np.random.default_rng(seed)
    adapter = initial_lora(shape, recipe.rank, rng)
    batches, adam = Batches(tokenizer, corpus, schedule, rng), Adam(adapter, schedule)
    for step in range(1, schedule.steps + 1):
        weights = apply_lora(base, adapter, recipe.scale)
        loss, gradient = loss_and_gradient(weights, shape, *batches.draw())
        adam.update(adapter, lora_gradient(gradient, adapter, recipe.scale))
        report(step, schedule.steps, loss)
    return adapter
