"""The reference page says what the code says, and the schema can hold no content."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from gateway.reference import PAGE, SCHEMA, render, render_schema
from gateway.settings import GatewaySettingsError, load_settings
from tests.gateway.reports import one_of_each, shown
from wire.usage import (
    BUCKETS,
    MAX_BATCH,
    EgressClass,
    ErrorType,
    Operation,
    RequestCompleted,
    RollupPush,
    UsageEvent,
    UsageSource,
    bucket_index,
)

CANARY = "def secret(): return 'CANARY'"


def event() -> dict[str, Any]:
    data = RequestCompleted(
        boundary_id="b-payments",
        group_id="payments-engineers",
        operation=Operation.CHAT,
        provider="llama_cpp",
        input_tokens=3,
        output_tokens=2,
        usage_source=UsageSource.REPORTED,
        requested_model="tiny-coder",
        served_model="tiny-coder",
        model_version="tiny-coder",
        adapter_id=None,
        deployment_id="coder",
        egress_class=EgressClass.BOUNDARY,
        stream=True,
        ttft_ms=1.0,
        tpot_ms=None,
        duration_ms=2.0,
        queue_ms=0.0,
        error_type=ErrorType.NONE,
    )
    whole = UsageEvent(
        id=uuid.uuid4(),
        source="/boundaries/b-payments/gateway",
        time=datetime.now(UTC),
        subject="0" * 64,
        data=data,
    )
    parsed: dict[str, Any] = json.loads(whole.model_dump_json())
    return parsed


def test_the_reference_page_is_up_to_date() -> None:
    page = PAGE.read_text()
    assert render(page) == page
    assert SCHEMA.read_text() == render_schema()


def test_the_schema_takes_what_the_gateway_takes_and_nothing_else() -> None:
    validator = Draft202012Validator(json.loads(SCHEMA.read_text()))
    validator.validate(one_of_each())
    for spoiled in ({**shown(), "subject": "x"}, shown(prompt="x"), shown(feature="poetry"), "x"):
        assert not validator.is_valid([spoiled])
    assert not validator.is_valid([shown()] * (MAX_BATCH + 1))


def test_an_event_survives_the_way_to_disk_and_keeps_the_names_of_opentelemetry() -> None:
    written = event()
    assert {"gen_ai.operation.name", "gen_ai.usage.input_tokens"} <= written["data"].keys()
    read = UsageEvent.model_validate(written)
    assert json.loads(read.model_dump_json()) == written


@pytest.mark.parametrize("field", sorted(event()["data"]))
def test_no_field_of_the_data_takes_code(field: str) -> None:
    wrong = event()
    wrong["data"][field] = CANARY
    with pytest.raises(ValidationError):
        UsageEvent.model_validate(wrong)


@pytest.mark.parametrize("field", sorted(set(event()) - {"data"}))
def test_no_field_of_the_envelope_takes_code(field: str) -> None:
    with pytest.raises(ValidationError):
        UsageEvent.model_validate({**event(), field: CANARY})


def test_an_unknown_field_is_refused() -> None:
    wrong = event()
    wrong["data"]["prompt"] = "x"
    with pytest.raises(ValidationError, match="prompt"):
        UsageEvent.model_validate(wrong)


def test_a_push_of_another_version_is_refused_by_name() -> None:
    push = RollupPush(sequence=0).to_wire()
    assert RollupPush.from_wire(push).sequence == 0
    with pytest.raises(ValueError, match="version 99 is not accepted"):
        RollupPush.from_wire({**push, "version": 99})


@given(st.floats(0, 200))
def test_every_duration_falls_into_exactly_one_bucket(seconds: float) -> None:
    assert 0 <= bucket_index(seconds) < BUCKETS


@pytest.mark.parametrize(
    ("seconds", "bucket"), [(0, 0), (0.01, 0), (0.0101, 1), (81.92, 13), (81.93, 14)]
)
def test_bounds_are_inclusive(seconds: float, bucket: int) -> None:
    assert bucket_index(seconds) == bucket


def test_every_wrong_setting_is_named_at_once() -> None:
    with pytest.raises(GatewaySettingsError) as caught:
        load_settings({"GATEWAY_NAMESPACE": "Wrong!", "GATEWAY_PORT": "99999"})
    for name in ("NAMESPACE", "BOUNDARY_ID", "DATABASE_URL_FILE", "SPOOL_DIR", "PORT"):
        assert f"GATEWAY_{name}:" in str(caught.value)
