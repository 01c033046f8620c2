"""Follow several runs at once and show them side by side.

Used by `sandbox.demo.story`. One thread per run reads its event stream; only the main thread
draws. Elapsed seconds are those of the run's rows, not of this terminal.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from ringfence.client import Api, ApiError
from sandbox.demo.screen import Board, Cell, Screen

READY_STEP = "first-answer"
"""Once this step has succeeded, the gateway answers: the engineer may ask."""
LONGEST_RUN_SECONDS = 1500.0
STOPPED = ("stuck", "needs-attention", "waiting-for-grant", "paused")
"""States from which a run does not go on by itself: the demo shows them and fails."""


def follow_runs(
    api: Api, runs: Mapping[str, str], screen: Screen, on_ready: Callable[[str], None]
) -> None:
    """Show the runs until all have ended; call `on_ready(boundary)` once each can answer.

    Raises: ApiError when a stream is refused; TimeoutError after 25 minutes.
    """
    events: queue.Queue[tuple[str, dict[str, Any] | ApiError | None]] = queue.Queue()

    def read(boundary: str, run_id: str) -> None:
        try:
            for event in api.run_events(run_id):
                events.put((boundary, event))
        except ApiError as error:
            events.put((boundary, error))
        events.put((boundary, None))

    for boundary, run_id in runs.items():
        threading.Thread(target=read, args=(boundary, run_id), daemon=True).start()
    board = Board(tuple(runs))
    screen.start_board(board)
    open_runs, asked = set(runs), set[str]()
    deadline = time.monotonic() + LONGEST_RUN_SECONDS
    try:
        while open_runs:
            if time.monotonic() > deadline:
                raise TimeoutError(f"still running after 25 minutes: {', '.join(open_runs)}")
            changed = _drain(events, open_runs)
            changes = _refresh(api, runs, board) if changed or screen.out.is_terminal else {}
            screen.update_board(board, changes)
            if failed := _failed(api, runs) if changed else set():
                # What is left of such a run is its close, which waits for the customer.
                open_runs -= failed
                if not open_runs:
                    break
            for boundary in runs:
                cell = board.cells.get((READY_STEP, boundary))
                if cell and cell.state == "succeeded" and boundary not in asked:
                    asked.add(boundary)
                    on_ready(boundary)
    finally:
        screen.end_board()


def _failed(api: Api, runs: Mapping[str, str]) -> set[str]:
    """Return the boundaries whose run has turned around and undone what it made."""
    found = set()
    for boundary, run_id in runs.items():
        run = api.get(f"/v1/runs/{run_id}")
        if run["outcome"] is not None and run["state"] == "closing":
            found.add(boundary)
    return found


def _drain(
    events: queue.Queue[tuple[str, dict[str, Any] | ApiError | None]], open_runs: set[str]
) -> bool:
    """Take what has come, waiting at most half a second; return whether anything changed."""
    changed = False
    wait = 0.5
    while True:
        try:
            boundary, event = events.get(timeout=wait)
        except queue.Empty:
            return changed
        changed, wait = True, 0.02
        if isinstance(event, ApiError):
            raise event
        if event is None or (event["kind"] == "run.state" and event["state"] in STOPPED):
            open_runs.discard(boundary)


def _refresh(api: Api, runs: Mapping[str, str], board: Board) -> dict[tuple[str, str], Cell]:
    """Read every run back; return the cells whose state changed."""
    changes: dict[tuple[str, str], Cell] = {}
    for boundary, run_id in runs.items():
        run = api.get(f"/v1/runs/{run_id}")
        for step in run["steps"]:
            cell = Cell(
                state=step["state"],
                seconds=step["elapsed_seconds"],
                budget=step["budget_seconds"],
                note=step["summary"] or step["error_code"] or "",
                critical=step["on_critical_path"],
            )
            if board.set(step["key"], boundary, cell):
                changes[(step["key"], boundary)] = cell
    return changes
