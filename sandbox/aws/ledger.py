"""The account's own record of changes: append-only, complete, for the oracle of the fault tests.

Written by the gate for every changing call, whatever the caller heard of it. Not the trail, which
is what AWS would show the customer: the ledger also says whether a call that ended in an error was
done. Only tests read it. Like the trail it holds no secret, no token and no object's body.
"""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

from sandbox.aws.messages import Call

LEDGER_FILE = "ledger.jsonl"


class Ledger:
    """Append changes to `ledger.jsonl`."""

    def __init__(self, data_dir: Path) -> None:
        """Open the file for its owner only; what is there stays."""
        descriptor = os.open(data_dir / LEDGER_FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._file = os.fdopen(descriptor, "w")
        self._lock = threading.Lock()

    def record(
        self, call: Call, event: dict[str, Any], *, done: bool, heard: str, created: list[str]
    ) -> None:
        """Append one change; `event` is what the trail shows, `heard` what the caller was told."""
        entry = {
            "id": call.id,
            "at": event["eventTime"],
            "account": call.account,
            "region": call.region,
            "service": call.service,
            "operation": call.operation,
            "caller": call.caller.arn,
            "boundary": call.caller.tags.get("ringfence:boundary", ""),
            "run": call.caller.tags.get("ringfence:run", ""),
            "request": event["requestParameters"],
            "response": event["responseElements"],
            "created": created,
            "outcome": "done" if done else "refused",
            "heard": heard,
            "error": event.get("errorCode"),
            "faults": call.fate.faults,
        }
        with self._lock:
            self._file.write(json.dumps(entry) + "\n")
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._file.close()


def read_ledger(data_dir: Path) -> list[dict[str, Any]]:
    """Read every change so far, the earliest first."""
    path = data_dir / LEDGER_FILE
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
