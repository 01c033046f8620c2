"""What a grant asks for as text: signs and words, one line per action, its reasons under it.

Used by `ringfence grant show --diff` and before an approval. Separate from the commands, which only
ask for it. The API has the same with all of its fields, printed by `--json`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ringfence.cli.output import out, utc

SIGNS = {
    "added": "+", "removed": "-", "widened": ">", "narrowed": "<", "changed": "~",
    "unchanged": "=",
}  # fmt: skip
_POWER = {
    "more": "can do more",
    "less": "can do less",
    "unclear": "neither more nor less is proven",
    "same": "",
}


def in_figures(found: dict[str, Any]) -> str:
    """Return a sentence: compared with what, and how many lines of each kind."""
    counts = found["counts"]
    words = [f"{counts[kind]} {kind}" for kind in SIGNS if counts[kind]]
    base = found["compared_with"]
    if base is None:
        return f"the first access of this boundary: {', '.join(words)}"
    if not base["kept"]:
        return f"g{base['number']} was open before, but its statements were not kept: all is new"
    if counts["settings"]:
        words.append(f"{counts['settings']} other settings changed")
    by = f", approved by {base['decided_by']['subject']}" if base["decided_by"] else ""
    return (
        f"compared with g{base['number']}, open since {utc(base['activated_at'])}{by}:"
        f" {', '.join(words)}; {counts['more_power']} let the role do more"
    )


def print_diff(found: dict[str, Any], *, whole: bool) -> None:
    """Print the differences; with `whole`, or where there is nothing to compare, every line."""
    base = found["compared_with"]
    is_first = base is None or not base["kept"]
    out.print(in_figures(found), markup=False)
    out.print(f"digest {found['digest']}", markup=False)
    for part in found["parts"]:
        lines = [
            line
            for line in found["lines"]
            if line["part"] == part["name"] and (whole or line["status"] != "unchanged")
        ]
        if lines:
            out.print(f"\n{part['title']}", markup=False)
        for line in lines:
            for text in _line(line):
                out.print(text, markup=False)
    if found["settings"] and not is_first:
        out.print("\nOther settings of the template", markup=False)
        for setting in found["settings"]:
            before, after = (setting[side] or "not set" for side in ("before", "after"))
            out.print(f"  ~ {setting['path']}: {before} -> {after}", markup=False)


def _line(line: dict[str, Any]) -> Iterator[str]:
    deny = "deny " if line["effect"] == "Deny" else ""
    facts = [line["status"], ", ".join(line["levels"]), _POWER[line["power"]]]
    yield (
        f"  {SIGNS[line['status']]} {deny}{', '.join(line['actions'])}"
        f"  ({'; '.join(fact for fact in facts if fact)})"
    )
    for reason in _reasons(line):
        yield f"      {reason}"
    if line["status"] in ("added", "unchanged"):
        yield from _uses("", line["after"])
    elif line["status"] == "removed":
        yield from _uses("was ", line["before"])
    else:
        yield from _uses("was ", line["before"])
        yield from _uses("now ", line["after"])


def _reasons(line: dict[str, Any]) -> Iterator[str]:
    uses = line["after"] or line["before"]
    statements = [s for use in uses for s in use["statements"]]
    yield from dict.fromkeys(s["reason"] or f"statement {s['name']}" for s in statements)
    for evidence in line["evidence"]:
        yield f"needed: {evidence['text']} ({evidence['kind']}, {evidence['action']})"
    if line["part"] == "permissions" and line["effect"] == "Allow" and not line["evidence"]:
        yield "no evidence: nothing is known to call it"


def _uses(when: str, uses: list[dict[str, Any]]) -> Iterator[str]:
    for use in uses:
        if use["principals"]:
            yield f"      {when}by {', '.join(use['principals'])}"
        if use["resources"]:
            yield f"      {when}on {', '.join(use['resources'])}"
        for condition in use["conditions"]:
            yield f"      {when}only if {condition['words']}"
