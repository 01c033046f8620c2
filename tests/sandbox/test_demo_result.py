"""The demo's result file has a documented schema."""

from sandbox.demo.result import SCHEMA_FILE, schema_text


def test_the_checked_in_schema_is_that_of_the_code() -> None:
    assert SCHEMA_FILE.read_text() == schema_text(), "run: python -m sandbox.demo.result"
