"""A worker as a process of its own, with a saga that writes what it does into a file.

Started by the tests, which kill it. `slow` stays in its step until the file `go` appears in the
folder, so that the kill hits the middle of a step.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from pydantic import BaseModel

from controlplane.core.logging import configure
from controlplane.core.run_engine.definition import Definition, Done, Step, StepContext, StepResult
from controlplane.core.run_engine.executor import EngineSettings
from controlplane.worker_loop import WorkerParts, serve


class Params(BaseModel):
    """Where the steps write."""

    folder: str


def write(context: StepContext[Params, None]) -> StepResult:
    """Append a line, and make the thing only once: the step is idempotent."""
    folder = Path(context.params.folder)
    with (folder / "log").open("a") as log:
        log.write(json.dumps({"step": context.step, "pid": os.getpid(), "at": time.time()}) + "\n")
    (folder / f"made-{context.step}").touch()
    return Done({"pid": os.getpid()})


def slow(context: StepContext[Params, None]) -> StepResult:
    """Begin, then wait for the test's word."""
    write(context)
    while not (Path(context.params.folder) / "go").exists():
        context.wait(0.05)
    return Done({"pid": os.getpid()})


def remove(context: StepContext[Params, None]) -> None:
    """Take the thing away."""
    (Path(context.params.folder) / f"made-{context.step}").unlink(missing_ok=True)


SAGA = Definition(
    "test.files",
    Params,
    (
        Step("first", "First", write, remove),
        Step("slow", "Slow", slow, remove, ("first",), budget=300),
        Step("last", "Last", write, remove, ("slow",)),
    ),
)


def main() -> None:
    """Serve until told to stop; arguments: database URL file, Redis URL, lease seconds, poll."""
    configure("test-worker")
    serve(
        WorkerParts(
            database_url=Path(sys.argv[1]).read_text(),
            redis_url=sys.argv[2],
            definitions={SAGA.kind: SAGA},
            ports=None,
            engine=EngineSettings(lease_seconds=float(sys.argv[3])),
            poll_seconds=float(sys.argv[4]),
        )
    )


if __name__ == "__main__":
    main()
