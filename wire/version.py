"""The base of all messages that cross a process border, and the rule for their versions.

Used by every module of `wire`. A message carries `schema` (its name) and `version`. A receiver
accepts its own version N and N-1; for N-1 the class rewrites the raw document upward before it is
validated, so that the rest of the code knows one shape only.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, model_validator


class UnsupportedVersionError(ValueError):
    """A message of another schema, or of a version that this side does not accept."""


class Document(BaseModel):
    """A part of a message: immutable, and refuses fields that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Message(Document):
    """A whole message. Subclasses set `SCHEMA` and `VERSION`, and `upgrade` once VERSION > 1.

    In JSON a message is its fields plus `schema` and `version`; `to_wire` writes both.
    """

    SCHEMA: ClassVar[str]
    VERSION: ClassVar[int] = 1

    version: int = 1
    """Always VERSION once parsed: the validator sets it when a document leaves it out."""

    @classmethod
    def upgrade(cls, raw: dict[str, Any]) -> dict[str, Any]:
        """Return `raw`, a valid document of VERSION - 1, as one of VERSION."""
        raise UnsupportedVersionError(f"{cls.SCHEMA}: no upgrade from version {cls.VERSION - 1}")

    @model_validator(mode="before")
    @classmethod
    def _accept_current_and_previous(cls, raw: Any) -> Any:
        if not isinstance(raw, dict):
            return raw
        document = dict(raw)
        schema = document.pop("schema", cls.SCHEMA)
        if schema != cls.SCHEMA:
            raise UnsupportedVersionError(f"expected schema {cls.SCHEMA}, got {schema}")
        version = document.setdefault("version", cls.VERSION)
        if version == cls.VERSION:
            return document
        if version == cls.VERSION - 1 and version >= 1:
            return {**cls.upgrade(document), "version": cls.VERSION}
        oldest = max(cls.VERSION - 1, 1)
        raise UnsupportedVersionError(
            f"{cls.SCHEMA}: version {version} is not accepted; this side speaks "
            f"{oldest} to {cls.VERSION}: upgrade the older of the two sides"
        )

    @classmethod
    def from_wire(cls, raw: dict[str, Any]) -> Self:
        """Parse a document. Raises: pydantic.ValidationError, which names each field."""
        return cls.model_validate(raw)

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON document, ready for canonical encoding."""
        return {"schema": self.SCHEMA, **self.model_dump(mode="json")}
