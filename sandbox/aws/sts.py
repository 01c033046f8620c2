"""STS: sessions of roles, whose trust policy decides who gets one.

moto's own STS checks neither trust nor External ID nor expiry; so it is done here. Called by the
gate for `sts` and by EKS Auth for pods.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from xml.sax.saxutils import escape

from iam.documents import parse_policy
from iam.evaluator import AccessRequest, Decision, PolicySet, Principal, evaluate
from sandbox.aws.authorize import Authorizer
from sandbox.aws.clock import Clock, iso
from sandbox.aws.errors import XMLNS, AwsError, meaning
from sandbox.aws.keys import KeyStore, UnknownKeyError
from sandbox.aws.messages import Call, Caller, Response
from sandbox.aws.operations import Check
from sandbox.aws.operations.checks import ContextValues, request_tags
from sandbox.aws.operations.iam import find_role

_ROLE_ARN = re.compile(r"^arn:(aws[a-z-]*):iam::(\d{12}):role(/.*)?/([\w+=,.@-]{1,64})$")
_NAME = re.compile(r"^[\w+=,.@-]{2,64}$")
MIN_SECONDS, CHAINED_SECONDS = 900, 3600


@dataclass
class Asked:
    """What a session is asked for."""

    role_arn: str
    session_name: str
    seconds: int = 3600
    external_id: str | None = None
    source_identity: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    policy_arns: list[str] = field(default_factory=list)
    policy: str = ""

    def context(self) -> ContextValues:
        """Give the context keys that trust policies may compare."""
        context: ContextValues = {"sts:RoleSessionName": self.session_name}
        if self.external_id is not None:
            context["sts:ExternalId"] = self.external_id
        if self.source_identity:
            context["sts:SourceIdentity"] = self.source_identity
        context.update(request_tags(self.tags))
        return context

    def actions(self) -> list[str]:
        """List the actions that must be allowed."""
        actions = ["sts:AssumeRole"]
        if self.source_identity:
            actions.append("sts:SetSourceIdentity")
        if self.tags:
            actions.append("sts:TagSession")
        return actions


class Sts:
    """Answer STS calls."""

    def __init__(self, keys: KeyStore, clock: Clock, authorizer: Authorizer) -> None:
        """Take what sessions are made of."""
        self._keys, self._clock, self._authorizer = keys, clock, authorizer

    def handle(self, call: Call) -> Response:
        """Answer one operation."""
        if call.operation == "GetCallerIdentity":
            fields = {"Arn": call.caller.arn, "UserId": call.caller.user_id}
            return self._answer(call, _xml({**fields, "Account": call.caller.account}))
        if call.operation == "DecodeAuthorizationMessage":
            try:
                message = self._keys.unseal(str(call.params.get("EncodedMessage", "")))
            except UnknownKeyError as exc:
                raise AwsError(
                    "InvalidAuthorizationMessageException", "Message is invalid"
                ) from exc
            return self._answer(call, _xml({"DecodedMessage": message}))
        asked = _asked(call)
        credentials, session = self.assume(call, asked)
        return self._answer(
            call,
            _xml(
                {
                    "Credentials": _credentials(credentials, session),
                    "AssumedRoleUser": {"Arn": session.arn, "AssumedRoleId": session.user_id},
                    "PackedPolicySize": str(_packed(asked)),
                    "SourceIdentity": session.source_identity,
                }
            ),
        )

    def assume(self, call: Call, asked: Asked, service: str = "") -> tuple[dict[str, str], Caller]:
        """Make a session where caller and trust policy allow it.

        `service` is set where an AWS service asks (pod identity). Raises AwsError AccessDenied,
        with the same text for a role that does not exist.
        """
        found = _ROLE_ARN.match(asked.role_arn)
        if not found:
            raise AwsError("ValidationError", f"{asked.role_arn} is invalid")
        account, name = found.group(2), found.group(4)
        role: Any = find_role(account, name)
        for action in asked.actions():
            decision = self._decide(call, asked, action, role, account, service)
            if not decision.allowed:
                check = Check(action, asked.role_arn)
                raise self._authorizer.refusal(call, check, decision)
        self._check_duration(call, asked, role, service)
        session = Caller(
            kind="session",
            account=account,
            arn=f"arn:aws:sts::{account}:assumed-role/{name}/{asked.session_name}",
            user_id=f"{role.id}:{asked.session_name}",
            access_key="",
            name=name,
            role_arn=asked.role_arn,
            session_name=asked.session_name,
            source_identity=asked.source_identity or call.caller.source_identity,
            tags=asked.tags,
            session_policies=asked.policy_arns,
            session_policy_document=asked.policy,
            issued_at=iso(self._clock.now()),
        )
        end = self._clock.now() + timedelta(seconds=asked.seconds)
        return self._keys.issue(session, end), session

    def _decide(
        self, call: Call, asked: Asked, action: str, role: Any, account: str, service: str
    ) -> Decision:
        """Evaluate one action against trust and caller."""
        if role is None or f"role{role.path}{role.name}" != asked.role_arn.split(":", 5)[5]:
            return Decision(False, False, "resource-based")
        trust = parse_policy(role.assume_role_policy_document, f"trust of {role.name}")
        context = asked.context()
        context.update({f"aws:ResourceTag/{t['Key']}": t["Value"] for t in role.tags or []})
        if service:
            # A service says for whose account it acts, so that a role can refuse to be its deputy.
            source: ContextValues = {"aws:SourceAccount": account}
            merged = {**self._authorizer.context(call), **source, **context}
            principal = Principal("", "", service=service)
            policies = PolicySet(resource=[trust], resource_must_allow=True)
            return evaluate(AccessRequest(action, asked.role_arn, principal, merged), policies)
        check = Check(action, asked.role_arn, context, (trust,), account, resource_must_allow=True)
        return self._authorizer.decide(call, check)

    def _check_duration(self, call: Call, asked: Asked, role: Any, service: str) -> None:
        """Refuse durations that STS refuses."""
        longest = int(role.max_session_duration or 3600)
        if call.caller.kind == "session" and not service:
            longest = min(longest, CHAINED_SECONDS)
        if not MIN_SECONDS <= asked.seconds <= longest:
            raise AwsError(
                "ValidationError",
                "The requested DurationSeconds exceeds the MaxSessionDuration set for this role, "
                f"or is below {MIN_SECONDS}: {asked.seconds}",
            )

    def _answer(self, call: Call, inner: str) -> Response:
        """Wrap a result as the query protocol does."""
        name, space = call.operation, XMLNS["sts"]
        body = (
            f'<{name}Response xmlns="{space}"><{name}Result>{inner}</{name}Result>'
            f"<ResponseMetadata><RequestId>{call.id}</RequestId></ResponseMetadata></{name}Response>"
        )
        return Response(200, {"Content-Type": "text/xml"}, body.encode())


def _asked(call: Call) -> Asked:
    """Read AssumeRole's parameters. Raises AwsError ValidationError."""
    params = call.params
    name = str(params.get("RoleSessionName", ""))
    identity = str(params.get("SourceIdentity", ""))
    if not _NAME.match(name):
        raise AwsError("ValidationError", "RoleSessionName must be 2 to 64 of [\\w+=,.@-]")
    if identity and not _NAME.match(identity):
        raise AwsError("ValidationError", "SourceIdentity must be 2 to 64 of [\\w+=,.@-]")
    seconds = str(params.get("DurationSeconds", "3600"))
    if not seconds.isdigit():
        raise AwsError("ValidationError", "DurationSeconds must be a number")
    tags = {
        str(v): str(params.get(f"{k[:-4]}.Value", ""))
        for k, v in params.items()
        if re.match(r"^Tags\.member\.\d+\.Key$", k)
    }
    arns = [str(v) for k, v in params.items() if re.match(r"^PolicyArns\.member\.\d+\.arn$", k)]
    policy = str(params.get("Policy", ""))
    if len(arns) > 10 or len(policy) > 2048 or len(tags) > 50:
        raise AwsError("PackedPolicyTooLarge", "at most 10 policy ARNs, 2048 characters, 50 tags")
    if call.caller.source_identity and identity not in ("", call.caller.source_identity):
        raise meaning("denied", "SourceIdentity cannot be changed in a chained session", "query")
    external = params.get("ExternalId")
    return Asked(
        role_arn=str(params.get("RoleArn", "")),
        session_name=name,
        seconds=int(seconds),
        external_id=None if external is None else str(external),
        source_identity=identity,
        tags=tags,
        policy_arns=arns,
        policy=policy,
    )


def _packed(asked: Asked) -> int:
    """Estimate the packed size in percent; AWS does not publish its packing."""
    size = len(asked.policy) + sum(map(len, asked.policy_arns))
    size += sum(len(k) + len(v) for k, v in asked.tags.items())
    return min(100, -(-size * 100 // 2048))


def _credentials(credentials: dict[str, str], session: Caller) -> dict[str, Any]:
    """Name the parts of credentials as STS does."""
    return {
        "AccessKeyId": credentials["access_key_id"],
        "SecretAccessKey": credentials["secret_access_key"],
        "SessionToken": credentials["session_token"],
        "Expiration": session.expires_at,
    }


def _xml(fields: dict[str, Any]) -> str:
    """Write nested fields as XML; empty ones are left out."""
    parts = []
    for name, value in fields.items():
        if isinstance(value, dict):
            parts.append(f"<{name}>{_xml(value)}</{name}>")
        elif value:
            parts.append(f"<{name}>{escape(str(value))}</{name}>")
    return "".join(parts)
