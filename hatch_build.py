"""Build hook of the wheel: refuse to build one without the console.

Called by hatchling (`[tool.hatch.build.targets.wheel.hooks.custom]`). An editable install of a
checkout has no need of it: the API says there which command builds the console.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

INDEX = Path("controlplane") / "console" / "static" / "index.html"


class ConsoleHook(BuildHookInterface[Any]):
    """Checks that the console is built before a wheel is."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Raise FileNotFoundError when the console's page is missing."""
        if version != "editable" and not (Path(self.root) / INDEX).is_file():
            raise FileNotFoundError(f"{INDEX} is missing: build the console first with `make web`")
