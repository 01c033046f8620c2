"""Read an organization file and place every problem at its line.

Used by `ringfence organization`. The rules are in `wire.organization` (and, for what only the
server knows, in the API); this module only knows where in the file a path stands, and what YAML
lets pass though it is surely a mistake: a key that stands twice.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from wire.organization import path_parts

LARGEST_FILE = 1_000_000
"""Characters; an organization of a thousand boundaries has about half of that."""
LARGEST_DOCUMENT = 200_000
"""Values after aliases are written out; a file of nested aliases would otherwise never end."""
DEEPEST = 30


class FileError(ValueError):
    """The file cannot be read or is not YAML; the message has file and line, `fix` what to do."""

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(message)
        self.fix = fix


@dataclass(frozen=True)
class PlacedProblem:
    """One problem with its place; lines count from 1."""

    file: str
    line: int
    field: str
    message: str
    fix: str

    def __str__(self) -> str:
        field = self.field or "(the whole file)"
        return f"{self.file}:{self.line}: {field}: {self.message} (fix: {self.fix})"


class OrganizationFile:
    """A parsed file that still knows its lines."""

    def __init__(self, path: Path) -> None:
        self.path = path
        text = _read(path)
        try:
            composed = YAML(typ="rt").compose(text)
            yaml = YAML(typ="rt")
            # They are reported below, all of them and beside the other problems.
            yaml.allow_duplicate_keys = True
            self._root = yaml.load(text)
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            place = f"{path}:{mark.line + 1 if mark else 1}"
            what = " ".join(str(p) for p in (error.context, error.problem) if p)
            raise FileError(f"{place}: not YAML: {what}", "correct the line") from error
        except (YAMLError, RecursionError, ValueError) as error:
            first = (str(error).splitlines() or ["nested too deeply"])[0]
            raise FileError(f"{path}:1: not YAML: {first}", "correct the file") from error
        if self._root is None:
            raise FileError(f"{path}:1: the file is empty", "start it with `organization: NAME`")
        if not isinstance(self._root, CommentedMap):
            raise FileError(
                f"{path}:1: the file is not a mapping", "start it with `organization: NAME`"
            )
        self._document: dict[str, Any] = _Plain(path).of(self._root)
        self.duplicates = [
            PlacedProblem(
                str(path), line, field, f"this key stands in line {first} already", "remove one"
            )
            for field, line, first in _duplicates(composed, "", set())
        ]

    def document(self) -> dict[str, Any]:
        """Return the plain document; of a key that stands twice the first value."""
        return self._document

    def line_of(self, path: str) -> int:
        """Return the line of the deepest part of `path` that stands in the file."""
        node: Any = self._root
        line = 1
        for key in path_parts(path):
            if isinstance(node, CommentedMap) and key in node:
                line = node.lc.key(key)[0] + 1
            elif isinstance(node, CommentedSeq) and isinstance(key, int) and key < len(node):
                line = node.lc.item(key)[0] + 1
            else:
                break
            node = node[key]
        return line

    def place(self, path: str, message: str, fix: str) -> PlacedProblem:
        """Return a problem at its place."""
        return PlacedProblem(str(self.path), self.line_of(path), path, message, fix)


def _read(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise FileError(f"{path}: {error.strerror}", "name the organization's file") from error
    except UnicodeDecodeError as error:
        raise FileError(f"{path}:1: not text in UTF-8", "save it as UTF-8") from error
    if len(text) > LARGEST_FILE:
        raise FileError(f"{path}: larger than {LARGEST_FILE} characters", "name the right file")
    return text


def _duplicates(node: Node | None, path: str, seen: set[int]) -> Iterator[tuple[str, int, int]]:
    """Yield (path, line, line of the first) of every key that stands twice in its mapping."""
    if node is None or id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, MappingNode):
        lines: dict[str, int] = {}
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            below = f"{path}.{name}" if path else name
            if name in lines:
                yield below, line, lines[name]
            lines.setdefault(name, line)
            yield from _duplicates(value, below, seen)
    elif isinstance(node, SequenceNode):
        for index, item in enumerate(node.value):
            yield from _duplicates(item, f"{path}[{index}]", seen)


class _Plain:
    """Turns the parsed file into what JSON can carry, and refuses what never ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._count = 0

    def of(self, node: Any, depth: int = 0) -> Any:
        """Return the plain value. Raises: FileError."""
        self._count += 1
        if self._count > LARGEST_DOCUMENT or depth > DEEPEST:
            raise FileError(f"{self._path}:1: nested too deeply", "write it without aliases")
        if isinstance(node, dict):
            return {str(key): self.of(value, depth + 1) for key, value in node.items()}
        if isinstance(node, list | tuple | set):
            return [self.of(item, depth + 1) for item in node]
        if isinstance(node, date):
            return node.isoformat()
        if node is None or isinstance(node, bool | str):
            return node
        if isinstance(node, int):
            return int(node)
        if isinstance(node, float) and math.isfinite(node):
            return float(node)
        return str(node)
