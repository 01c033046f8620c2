"""Compare a stack's state with the cloud, on a copy that nobody keeps. Pure but for `read_stacks`.

Called by the step `scan` of `install_drift`. Separate from `stacks` because nothing here may claim
or write the boundary's state: a reading run must never stop a writing run's engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from controlplane.adapters.pulumi.engine import EngineRun
from controlplane.adapters.pulumi.recovery import MAX_REMOVED_SHARE
from controlplane.core.errors import ConflictError
from controlplane.sagas.provisioning.access import Context, open_account
from controlplane.sagas.provisioning.stacks import quiet, resources_of
from proof.canonical import digest

# Pulumi's marker of special values inside an object (sdk/go/common/resource/sig.go).
_SIGNATURE = "4dabf18193072939515e22adb298388d"
_MAX_VALUE = 300
_ABSENT = "(not set)"


@dataclass(frozen=True)
class Property:
    """One property that is not as the state has it; values as people read them."""

    path: str
    was: str
    now: str

    def document(self) -> dict[str, str]:
        """Return it as it is kept and shown."""
        return {"path": self.path, "was": self.was, "is": self.now}


@dataclass(frozen=True)
class Found:
    """One resource that was changed or deleted outside of our runs."""

    stack: str
    urn: str
    type: str
    name: str
    cloud_id: str
    change: str
    properties: tuple[Property, ...] = ()

    @property
    def digest(self) -> str:
        """Return what makes it this finding and no other."""
        return digest({**asdict(self), "properties": [p.document() for p in self.properties]})

    def document(self) -> dict[str, Any]:
        """Return it as a step gives it and as its row holds it."""
        return {
            **asdict(self),
            "digest": self.digest,
            "properties": [p.document() for p in self.properties],
        }


def read_stacks(context: Context) -> list[Found]:
    """Refresh a scratch copy of every stack and return what differs.

    Raises: ConflictError when so much seems gone that the account may not be the right one.
    """
    run, params, ports = context.run, context.params, context.ports
    found: list[Found] = []
    with open_account(context) as opened:
        engine_run = EngineRun(
            boundary_id=run.boundary_id,
            run_id=run.id,
            fence=run.fence,
            project=params.project,
            region=params.region,
            credentials=opened.endpoint,
        )
        with ports.engine.open_scratch(engine_run) as session:
            for stack in params.stacks:
                context.check()
                before = ports.state.export_stack(run.boundary_id, params.project, stack.name)
                if before is None or not resources_of(before):
                    continue
                context.progress(message=f"reading {stack.name}")
                session.import_state(stack.name, before)
                session.refresh(stack.name, quiet(context))
                found += compare(stack.name, before, session.export(stack.name))
    return found


def compare(stack: str, before: dict[str, Any], after: dict[str, Any]) -> list[Found]:
    """Return what a refresh changed of one stack's state, sorted by URN.

    Raises: ConflictError `unclear-refresh`: unreachable is not gone.
    """
    live = {r["urn"]: r for r in resources_of(after)}
    known = [r for r in resources_of(before) if r.get("id")]
    gone = [r for r in known if r["urn"] not in live]
    if known and len(gone) / len(known) > MAX_REMOVED_SHARE:
        raise ConflictError(
            f"{len(gone)} of {len(known)} resources of {stack} are not found: unreachable is not"
            " gone",
            code="unclear-refresh",
            fix="look whether the account and the region are the right ones and answer",
        )
    found = [_finding(stack, r, "deleted") for r in gone]
    for resource in known:
        if resource["urn"] in live and (differs := _properties(resource, live[resource["urn"]])):
            found.append(_finding(stack, resource, "changed", differs))
    return sorted(found, key=lambda item: item.urn)


def _finding(
    stack: str, resource: Mapping[str, Any], change: str, properties: tuple[Property, ...] = ()
) -> Found:
    return Found(
        stack=stack,
        urn=resource["urn"],
        type=resource["type"],
        name=resource["urn"].rsplit("::", 1)[-1],
        cloud_id=resource["id"],
        change=change,
        properties=properties,
    )


def _properties(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Property, ...]:
    """Compare what we set, not what the cloud reports beside it; what the program ignores stays."""
    ignored = tuple(before.get("ignoreChanges") or ())
    differs = _differences("", before.get("inputs") or {}, after.get("inputs") or {})
    return tuple(
        p for p in differs if not any(p.path == i or p.path.startswith(f"{i}.") for i in ignored)
    )


def _differences(path: str, was: Any, now: Any) -> list[Property]:
    if _is_secret(was) or _is_secret(now):
        # Both are ciphertexts, and the same value has another one each time.
        return []
    if isinstance(was, dict) and isinstance(now, dict):
        return [
            difference
            for key in sorted({*was, *now})
            if not key.startswith("__")
            for difference in _differences(
                f"{path}.{key}" if path else key, was.get(key), now.get(key)
            )
        ]
    if was == now or (_is_empty(was) and _is_empty(now)):
        return []
    return [Property(path, _shown(was), _shown(now))]


def _is_secret(value: Any) -> bool:
    return isinstance(value, dict) and _SIGNATURE in value


def _is_empty(value: Any) -> bool:
    return value is None or value in ("", [], {})


def _shown(value: Any) -> str:
    if value is None:
        return _ABSENT
    if _holds_secret(value):
        return "[secret]"
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= _MAX_VALUE else f"{text[:_MAX_VALUE]}…"


def _holds_secret(value: Any) -> bool:
    if isinstance(value, dict):
        return _is_secret(value) or any(_holds_secret(item) for item in value.values())
    return isinstance(value, list) and any(_holds_secret(item) for item in value)
