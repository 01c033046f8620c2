"""The program without an engine: Pulumi's mocks, in a process of their own.

Mocks are global to a process and leave its event loop behind, so each run gets a fresh one: reads a
request as JSON on standard input, prints what was registered.
"""

import importlib
import json
import sys
from typing import Any

import pulumi
from pulumi.runtime import mocks, settings, stack


class Recorder(mocks.Mocks):
    """Keep every registration, and answer with what AWS would have chosen."""

    def __init__(self) -> None:
        self.registered: list[dict[str, Any]] = []

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[Any, Any]]:
        """Record one resource and give it an id and an ARN."""
        self.registered.append({"type": args.typ, "name": args.name, "inputs": args.inputs})
        chosen = {
            "arn": f"arn:test:service:::{args.name}",
            "certificateAuthority": {"data": "Y2VydGlmaWNhdGU="},
        }
        return f"{args.name}-id", {**chosen, **args.inputs}

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[Any, Any], None]:
        """Refuse: the blueprint asks the provider for nothing."""
        raise AssertionError(f"the program called {args.token}")


def _unknown(value: Any) -> str:
    """Spell what is known only after apply."""
    if type(value).__name__ != "Unknown":
        raise TypeError(f"{value!r} is no JSON")
    return "<unknown>"


def main() -> None:
    """Run one entry under mocks and print its registrations."""
    request = json.load(sys.stdin)
    module, _, function = request["entry"].partition(":")
    entry = getattr(importlib.import_module(module), function)
    recorder = Recorder()
    mocks.set_mocks(recorder, project="ringfence", stack="test", preview=request["preview"])

    async def program() -> None:
        entry(request["inputs"], request["upstream"])

    settings._get_rpc_manager()
    try:
        pulumi.runtime.sync_await._sync_await(stack.run_pulumi_func(program))
    except Exception as error:  # noqa: BLE001 - the edge of this process: the test reads the text
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}))
        return
    print(json.dumps({"resources": recorder.registered}, default=_unknown))


if __name__ == "__main__":
    main()
