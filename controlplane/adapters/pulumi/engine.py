"""The infrastructure engine as the sagas see it: open a session for a run, preview, apply, destroy.

`InfrastructureEngine` is the port; `PulumiEngine` is the real one. Separate from the child so that
the worker never imports the Pulumi SDK, and from `process.py`, which knows processes only.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

from controlplane.adapters.handover import CredentialEndpoint, write_private
from controlplane.adapters.pulumi.environment import RunFolder, child_environment
from controlplane.adapters.pulumi.errors import EngineStoppedError, raise_for
from controlplane.adapters.pulumi.messages import (
    Command,
    EngineEvent,
    FromChild,
    OpenSpec,
    Operation,
    ProgramRef,
    Ready,
    Result,
)
from controlplane.adapters.pulumi.process import ChildProcess, Limits, ProcessIdentity
from controlplane.adapters.pulumi.state import StateStore
from controlplane.adapters.redaction import redact
from controlplane.core.errors import UnavailableError
from controlplane.core.logging import get

log = get(__name__)
OnEvent = Callable[[EngineEvent], None]
_TAIL = 4000


@dataclass(frozen=True)
class EngineSettings:
    """Where the engine's programs and files are; the same for every run."""

    pulumi: Path
    plugins: Path
    work_root: Path
    passphrase_file: Path
    """Key of the secrets in state, on the control plane's side (decision 11); mode 0600."""
    aws_endpoint_url: str | None = None
    parallel: int = 8
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class EngineRun:
    """On whose behalf an engine works; `fence` is the run's present one."""

    boundary_id: UUID
    run_id: UUID
    fence: int
    project: str
    """Pulumi project of the boundary's install; lower case, digits and dashes."""
    region: str
    credentials: CredentialEndpoint | None


@dataclass(frozen=True)
class StackProgram:
    """One stack and what to run for it; `upstream` is None while it is not known."""

    stack: str
    program: ProgramRef
    inputs: dict[str, Any]
    upstream: dict[str, Any] | None = None


class EngineSession(Protocol):
    """An open engine; one command at a time. Every method raises the classes of `errors.py`."""

    def preview(
        self, target: StackProgram, on_event: OnEvent, *, refresh: bool = False
    ) -> Result: ...

    def up(self, target: StackProgram, on_event: OnEvent, *, refresh: bool = False) -> Result: ...

    def destroy(self, stack: str, on_event: OnEvent, *, keep_protected: bool = False) -> Result: ...

    def refresh(self, stack: str, on_event: OnEvent) -> Result: ...

    def outputs(self, stack: str) -> dict[str, Any]: ...

    def export(self, stack: str) -> dict[str, Any]: ...

    def import_state(self, stack: str, deployment: dict[str, Any]) -> None: ...

    def interrupt(self) -> None: ...


class InfrastructureEngine(Protocol):
    """Opens sessions; the context's end leaves no process behind."""

    def open(
        self, run: EngineRun, on_start: Callable[[ProcessIdentity], None] | None = None
    ) -> AbstractContextManager[EngineSession]: ...

    def open_scratch(self, run: EngineRun) -> AbstractContextManager[EngineSession]: ...


