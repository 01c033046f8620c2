"""The errors that each service really gives, and what its calls create.

Used by the injector, the plan's checks and the ledger. Codes are those of the services' own API
references ("Common errors", "Errors" of the operation); one table, so that no fault invents one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from sandbox.aws.errors import AwsError
from sandbox.aws.messages import Call, Response

# Code and status of a throttled call; botocore's standard mode retries every one of them.
_THROTTLED: Mapping[str, tuple[str, int]] = {
    "ec2": ("RequestLimitExceeded", 503),
    "s3": ("SlowDown", 503),
    "kms": ("ThrottlingException", 400),
    "eks": ("ThrottlingException", 429),
    "eks-auth": ("ThrottlingException", 429),
    "ecr": ("ThrottlingException", 400),
    "ecs": ("ThrottlingException", 400),
    "cloudtrail": ("ThrottlingException", 400),
    "servicequotas": ("TooManyRequestsException", 400),
}
_INTERNAL: Mapping[str, str] = {
    "ec2": "InternalError",
    "s3": "InternalError",
    "kms": "KMSInternalException",
    "eks": "ServerException",
    "ecr": "ServerException",
    "ecs": "ServerException",
    "iam": "ServiceFailure",
}
# Operation → code and status of its published limit.
LIMITS: Mapping[str, tuple[str, int]] = {
    "CreateVpc": ("VpcLimitExceeded", 400),
    "CreateSubnet": ("SubnetLimitExceeded", 400),
    "CreateInternetGateway": ("InternetGatewayLimitExceeded", 400),
    "AllocateAddress": ("AddressLimitExceeded", 400),
    "CreateNatGateway": ("NatGatewayLimitExceeded", 400),
    "CreateRouteTable": ("RouteTableLimitExceeded", 400),
    "CreateRoute": ("RouteLimitExceeded", 400),
    "CreateVpcEndpoint": ("VpcEndpointLimitExceeded", 400),
    "CreateKey": ("LimitExceededException", 400),
    "CreateBucket": ("TooManyBuckets", 400),
    "CreateRole": ("LimitExceeded", 409),
    "CreateCluster": ("ResourceLimitExceededException", 400),
    "CreateNodegroup": ("ResourceLimitExceededException", 400),
    "CreateRepository": ("LimitExceededException", 400),
}
SLOW = frozenset(
    {"CreateCluster", "CreateNodegroup", "CreateAddon", "CreateNatGateway", "CreateVpcEndpoint"}
)
# EC2 names what it created in the answer; the error of an id that is not visible is per kind.
_EC2_CREATED: Mapping[str, str] = {
    "CreateVpc": "vpcId",
    "CreateSubnet": "subnetId",
    "CreateInternetGateway": "internetGatewayId",
    "CreateRouteTable": "routeTableId",
    "AllocateAddress": "allocationId",
    "CreateNatGateway": "natGatewayId",
    "CreateVpcEndpoint": "vpcEndpointId",
    "AssociateRouteTable": "associationId",
}
_EC2_ABSENT: Mapping[str, str] = {
    "vpc": "InvalidVpcID.NotFound",
    "subnet": "InvalidSubnetID.NotFound",
    "igw": "InvalidInternetGatewayID.NotFound",
    "rtb": "InvalidRouteTableID.NotFound",
    "eipalloc": "InvalidAllocationID.NotFound",
    "nat": "NatGatewayNotFound",
    "vpce": "InvalidVpcEndpointId.NotFound",
}
_NAMED: Mapping[str, str] = {
    "CreateRole": "RoleName",
    "CreateAlias": "AliasName",
    "CreateBucket": "Bucket",
    "CreateCluster": "name",
    "CreateNodegroup": "nodegroupName",
    "CreateAddon": "addonName",
    "CreateRepository": "repositoryName",
}


def throttled(service: str) -> AwsError:
    """Make the error of a call beyond the rate that a service takes."""
    code, status = _THROTTLED.get(service, ("Throttling", 400))
    text = "Please reduce your request rate." if service == "s3" else "Rate exceeded"
    return AwsError(code, text, status)


def internal(service: str) -> AwsError:
    """Make the error of a service that failed after it had done the work."""
    text = "An internal error has occurred"
    return AwsError(_INTERNAL.get(service, "InternalFailure"), text, 500)


def over_limit(operation: str) -> AwsError:
    """Make the error of an account that may have no more of a kind."""
    code, status = LIMITS[operation]
    return AwsError(code, f"The maximum number for {operation} has been reached.", status)


def absent(service: str, identifier: str) -> AwsError:
    """Make the error of a read that does not see an object yet."""
    if service == "ec2":
        code = _EC2_ABSENT.get(identifier.partition("-")[0], "InvalidParameterValue")
        return AwsError(code, f"The ID '{identifier}' does not exist")
    if service == "iam":
        text = f"The role with name {identifier} cannot be found."
        return AwsError("NoSuchEntity", text, 404)
    if service == "kms":
        return AwsError("NotFoundException", f"Key '{identifier}' does not exist")
    if service == "s3":
        return AwsError("NoSuchBucket", "The specified bucket does not exist", 404)
    if service == "ecr":
        text = f"The repository with name '{identifier}' does not exist in the registry"
        return AwsError("RepositoryNotFoundException", text)
    return AwsError("ResourceNotFoundException", f"No resource found for name: {identifier}.", 404)


def created(call: Call, response: Response) -> list[str]:
    """List the ids or names of what a call has created; empty for any other call."""
    # Clusters of ECS have the operation's name of EKS, and nothing of theirs is read late.
    if response.status >= 400 or call.service == "ecs":
        return []
    if call.operation in _NAMED:
        return [str(call.params[_NAMED[call.operation]])]
    if call.operation == "CreateKey":
        return [str(json.loads(response.body)["KeyMetadata"]["KeyId"])]
    if call.operation == "CreatePodIdentityAssociation":
        return [str(json.loads(response.body)["association"]["associationId"])]
    tag = _EC2_CREATED.get(call.operation) if call.service == "ec2" else None
    found = re.search(rf"<{tag}>([^<]+)</{tag}>", response.body.decode()) if tag else None
    return [found.group(1)] if found else []
