"""The manifest of a blueprint: all that other processes may know of an IaC program.

Written by `python -m blueprints.manifest NAME`; read by the control plane (registration, input
validation, step budgets), the policy compiler (resource types) and the command line (forms, help).
Separate because none of them may import a blueprint: programs run by reference in a child process.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
Sha256 = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
SemanticVersion = Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$")]
EntryPoint = Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]
ResourceType = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*:[\w./-]+:[A-Za-z]\w*$")]
OutputType = Literal["string", "integer", "boolean", "string_list", "string_map"]

_PYTHON_TYPES: dict[str, type] = {"string": str, "integer": int, "boolean": bool}


class Model(BaseModel):
    """Refuse unknown fields and changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class StackSpec(Model):
    """One stack of the program: it has its own state, life cycle and Pulumi run."""

    name: Name
    entry: EntryPoint
    """`module:function`; called as `function(inputs, upstream)` inside a Pulumi program.

    `upstream` is the dict of the outputs of the stacks in `depends_on`, or None at plan time.
    """
    depends_on: tuple[Name, ...] = ()
    resource_types: tuple[ResourceType, ...]
    """Every type token the stack may register; anything else is outside the blueprint."""


class Component(Model):
    """A named group of resources, for people: what it is for and which types it holds."""

    name: Name
    stack: Name
    description: str
    resource_types: tuple[ResourceType, ...]
    purposes: dict[ResourceType, str] = Field(default_factory=dict)
    """Why the component needs a type, for who approves a plan; the description says the rest."""

    retained: str | None = None
    """Why a removal leaves these resources in the account; None for those that go with it."""

    @model_validator(mode="after")
    def _purposes_are_of_its_types(self) -> Self:
        if stray := sorted(set(self.purposes) - set(self.resource_types)):
            raise ValueError(f"components.{self.name}.purposes: {stray} are not among its types")
        return self


class Latency(Model):
    """How long a slow resource takes at time scale 1, as published; always labelled simulated."""

    resource_type: ResourceType
    stack: Name
    p50_seconds: Annotated[float, Field(ge=0)]
    p90_seconds: Annotated[float, Field(ge=0)]
    source: str
    beside: ResourceType | None = None
    """The type of the same stack that it is made beside: of the two only the longer one counts."""
    only_with: dict[str, str] = {}
    """Inputs and their values without which the program makes none of the type."""

    @model_validator(mode="after")
    def _percentiles_are_ordered(self) -> Self:
        if self.p90_seconds < self.p50_seconds:
            raise ValueError(f"{self.resource_type}: p90_seconds is below p50_seconds")
        return self


class OutputSpec(Model):
    """One output of a stack, typed, so that a reader can check what it got."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
    stack: Name
    type: OutputType
    description: str
    optional: bool = False


class BlueprintManifest(Model):
    """A blueprint as the control plane knows it."""

    manifest_version: Literal[1] = 1
    name: Name
    version: SemanticVersion
    description: str
    digest: Sha256
    """SHA-256 over the program's files (path and content, sorted by path)."""
    providers: dict[str, str]
    """Provider plugins and their exact versions, e.g. `{"aws": "7.34.0"}`."""
    inputs_schema: dict[str, JsonValue]
    stacks: Annotated[tuple[StackSpec, ...], Field(min_length=1)]
    components: tuple[Component, ...]
    budgets: dict[str, Annotated[int, Field(gt=0)]]
    """Seconds a step may take at time scale 1, by step key (`foundation.up`, `cluster.up`, …)."""
    latencies: tuple[Latency, ...] = ()
    outputs: tuple[OutputSpec, ...]

    @model_validator(mode="after")
    def _names_resolve(self) -> Self:
        names = [stack.name for stack in self.stacks]
        if len(set(names)) != len(names):
            raise ValueError(f"stacks: names repeat: {names}")
        seen: set[str] = set()
        for stack in self.stacks:
            if missing := set(stack.depends_on) - seen:
                raise ValueError(
                    f"stacks.{stack.name}.depends_on: {sorted(missing)} must come before it"
                )
            seen.add(stack.name)
        owners = {item.stack for item in self.components}
        owners |= {item.stack for item in self.latencies} | {item.stack for item in self.outputs}
        if unknown := owners - seen:
            raise ValueError(
                f"components, latencies, outputs name unknown stacks {sorted(unknown)}"
            )
        if stray := {key for key in self.budgets if key.split(".", 1)[0] not in seen}:
            raise ValueError(f"budgets: {sorted(stray)} do not start with the name of a stack")
        return self

    def stack_seconds(
        self, name: str, quantile: Literal["p50", "p90"], inputs: Mapping[str, Any] | None = None
    ) -> float:
        """Return how long the slow resources of a stack take, one after another or beside it.

        `inputs` are those that were given; one that was not has its default.
        """
        given = {**self._defaults(), **(inputs or {})}
        groups: dict[str, float] = {}
        for item in self.latencies:
            wanted = all(given.get(key) == value for key, value in item.only_with.items())
            if item.stack == name and wanted:
                group = item.beside or item.resource_type
                seconds = item.p50_seconds if quantile == "p50" else item.p90_seconds
                groups[group] = max(groups.get(group, 0.0), seconds)
        return sum(groups.values())

    def _defaults(self) -> dict[str, Any]:
        """Return the defaults of the inputs, as the schema has them."""
        known = self.inputs_schema.get("properties")
        properties = known if isinstance(known, dict) else {}
        return {
            name: one["default"]
            for name, one in properties.items()
            if isinstance(one, dict) and "default" in one
        }

    def stack(self, name: str) -> StackSpec:
        """Return the stack called `name`. Raises: KeyError when there is none."""
        for candidate in self.stacks:
            if candidate.name == name:
                return candidate
        raise KeyError(f"blueprint {self.name} has no stack {name!r}")

    def output_problems(self, stack: str, values: dict[str, Any]) -> list[str]:
        """Return what is wrong with a stack's outputs, one sentence each; empty when all fit."""
        declared = {spec.name: spec for spec in self.outputs if spec.stack == stack}
        problems = [
            f"{stack}.{name}: not an output of {self.name}"
            for name in sorted(set(values) - set(declared))
        ]
        for name, spec in declared.items():
            value = values.get(name)
            if value is None:
                if not spec.optional:
                    problems.append(f"{stack}.{name}: missing")
            elif not _fits(value, spec.type):
                problems.append(f"{stack}.{name}: expected {spec.type}, got {type(value).__name__}")
        return problems


def _fits(value: Any, kind: OutputType) -> bool:
    if kind == "string_list":
        return isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)
    if kind == "string_map":
        return isinstance(value, dict) and all(isinstance(item, str) for item in value.values())
    if kind == "integer":
        # JSON from the engine's state carries numbers as floats: 2.0 is an integer here.
        return (
            not isinstance(value, bool) and isinstance(value, int | float) and value == int(value)
        )
    return isinstance(value, _PYTHON_TYPES[kind])
