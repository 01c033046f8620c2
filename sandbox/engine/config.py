"""The engine's configuration file: what is served under which name.

Read once by `main`. Separate so that a wrong file is refused before anything starts.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Name = Annotated[str, Field(pattern=r"^[a-z0-9](?:[a-z0-9._-]{0,98}[a-z0-9])?$")]


class EngineConfigError(ValueError):
    """The configuration is missing or wrong; the message names the field and the fix."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AdapterConfig(_Strict):
    """A LoRA adapter and the name it is served under."""

    alias: Name
    path: Path


class EngineConfig(_Strict):
    """Content of the file named by `ENGINE_CONFIG`."""

    served_model_name: Name
    """The base model's name; requests for it run with every adapter at scale 0."""
    model_path: Path
    adapters: Annotated[tuple[AdapterConfig, ...], Field(max_length=64)] = ()
    context_length: Annotated[int, Field(ge=64, le=131_072)] = 2048
    """Tokens of prompt and answer together, per request."""
    threads: Annotated[int, Field(ge=1, le=64)] = 1
    """Compute threads; one, because the demo model is smaller than the cost of a second."""
    parallel: Annotated[int, Field(ge=1, le=64)] = 4
    """Requests computed at once; more wait inside llama.cpp."""

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = [self.served_model_name, *(a.alias for a in self.adapters)]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"adapters: the name {name!r} is given twice; names are unique")
        return self


class EngineSettings(_Strict):
    """What comes from the environment."""

    host: str = "0.0.0.0"  # noqa: S104 - a pod's own address; network policy decides who reaches it
    """`ENGINE_HOST`: address to listen on."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """`ENGINE_PORT`: port to listen on; 0 takes a free one (it is printed when ready)."""
    drain_seconds: Annotated[float, Field(ge=0, le=600)] = 25.0
    """`ENGINE_DRAIN_SECONDS`: how long live answers may go on after SIGTERM."""


def load_settings(environment: dict[str, str] | None = None) -> EngineSettings:
    """Read `ENGINE_HOST`, `ENGINE_PORT`, `ENGINE_DRAIN_SECONDS`; the defaults are documented above.

    Raises: EngineConfigError.
    """
    source = dict(os.environ) if environment is None else environment
    given = {
        name: source[f"ENGINE_{name.upper()}"]
        for name in EngineSettings.model_fields
        if f"ENGINE_{name.upper()}" in source
    }
    try:
        return EngineSettings.model_validate(given)
    except ValidationError as error:
        raise EngineConfigError(f"ENGINE_ settings: {_explain(error)}") from error


def load_config(path: Path) -> EngineConfig:
    """Read the configuration file and check that every file it names exists.

    Raises: EngineConfigError.
    """
    try:
        config = EngineConfig.model_validate_json(path.read_bytes())
    except OSError as error:
        raise EngineConfigError(f"ENGINE_CONFIG={path}: {error.strerror}") from error
    except ValidationError as error:
        raise EngineConfigError(f"{path}: {_explain(error)}") from error
    for file in (config.model_path, *(a.path for a in config.adapters)):
        if not file.is_file():
            raise EngineConfigError(f"{path}: weights file {file} does not exist; is it mounted?")
    return config


def _explain(error: ValidationError) -> str:
    lines = (f"{'.'.join(str(p) for p in e['loc']) or 'file'}: {e['msg']}" for e in error.errors())
    return "; ".join(lines)
