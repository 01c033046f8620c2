"""Generate the CustomResourceDefinitions and their reference page from `wire.resources`.

Called by people (`python -m wire.crd --write`) and by `make check` (`--check`). Separate from the
models because it is a tool of the repository: nothing at run time imports it, and only it needs
PyYAML.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import yaml

from wire.crd_reference import reference_page
from wire.resources import GROUP, KINDS, VERSION, ResourceKind

ROOT = Path(__file__).resolve().parent.parent
CRD_FOLDER = ROOT / "charts" / "boundary-stack" / "templates" / "crds"
REFERENCE = ROOT / "docs" / "reference" / "custom-resources.md"
HEADER = "# Generated from wire/resources by: python -m wire.crd --write\n"
# A second boundary in a cluster finds the definitions there, and must not own them.
CHART_IF, CHART_END = "{{- if .Values.customResources.install }}\n", "{{- end }}\n"

_DROPPED = {"title", "additionalProperties", "patternProperties", "propertyNames", "$defs"}
_KEPT = {
    "type",
    "format",
    "description",
    "pattern",
    "enum",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "maxProperties",
    "required",
    "default",
    "x-kubernetes-validations",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
}


class SchemaError(ValueError):
    """A model uses something that a structural schema cannot say; the message names the key."""


def structural(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Return a pydantic JSON schema as a structural schema: no references, no unions.

    Raises: SchemaError for a construct that has no structural form.
    """
    schema = _resolved(schema, definitions)
    out: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _KEPT:
            out[key] = value
        elif key == "const":
            out["enum"] = [value]
        elif key == "items":
            out["items"] = structural(value, definitions)
        elif key == "properties":
            out["properties"] = {
                name: structural(part, definitions) for name, part in value.items()
            }
        elif key not in _DROPPED:
            raise SchemaError(f"{key!r} in {schema.get('title', schema)} has no structural form")
    if schema.get("type") == "object" and "properties" not in schema:
        # A structural schema cannot say what the keys look like; the models still check them.
        values = schema.get("additionalProperties") or next(
            iter(schema["patternProperties"].values())
        )
        out["additionalProperties"] = structural(values, definitions)
    if out.get("default", 0) is None:
        del out["default"]
    if out.get("type") == "integer":
        out["format"] = "int64"
    _default_optional_objects(out)
    return out


def _resolved(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Follow a reference and strip `or null`: an unset field is absent, never null."""
    rest = {k: v for k, v in schema.items() if k not in ("$ref", "anyOf")}
    if "$ref" in schema:
        return {**definitions[schema["$ref"].rsplit("/", 1)[1]], **rest}
    if "anyOf" in schema:
        options = [option for option in schema["anyOf"] if option.get("type") != "null"]
        if len(options) != 1:
            raise SchemaError(f"a union of {len(options)} shapes has no structural form")
        return {**_resolved(options[0], definitions), **rest}
    return schema


def _default_optional_objects(schema: dict[str, Any]) -> None:
    # The API server fills nested defaults only where the object around them exists.
    required = schema.get("required", [])
    for name, part in schema.get("properties", {}).items():
        wants_default = part.get("type") == "object" and "properties" in part
        has_defaults = any("default" in p for p in part.get("properties", {}).values())
        if wants_default and has_defaults and name not in required and not part.get("required"):
            # Written out, because rules are checked against the default as it stands.
            inner = part["properties"].items()
            part.setdefault("default", {n: p["default"] for n, p in inner if "default" in p})


def definition(kind: ResourceKind) -> dict[str, Any]:
    """Return the CustomResourceDefinition of one kind."""
    parts = {}
    for name, model in (("spec", kind.spec), ("status", kind.status)):
        raw = model.model_json_schema(by_alias=True)
        parts[name] = structural(raw, raw.get("$defs", {}))
    _enumerate_conditions(kind, parts["status"])
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": [
            {"name": c.name, "type": c.type, "jsonPath": c.path} for c in kind.columns
        ],
        "schema": {
            "openAPIV3Schema": {
                "type": "object",
                "required": ["spec"],
                "properties": {
                    "apiVersion": {"type": "string"},
                    "kind": {"type": "string"},
                    "metadata": {"type": "object"},
                    **parts,
                },
            }
        },
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{kind.plural}.{GROUP}",
            # An uninstalled chart must not take every resource of the boundary with it.
            "annotations": {"helm.sh/resource-policy": "keep"},
        },
        "spec": {
            "group": GROUP,
            "scope": "Namespaced" if kind.namespaced else "Cluster",
            "names": {
                "kind": kind.kind,
                "listKind": f"{kind.kind}List",
                "plural": kind.plural,
                "singular": kind.kind.lower(),
                "shortNames": [kind.short_name],
                "categories": ["ringfence"],
            },
            "versions": [version],
        },
    }


def _enumerate_conditions(kind: ResourceKind, status: dict[str, Any]) -> None:
    fields = status["properties"]["conditions"]["items"]["properties"]
    fields["type"]["enum"] = list(kind.condition_types)
    fields["reason"]["enum"] = list(kind.reasons)


def render() -> dict[Path, str]:
    """Return path -> content of every generated file."""
    files = {REFERENCE: reference_page({k.kind: definition(k) for k in KINDS.values()})}
    for kind in KINDS.values():
        text = yaml.safe_dump(definition(kind), sort_keys=False, width=100)
        if "{{" in text:
            raise SchemaError(f"{kind.kind}: a description holds template braces")
        files[CRD_FOLDER / f"{kind.plural}.yaml"] = f"{HEADER}{CHART_IF}{text}{CHART_END}"
    return files


def stale() -> list[Path]:
    """Return the generated files that differ from what the models say now."""
    return [
        path
        for path, content in render().items()
        if not path.is_file() or path.read_text(encoding="utf-8") != content
    ]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m wire.crd", description=__doc__)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--check", action="store_true", help="fail when a file is out of date")
    action.add_argument("--write", action="store_true", help="write the files")
    options = parser.parse_args(argv)
    outdated = stale()
    if options.write:
        files = render()
        for path in outdated:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files[path], encoding="utf-8")
            print(f"wrote {path.relative_to(ROOT)}")
        return 0
    for path in outdated:
        print(
            f"{path.relative_to(ROOT)} is out of date; run: python -m wire.crd --write",
            file=sys.stderr,
        )
    return 1 if outdated else 0


if __name__ == "__main__":
    sys.exit(main())
