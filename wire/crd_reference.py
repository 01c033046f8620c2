"""Render the reference page of the custom resources from their definitions.

Called by `wire.crd` only; separate because it is about Markdown, not about Kubernetes.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from wire.resources import (
    KINDS,
    AccessReason,
    ArtifactReason,
    BindingReason,
    BoundaryReason,
    InstanceReason,
)

_REASONS = {
    "SecurityBoundary": BoundaryReason,
    "ModelArtifact": ArtifactReason,
    "ModelInstance": InstanceReason,
    "AdapterBinding": BindingReason,
    "GatewayAccess": AccessReason,
}
_INTRODUCTION = """\
# Custom resources

Group `ringfence.dev/v1alpha1`, category `ringfence` (`kubectl get ringfence -A`). Generated from
`wire/resources` by `python -m wire.crd --write`; do not edit.

These kinds are the whole vocabulary of a boundary: the agent writes nothing else. Rules that hold
for all of them: everything is under `spec` and `status`; each condition carries the generation it
was observed for; `Ready` is the one summary; there is no `phase`; references are to the same
namespace; images and artifacts are named by digest.
"""


def reference_page(definitions: dict[str, dict[str, Any]]) -> str:
    """Return the Markdown page; `definitions` is kind name -> CustomResourceDefinition."""
    parts = [_INTRODUCTION]
    for name, crd in definitions.items():
        parts.append(_kind_section(name, crd))
    return "\n".join(parts)


def _kind_section(name: str, crd: dict[str, Any]) -> str:
    kind = KINDS[name]
    names, version = crd["spec"]["names"], crd["spec"]["versions"][0]
    columns = ", ".join(c["name"] for c in version["additionalPrinterColumns"])
    schema = version["schema"]["openAPIV3Schema"]["properties"]
    lines = [
        f"## {name}",
        "",
        f"{crd['spec']['scope']}, short name `{names['shortNames'][0]}`. Columns: {columns}.",
        "",
        "| condition | True when |",
        "|---|---|",
        *(f"| `{type_}` | {rule} |" for type_, rule in kind.conditions.items()),
        "",
    ]
    for part in ("spec", "status"):
        lines += [f"### {name} {part}", "", "| field | type | meaning |", "|---|---|---|"]
        for path, field, required in _fields(schema[part], ""):
            if ".conditions[]" in f".{path}":
                continue
            star = " (required)" if required and part == "spec" else ""
            lines.append(f"| `{path}` | {_type(field)}{star} | {_meaning(field)} |")
        rules = list(_rules(schema[part], part))
        if rules:
            lines += ["", "Rules:", "", *(f"- {rule}" for rule in rules)]
        lines.append("")
    lines += [f"### {name} reasons", "", "| reason | meaning |", "|---|---|"]
    lines += [f"| `{reason}` | {text} |" for reason, text in _reasons(name)]
    return "\n".join([*lines, ""])


def _fields(schema: dict[str, Any], prefix: str) -> Iterator[tuple[str, dict[str, Any], bool]]:
    for name, field in schema.get("properties", {}).items():
        path = f"{prefix}{name}"
        yield path, field, name in schema.get("required", [])
        yield from _fields(field, f"{path}.")
        yield from _fields(field.get("items", {}), f"{path}[].")


def _type(field: dict[str, Any]) -> str:
    if "enum" in field:
        return " or ".join(f"`{str(v).lower() if v is True else v}`" for v in field["enum"])
    if field["type"] == "array":
        return f"list of {field['items']['type']}, at most {field['maxItems']}"
    bounds = [
        f"{word} {field[key]}"
        for key, word in (("minimum", "from"), ("maximum", "to"), ("maxLength", "at most"))
        if key in field
    ]
    return " ".join([field.get("format", field["type"]), *bounds])


def _meaning(field: dict[str, Any]) -> str:
    text = " ".join(str(field.get("description", "")).split())
    default = field.get("default")
    if default not in (None, [], "") and not isinstance(default, dict):
        text += f" Default `{str(default).lower() if default is True else default}`."
    return text.replace("|", "\\|")


def _rules(schema: dict[str, Any], path: str) -> Iterator[str]:
    for rule in schema.get("x-kubernetes-validations", []):
        yield f"`{path}`: {rule['message']}"
    for name, field in schema.get("properties", {}).items():
        yield from _rules(field, f"{path}.{name}")
        yield from _rules(field.get("items", {}), f"{path}.{name}[]")


def _reasons(name: str) -> Iterator[tuple[str, str]]:
    """Yield each reason with the docstring that follows it in its enum's source."""
    lines = inspect.getsource(_REASONS[name]).splitlines()
    for reason in _REASONS[name]:
        start = next(i for i, line in enumerate(lines) if f'= "{reason.value}"' in line) + 1
        text = ""
        for line in lines[start:]:
            text += " " + line.strip()
            if line.rstrip().endswith('"""'):
                break
        yield reason.value, " ".join(text.replace('"""', "").split())