class PulumiEngine:
    """The real engine: the CLI in a supervised child, state in PostgreSQL."""

    def __init__(self, settings: EngineSettings, state: StateStore) -> None:
        self._settings = settings
        self._state = state

    def check(self) -> str:
        """Return the CLI's version. Raises: UnavailableError when it cannot be run."""
        try:
            done = subprocess.run(
                [self._settings.pulumi, "version"],
                env={"PATH": "/usr/bin:/bin", "PULUMI_SKIP_UPDATE_CHECK": "true"},
                capture_output=True,
                text=True,
                timeout=30,
                check=True,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise UnavailableError(
                f"the engine {self._settings.pulumi} cannot be run",
                fix="set RINGFENCE_TOOL_PULUMI to the pinned Pulumi CLI",
            ) from error
        return done.stdout.strip()

    def folder(self, run_id: UUID) -> RunFolder:
        """Return the run's folder; recovery reads the old engine's identity from it."""
        return RunFolder(self._settings.work_root / str(run_id))

    @contextmanager
    def open(
        self, run: EngineRun, on_start: Callable[[ProcessIdentity], None] | None = None
    ) -> Iterator[PulumiSession]:
        """Start a child for the run; `on_start` gets its identity before any command.

        The state must have been claimed with the run's fence, else the first write is refused.
        """
        with self._open(
            run,
            self._state.backend_url(run.boundary_id, run.run_id, run.fence),
            self._state.pgpass_line(),
            lambda stack: self._state.has_stack(run.boundary_id, run.project, stack),
            on_start,
        ) as session:
            yield session

    @contextmanager
    def open_scratch(self, run: EngineRun) -> Iterator[PulumiSession]:
        """Start a child whose state is empty and is erased at the end: for a look that is not kept.

        It has no way to the boundary's state and needs no claim.
        """
        scratch = self.folder(run.run_id).root / "scratch"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True, mode=0o700)
        made: set[str] = set()

        def exists(stack: str) -> bool:
            known = stack in made
            made.add(stack)
            return known

        try:
            with self._open(run, f"file://{scratch}", "", exists, None) as session:
                yield session
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    @contextmanager
    def _open(
        self,
        run: EngineRun,
        backend_url: str,
        pgpass: str,
        exists: Callable[[str], bool],
        on_start: Callable[[ProcessIdentity], None] | None,
    ) -> Iterator[PulumiSession]:
        folder = self.folder(run.run_id)
        folder.prepare(self._settings.plugins, pgpass)
        environment = child_environment(
            folder,
            region=run.region,
            aws_endpoint_url=self._settings.aws_endpoint_url,
            credentials=run.credentials,
            passphrase_file=self._settings.passphrase_file,
        )
        stderr = folder.root / "engine.log"
        stderr.unlink(missing_ok=True)
        process = ChildProcess(
            [sys.executable, "-m", "controlplane.adapters.pulumi.child"],
            environment,
            folder.work,
            stderr,
            self._settings.limits,
        )
        session: PulumiSession | None = None
        try:
            write_private(folder.identity, process.identity.model_dump_json())
            if on_start:
                on_start(process.identity)
            spec = self._spec(run, folder, backend_url)
            session = PulumiSession(process, spec, stderr, exists)
            yield session
        finally:
            process.close()
            log.info(
                "engine.closed",
                run_id=str(run.run_id),
                resources=session.created if session else 0,
                **process.usage.document(),
            )
            folder.identity.unlink(missing_ok=True)
            folder.pgpass.unlink(missing_ok=True)

    def _spec(self, run: EngineRun, folder: RunFolder, backend_url: str) -> OpenSpec:
        return OpenSpec(
            project=run.project,
            backend_url=backend_url,
            pulumi=str(self._settings.pulumi),
            work_dir=str(folder.work),
            pulumi_home=str(folder.pulumi_home),
            parallel=self._settings.parallel,
        )


