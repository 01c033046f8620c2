"""Messages accept their own version and the one before; records, each that there ever was."""

from typing import Any, ClassVar

import pytest
from pydantic import ValidationError

from wire.agent import DesiredState, EnrolResponse
from wire.audit import (
    Checkpoint,
    CheckpointAnchored,
    CheckpointBatch,
    ExportHeader,
    SignedCheckpoint,
)
from wire.bundle import Bundle, Verb
from wire.certificate import CertificateFile, InstallCertificate
from wire.run_event import RunEvent
from wire.version import Message, Record


class Greeting(Message):
    SCHEMA: ClassVar[str] = "test.greeting"
    VERSION: ClassVar[int] = 3

    name: str

    @classmethod
    def upgrade(cls, raw: dict[str, Any]) -> dict[str, Any]:
        renamed = dict(raw)
        renamed["name"] = renamed.pop("who")
        return renamed


def test_the_current_version_is_accepted_as_it_is() -> None:
    sent = Greeting(name="ana").to_wire()
    assert sent == {"schema": "test.greeting", "version": 3, "name": "ana"}
    assert Greeting.from_wire(sent).name == "ana"


def test_the_version_before_is_rewritten_upward() -> None:
    old = {"schema": "test.greeting", "version": 2, "who": "ana"}
    assert Greeting.from_wire(old) == Greeting(name="ana")


@pytest.mark.parametrize("version", [0, 1, 4])
def test_any_other_version_is_refused_with_the_accepted_ones_named(version: int) -> None:
    with pytest.raises(ValidationError, match="this side speaks 2 to 3"):
        Greeting.from_wire({"schema": "test.greeting", "version": version, "name": "ana"})


def test_a_message_of_another_schema_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"expected schema test\.greeting"):
        Greeting.from_wire({"schema": "test.other", "version": 3, "name": "ana"})


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        Greeting.from_wire({"version": 3, "name": "ana", "path": "/etc"})


MESSAGES = (
    Bundle,
    Verb,
    DesiredState,
    EnrolResponse,
    InstallCertificate,
    CertificateFile,
    RunEvent,
    Checkpoint,
    SignedCheckpoint,
    CheckpointBatch,
    CheckpointAnchored,
    ExportHeader,
)


class Deed(Record):
    SCHEMA: ClassVar[str] = "test.deed"
    VERSION: ClassVar[int] = 3

    name: str
    place: str

    @classmethod
    def upgrade(cls, raw: dict[str, Any]) -> dict[str, Any]:
        if raw["version"] == 1:
            return {"version": 1, "name": raw["who"]}
        return {**raw, "place": "unknown"}


def test_a_record_of_the_first_version_is_rewritten_step_by_step() -> None:
    first = {"schema": "test.deed", "version": 1, "who": "ana"}
    second = {"schema": "test.deed", "version": 2, "name": "ana"}
    now = Deed(name="ana", place="unknown")
    assert Deed.from_wire(first) == Deed.from_wire(second) == now
    assert now.version == 3


@pytest.mark.parametrize("version", [0, 4, "3", True, None, 2.0])
def test_a_record_of_no_version_it_had_is_refused(version: object) -> None:
    with pytest.raises(ValidationError, match="this side speaks 1 to 3"):
        Deed.from_wire({"schema": "test.deed", "version": version, "name": "ana", "place": "x"})


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: m.SCHEMA)
def test_every_message_refuses_what_is_no_version_of_it(message: type[Message]) -> None:
    for version in (message.oldest() - 1, message.VERSION + 1):
        with pytest.raises(ValidationError, match="is not accepted"):
            message.from_wire({"schema": message.SCHEMA, "version": version})
