"""Read an organization file and place every problem at its line.

Used by `ringfence organization`. The rules are in `wire.organization` (and, for what only the
server knows, in the API); this module only knows where in the file a path stands.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError

STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


class FileError(ValueError):
    """The file cannot be read or is not YAML; the message has file and line."""


@dataclass(frozen=True)
class PlacedProblem:
    """One problem with its place; lines count from 1."""

    file: str
    line: int
    field: str
    message: str
    fix: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.field}: {self.message} (fix: {self.fix})"


class OrganizationFile:
    """A parsed file that still knows its lines."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._root = YAML(typ="rt").load(path.read_text())
        except OSError as error:
            raise FileError(f"{path}: {error.strerror}") from error
        except MarkedYAMLError as error:
            mark = error.problem_mark
            line = mark.line + 1 if mark else 1
            raise FileError(f"{path}:{line}: not YAML: {error.problem}") from error
        if not isinstance(self._root, CommentedMap):
            raise FileError(f"{path}:1: expected a mapping with the key `organization`")

    def document(self) -> dict[str, Any]:
        """Return the plain document."""
        plain: dict[str, Any] = _plain(self._root)
        return plain

    def line_of(self, path: str) -> int:
        """Return the line of the deepest part of `path` that stands in the file."""
        node: Any = self._root
        line = 1
        for name, index in STEP.findall(path):
            key: Any = int(index) if index else name
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


def _plain(node: Any) -> Any:
    if isinstance(node, dict):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(item) for item in node]
    return node
