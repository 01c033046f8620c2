"""Receive the engine's events and turn them into lines for the worker; runs in the child only.

The gRPC callback only enqueues: an exception in it would be swallowed by the engine and the event
lost. A writer thread turns events into lines, numbers them, and keeps what a plan needs. Separate
from `child.py` because it is the one place that sees inputs and outputs, and drops them.
"""

from __future__ import annotations

import json
import queue
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import events_pb2_grpc

from controlplane.adapters.pulumi.messages import (
    UNKNOWN,
    Diagnostic,
    EngineEvent,
    PlannedResource,
    PropertyChange,
)
from controlplane.adapters.redaction import redact

# The engine sends whole states in one event; its own limit is 400 MB (pulumi/sdk/go rpcutil).
CHANNEL_OPTIONS = [
    ("grpc.max_receive_message_length", 400 << 20),
    ("grpc.max_send_message_length", 400 << 20),
]
_STACK = "pulumi:pulumi:Stack"
_SECRET = "[secret]"  # noqa: S105 - how the engine prints a secret, not one
_SHOWN_SEVERITIES = frozenset({"error", "warning", "info#err"})


# The engine tells a replacement as up to three operations on one URN.
_REPLACEMENT = frozenset({"replace", "create-replacement", "delete-replaced"})
_STEPS_OF_A_PATH = re.compile(r'\["((?:[^"\\]|\\.)*)"\]|\[(\d+)\]|([^.\[\]]+)')


class _Servicer(events_pb2_grpc.EventsServicer):
    def __init__(self, sink: queue.SimpleQueue[str | None]) -> None:
        self._sink = sink

    def StreamEvents(  # noqa: N802 - the name of the protocol
        self, request_iterator: Iterator[Any], context: grpc.ServicerContext
    ) -> empty_pb2.Empty:
        for request in request_iterator:
            self._sink.put(request.event)
        return empty_pb2.Empty()


class Listener:
    """The event log of one command: a server to give to the CLI, and what it told us."""

    def __init__(self, stack: str, emit: Callable[[EngineEvent], None], seq: Iterator[int]) -> None:
        self._stack = stack
        self._emit = emit
        self._seq = seq
        self._queue: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._server = grpc.server(
            futures.ThreadPoolExecutor(max_workers=2), options=CHANNEL_OPTIONS
        )
        events_pb2_grpc.add_EventsServicer_to_server(_Servicer(self._queue), self._server)
        self._port = self._server.add_insecure_port("127.0.0.1:0")
        self._writer = threading.Thread(target=self._write, daemon=True)
        self._seen: Counter[str] = Counter()
        self.plan: dict[str, PlannedResource] = {}
        self.diagnostics: list[Diagnostic] = []
        self.changes: dict[str, int] | None = None
        self.planned_outputs: dict[str, Any] = {}
        """What the stack would export; UNKNOWN where that is not known, or is a secret."""
        self.stack_outputs: dict[str, Any] | None = None
        """What the stack exports; None when unseen, or when it holds a secret."""

    @property
    def address(self) -> str:
        return f"tcp://127.0.0.1:{self._port}"

    def start(self) -> None:
        self._server.start()
        self._writer.start()

    def stop(self) -> None:
        """Wait for the stream's end and for the last line to be written."""
        self._server.stop(grace=5).wait()
        self._queue.put(None)
        self._writer.join()

    def is_complete(self) -> bool:
        """Say whether as many resource events arrived as the engine's summary counts."""
        if self.changes is None:
            return False
        return all(self._seen[op] >= count for op, count in self.changes.items())

    def _write(self) -> None:
        while (text := self._queue.get()) is not None:
            event = json.loads(text)
            for name, handler in self._handlers().items():
                if name in event:
                    handler(event[name])

    def _handlers(self) -> dict[str, Callable[[dict[str, Any]], None]]:
        return {
            "resourcePreEvent": self._on_started,
            "resOutputsEvent": self._on_done,
            "resOpFailedEvent": self._on_failed,
            "diagnosticEvent": self._on_diagnostic,
            "summaryEvent": self._on_summary,
        }

    def _on_started(self, event: dict[str, Any]) -> None:
        metadata = event["metadata"]
        self._send("resource.started", metadata)
        if event.get("planning"):
            self._seen[metadata["op"]] += 1
        planned = _planned(metadata)
        known = self.plan.get(planned.urn)
        # A replacement is told in three parts, in an order that depends on which copy goes first.
        # Its last part may know the old inputs only: the new ones are what is to be approved.
        if known is None or known.op != "replace" or metadata["op"] == "replace":
            self.plan[planned.urn] = planned

    def _on_done(self, event: dict[str, Any]) -> None:
        if not event.get("planning"):
            self._seen[event["metadata"]["op"]] += 1
        self._send("resource.done", event["metadata"])
        if event["metadata"]["type"] != _STACK:
            return
        outputs = (event["metadata"].get("new") or {}).get("outputs") or {}
        if event.get("planning"):
            self.planned_outputs = {key: _planned_output(value) for key, value in outputs.items()}
        else:
            hidden = _SECRET in json.dumps(outputs)
            self.stack_outputs = None if hidden else outputs

    def _on_failed(self, event: dict[str, Any]) -> None:
        self._send("resource.failed", event["metadata"])

    def _on_diagnostic(self, event: dict[str, Any]) -> None:
        severity = str(event.get("severity", "info"))
        if event.get("ephemeral") or severity not in _SHOWN_SEVERITIES:
            return
        message = redact(str(event.get("message", ""))).strip()
        urn = event.get("urn") or None
        self.diagnostics.append(Diagnostic(severity=severity, urn=urn, message=message))
        self._emit(
            self._line("diagnostic").model_copy(
                update={"urn": urn, "severity": severity, "message": message}
            )
        )

    def _on_summary(self, event: dict[str, Any]) -> None:
        self.changes = {str(k): int(v) for k, v in (event.get("resourceChanges") or {}).items()}
        self._emit(self._line("summary").model_copy(update={"changes": self.changes}))

    def _send(self, event: Any, metadata: dict[str, Any]) -> None:
        self._emit(
            self._line(event).model_copy(
                update={
                    "urn": metadata["urn"],
                    "type": metadata["type"],
                    "op": metadata["op"],
                }
            )
        )

    def _line(self, event: Any) -> EngineEvent:
        return EngineEvent(seq=next(self._seq), stack=self._stack, event=event, at=time.time())


