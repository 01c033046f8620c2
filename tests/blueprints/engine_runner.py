"""Run one stack with the real Pulumi engine; started by the tests as a process of its own.

Reads a request as JSON on standard input and prints one JSON object per operation. Apart from the
tests, because the Automation API changes the process's environment and keeps global state.
"""

import importlib
import json
import sys
import time
from typing import Any

from pulumi import automation


def _stack(request: dict[str, Any]) -> automation.Stack:
    module, _, function = request["entry"].partition(":")
    entry = getattr(importlib.import_module(module), function)
    backend = request["backend"]
    settings = automation.ProjectSettings(
        name="ringfence", runtime="python", backend=automation.ProjectBackend(url=backend)
    )
    return automation.create_or_select_stack(
        stack_name=request["stack"],
        project_name="ringfence",
        program=lambda: entry(request["inputs"], request["upstream"]),
        opts=automation.LocalWorkspaceOptions(project_settings=settings),
    )


def _run(stack: automation.Stack, operation: str) -> dict[str, Any]:
    if operation == "preview":
        return {"changes": {str(key): n for key, n in stack.preview().change_summary.items()}}
    if operation == "export":
        return {"deployment": stack.export_stack().deployment}
    result: Any = getattr(stack, operation)()
    outputs = {key: item.value for key, item in getattr(result, "outputs", {}).items()}
    return {"changes": dict(result.summary.resource_changes or {}), "outputs": outputs}


def main() -> None:
    """Run the requested operations in order; stop at the first error."""
    request = json.load(sys.stdin)
    stack = _stack(request)
    for operation in request["operations"]:
        started = time.monotonic()
        try:
            answer = _run(stack, operation)
        except automation.CommandError as error:
            answer = {"error": str(error)}
        answer |= {"operation": operation, "seconds": time.monotonic() - started}
        print(json.dumps(answer, default=str), flush=True)
        if "error" in answer:
            return


if __name__ == "__main__":
    main()