class PulumiSession:
    """One open child."""

    def __init__(
        self,
        process: ChildProcess,
        spec: OpenSpec,
        stderr: Path,
        has_stack: Callable[[str], bool],
    ) -> None:
        self._process = process
        self._stderr = stderr
        self._has_stack = has_stack
        self.created = 0
        """Resources that its applies made."""
        self._lines = process.lines()
        self._write(spec.model_dump_json())
        ready = next(self._messages(), None)
        if not isinstance(ready, Ready):
            raise self._stopped()
        self.start_seconds = ready.seconds

    def preview(self, target: StackProgram, on_event: OnEvent, *, refresh: bool = False) -> Result:
        """Return the plan of a stack: `plan` holds one entry per resource, `outputs` what it would
        export, UNKNOWN where only an apply tells.

        With `refresh` it is planned from what the cloud holds now; the state stays as it is.
        """
        return self._run("preview", target.stack, on_event, target=target, refresh=refresh)

    def up(self, target: StackProgram, on_event: OnEvent, *, refresh: bool = False) -> Result:
        """Create or update a stack; `outputs` holds what it exports.

        With `refresh` the state is first brought to what the cloud holds.
        """
        result = self._run("up", target.stack, on_event, target=target, refresh=refresh)
        self.created += result.changes.get("create", 0)
        return result

    def destroy(self, stack: str, on_event: OnEvent, *, keep_protected: bool = False) -> Result:
        """Delete every resource of a stack that its state knows; gone already is no error.

        A protected resource is refused, or with `keep_protected` left with what it needs.
        """
        return self._run("destroy", stack, on_event, keep_protected=keep_protected)

    def refresh(self, stack: str, on_event: OnEvent) -> Result:
        """Read the cloud into the state."""
        return self._run("refresh", stack, on_event)

    def outputs(self, stack: str) -> dict[str, Any]:
        """Return what the stack exported last."""
        return self._run("outputs", stack, _ignore).outputs

    def export(self, stack: str) -> dict[str, Any]:
        """Return the whole state; secrets in it stay encrypted."""
        return self._run("export", stack, _ignore).deployment or {}

    def import_state(self, stack: str, deployment: dict[str, Any]) -> None:
        """Put a whole state in place."""
        self._run("import", stack, _ignore, deployment=deployment)

    def interrupt(self) -> None:
        """Stop in order: the engine finishes what it has begun; killed after the grace time."""
        self._process.interrupt("engine-interrupted")

    def _run(
        self,
        operation: Operation,
        stack: str,
        on_event: OnEvent,
        *,
        target: StackProgram | None = None,
        refresh: bool = False,
        keep_protected: bool = False,
        deployment: dict[str, Any] | None = None,
    ) -> Result:
        command = Command(
            operation=operation,
            stack=stack,
            program=target.program if target else None,
            inputs=target.inputs if target else {},
            upstream=target.upstream if target else None,
            exists=self._has_stack(stack),
            refresh=refresh,
            keep_protected=keep_protected,
            deployment=deployment,
        )
        self._write(command.model_dump_json())
        failure: Exception | None = None
        for message in self._messages():
            if isinstance(message, Result):
                if failure is not None:
                    raise failure
                if self._process.stop_reason:
                    raise self._stopped()
                return raise_for(message)
            if isinstance(message, EngineEvent) and failure is None:
                failure = self._deliver(on_event, message)
        raise failure or self._stopped()

    def _deliver(self, on_event: OnEvent, event: EngineEvent) -> Exception | None:
        try:
            on_event(event)
        except Exception as error:  # noqa: BLE001 - edge: raised once the engine stopped
            self._process.interrupt("engine-interrupted")
            return error
        return None

    def _messages(self) -> Iterator[EngineEvent | Result | Ready]:
        for line in self._lines:
            yield FromChild.validate_json(line)

    def _write(self, line: str) -> None:
        try:
            self._process.send(line)
        except BrokenPipeError as error:
            raise self._stopped() from error

    def _stopped(self) -> EngineStoppedError:
        reason = self._process.stop_reason or "engine-died"
        with self._stderr.open(errors="replace") as file:
            tail = redact("".join(deque(file, maxlen=40)))[-_TAIL:]
        words = {
            "engine-timeout": "ran longer than its budget",
            "engine-memory": "used more memory than it may",
            "engine-interrupted": "was interrupted",
            "engine-died": "died",
        }
        return EngineStoppedError(
            f"the engine {words[reason]}; its state is kept and the next attempt goes on from it",
            code=reason,
            internal_context={"stderr": tail},
        )


def _ignore(_: EngineEvent) -> None:
    return None
