"""What is stable about each audit code beside its meaning: short id, outcome, chain, detail, OCSF.

Used by the export, which writes the OCSF form beside ours, and by the generated reference page.
Separate from `audit_codes`, which every writer of events reads: these are facts for readers.
Add a row at the end with the next number; an id is never given twice and never moves.
Source: https://schema.ocsf.io/1.5.0 (classes and activities), ADR 0019.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Outcome = Literal["success", "failure", "either", "reserved"]
"""either: the detail tells. reserved: documented, and written by no event of this version."""

OCSF_VERSION: Final = "1.5.0"
OCSF_CLASSES: Final[dict[int, str]] = {
    3001: "Account Change",
    3002: "Authentication",
    3004: "Entity Management",
    3005: "User Access Management",
    3006: "Group Management",
    6003: "API Activity",
}
"""The classes in use; the first digit is the category (3 identity and access, 6 application)."""


@dataclass(frozen=True)
class EventFacts:
    """One code's facts."""

    id: str
    """`RF-` and four digits; the name that a rule in a SIEM may rely on."""
    outcome: Outcome
    chain: str
    detail: tuple[str, ...]
    """Fields that its detail may have."""
    ocsf: tuple[int, int]
    """OCSF class and activity."""


def _facts(
    number: int, outcome: Outcome, chain: str, detail: str, ocsf_class: int, activity: int
) -> EventFacts:
    return EventFacts(
        f"RF-{number:04}", outcome, chain, tuple(detail.split()), (ocsf_class, activity)
    )


_WAIVER: Final = "kind principal boundary_id starts_at ends_at digest"

