"""Decide a call: gather the caller's policies from the store and ask the evaluator.

Called by the gate for each check of an operation, and by STS for role trust. Policies are read at
each call, so that a deny-all attached a moment ago takes power from live sessions at once.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from iam.documents import Policy, parse_policy
from iam.evaluator import AccessRequest, Decision, PolicySet, Principal, evaluate
from sandbox.aws.clock import Clock, iso
from sandbox.aws.errors import AwsError, meaning
from sandbox.aws.keys import KeyStore
from sandbox.aws.messages import Call, Caller
from sandbox.aws.moto_store import backend
from sandbox.aws.operations import Check, checks_for
from sandbox.aws.operations.checks import ContextValues, resource_tags
from sandbox.aws.operations.iam import find_role

TagsOf = Callable[[str, str], dict[str, str] | None]
"""Account and ARN to the tags of a resource; None where there is none."""


class Authorizer:
    """Allow or refuse calls by the policies in force at this moment."""

    def __init__(self, keys: KeyStore, clock: Clock, eks_tags: TagsOf | None = None) -> None:
        """Take the key store (it seals authorization messages), the clock and EKS's tags."""
        self._keys, self._clock, self._eks_tags = keys, clock, eks_tags

    def require(self, call: Call) -> None:
        """Pass where every check of the call is allowed. Raises AwsError otherwise."""
        for check in checks_for(call):
            decision = self.decide(call, check)
            if not decision.allowed:
                raise self.refusal(call, check, decision)

    def decide(self, call: Call, check: Check) -> Decision:
        """Evaluate one check."""
        caller = call.caller
        identity, boundary = _identity_policies(caller)
        policies = PolicySet(
            identity=identity,
            boundary=boundary,
            session=_session_policies(caller),
            resource=check.resource_policies,
            resource_account=check.resource_account,
            resource_must_allow=check.resource_must_allow,
        )
        principal = Principal(caller.arn, caller.account, caller.role_arn)
        context = {**self.context(call), **self._tags_on(call, check), **check.context}
        request = AccessRequest(check.action, check.resource, principal, context)
        return evaluate(request, policies)

    def _tags_on(self, call: Call, check: Check) -> ContextValues:
        """Give the tags of an EKS resource, whose store is not that of the other services."""
        if self._eks_tags is None or not check.action.startswith("eks:"):
            return {}
        return resource_tags(self._eks_tags(call.account, check.resource) or {})

    def context(self, call: Call) -> ContextValues:
        """Give the global context keys of a call."""
        caller, now = call.caller, self._clock.now()
        context: ContextValues = {
            "aws:CurrentTime": iso(now),
            "aws:EpochTime": str(int(now.timestamp())),
            "aws:PrincipalAccount": caller.account,
            "aws:PrincipalArn": caller.role_arn or caller.arn,
            "aws:PrincipalType": "AssumedRole" if caller.kind == "session" else "User",
            "aws:userid": caller.user_id,
            "aws:RequestedRegion": call.region,
            "aws:SourceIp": call.request.source_ip,
            # The gate speaks plain HTTP on loopback; a client of AWS would use TLS.
            "aws:SecureTransport": "true",
            "aws:UserAgent": call.request.headers.get("user-agent", ""),
        }
        if caller.kind == "user":
            context["aws:username"] = caller.name
        if caller.issued_at:
            context["aws:TokenIssueTime"] = caller.issued_at
        if caller.source_identity:
            context["aws:SourceIdentity"] = caller.source_identity
        context.update({f"aws:PrincipalTag/{k}": v for k, v in _principal_tags(caller).items()})
        return context

    def refusal(self, call: Call, check: Check, decision: Decision) -> AwsError:
        """Make the error of a denied check, in AWS's wording."""
        arn = call.caller.arn
        text = (
            f"User: {arn} is not authorized to perform: {check.action} on resource: "
            f"{check.resource} {decision.explain()}"
        )
        if call.service == "ec2":
            text = (
                f"You are not authorized to perform this operation. {text}. "
                f"Encoded authorization failure message: {self._explanation(call, check, decision)}"
            )
        return meaning("denied", text, call.protocol)

    def _explanation(self, call: Call, check: Check, decision: Decision) -> str:
        """Seal why a call was denied; DecodeAuthorizationMessage opens it."""
        return self._keys.seal(
            json.dumps(
                {
                    "allowed": False,
                    "explicitDeny": decision.explicit,
                    "matchedStatements": {
                        "items": [{"statementId": decision.sid, "policy": decision.policy}]
                        if decision.explicit
                        else []
                    },
                    "failures": {"items": []},
                    "context": {
                        "principal": {"id": call.caller.user_id, "arn": call.caller.arn},
                        "action": check.action,
                        "resource": check.resource,
                        "conditions": {"items": sorted({**self.context(call), **check.context})},
                    },
                }
            )
        )


def _managed(stored: Any) -> Policy:
    """Parse the default version of a managed policy."""
    for version in stored.versions:
        if version.version_id == stored.default_version_id:
            return parse_policy(version.document, stored.name)
    return parse_policy(stored.document, stored.name)


def _principal_tags(caller: Caller) -> dict[str, str]:
    """Merge the role's own tags with the session's, which win."""
    if caller.kind != "session":
        return {}
    role = find_role(caller.account, caller.name)
    own = {one["Key"]: one["Value"] for one in getattr(role, "tags", None) or []}
    return {**own, **caller.tags}


def _identity_policies(caller: Caller) -> tuple[list[Policy], list[Policy] | None]:
    """Read the identity policies and the permissions boundary of a role or user."""
    store = backend("iam", caller.account, "aws")
    if caller.kind == "session":
        holder: Any = find_role(caller.account, caller.name)
        boundary_arn = getattr(holder, "permissions_boundary_arn", None)
        inline = dict(getattr(holder, "policies", {}))
    else:
        holder = store.users.get(caller.name)
        boundary_arn = None
        inline = dict(getattr(holder, "policies", {}))
    managed = list(getattr(holder, "managed_policies", {}).values())
    identity = [parse_policy(document, name) for name, document in inline.items()]
    identity += [_managed(one) for one in managed]
    return identity, _boundary(store, boundary_arn)


def _boundary(store: Any, arn: str | None) -> list[Policy] | None:
    """Read a permissions boundary; one that no longer exists allows nothing."""
    if not arn:
        return None
    found = store.managed_policies.get(arn)
    return [_managed(found)] if found else []


def _session_policies(caller: Caller) -> list[Policy] | None:
    """Read the session policies; a deleted one allows nothing."""
    if not caller.session_policies and not caller.session_policy_document:
        return None
    store = backend("iam", caller.account, "aws")
    found = [store.managed_policies.get(arn) for arn in caller.session_policies]
    policies = [_managed(one) for one in found if one]
    if caller.session_policy_document:
        policies.append(parse_policy(caller.session_policy_document, "session policy"))
    return policies
