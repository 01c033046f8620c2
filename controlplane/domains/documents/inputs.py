"""Check a boundary's blueprint inputs against the manifest's JSON Schema.

Used on the file (`documents`) and, with the values the server adds, on an install (`installs`), so
that nothing starts with inputs the program would refuse.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from wire.manifest import BlueprintManifest
from wire.organization import Problem, join_path

SERVER_INPUTS = (
    "organization",
    "boundary",
    "install_id",
    "account",
    "region",
    "partition",
    "control_plane_cidrs",
    "reach",
    "images",
    "image_names",
)
"""Inputs that the server fills in from its own rows; a file cannot set them."""


def input_problems(
    raw: Any, manifests: Mapping[tuple[str, str], BlueprintManifest]
) -> list[Problem]:
    """Return what is wrong with the inputs of every boundary of a raw file."""
    entries = raw.get("boundaries") if isinstance(raw, dict) else None
    found: list[Problem] = []
    for index, entry in enumerate(entries if isinstance(entries, list) else []):
        if not isinstance(entry, dict):
            continue
        manifest = manifests.get((str(entry.get("blueprint")), str(entry.get("version"))))
        inputs = entry.get("inputs", {})
        if manifest is not None and isinstance(inputs, dict):
            found += _entry_problems(f"boundaries[{index}].inputs", inputs, manifest)
    return found


def _entry_problems(
    path: str, inputs: dict[str, Any], manifest: BlueprintManifest
) -> Iterator[Problem]:
    for name in sorted(set(inputs) & set(SERVER_INPUTS)):
        yield Problem(
            path=f"{path}.{name}",
            message=f"{name!r} is filled in by the control plane",
            fix="remove it from the file",
        )
    given = {k: v for k, v in inputs.items() if k not in SERVER_INPUTS}
    schema = dict(manifest.inputs_schema)
    required = schema.get("required")
    if isinstance(required, list):
        schema["required"] = [name for name in required if name not in SERVER_INPUTS]
    yield from schema_problems(path, given, schema)


def schema_problems(path: str, values: dict[str, Any], schema: Mapping[str, Any]) -> list[Problem]:
    """Return what is wrong with `values`, each with its place below `path`."""
    validator = Draft202012Validator(dict(schema))
    found = [problem for error in validator.iter_errors(values) for problem in _of(path, error)]
    # One error per missing name, each of which names all of them: keep each problem once.
    return list({(p.path, p.message): p for p in found}.values())


def _of(path: str, error: ValidationError) -> Iterator[Problem]:
    place = join_path([path, *error.absolute_path]) if error.absolute_path else path
    given = error.instance if isinstance(error.instance, dict) else {}
    if error.validator == "additionalProperties" and isinstance(error.schema, dict):
        declared = set(error.schema.get("properties", {}))
        known = ", ".join(sorted(declared - set(SERVER_INPUTS)))
        for name in sorted(set(given) - declared):
            yield Problem(
                path=f"{place}.{name}",
                message=f"unknown input {name!r}",
                fix=f"remove it; known are {known}",
            )
        return
    if error.validator == "required" and isinstance(error.validator_value, list):
        for name in error.validator_value:
            if name not in given:
                yield Problem(
                    path=place,
                    message=f"input {name!r} is missing",
                    fix=f"add `{name}:` to `inputs`",
                )
        return
    yield Problem(path=place, message=error.message, fix="change it to fit the blueprint's schema")
