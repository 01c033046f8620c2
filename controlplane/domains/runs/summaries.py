"""Say in a few words what a finished step did, from its own output. Pure.

Called by `service` for every step that is shown. Separate so that the words for people stay out of
the saga, whose outputs are facts for later steps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

Output = Mapping[str, Any]


def _size(count: int) -> str:
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def _checks(output: Output) -> str:
    warned = sum(1 for check in output["checks"] if check["state"] == "warn")
    return f"{len(output['checks'])} checks" + (f", {warned} to note" if warned else "")


def _planned(output: Output) -> str:
    totals = Counter[str]()
    for stack in output["counts"].values():
        totals.update(stack)
    words = ("create", "update", "replace", "delete", "retain")
    named = [f"{totals[op]} to {op}" for op in words if totals[op]]
    return ", ".join(named) or "nothing to change"


def _compared(output: Output) -> str:
    left = f"{output['findings']} findings" if output["findings"] else "as applied"
    return f"{left}, {output['remediated']} set right" if output["remediated"] else left


def _tokens(output: Output) -> str:
    return f"{sum(report['output_tokens'] for report in output['smoke'])} tokens"


SUMMARIES: Mapping[str, Callable[[Output], str]] = {
    "preflight": _checks,
    "plan": _planned,
    "account": _compared,
    "weights": lambda o: _size(sum(model["size"] for model in o["models"])),
    "images": lambda o: _size(sum(image["bytes"] for image in o["images"])),
    "stack": lambda o: str(o["chart"]),
    "agent": lambda o: f"version {o['version']}",
    "desired": lambda o: f"bundle {o['sequence']}, {len(o.get('signers', ()))} keys",
    "ready": lambda o: f"{len(o['ready'])} resources",
    "first-answer": _tokens,
    "census": lambda o: f"{o['findings']} findings",
    "reach_close": lambda o: f"{len(o['proofs'])} attempts denied",
    "power-off": lambda o: str(o["proof"]["error_code"]),
    "role-delete": lambda o: f"by the {o['closed_by']}",
    "kit": lambda o: _size(o["size_bytes"]),
    "proof": lambda o: str(o["proof"]["error_code"]),
}


def summarise(key: str, output: Output | None, counts: Mapping[str, Mapping[str, int]]) -> str:
    """Return what a step did; empty while it has no output, or nothing is worth saying.

    `counts` are the plan's operations per stack: a step named like a stack applied them. An output
    written by an older worker may lack a field; then nothing is said rather than something wrong.
    """
    if output is None:
        return ""
    if key in counts:
        idle = counts[key].get("same", 0) + counts[key].get("retain", 0)
        return f"{sum(counts[key].values()) - idle} resources"
    describe = SUMMARIES.get(key)
    if describe is None:
        return ""
    try:
        return describe(output)
    except (KeyError, TypeError):
        return ""