def _planned(metadata: dict[str, Any]) -> PlannedResource:
    old = (metadata.get("old") or {}).get("inputs") or {}
    new = (metadata.get("new") or {}).get("inputs") or {}
    op = "replace" if metadata["op"] in _REPLACEMENT else metadata["op"]
    return PlannedResource(
        urn=metadata["urn"],
        type=metadata["type"],
        op=op,
        inputs=new or old,
        changes=tuple(
            PropertyChange(path=path, kind=kind, old=_at(old, path), new=_at(new, path))
            for path, kind in sorted(_changed(metadata).items())
        ),
        parent=(metadata.get("new") or {}).get("parent") or "",
        # A reference is the URN and the id, which a provider that is not there yet has not.
        provider=(metadata.get("provider") or "").rpartition("::")[0],
    )


def _planned_output(value: Any) -> Any:
    return UNKNOWN if _SECRET in json.dumps(value) else value


def _changed(metadata: dict[str, Any]) -> dict[str, str]:
    """Return the paths that differ and how; by whole properties where the provider says no more."""
    detailed = metadata.get("detailedDiff") or {}
    if detailed:
        return {
            path: str(change.get("diffKind", "update")).removeprefix("diff-")
            for path, change in detailed.items()
        }
    forcing = set(metadata.get("keys") or ())
    return {
        key: "update-replace" if key in forcing else "update"
        for key in {*(metadata.get("diffs") or ()), *forcing}
    }


def _at(inputs: Any, path: str) -> Any:
    """Return the value at a path of the engine; a secret on the way there hides what is in it."""
    found = inputs
    for quoted, index, name in _STEPS_OF_A_PATH.findall(path):
        if found == _SECRET:
            return found
        if index:
            position = int(index)
            is_there = isinstance(found, list) and position < len(found)
            found = found[position] if is_there else None
        else:
            key = json.loads(f'"{quoted}"') if quoted else name
            found = found.get(key) if isinstance(found, dict) else None
    return found
