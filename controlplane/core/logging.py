"""Structured logs as JSON lines, with everything that looks like a secret blanked.

Configured once per process by the composition roots. The redaction is the last wall, not the
first: code does not log secrets; this catches what slips into an exception's text.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

BLANK = "[redacted]"

_SECRET_KEYS = re.compile(
    r"(?i)(authorization|password|passwd|secret|token|api[_-]?key|private[_-]?key|credential|cookie)"
)
_SECRET_VALUES = re.compile(
    r"""(?x)
    \brf[a-z]_[A-Za-z0-9_-]{20,}                # our own tokens and keys
    | \b(?:AKIA|ASIA)[A-Z0-9]{16}\b             # AWS access key ids
    | (?i:bearer)\s+[A-Za-z0-9._~+/=-]{8,}
    | k8s-aws-v1\.[A-Za-z0-9_=-]+
    | -----BEGIN[ A-Z]*PRIVATE\ KEY-----[\s\S]*?(?:-----END[ A-Z]*PRIVATE\ KEY-----|$)
    | (?<=://)[^/\s:@]+:[^/\s@]+(?=@)           # user and password of an address
    | (?i:X-Amz-(?:Signature|Security-Token))=[^&\s"']+
    """
)


def redact_text(text: str) -> str:
    """Return the text with every secret-shaped part blanked."""
    return _SECRET_VALUES.sub(BLANK, text)


def redact(value: Any) -> Any:
    """Return a copy of a JSON-like value with secret-named and secret-shaped parts blanked."""
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, dict):
        return {
            key: BLANK if _SECRET_KEYS.search(str(key)) and item else redact(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [redact(item) for item in value]
    return value


def _redact_event(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    redacted: MutableMapping[str, Any] = redact(dict(event))
    return redacted


class _StandardError(logging.StreamHandler[TextIO]):
    """Writes to what standard error is at the time: whoever configured logs may have moved it."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)

    @property
    def stream(self) -> TextIO:
        """The present standard error."""
        return sys.stderr

    @stream.setter
    def stream(self, _value: TextIO) -> None:
        """Keep nothing: the present one counts."""


def configure(process: str, level: int = logging.INFO) -> None:
    """Send all logs of this process, also of libraries, as JSON lines to standard error."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = _StandardError()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _redact_event,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    # Access lines of uvicorn hold query strings; ours (core.http) hold the route only.
    logging.getLogger("uvicorn.access").disabled = True
    structlog.contextvars.bind_contextvars(process=process)


def get(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of a module."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger
