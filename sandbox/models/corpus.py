"""Read the corpora that ship beside this file: pairs of a request and the code that answers it.

Called by the tokenizer's training and by the model's training. Separate because the corpora are
part of the recipe: their digest names the artifacts.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "corpora"
ASK = ">>> "


class CorpusError(ValueError):
    """A corpus file is not in the expected form; the message names file and line."""


@dataclass(frozen=True)
class Sample:
    """One request and its answer."""

    ask: str
    answer: str


@dataclass(frozen=True)
class Corpus:
    """All samples of one file, with the digest of its bytes."""

    name: str
    digest: str
    samples: tuple[Sample, ...]


def parse(name: str, text: str) -> tuple[Sample, ...]:
    """Split a corpus text into samples.

    Raises: CorpusError when the text does not start with a request or an answer is empty.
    """
    samples: list[Sample] = []
    ask: str | None = None
    answer: list[str] = []

    def finish(line_number: int) -> None:
        if ask is None:
            return
        body = "\n".join(answer).strip("\n")
        if not body:
            raise CorpusError(f"{name}:{line_number}: request {ask!r} has no answer below it")
        samples.append(Sample(ask, body))

    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith(ASK):
            finish(number)
            ask, answer = line[len(ASK) :].strip(), []
        elif ask is None:
            raise CorpusError(f"{name}:{number}: the first line must start with {ASK!r}")
        else:
            answer.append(line)
    finish(len(text.splitlines()))
    return tuple(samples)


def load(name: str) -> Corpus:
    """Read one corpus of this folder by name (`general`, `payments`, `research`)."""
    data = (FOLDER / f"{name}.txt").read_bytes()
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    return Corpus(name, digest, parse(f"{name}.txt", data.decode()))
