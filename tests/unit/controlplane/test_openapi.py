"""The checked-in API description is what the code says."""

from __future__ import annotations

import json

import pytest

from controlplane.app import make_routes
from controlplane.openapi import FILE, main, render


def test_the_checked_in_description_is_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["openapi", "--check"])
    assert main() == 0, f"run `python -m controlplane.openapi` and commit {FILE.name}"


def test_it_is_openapi_3_1_with_unique_operation_ids_named_noun_verb() -> None:
    described = json.loads(render())
    assert described["openapi"].startswith("3.1")
    ids = [
        operation["operationId"]
        for path in described["paths"].values()
        for operation in path.values()
    ]
    assert len(ids) == len(set(ids))
    assert [i for i in ids if "_" not in i or i != i.lower()] == []


def test_response_models_have_no_defaults_so_that_clients_see_required_fields() -> None:
    schemas = make_routes().openapi()["components"]["schemas"]
    loose = {
        name: sorted(set(schema["properties"]) - set(schema.get("required", [])))
        for name, schema in schemas.items()
        if name.endswith("Out") and "properties" in schema and name != "ErrorOut"
    }
    assert {name: fields for name, fields in loose.items() if fields} == {}
