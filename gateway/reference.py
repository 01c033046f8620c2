"""Write the tables of `docs/reference/usage-events.md`, and the JSON Schema, from the models.

`python -m gateway.reference` rewrites the page between its marks and the schema of a batch of
reported events beside it; `--check` only compares, and a test does the same. Separate so that a
page can never say something else than the code.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Collection, Mapping
from enum import StrEnum
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, Field, TypeAdapter
from pydantic.fields import FieldInfo

from gateway.settings import PREFIX, GatewaySettings
from wire.usage import (
    MAX_BATCH,
    AnyClientEvent,
    Applied,
    ChangeRow,
    ClientEvent,
    DayBucket,
    Decided,
    Dimensions,
    EventPush,
    HourBucket,
    IngestAnswer,
    PeopleRow,
    Recorded,
    Rejection,
    RequestCompleted,
    RequestRow,
    ReviewSuggestion,
    RollupPush,
    Shown,
    Survival,
    Undone,
    UsageEvent,
)

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "usage-events.md"
SCHEMA = PAGE.with_suffix(".schema.json")
_SHARED = {"version": "Version of the message; N and N-1 are accepted."}
"""Fields of the message base, which has no descriptions."""
_TABLES: Mapping[str, type[BaseModel]] = {
    "envelope": UsageEvent,
    "data": RequestCompleted,
    "event": ClientEvent,
    "dimensions": Dimensions,
    "shown": Shown,
    "decided": Decided,
    "applied": Applied,
    "undone": Undone,
    "survival": Survival,
    "review": ReviewSuggestion,
    "answer": IngestAnswer,
    "rejection": Rejection,
    "push": RollupPush,
    "hour": HourBucket,
    "rollup": RequestRow,
    "day": DayBucket,
    "change": ChangeRow,
    "people": PeopleRow,
    "event_push": EventPush,
    "recorded": Recorded,
}
_MARK = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def _type(annotation: Any) -> str:
    """Return a readable name of a field's type."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(parts[0])
    if origin is Literal:
        return " \\| ".join(f"`{part}`" for part in parts)
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return " \\| ".join(f"`{member.value}`" for member in annotation)
    if origin in {Union, UnionType}:
        return " \\| ".join(_type(p) if p is not NoneType else "null" for p in parts)
    if origin in {tuple, dict}:
        return f"{origin.__name__} of {' to '.join(_type(p) for p in parts if p is not ...)}"
    return getattr(annotation, "__name__", str(annotation))


def _constraint(field: FieldInfo) -> str:
    patterns = [p for m in field.metadata if (p := getattr(m, "pattern", None))]
    return "".join(f" `{pattern}`".replace("|", "\\|") for pattern in patterns)


def _table(model: type[BaseModel], name: str, without: Collection[str] = ()) -> str:
    lines = [f"| {name} | Type | Meaning |", "|---|---|---|"]
    for key, field in model.model_fields.items():
        if key in without:
            continue
        shown = PREFIX + key.upper() if model is GatewaySettings else field.alias or key
        meaning = " ".join((field.description or _SHARED.get(key, "")).split())
        if model is GatewaySettings and not field.is_required():
            meaning += f" Default: `{field.default}`."
        lines.append(f"| `{shown}` | {_type(field.annotation)}{_constraint(field)} | {meaning} |")
    return "\n".join(lines) + "\n"


def render(page: str) -> str:
    """Return the page with every marked table written anew."""
    tables = {name: _table(model, "Field") for name, model in _TABLES.items()}
    tables["settings"] = _table(GatewaySettings, "Variable")
    common = set(Dimensions.model_fields)
    for name in ("shown", "decided", "applied", "undone", "survival", "review"):
        tables[name] = _table(_TABLES[name], "Field", without=common)
    return _MARK.sub(lambda mark: mark.group(1) + tables[mark.group(2)] + mark.group(3), page)


def render_schema() -> str:
    """Return the JSON Schema of the body of `POST /usage/v1/events`."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Body of POST /usage/v1/events",
        **TypeAdapter(Annotated[list[AnyClientEvent], Field(max_length=MAX_BATCH)]).json_schema(),
    }
    return json.dumps(schema, indent=2, sort_keys=True) + "\n"


def main() -> int:
    """Rewrite or check both files; exit code 1 when `--check` finds a difference."""
    parser = argparse.ArgumentParser(prog="python -m gateway.reference", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only")
    options = parser.parse_args()
    for path, wanted in ((PAGE, render(PAGE.read_text())), (SCHEMA, render_schema())):
        if options.check and path.read_text() != wanted:
            print(f"{path} is not up to date: run `python -m gateway.reference`", file=sys.stderr)
            return 1
        path.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
