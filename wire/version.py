"""The base of all messages that cross a process border, and the rule for their versions.

Used by every module of `wire`. A message carries `schema` (its name) and `version`. A receiver
accepts its own version N and N-1; a record that is kept for years, every version there ever was.
The class rewrites an older raw document upward before it is validated, so that the rest of the
code knows one shape only.
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
    def oldest(cls) -> int:
        """Return the oldest version that is accepted: the one before this side's own."""
        return max(cls.VERSION - 1, 1)

    @classmethod
    def upgrade(cls, raw: dict[str, Any]) -> dict[str, Any]:
        """Return `raw`, a valid document of its `version`, as one of the version after that."""
        raise UnsupportedVersionError(f"{cls.SCHEMA}: no upgrade from version {cls.VERSION - 1}")

    @model_validator(mode="before")
    @classmethod
    def _accept_known_versions(cls, raw: Any) -> Any:
        if not isinstance(raw, dict):
            return raw
        document = dict(raw)
        schema = document.pop("schema", cls.SCHEMA)
        if schema != cls.SCHEMA:
            raise UnsupportedVersionError(f"expected schema {cls.SCHEMA}, got {schema}")
        version = document.setdefault("version", cls.VERSION)
        if type(version) is not int or not cls.oldest() <= version <= cls.VERSION:
            raise UnsupportedVersionError(
                f"{cls.SCHEMA}: version {version} is not accepted; this side speaks "
                f"{cls.oldest()} to {cls.VERSION}: upgrade the older of the two sides"
            )
        for present in range(version, cls.VERSION):
            document = {**cls.upgrade(document), "version": present + 1}
        return document

    @classmethod
    def from_wire(cls, raw: dict[str, Any]) -> Self:
        """Parse a document. Raises: pydantic.ValidationError, which names each field."""
        return cls.model_validate(raw)

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON document, ready for canonical encoding."""
        return {"schema": self.SCHEMA, **self.model_dump(mode="json")}


class Record(Message):
    """A message that somebody keeps: whoever reads it may be years younger than who wrote it."""

    @classmethod
    def oldest(cls) -> int:
        """Return 1: a record is read in each version it ever had, one `upgrade` after the other."""
        return 1