FACTS: Final[dict[str, EventFacts]] = {
    "access.denied": _facts(
        1, "failure", "organization or platform", "code layer policy", 6003, 99
    ),
    "organization.applied": _facts(2, "success", "organization", "digest boundaries new", 3004, 3),
    "boundary.created": _facts(3, "success", "boundary", "name", 3004, 1),
    "boundary.updated": _facts(4, "success", "boundary", "changed", 3004, 3),
    "connection.created": _facts(5, "success", "boundary", "account region partition", 3004, 1),
    "connection.template-read": _facts(6, "success", "boundary", "", 6003, 2),
    "verification.requested": _facts(7, "success", "boundary", "expect grant_id", 6003, 1),
    "verification.finished": _facts(
        8, "either", "boundary", "expect passed state attempts", 6003, 3
    ),
    "grant.requested": _facts(
        9, "success", "boundary", "number purpose duration_seconds policy_digest ticket", 3005, 99
    ),
    "grant.approved": _facts(
        10, "success", "boundary", "number policy_digest grant_until reason", 3005, 99
    ),
    "grant.denied": _facts(11, "success", "boundary", "number reason", 3005, 99),
    "grant.activated": _facts(12, "success", "boundary", "number", 3005, 1),
    "grant.expired": _facts(13, "success", "boundary", "number state closed_by", 3005, 2),
    "grant.revoked": _facts(14, "success", "boundary", "number reason state closed_by", 3005, 2),
    "grant.closed": _facts(15, "success", "boundary", "number state closed_by", 3005, 2),
    "guest.requested": _facts(16, "reserved", "organization", "", 3005, 99),
    "guest.approved": _facts(17, "reserved", "organization", "", 3005, 1),
    "role.assigned": _facts(18, "success", "organization", "role boundary_id", 3005, 1),
    "role.revoked": _facts(19, "success", "organization", "role boundary_id", 3005, 2),
    "group.changed": _facts(20, "success", "organization", "group source added removed", 3006, 99),
    "entitlement.granted": _facts(21, "success", "boundary", "model_version_id", 3005, 1),
    "entitlement.revoked": _facts(22, "success", "boundary", "model_version_id", 3005, 2),
    "model.registered": _facts(
        23, "success", "boundary or organization", "name version kind digest", 3004, 1
    ),
    "blueprint.registered": _facts(24, "success", "platform", "name version digest", 3004, 1),
    "principal.registered": _facts(25, "success", "platform", "", 3001, 1),
    "gateway-key.created": _facts(26, "success", "boundary", "group owner", 3004, 1),
    "gateway-key.revoked": _facts(27, "success", "boundary", "", 3004, 4),
    "install.requested": _facts(
        28,
        "success",
        "boundary",
        "revision blueprint blueprint_digest inputs_digest grant_id",
        6003,
        1,
    ),
    "install.changed": _facts(29, "success", "boundary", "lifecycle health drift access", 6003, 3),
    "run.created": _facts(30, "success", "boundary", "kind install_id", 6003, 1),
    "run.approved": _facts(31, "success", "boundary", "digest", 6003, 3),
    "run.denied": _facts(32, "success", "boundary", "reason", 6003, 3),
    "run.cancel-requested": _facts(33, "success", "boundary", "keep", 6003, 3),
    "run.retried": _facts(34, "success", "boundary", "steps", 6003, 3),
    "run.state-changed": _facts(35, "either", "boundary", "state outcome at_fault fence", 6003, 3),
    "step.started": _facts(36, "success", "boundary", "step attempt undo fence", 6003, 3),
    "step.finished": _facts(37, "either", "boundary", "step outcome error_code fence", 6003, 3),
    "step.undone": _facts(38, "either", "boundary", "step outcome error_code fence", 6003, 3),
    "reach.opened": _facts(39, "reserved", "boundary", "", 6003, 99),
    "reach.closed": _facts(40, "reserved", "boundary", "", 6003, 99),
    "enrolment-token.issued": _facts(41, "success", "boundary", "install_id", 3004, 1),
    "agent.enrolled": _facts(42, "success", "boundary", "fingerprint version", 3004, 1),
    "agent.refused": _facts(43, "reserved", "boundary", "", 6003, 99),
    "bundle.published": _facts(44, "success", "boundary", "digest signers", 6003, 1),
    "verb.issued": _facts(45, "success", "boundary", "kind", 6003, 1),
    "verb.answered": _facts(46, "either", "boundary", "kind refused", 6003, 3),
    "certificate.issued": _facts(47, "success", "boundary", "signers", 6003, 1),
    "certificate.countersigned": _facts(48, "success", "boundary", "signers", 6003, 3),
    "audit.read": _facts(
        49,
        "success",
        "the one that was read",
        "after events limit code actor target since until",
        6003,
        2,
    ),
    "audit.exported": _facts(50, "success", "the one that was exported", "events", 6003, 2),
    "access.explained": _facts(51, "success", "organization", "route allowed", 6003, 2),
    "token.issued": _facts(
        52,
        "success",
        "organization or platform",
        "name prefix holder organization_id boundary_id roles expires_at",
        3001,
        1,
    ),
    "token.revoked": _facts(
        53,
        "success",
        "organization or platform",
        "name prefix holder organization_id boundary_id roles",
        3001,
        6,
    ),
    "service.created": _facts(54, "success", "organization", "name purpose boundary_id", 3001, 1),
    "service.disabled": _facts(55, "success", "organization", "name tokens", 3001, 5),
    "person.provisioned": _facts(56, "success", "organization", "user_name", 3001, 1),
    "person.changed": _facts(57, "success", "organization", "user_name", 3001, 99),
    "person.disabled": _facts(58, "success", "organization", "tokens keys groups", 3001, 5),
    "person.enabled": _facts(59, "success", "organization", "", 3001, 2),
    "person.removed": _facts(60, "success", "organization", "user_name", 3001, 6),
    "group.provisioned": _facts(61, "success", "organization", "group source", 3006, 99),
    "group.removed": _facts(62, "success", "organization", "group", 3006, 99),
    "break-glass.sealed": _facts(63, "success", "platform", "seal custodians replaced", 3001, 1),
    "break-glass.opened": _facts(
        64,
        "success",
        "platform and organization",
        "custodians subjects second_person subject reason ends_at address",
        3002,
        1,
    ),
    "break-glass.refused": _facts(65, "failure", "platform", "address", 3002, 1),
    "break-glass.closed": _facts(66, "success", "platform and organization", "", 3002, 2),
    "sign-in.succeeded": _facts(
        67,
        "success",
        "organization or platform",
        "method groups person_key_changed methods context token session",
        3002,
        1,
    ),
    "sign-in.refused": _facts(
        68, "failure", "organization or platform", "reason method address", 3002, 1
    ),
    "sign-out": _facts(69, "success", "organization or platform", "reason", 3002, 2),
    "session.ended": _facts(70, "success", "organization or platform", "reason principal", 3002, 2),
    "session.refused": _facts(71, "failure", "organization or platform", "reason", 3002, 1),
    "report.requested": _facts(
        72, "success", "boundary or organization", "kind at known_at from to", 6003, 1
    ),
    "report.generated": _facts(
        73, "success", "boundary or organization", "root row_count files", 6003, 1
    ),
    "report.failed": _facts(74, "failure", "boundary or organization", "error", 6003, 1),
    "report.downloaded": _facts(
        75, "success", "boundary or organization", "format digest", 6003, 2
    ),
    "trail.uploaded": _facts(76, "success", "boundary", "name digest events", 6003, 1),
    "usage.export-changed": _facts(77, "success", "boundary", "export since", 6003, 3),
    "usage.events-read": _facts(78, "success", "boundary", "after limit events", 6003, 2),
    "waiver.requested": _facts(79, "success", "organization", f"{_WAIVER} reason ticket", 3005, 99),
    "waiver.approval-given": _facts(80, "success", "organization", f"{_WAIVER} reason", 3005, 99),
    "waiver.approved": _facts(
        81, "success", "organization and boundary", f"{_WAIVER} approvers reason", 3005, 1
    ),
    "waiver.denied": _facts(82, "success", "organization", f"{_WAIVER} reason", 3005, 99),
    "waiver.revoked": _facts(
        83, "success", "organization and boundary", f"{_WAIVER} reason tokens keys", 3005, 2
    ),
    "sign-in.refusals-counted": _facts(
        84,
        "failure",
        "organization or platform",
        "address from until refused reasons",
        3002,
        1,
    ),
    "run.pause-requested": _facts(85, "success", "boundary", "reason", 6003, 3),
    "run.resumed": _facts(86, "success", "boundary", "", 6003, 3),
    "run.step-skipped": _facts(87, "success", "boundary", "step reason", 6003, 3),
    "windows.changed": _facts(88, "success", "boundary", "windows", 6003, 3),
    "window-override.requested": _facts(
        89, "success", "boundary", "reason minutes ends_at", 6003, 1
    ),
    "window-override.approved": _facts(
        90, "success", "boundary", "reason minutes ends_at", 6003, 3
    ),
    "takeover.downloaded": _facts(91, "success", "boundary", "run_id digest", 6003, 2),
    "install.removal-requested": _facts(
        92, "success", "boundary", "run_id grant_id reason purge", 6003, 4
    ),
    "install.drift-scanned": _facts(93, "success", "boundary", "run_id drift findings", 6003, 2),
    "drift.acceptance-proposed": _facts(
        94, "success", "boundary", "finding resource change reason until", 6003, 1
    ),
    "drift.accepted": _facts(
        95, "success", "boundary", "finding resource change reason until", 6003, 3
    ),
    "install.update-requested": _facts(
        96,
        "success",
        "boundary",
        "run_id grant_id reason revision from_revision blueprint blueprint_digest inputs_digest"
        " changed",
        6003,
        3,
    ),
    "install.restore-requested": _facts(
        97,
        "success",
        "boundary",
        "run_id grant_id reason revision from_revision snapshot empty",
        6003,
        3,
    ),
    "install.state-restored": _facts(
        98, "success", "boundary", "run_id snapshot saved stacks", 6003, 3
    ),
    "install.resource-adopted": _facts(
        99, "success", "boundary", "run_id stack urn type id", 6003, 3
    ),
    "install.resource-dropped": _facts(
        100, "success", "boundary", "run_id stack urn type id", 6003, 4
    ),
    "bundle.sequence-raised": _facts(101, "success", "boundary", "published reported", 6003, 1),
}
