"""What the customer lets out of the boundary, and whose use may be made up.

Read by the internal API and by the public one. Separate because these two choices are the
customer's alone: they come from the ConfigMap `usage-policy` in the boundary's namespace, which
neither the agent nor the control plane can write. A missing choice is the default; one that cannot
be understood closes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from wire.usage import Export

EXPORT_FILE: Final = "export"
SYNTHETIC_FILE: Final = "synthetic-groups"
_GROUP = re.compile(r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")


@dataclass(frozen=True)
class UsagePolicy:
    """The customer's choices at one moment."""

    export: Export = Export.AGGREGATE
    synthetic_groups: frozenset[str] = frozenset()
    """Groups whose keys may report made-up use, which stays marked as such."""


class PolicyFolder:
    """The mounted ConfigMap: one file per key, replaced by the kubelet when it changes."""

    def __init__(self, folder: Path | None, log: Callable[[str], None]) -> None:
        self._folder, self._log = folder, log
        self._said: frozenset[str] = frozenset()

    def read(self) -> UsagePolicy:
        """Return the choices that hold now; what is wrong with them is logged once."""
        problems: set[str] = set()
        policy = UsagePolicy(self._export(problems), self._synthetic_groups(problems))
        for problem in sorted(problems - self._said):
            self._log(f"usage policy: {problem}")
        self._said = frozenset(problems)
        return policy

    def _text(self, name: str, problems: set[str]) -> str | None:
        """Return a file's text, "" when it is not there, None when it cannot be read."""
        if self._folder is None:
            return ""
        try:
            return (self._folder / name).read_text().strip()
        except FileNotFoundError:
            return ""
        except (OSError, UnicodeDecodeError):
            problems.add(f"{name} cannot be read")
            return None

    def _export(self, problems: set[str]) -> Export:
        text = self._text(EXPORT_FILE, problems)
        if text == "":
            return Export.AGGREGATE
        if text in set(Export):
            return Export(text)
        if text is not None:
            problems.add("export is none of `none`, `aggregate` and `events`; nothing leaves")
        return Export.NONE

    def _synthetic_groups(self, problems: set[str]) -> frozenset[str]:
        names = (self._text(SYNTHETIC_FILE, problems) or "").split()
        if not all(_GROUP.fullmatch(name) for name in names):
            problems.add("synthetic-groups is not a list of group names; no group may")
            return frozenset()
        return frozenset(names)
