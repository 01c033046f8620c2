"""Cedar as the policy engine: policies and schema are parsed once, then only asked.

Implements `core.policy.PolicyEngine` with `cedarpy`. An evaluation error is never an allow: a
policy that cannot be evaluated raises, so that a slip in a `forbid` cannot open a door.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cedarpy

from controlplane.core.errors import InternalError
from controlplane.core.policy import LAYERS, Entity, Policy, PolicyRequest, Prepared, Verdict


class PolicyError(InternalError):
    """The policies cannot be read, do not fit the schema, or cannot be evaluated."""


class CedarEngine:
    """A parsed policy set and schema."""

    def __init__(self, policies: str, schema: str) -> None:
        """Parse and validate. Raises: PolicyError."""
        try:
            self._schema = cedarpy.Schema.from_str(schema)
            parsed = json.loads(cedarpy.policies_to_json_str(policies))
        except ValueError as error:
            raise PolicyError(
                "the access policies cannot be read", internal_context={"why": str(error)}
            ) from error
        checked = cedarpy.validate_policies(policies, schema)
        if not checked.validation_passed:
            raise PolicyError(
                "the access policies do not fit their schema",
                internal_context={"why": [str(e) for e in checked.errors]},
            )
        self.policies = {p.id: p for p in map(_described, parsed["staticPolicies"].values())}
        """Every policy by its `@id`."""
        self._general, self._specific = _by_action(parsed["staticPolicies"].values())
        self._sets: dict[str, cedarpy.PolicySet] = {}

    @classmethod
    def load(cls, folder: Path) -> CedarEngine:
        """Return the engine of a folder's policy and schema files. Raises: PolicyError."""
        return cls(_joined(folder, "*.cedar"), _joined(folder, "*.cedarschema"))

    def prepare(self, entities: Sequence[Entity]) -> Prepared:
        """Return entities parsed and held against the schema, to be asked about many times.

        Raises: PolicyError.
        """
        try:
            return cedarpy.Entities.from_json_str(json.dumps(list(entities)), self._schema)
        except ValueError as error:
            raise PolicyError(
                "the access policies cannot be asked about this",
                internal_context={"why": str(error)},
            ) from error

    def decide(self, requests: Sequence[PolicyRequest], prepared: Prepared) -> list[Verdict]:
        """Return one verdict per request, in order. Raises: PolicyError."""
        return [self._decide(request, prepared) for request in requests]

    def _decide(self, request: PolicyRequest, prepared: Prepared) -> Verdict:
        asked = {
            "principal": request.principal.json(),
            "action": request.action.json(),
            "resource": request.resource.json(),
        }
        return self._verdict(
            cedarpy.is_authorized(asked, self._set_for(request.action.id), prepared)
        )

    def _set_for(self, action: str) -> cedarpy.PolicySet:
        """Return the policies that can match an action: those for it alone, and the general ones.

        A tenth of all, which is most of a decision's cost; the others name another action.
        """
        found = self._sets.get(action)
        if found is None:
            policies = [*self._general, *self._specific.get(action, [])]
            document = {
                "staticPolicies": {p["annotations"]["id"]: p for p in policies},
                "templates": {},
                "templateLinks": [],
            }
            text = cedarpy.policies_from_json_str(json.dumps(document))
            found = self._sets[action] = cedarpy.PolicySet.from_str(text)
        return found

    def _verdict(self, answer: cedarpy.AuthzResult) -> Verdict:
        if answer.diagnostics.errors or answer.decision is cedarpy.Decision.NoDecision:
            raise PolicyError(
                "the access policies cannot be evaluated",
                internal_context={"why": answer.diagnostics.errors},
            )
        ids = answer.diagnostics.id_annotations_by_reason.values()
        found = sorted((self.policies[i] for i in ids), key=lambda p: (LAYERS.index(p.layer), p.id))
        return Verdict(answer.allowed, tuple(found))


def _by_action(policies: Any) -> tuple[list[Any], dict[str, list[Any]]]:
    """Return the policies whose scope names no single action, and the others by action."""
    general: list[Any] = []
    specific: dict[str, list[Any]] = {}
    for policy in policies:
        if policy["action"]["op"] == "==":
            specific.setdefault(policy["action"]["entity"]["id"], []).append(policy)
        else:
            general.append(policy)
    return general, specific


def _joined(folder: Path, pattern: str) -> str:
    return "\n".join(path.read_text() for path in sorted(folder.glob(pattern)))


def _described(policy: dict[str, Any]) -> Policy:
    notes = policy.get("annotations", {})
    if not notes.get("id") or notes.get("layer") not in LAYERS:
        raise PolicyError(
            "a policy needs @id and @layer", internal_context={"annotations": sorted(notes)}
        )
    return Policy(
        notes["id"],
        policy["effect"],
        notes["layer"],
        notes.get("code"),
        notes.get("message"),
        notes.get("fix"),
    )
