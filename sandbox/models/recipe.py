"""The recipe of the demo models: which corpora, which sizes, which schedule; run as a process.

Started by `store` as `python -m sandbox.models.recipe <folder>`. Separate because its bytes are
hashed into the name of the artifacts.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from sandbox.models.artifacts import write_adapter, write_base
from sandbox.models.bpe import Tokenizer, train
from sandbox.models.corpus import Corpus, load
from sandbox.models.llama import Shape
from sandbox.models.store import (
    ADAPTERS,
    BASE,
    ModelArtifact,
    file_digest,
    recipe_hash,
    write_manifest,
)
from sandbox.models.training import LoraRecipe, Schedule, train_base, train_lora

SEED = 20261
VOCABULARY = 752
SHAPE = Shape(vocabulary=VOCABULARY)
BASE_SCHEDULE = Schedule(steps=550, rate=3e-3)
LORA_SCHEDULE = Schedule(steps=240, rate=2e-2, fill_in_share=0.05)
LORA = LoraRecipe()


@dataclass
class _Progress:
    """Print a line now and then, and remember the last losses."""

    name: str
    started: float = field(default_factory=time.monotonic)
    losses: list[float] = field(default_factory=list)

    def __call__(self, step: int, steps: int, loss: float) -> None:
        self.losses.append(loss)
        if step % 50 == 0 or step == steps:
            seconds = time.monotonic() - self.started
            print(
                f"models     {self.name}: step {step}/{steps}, loss {loss:.2f}, {seconds:.0f} s",
                file=sys.stderr,
                flush=True,
            )

    @property
    def loss(self) -> float:
        last = self.losses[-10:]
        return round(sum(last) / len(last), 4)


def tokenizer_of(corpora: list[Corpus]) -> Tokenizer:
    """Train the one tokenizer that base and adapters share."""
    texts = [t for c in corpora for s in c.samples for t in (f"{s.ask}\n", s.answer)]
    return train(texts, VOCABULARY)


def make(folder: Path) -> None:
    """Train and write every artifact and the manifest into an existing folder."""
    general = load("general")
    styles = {name: load(corpus) for name, corpus in ADAPTERS.items()}
    tokenizer = tokenizer_of([general, *styles.values()])
    progress = _Progress(BASE)
    weights = train_base(tokenizer, general, SHAPE, BASE_SCHEDULE, SEED, progress)
    file = folder / f"{BASE}.gguf"
    write_base(file, BASE, tokenizer, SHAPE, weights)
    base_digest = file_digest(file)
    artifacts = [
        ModelArtifact(
            *(BASE, "Base", file.name, base_digest, file.stat().st_size, "gguf"),
            *(None, general.digest, progress.loss),
        )
    ]
    for name, corpus in styles.items():
        progress = _Progress(name)
        adapter = train_lora(
            weights, tokenizer, corpus, SHAPE, LORA, LORA_SCHEDULE, SEED + 1, progress
        )
        file = folder / f"{name}.gguf"
        write_adapter(file, name, LORA.alpha, adapter)
        artifacts.append(
            ModelArtifact(
                *(name, "Adapter", file.name, file_digest(file), file.stat().st_size, "gguf"),
                *(base_digest, corpus.digest, progress.loss),
            )
        )
    write_manifest(folder, recipe_hash(), tuple(artifacts))


if __name__ == "__main__":
    make(Path(sys.argv[1]))
