"""An audit event in the terms of OCSF, for a SIEM that reads those: beside ours, never instead.

Used by the export. Only what maps without guessing is filled; the whole event stays under
`unmapped`. The mapping is written out in docs/reference/audit-events.md.
Source: https://schema.ocsf.io/1.5.0
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from controlplane.core.audit_codes import CODES
from controlplane.core.audit_facts import FACTS, OCSF_CLASSES, OCSF_VERSION

_FAILED = frozenset({"failed", "refused", "error"})
_USER_TYPES = {"human": 1, "service": 3, "agent": 3, "system": 3}
"""OCSF `user.type_id`: 1 user, 3 system, 0 unknown."""


def ocsf_event(record: dict[str, Any]) -> dict[str, Any]:
    """Return the OCSF form of an event (`core.audit.record`)."""
    code, actor, detail = record["code"], record["actor"], record["detail"]
    facts = FACTS[code]
    class_uid, activity_id = facts.ocsf
    return {
        "class_uid": class_uid,
        "class_name": OCSF_CLASSES[class_uid],
        "category_uid": class_uid // 1000,
        "activity_id": activity_id,
        "type_uid": class_uid * 100 + activity_id,
        "severity_id": 1,
        "status_id": 2 if _has_failed(facts.outcome, detail) else 1,
        "time": int(datetime.fromisoformat(record["at"]).timestamp() * 1000),
        "message": CODES[code],
        "actor": {
            "user": {
                "uid": actor.get("principal_id"),
                "name": actor.get("subject"),
                "domain": actor.get("issuer"),
                "type_id": _USER_TYPES.get(str(actor.get("kind")), 0),
            }
        },
        "api": {"operation": code, "request": {"uid": record["request_id"]}},
        "resources": [_resource(record["target"])],
        "metadata": {
            "version": OCSF_VERSION,
            "uid": f"{record['chain_id']}/{record['seq']}",
            "sequence": record["seq"],
            "event_code": facts.id,
            "tenant_uid": record["organization_id"],
            "product": {"name": "Ringfence", "vendor_name": "Ringfence"},
        },
    }


def _has_failed(outcome: str, detail: dict[str, Any]) -> bool:
    if outcome != "either":
        return outcome == "failure"
    if detail.get("passed") is False or detail.get("refused"):
        return True
    return any(str(detail.get(name)) in _FAILED for name in ("outcome", "state"))


def _resource(target: str) -> dict[str, str]:
    kind, separator, uid = target.partition("/")
    return {"type": kind, "uid": uid} if separator else {"type": "unknown", "uid": target}
