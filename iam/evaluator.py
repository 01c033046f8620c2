"""Decide whether AWS would allow a call: the first evaluator.

Called by the rehearsal account for every call, and by preflight. Order: an explicit deny anywhere →
resource policy → identity ∩ permissions boundary ∩ session policies, with the cross-account rule.
Organization policies (SCP, RCP) are not modelled yet.
Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from iam.conditions import condition_holds
from iam.documents import Policy, Statement
from iam.patterns import Context, action_matches, matches


@dataclass(frozen=True)
class Principal:
    """Who calls: `arn` is the session's or user's, `role_arn` the role behind a session."""

    arn: str
    account: str
    role_arn: str = ""
    service: str = ""
    partition: str = "aws"


@dataclass(frozen=True)
class AccessRequest:
    """One action on one resource with its context keys; values are texts or lists of texts."""

    action: str
    resource: str
    principal: Principal
    context: Context = field(default_factory=dict)


@dataclass(frozen=True)
class PolicySet:
    """The policies that apply; None for boundary and session means that there is none.

    `resource_must_allow` is set where identity policies alone never suffice: role trust policies,
    KMS key policies, and any resource of another account.
    """

    identity: Sequence[Policy] = ()
    boundary: Sequence[Policy] | None = None
    session: Sequence[Policy] | None = None
    resource: Sequence[Policy] = ()
    resource_account: str = ""
    resource_must_allow: bool = False


@dataclass(frozen=True)
class Decision:
    """The answer with the deciding statement; `layer` says which kind of policy decided."""

    allowed: bool
    explicit: bool
    layer: str
    policy: str = ""
    sid: str = ""

    def explain(self) -> str:
        """Give the reason in AWS's own wording."""
        if self.allowed:
            return f"allowed by {self.layer} {self.policy} {self.sid}".rstrip()
        if self.explicit:
            return f"with an explicit deny in {_article(self.layer)} policy"
        return f"because no {self.layer} policy allows the action"


def _article(layer: str) -> str:
    """Put the article before the name of a layer."""
    return f"an {layer}" if layer[0] in "aeiou" else f"a {layer}"


def evaluate(request: AccessRequest, policies: PolicySet) -> Decision:
    """Decide one request; deny is the default."""
    layers: list[tuple[str, Sequence[Policy]]] = [
        ("identity-based", policies.identity),
        ("permissions boundary", policies.boundary or ()),
        ("session", policies.session or ()),
        ("resource-based", policies.resource),
    ]
    for layer, documents in layers:
        found = _find(documents, request, "Deny", with_principal=layer == "resource-based")
        if found:
            return Decision(False, True, layer, found[0].name, found[1].sid)
    return _allow(request, policies)


def _allow(request: AccessRequest, policies: PolicySet) -> Decision:
    """Combine the allows; called only when nothing denies explicitly."""
    who = request.principal
    by_resource = _find(policies.resource, request, "Allow", with_principal=True)
    foreign = bool(policies.resource_account) and policies.resource_account != who.account
    if (foreign or policies.resource_must_allow) and not by_resource:
        return Decision(False, False, "resource-based")
    names_caller = by_resource is not None and not _delegates(by_resource[1], who)
    if by_resource and names_caller and (who.service or (not foreign and _exact(by_resource, who))):
        # A service, or a grant to the very session or user, needs no identity policy.
        return Decision(True, True, "resource-based", by_resource[0].name, by_resource[1].sid)
    by_identity = _find(policies.identity, request, "Allow", with_principal=False)
    granted = by_identity or (by_resource if names_caller and not foreign else None)
    if granted is None:
        return Decision(False, False, "identity-based")
    for layer, documents in (
        ("permissions boundary", policies.boundary),
        ("session", policies.session),
    ):
        if documents is not None and not _find(documents, request, "Allow", with_principal=False):
            return Decision(False, False, layer)
    layer = "identity-based" if by_identity else "resource-based"
    return Decision(True, True, layer, granted[0].name, granted[1].sid)


def _exact(found: tuple[Policy, Statement], who: Principal) -> bool:
    """Tell whether the grant names the session or user itself, not the role behind it."""
    names = (found[1].principals or {}).get("AWS", ())
    return who.arn in names


def _delegates(statement: Statement, who: Principal) -> bool:
    """Tell whether the grant goes to the account, which only lets identity policies decide."""
    if who.service:
        return False
    names = (statement.principals or {}).get("AWS", ())
    return who.role_arn not in names and who.arn not in names and "*" not in names


def _find(
    policies: Iterable[Policy], request: AccessRequest, effect: str, *, with_principal: bool
) -> tuple[Policy, Statement] | None:
    """Find the first statement of an effect that matches, the most specific principal first."""
    account_grant: tuple[Policy, Statement] | None = None
    for policy in policies:
        for statement in policy.statements:
            if statement.effect != effect:
                continue
            if not statement_matches(statement, request, policy.variables, with_principal):
                continue
            if with_principal and effect == "Allow" and _delegates(statement, request.principal):
                account_grant = account_grant or (policy, statement)
                continue
            return policy, statement
    return account_grant


def statement_matches(
    statement: Statement, request: AccessRequest, variables: bool, with_principal: bool
) -> bool:
    """Tell whether principal, action, resource and every condition of a statement match."""
    scope = request.context if variables else None
    if with_principal and not _principal_matches(statement, request.principal):
        return False
    if statement.actions:
        if not any(action_matches(one, request.action) for one in statement.actions):
            return False
    elif any(action_matches(one, request.action) for one in statement.not_actions):
        return False
    if statement.resources:
        if not any(matches(one, request.resource, scope) for one in statement.resources):
            return False
    elif statement.not_resources and any(
        matches(one, request.resource, scope) for one in statement.not_resources
    ):
        return False
    return all(
        condition_holds(one, request.context, variables=variables) for one in statement.conditions
    )


def _principal_matches(statement: Statement, who: Principal) -> bool:
    """Match Principal or NotPrincipal; a resource policy without either matches nobody."""
    if statement.not_principals is not None:
        return not _named(statement.not_principals, who)
    return statement.principals is not None and _named(statement.principals, who)


def _named(principals: object, who: Principal) -> bool:
    """Tell whether a principal map names the caller, its role, or its account."""
    if not isinstance(principals, dict):
        return False
    if "*" in principals:
        return True
    if who.service:
        return who.service in principals.get("Service", ())
    accepted = {
        "*",
        who.arn,
        who.role_arn,
        who.account,
        f"arn:{who.partition}:iam::{who.account}:root",
    }
    return any(name and name in accepted for name in principals.get("AWS", ()))
