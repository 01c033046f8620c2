"""All operations of all services; what is missing here is denied."""

from __future__ import annotations

from sandbox.aws.errors import meaning
from sandbox.aws.messages import Call
from sandbox.aws.operations import ec2, ecr, ecs, eks, iam, kms, s3
from sandbox.aws.operations.checks import Asks, Check, on_anything


def _stack(call: Call) -> list[Check]:
    """Ask for an operation on one stack."""
    name = str(call.params.get("StackName", "*"))
    arn = name
    if not name.startswith("arn:"):
        arn = f"arn:aws:cloudformation:{call.region}:{call.account}:stack/{name}/*"
    return [Check(f"cloudformation:{call.operation}", arn)]


def _always(call: Call) -> list[Check]:
    """Ask for nothing: AWS allows the call to whoever signs, or the service checks it itself."""
    return []


_CLOUDFORMATION: dict[str, Asks] = {
    **dict.fromkeys(
        (
            "CreateStack", "UpdateStack", "DeleteStack", "DescribeStacks", "DescribeStackEvents",
            "DescribeStackResources", "ListStackResources", "GetTemplate",
        ),
        _stack,
    ),
    "ListStacks": on_anything("cloudformation:ListStacks"),
    "ValidateTemplate": on_anything("cloudformation:ValidateTemplate"),
}  # fmt: skip
_STS: dict[str, Asks] = {
    # sts.py evaluates the role's trust policy together with the caller's policies.
    "AssumeRole": _always,
    # "No permissions are required to perform this operation" (AWS STS API reference).
    "GetCallerIdentity": _always,
    "DecodeAuthorizationMessage": on_anything("sts:DecodeAuthorizationMessage"),
}
_EKS_AUTH: dict[str, Asks] = {
    # Authorized by the pod's own token, which eks_auth.py has the cluster review.
    "AssumeRoleForPodIdentity": _always,
}
_QUOTAS: dict[str, Asks] = {
    name: on_anything(f"servicequotas:{name}")
    for name in ("ListServiceQuotas", "GetServiceQuota", "GetAWSDefaultServiceQuota")
}
_CLOUDTRAIL: dict[str, Asks] = {
    name: on_anything(f"cloudtrail:{name}")
    for name in ("LookupEvents", "DescribeTrails", "GetTrailStatus")
}
TABLE: dict[str, dict[str, Asks]] = {
    "ec2": ec2.OPERATIONS,
    "iam": iam.OPERATIONS,
    "s3": s3.OPERATIONS,
    "kms": kms.OPERATIONS,
    "ecr": ecr.OPERATIONS,
    "ecs": ecs.OPERATIONS,
    "eks": eks.OPERATIONS,
    "eks-auth": _EKS_AUTH,
    "sts": _STS,
    "cloudformation": _CLOUDFORMATION,
    "servicequotas": _QUOTAS,
    "cloudtrail": _CLOUDTRAIL,
}


def checks_for(call: Call) -> list[Check]:
    """List what a call needs to be allowed. Raises AwsError for an operation not in the table."""
    asks = TABLE.get(call.service, {}).get(call.operation)
    if asks is None:
        raise meaning(
            "denied",
            f"{call.service}:{call.operation} is not modelled by the rehearsal account, so it is "
            "denied; add it to sandbox/aws/operations with its resources and context keys",
            call.protocol,
        )
    return asks(call)
