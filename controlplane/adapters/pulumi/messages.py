"""What crosses the pipe between the worker and the engine's child process.

Written by `engine.py`, read by `child.py`, and the other way round for events and results. Separate
so that both sides share one definition without the worker importing the Pulumi SDK (94 MB, 0.9 s).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
"""The engine's spelling of "known only after apply" (pulumi/sdk/python/lib/pulumi/runtime/rpc)."""

Operation = Literal["preview", "up", "destroy", "refresh", "outputs", "export", "import", "unlock"]


class Line(BaseModel):
    """One JSON line; unknown fields are refused, because both ends are the same version."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ProgramRef(Line):
    """A blueprint's program by reference: `entry` is `module:function`, found under `root`."""

    root: str
    entry: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")


class OpenSpec(Line):
    """The first line: what holds for every command of this child."""

    kind: Literal["open"] = "open"
    project: str = Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")
    backend_url: str
    """PostgreSQL address with the run's fence in it and no password (that is in a pgpass file)."""
    pulumi: str
    work_dir: str
    pulumi_home: str
    parallel: int = Field(ge=1, le=64)
    tags: dict[str, str] = Field(default_factory=dict)


class Command(Line):
    """One operation on one stack."""

    kind: Literal["command"] = "command"
    operation: Operation
    stack: str = Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")
    program: ProgramRef | None = None
    inputs: dict[str, Any] = Field(default_factory=dict)
    upstream: dict[str, Any] | None = None
    """Outputs of the stacks it depends on; None while they do not exist yet (plan time)."""
    exists: bool = False
    """Whether the state knows the stack; the worker reads that faster than a CLI can start."""
    refresh: bool = False
    keep_protected: bool = False
    """For `destroy`: leave what the state marks as protected."""
    deployment: dict[str, Any] | None = None
    """For `import`: the whole state to put in place."""


class EngineEvent(Line):
    """One thing the engine reported, without inputs, outputs or secrets."""

    kind: Literal["event"] = "event"
    seq: int = Field(ge=1)
    stack: str
    event: Literal["resource.started", "resource.done", "resource.failed", "diagnostic", "summary"]
    urn: str | None = None
    type: str | None = None
    op: str | None = None
    severity: str | None = None
    message: str | None = None
    changes: dict[str, int] | None = None
    at: float
    """Seconds since the epoch, by the child's clock."""


class PropertyChange(Line):
    """One changed property of an update or a replacement."""

    path: str
    """As the engine writes it: `scalingConfig.desiredSize`, `tags["team"]`, `cidrs[0]`."""
    kind: str
    """`add`, `update`, `delete`; with `-replace` where it forces a replacement."""
    old: Any = None
    """From the inputs of the last apply; None when it was not set."""
    new: Any = None


class PlannedResource(Line):
    """One resource of a preview: what would be done, and with which inputs."""

    urn: str
    type: str
    op: str
    """`replace` for all that the engine calls the parts of a replacement."""
    inputs: dict[str, Any]
    """As the engine shows them: secrets are `[secret]`, values known after apply are UNKNOWN.

    Of a resource that goes they are the old ones, of every other one the new ones.
    """
    changes: tuple[PropertyChange, ...] = ()
    parent: str = ""
    provider: str = ""
    """URN of the provider that would do it; empty for what the engine does itself."""


class Diagnostic(Line):
    """An error or warning of the engine; `urn` names the resource when there is one."""

    severity: str
    urn: str | None
    message: str


class Result(Line):
    """The end of one command."""

    kind: Literal["result"] = "result"
    operation: Operation
    stack: str
    ok: bool
    error_code: str | None = None
    """`engine-failed`, `stale-fence`, `locked`, `program-failed`; stable."""
    error: str | None = None
    diagnostics: tuple[Diagnostic, ...] = ()
    plan: tuple[PlannedResource, ...] = ()
    outputs: dict[str, Any] = Field(default_factory=dict)
    changes: dict[str, int] = Field(default_factory=dict)
    complete: bool = True
    """False when fewer resource events arrived than the engine's own summary counts."""
    deployment: dict[str, Any] | None = None
    seconds: float = 0.0


class Ready(Line):
    """The child has loaded the SDK and waits for commands."""

    kind: Literal["ready"] = "ready"
    pid: int
    seconds: float


FromChild = TypeAdapter[EngineEvent | Result | Ready](
    Annotated[EngineEvent | Result | Ready, Field(discriminator="kind")]
)
