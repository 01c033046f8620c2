"""How the demo looks: a heading and its facts; a table that redraws on a terminal.

Used by `sandbox.demo.story`. On a pipe nothing redraws: each change is one line. Progress goes to
stderr, the story itself to stdout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

HEADING_WIDTH = 16
OK, BUSY, BAD, IDLE = "✓", "●", "✗", "·"


@dataclass(frozen=True)
class Cell:
    """One step of one install, as the table shows it."""

    state: str = "pending"
    seconds: float | None = None
    budget: float | None = None
    note: str = ""
    critical: bool = False

    def text(self) -> str:
        """Return the cell's line: sign, note, time, against the budget while it runs."""
        if self.state in ("pending", "not-attempted", "skipped"):
            return IDLE
        sign = {"succeeded": OK, "running": BUSY}.get(self.state, BAD)
        time = ""
        if self.seconds is not None:
            time = f"{self.seconds:5.1f} s"
            if self.state == "running" and self.budget:
                time += f" of {self.budget:.0f} s"
        mark = "  ← critical path" if self.critical and self.state == "running" else ""
        return f"{sign} {self.note:<22} {time}{mark}"


@dataclass
class Board:
    """The table of installs side by side: step -> boundary -> cell."""

    boundaries: Sequence[str]
    steps: list[str] = field(default_factory=list)
    cells: dict[tuple[str, str], Cell] = field(default_factory=dict)

    def set(self, step: str, boundary: str, cell: Cell) -> bool:
        """Store a cell; return whether its state changed."""
        if step not in self.steps:
            self.steps.append(step)
        before = self.cells.get((step, boundary))
        self.cells[(step, boundary)] = cell
        return before is None or before.state != cell.state

    def render(self) -> Table:
        table = Table(box=None, pad_edge=False, show_header=True, header_style="bold")
        table.add_column("Installing", min_width=HEADING_WIDTH + 2)
        for boundary in self.boundaries:
            table.add_column(boundary, min_width=44)
        for step in self.steps:
            cells = [self.cells.get((step, b), Cell()).text() for b in self.boundaries]
            table.add_row(f"  {step}", *cells)
        return table


class Screen:
    """Prints the story; owns the one live table."""

    def __init__(self) -> None:
        self.out = Console(highlight=False, soft_wrap=True)
        self._live: Live | None = None

    def heading(self, title: str, *facts: str) -> None:
        """Print a heading with its facts, one a line."""
        if not facts:
            self.out.print(Text(title, style="bold"))
            return
        first, *rest = facts
        self.out.print(Text.assemble((f"{title:<{HEADING_WIDTH}}", "bold"), first))
        for fact in rest:
            self.out.print(Text(" " * HEADING_WIDTH + fact))

    def gap(self) -> None:
        self.out.print()

    def parts(self, record: dict[str, Any], shown: set[str]) -> None:
        """Print the sandbox's parts as they come up; `shown` remembers which were printed."""
        for part in record["parts"]:
            if part["state"] in ("running", "done") and part["name"] not in shown:
                title = "" if shown else "Sandbox"
                shown.add(part["name"])
                if part["task"]:
                    continue
                label = "   emulated" if part["emulated"] else ""
                self.heading(
                    title or " ",
                    f"{part['name']:<14} {OK} {part['seconds']:5.1f} s   {part['address']}{label}",
                )

    def start_board(self, board: Board) -> None:
        if self.out.is_terminal:
            self._live = Live(board.render(), console=self.out, refresh_per_second=8)
            self._live.start()
        else:
            self.out.print("Installing      " + "   ".join(board.boundaries))

    def update_board(self, board: Board, changes: Mapping[tuple[str, str], Cell]) -> None:
        """Redraw, or on a pipe print one line per step that changed its state."""
        if self._live is not None:
            self._live.update(Group(board.render()))
            return
        for (step, boundary), cell in changes.items():
            if cell.state in ("pending", "skipped", "not-attempted"):
                continue
            self.out.print(f"  {boundary:<10} {step:<14} {cell.text().rstrip()}", markup=False)

    def end_board(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
