"""The engine's child process: `python -m controlplane.adapters.pulumi.child`.

Started by `process.py` with an allow-listed environment, in a session of its own. Reads JSON lines
on standard input (one `OpenSpec`, then `Command`s), writes JSON lines (`Ready`, events, results).
Separate from the worker so that a hang, a crash or a memory leak of an engine takes nothing along,
and so that one import of the SDK serves the previews and the applies of a whole run.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import count
from pathlib import Path
from typing import TextIO

from controlplane.adapters.pulumi.cli import Cli, Outcome, die_with_parent
from controlplane.adapters.pulumi.messages import (
    Command,
    EngineEvent,
    Line,
    OpenSpec,
    Ready,
    Result,
)
from controlplane.adapters.redaction import redact

_STALE_FENCE = "ringfence: stale fence"


class _Out:
    """The pipe to the worker: whole lines, one writer at a time."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def send(self, line: Line) -> None:
        with self._lock:
            self._stream.write(line.model_dump_json() + "\n")
            self._stream.flush()


class Child:
    """One opened engine: executes commands until its input ends."""

    def __init__(self, spec: OpenSpec, out: _Out) -> None:
        self._spec = spec
        self._out = out
        self._seq: Iterator[int] = count(1)
        environment = {
            **os.environ,
            "PULUMI_BACKEND_URL": spec.backend_url,
            "PULUMI_HOME": spec.pulumi_home,
            "PULUMI_AUTOMATION_API": "true",
            # Makes the event log a flag of the CLI, as the SDK itself does.
            "PULUMI_DEBUG_COMMANDS": "true",
        }
        self._cli = Cli(spec.pulumi, spec.work_dir, environment)
        project = {"name": spec.project, "runtime": {"name": "python"}, "main": spec.work_dir}
        # JSON is YAML, and needs no YAML library in this process.
        (Path(spec.work_dir) / "Pulumi.yaml").write_text(json.dumps(project))

    def execute(self, command: Command) -> Result:
        """Run one command to its end; failures of the engine are part of the result."""
        started = time.monotonic()
        handler = {
            "outputs": self._outputs,
            "export": self._export,
            "import": self._import,
            "unlock": self._unlock,
        }.get(command.operation, self._engine_run)
        result = handler(command)
        return result.model_copy(update={"seconds": round(time.monotonic() - started, 3)})

    def _engine_run(self, command: Command) -> Result:
        # Imported here: reading state needs neither gRPC nor the SDK.
        from controlplane.adapters.pulumi import program
        from controlplane.adapters.pulumi.listener import Listener

        try:
            context = (
                program.served(program.load(command.program), command.inputs, command.upstream)
                if command.program
                else nullcontext()
            )
        except program.ProgramError as error:
            return self._failed(command, "program-failed", str(error))
        if created := self._ensure_stack(command):
            return created
        listener = Listener(command.stack, self._emit, self._seq)
        listener.start()
        try:
            with context as address:
                outcome = self._cli.run(self._arguments(command, address, listener.address))
        finally:
            listener.stop()
        result = self._result(command, outcome).model_copy(
            update={
                "plan": tuple(listener.plan.values()) if command.operation == "preview" else (),
                "diagnostics": tuple(listener.diagnostics),
                "changes": listener.changes or {},
                "complete": listener.is_complete(),
            }
        )
        if command.operation == "preview":
            return result.model_copy(update={"outputs": listener.planned_outputs})
        if result.ok and command.operation in ("up", "refresh"):
            # The event hides secrets: only then is it worth another start of the CLI.
            outputs = listener.stack_outputs
            if outputs is None:
                outputs = self._outputs(command).outputs
            result = result.model_copy(update={"outputs": outputs})
        return result

    def _arguments(self, command: Command, client: str | None, events: str) -> list[str]:
        arguments: list[str] = [command.operation, "--stack", command.stack]
        if command.operation != "preview":
            arguments.append("--yes")
        if command.operation in ("up", "destroy", "refresh"):
            arguments.append("--skip-preview")
        arguments += ["--parallel", str(self._spec.parallel), "--color", "never"]
        arguments += ["--suppress-outputs", "--event-log", events]
        if command.operation != "preview":
            arguments.append("--suppress-progress")
        if command.refresh:
            arguments.append("--refresh")
        if command.keep_protected:
            arguments.append("--exclude-protected")
        if client:
            arguments += ["--client", client]
        return [*arguments, "--exec-kind", "auto.inline" if client else "auto.local"]

    def _ensure_stack(self, command: Command) -> Result | None:
        """Make the stack if it is new; the settings of an old one are read from its state."""
        if command.exists:
            return None
        made = self._cli.run(
            ["stack", "init", command.stack, "--secrets-provider", "passphrase", "--no-select"]
        )
        if made.code == 0 or "already exists" in made.stderr:
            return None
        return self._result(command, made)

    def _outputs(self, command: Command) -> Result:
        outcome = self._cli.run(
            ["stack", "output", "--json", "--show-secrets", "--stack", command.stack]
        )
        result = self._result(command, outcome)
        if not result.ok:
            return result
        return result.model_copy(update={"outputs": json.loads(outcome.stdout)})

    def _export(self, command: Command) -> Result:
        path = self._state_file()
        outcome = self._cli.run(["stack", "export", "--stack", command.stack, "--file", str(path)])
        result = self._result(command, outcome)
        if not result.ok:
            return result
        document = json.loads(path.read_text())
        path.unlink()
        return result.model_copy(update={"deployment": document})

    def _import(self, command: Command) -> Result:
        if created := self._ensure_stack(command):
            return created
        path = self._state_file()
        path.write_text(json.dumps(command.deployment))
        outcome = self._cli.run(["stack", "import", "--stack", command.stack, "--file", str(path)])
        path.unlink()
        return self._result(command, outcome)

    def _unlock(self, command: Command) -> Result:
        return self._result(command, self._cli.run(["cancel", "--yes", "--stack", command.stack]))

    def _state_file(self) -> Path:
        path = Path(self._spec.work_dir) / "state.json"
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600))
        return path

    def _result(self, command: Command, outcome: Outcome) -> Result:
        if outcome.code == 0:
            return Result(operation=command.operation, stack=command.stack, ok=True)
        text = redact("\n".join(part for part in (outcome.stderr, outcome.stdout) if part))
        return self._failed(command, _error_code(text), text[-4000:])

    def _failed(self, command: Command, code: str, message: str) -> Result:
        return Result(
            operation=command.operation,
            stack=command.stack,
            ok=False,
            error_code=code,
            error=message,
            complete=False,
        )

    def _emit(self, event: EngineEvent) -> None:
        self._out.send(event)


def _error_code(text: str) -> str:
    if _STALE_FENCE in text:
        return "stale-fence"
    if "the stack is currently locked" in text:
        return "locked"
    if "no stack named" in text:
        return "no-stack"
    return "engine-failed"


def main() -> int:
    """Serve commands until standard input ends."""
    started = time.monotonic()
    die_with_parent()
    # The CLI is forked and replaced at once: gRPC's own fork handlers would only be in the way.
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "false"
    # Whatever a program prints goes to standard error, so that the pipe carries only our lines.
    out = _Out(os.fdopen(os.dup(1), "w", encoding="utf-8"))
    os.dup2(2, 1)
    # The group's SIGINT is for the CLI, which then stops in order; this process waits for it.
    signal.signal(signal.SIGINT, lambda *_: None)
    lines = iter(sys.stdin.readline, "")
    first = next(lines, None)
    if first is None:
        return 0
    child = Child(OpenSpec.model_validate_json(first), out)
    out.send(Ready(pid=os.getpid(), seconds=round(time.monotonic() - started, 3)))
    for line in lines:
        out.send(child.execute(Command.model_validate_json(line)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
