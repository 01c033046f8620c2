"""Byte-level BPE, as GPT-2 and llama.cpp do it: training, encoding, decoding.

Called by the training and by the GGUF writer. Separate from both because the engine must cut
text into exactly the same tokens (`tokenizer.ggml.model = gpt2`, `pre = gpt-2`): a test compares
the two.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from dataclasses import dataclass, field

END = "<|end|>"
USER = "<|user|>"
ASSISTANT = "<|assistant|>"
FIM_PREFIX = "<|fim_prefix|>"
FIM_SUFFIX = "<|fim_suffix|>"
FIM_MIDDLE = "<|fim_middle|>"
PAD = "<|pad|>"
START = "<|start|>"
SPECIALS = (END, START, USER, ASSISTANT, FIM_PREFIX, FIM_SUFFIX, FIM_MIDDLE, PAD)

# GPT-2's pattern in terms of the standard library: [^\W\d_] is a letter, `_` counts as punctuation.
_WORDS = re.compile(
    r"'s|'t|'re|'ve|'m|'ll|'d| ?[^\W\d_]+| ?\d+| ?(?:_|[^\s\w])+|\s+(?!\S)|\s+", re.UNICODE
)


def _byte_alphabet() -> dict[int, str]:
    """Map every byte to a printable character, as GPT-2's vocabulary files do."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    mapping = {byte: chr(byte) for byte in printable}
    for offset, byte in enumerate(b for b in range(256) if b not in mapping):
        mapping[byte] = chr(256 + offset)
    return mapping


_TO_CHAR = _byte_alphabet()
_TO_BYTE = {char: byte for byte, char in _TO_CHAR.items()}


def _words(text: str) -> list[tuple[str, ...]]:
    return [tuple(_TO_CHAR[b] for b in word.encode()) for word in _WORDS.findall(text)]


def _join(word: tuple[str, ...], left: str, right: str) -> tuple[str, ...]:
    """Replace every neighbouring (left, right) by one symbol."""
    joined: list[str] = []
    position = 0
    while position < len(word):
        if position + 1 < len(word) and word[position] == left and word[position + 1] == right:
            joined.append(left + right)
            position += 2
        else:
            joined.append(word[position])
            position += 1
    return tuple(joined)


@dataclass(frozen=True)
class Tokenizer:
    """Merges in order of rank; ids: special tokens first, then bytes, then merges."""

    merges: tuple[tuple[str, str], ...]
    tokens: tuple[str, ...] = field(init=False)
    _ids: dict[str, int] = field(init=False, repr=False)
    _ranks: dict[tuple[str, str], int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        tokens = (*SPECIALS, *_TO_CHAR.values(), *(a + b for a, b in self.merges))
        object.__setattr__(self, "tokens", tokens)
        object.__setattr__(self, "_ids", {token: i for i, token in enumerate(tokens)})
        object.__setattr__(self, "_ranks", {pair: i for i, pair in enumerate(self.merges)})

    def __len__(self) -> int:
        return len(self.tokens)

    def special(self, token: str) -> int:
        """Return the id of a special token."""
        if token not in SPECIALS:
            raise KeyError(f"{token!r} is not a special token; one of {SPECIALS}")
        return self._ids[token]

    def encode(self, text: str) -> list[int]:
        """Cut text into token ids; special tokens in the text are plain text."""
        ids: list[int] = []
        for word in _words(text):
            symbols = word
            while len(symbols) > 1:
                pairs = itertools.pairwise(symbols)
                best = min(pairs, key=lambda p: self._ranks.get(p, len(self._ranks)))
                if best not in self._ranks:
                    break
                symbols = _join(symbols, *best)
            ids.extend(self._ids[symbol] for symbol in symbols)
        return ids

    def decode(self, ids: list[int]) -> str:
        """Return the text of token ids, without special tokens."""
        chars = "".join(self.tokens[i] for i in ids if i >= len(SPECIALS))
        return bytes(_TO_BYTE[c] for c in chars).decode(errors="replace")


def train(texts: list[str], vocabulary: int) -> Tokenizer:
    """Learn merges from texts until the vocabulary has the wanted size.

    Deterministic: ties are broken by the pair itself. Raises: ValueError when the texts are too
    small for the vocabulary.
    """
    words = Counter(word for text in texts for word in _words(text))
    merges: list[tuple[str, str]] = []
    known = set(_TO_CHAR.values())
    while len(SPECIALS) + len(known) < vocabulary:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, count in words.items():
            for pair in itertools.pairwise(word):
                pairs[pair] += count
        if not pairs:
            raise ValueError(f"the corpora hold fewer than {vocabulary} tokens")
        best = min(pairs, key=lambda p: (-pairs[p], p))
        joined: Counter[tuple[str, ...]] = Counter()
        for word, count in words.items():
            joined[_join(word, *best)] += count
        words = joined
        merges.append(best)
        known.add(best[0] + best[1])
    return Tokenizer(tuple(merges))
