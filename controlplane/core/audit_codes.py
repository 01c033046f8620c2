"""The stable codes of audit events, each with what it means; documented from this table.

Used by `core.audit.append`, which refuses a code that is not here. Add a code, never rename one:
exports and reports of earlier years carry the old name.
"""

from __future__ import annotations

from typing import Final

CODES: Final[dict[str, str]] = {
    "access.denied": "A known caller was refused a route; detail has the layer and the policy.",
    "access.explained": "Somebody asked what decides on another's access.",
    "organization.applied": "An organization's document was applied; detail says what changed.",
    "boundary.created": "A security boundary was created.",
    "boundary.updated": "A security boundary's document changed.",
    "connection.created": "A cloud connection got its external id.",
    "connection.template-read": "The role template of a connection was read.",
    "verification.requested": "A probe of a connection was asked for.",
    "verification.finished": "A probe of a connection ended; detail has its attempts.",
    "grant.requested": "An access grant was asked for.",
    "grant.approved": "An access grant was approved by a second person.",
    "grant.denied": "An access grant was refused.",
    "grant.activated": "A probe showed that the customer opened the role for this grant.",
    "grant.expired": "The grant's end passed.",
    "grant.revoked": "The grant was ended before its time.",
    "grant.closed": "The role of this grant is gone, and that is proven.",
    "guest.requested": "A person of another organization was named as a guest.",
    "guest.approved": "The organization let a guest in.",
    "role.assigned": "A role was given.",
    "role.revoked": "A role was taken away.",
    "group.changed": "A group's members changed.",
    "entitlement.granted": "A group may use a model version.",
    "entitlement.revoked": "A group may no longer use a model version.",
    "model.registered": "A model version with its digest entered the catalog.",
    "blueprint.registered": "A blueprint version was registered.",
    "principal.registered": "A person or service was registered.",
    "gateway-key.created": "A gateway key was made; only its hash is kept.",
    "gateway-key.revoked": "A gateway key was revoked.",
    "install.requested": "An install was asked for.",
    "install.changed": "A status axis of an install changed.",
    "run.created": "A run was created.",
    "run.approved": "A run's plan was approved by digest.",
    "run.denied": "A run's plan was refused.",
    "run.cancel-requested": "Somebody asked for a run to be cancelled.",
    "run.retried": "A parked run was asked to go on.",
    "run.state-changed": "A run changed its state.",
    "step.started": "A step was started: the intent before its effects.",
    "step.finished": "A step ended; detail has its outcome.",
    "step.undone": "A step's undo ended.",
    "reach.opened": "The way into a cluster was opened.",
    "reach.closed": "The way into a cluster was closed.",
    "enrolment-token.issued": "A one-time enrolment token was made; only its hash is kept.",
    "agent.enrolled": "An agent enrolled with its own key.",
    "agent.refused": "An enrolment was refused.",
    "bundle.published": "A signed and countersigned bundle was published.",
    "verb.issued": "A narrowing verb was issued to an agent.",
    "verb.answered": "An agent reported on a verb.",
    "certificate.issued": "An install certificate was signed.",
    "certificate.countersigned": "The agent countersigned an install certificate.",
    "audit.read": "Audit events were read.",
}
