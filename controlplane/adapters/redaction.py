"""Take secrets out of text that an engine, a provider or a tool wrote, before it goes further.

Used by every adapter that passes on the words of a library or a child process. Separate and
pure, so that it can be tested against every shape we know.
"""

from __future__ import annotations

import re

MASK = "[redacted]"

_PATTERNS: tuple[re.Pattern[str], ...] = (
    # AWS access key ids, long-lived and temporary (IAM user guide, "Unique identifiers").
    re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}\b"),
    re.compile(r"(?i)(?<=X-Amz-Signature=)[0-9a-f]+"),
    re.compile(r"(?i)(?<=X-Amz-Security-Token=)[^&\s\"']+"),
    re.compile(r"(?i)(?<=X-Amz-Credential=)[^&\s\"']+"),
    re.compile(r"k8s-aws-v1\.[A-Za-z0-9_-]+"),
    re.compile(r"\bv1:[A-Za-z0-9+/=]{8,}:[A-Za-z0-9+/=]{8,}"),
    re.compile(r"(?i)(?P<keep>\bbearer\s+)[\w.~+/=-]{8,}"),
    re.compile(
        r"(?i)(?P<keep>[\w-]*(?:password|passphrase|secret[_-]?(?:access[_-]?)?key|"
        r"session[_-]?token|authorization|bearer|token)\b[\"']?\s*[=:]\s*[\"']?)[^\s\"',}&]+"
    ),
    re.compile(r"(?P<keep>\b\w+://[^\s:/@]+:)[^\s@/]+(?=@)"),
    re.compile(
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)", re.S
    ),
)


def redact(text: str) -> str:
    """Return `text` with everything secret-shaped masked."""
    for pattern in _PATTERNS:
        text = pattern.sub(_mask, text)
    return text


def _mask(match: re.Match[str]) -> str:
    keep = match.groupdict().get("keep") or ""
    return f"{keep}{MASK}"
