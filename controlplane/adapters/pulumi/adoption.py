"""How to find a resource that a killed engine may have made, declared per type (decision 10).

Called by `recovery.py`, once per pending creation. Three ways: by the tags `ringfence:urn` and
`ringfence:boundary` that are part of the create call, by a deterministic name, or by its parent.
The ids are those the official provider keeps in state. Separate so that a new resource type is one
row here; a type without a row is never guessed, a person is asked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal
from zlib import crc32

from botocore.exceptions import ClientError

from controlplane.adapters.aws.account import Account
from controlplane.adapters.aws.errors import DENIED, error_code, translated

Inputs = dict[str, Any]
_OURS = "ringfence:"
_URN, _BOUNDARY = "ringfence:urn", "ringfence:boundary"
_GONE = frozenset(
    {"404", "NoSuchBucket", "NoSuchEntity", "ResourceNotFoundException", "NotFoundException"}
    | {"RepositoryNotFoundException"}
    | {"NoSuchPublicAccessBlockConfiguration", "NoSuchBucketPolicy"}
    | {"ServerSideEncryptionConfigurationNotFoundError", "InvalidRouteTableID.NotFound"}
)


@dataclass(frozen=True)
class Pending:
    """A creation that had begun: its inputs are the ones sent to AWS."""

    urn: str
    type: str
    inputs: Inputs

    def marks(self, boundary: str) -> dict[str, str]:
        """Return the tags that only this resource has.

        The install is among them: an earlier install of the boundary may have left its twin.
        """
        tags = {**(self.inputs.get("tags") or {}), **(self.inputs.get("tagsAll") or {})}
        ours = {name: str(value) for name, value in tags.items() if name.startswith(_OURS)}
        return {**ours, _URN: self.urn, _BOUNDARY: boundary}


@dataclass(frozen=True)
class Adoption:
    """One row: how a type is found, and when what was found is ready to be used."""

    by: Literal["tag", "name", "parent"]
    call: str
    """The call a person makes when the answer is unclear."""
    find: Callable[[Account, Pending], list[str]]
    """Returns provider ids; raises the classes of `translated`."""
    settled: Callable[[Account, str], bool] | None = None
    """None when the type is usable as soon as it exists."""
    doomed: Callable[[Account, Pending], str] | None = None
    """Returns how one that is about to be deleted is kept, empty when there is none such."""


def _tagged(
    operation: str, result: str, key: str, alive: Callable[[dict[str, Any]], bool] | None = None
) -> Callable[[Account, Pending], list[str]]:
    def find(account: Account, pending: Pending) -> list[str]:
        wanted = pending.marks(account.target.boundary)
        filters = [{"Name": f"tag:{name}", "Values": [value]} for name, value in wanted.items()]
        with translated(f"ec2:{operation}"):
            answer = getattr(account.client("ec2"), operation)(Filters=filters)
        return [str(item[key]) for item in answer[result] if alive is None or alive(item)]

    return find


def _named(
    service: str, operation: str, identifier: Callable[[Inputs], str], **names: str
) -> Callable[[Account, Pending], list[str]]:
    """Find by asking for the name; `names` maps the call's parameters to inputs."""

    def find(account: Account, pending: Pending) -> list[str]:
        parameters = {name: pending.inputs[source] for name, source in names.items()}
        with translated(f"{service}:{operation}"):
            try:
                getattr(account.client(service), operation)(**parameters)
            except ClientError as error:
                if error_code(error) in _GONE:
                    return []
                raise
        return [identifier(pending.inputs)]

    return find


def _joined(separator: str, *names: str) -> Callable[[Inputs], str]:
    return lambda inputs: separator.join(str(inputs[name]) for name in names)


def _keys(account: Account, pending: Pending, *, going: bool) -> list[str]:
    """Return the keys that carry the resource's marks: those in use, or those about to go."""
    kms = account.client("kms")
    found: list[str] = []
    with translated("kms:ListKeys"):
        pages = kms.get_paginator("list_keys").paginate()
        keys = [item["KeyId"] for page in pages for item in page["Keys"]]
    for key in keys:
        with translated("kms:ListResourceTags"):
            try:
                answer = kms.list_resource_tags(KeyId=key)
            except ClientError as error:
                if error_code(error) in DENIED:
                    continue  # the role reads the tags of the boundary's own keys only
                raise
        tags = {tag["TagKey"]: tag["TagValue"] for tag in answer["Tags"]}
        if pending.marks(account.target.boundary).items() <= tags.items():
            with translated("kms:DescribeKey"):
                state = kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"]
            if (state == "PendingDeletion") == going:
                found.append(key)
    return found


def _key(account: Account, pending: Pending) -> list[str]:
    return _keys(account, pending, going=False)


def _doomed_key(account: Account, pending: Pending) -> str:
    going = _keys(account, pending, going=True)
    return f"kms:CancelKeyDeletion and kms:EnableKey of {', '.join(going)}" if going else ""


def _alias(account: Account, pending: Pending) -> list[str]:
    with translated("kms:ListAliases"):
        pages = account.client("kms").get_paginator("list_aliases").paginate()
        names = {alias["AliasName"] for page in pages for alias in page["Aliases"]}
    return [pending.inputs["name"]] if pending.inputs["name"] in names else []


def _route_table(account: Account, table: str) -> dict[str, Any] | None:
    with translated("ec2:DescribeRouteTables"):
        try:
            found = account.client("ec2").describe_route_tables(RouteTableIds=[table])
        except ClientError as error:
            if error_code(error) in _GONE:
                return None
            raise
    tables: list[dict[str, Any]] = found["RouteTables"]
    return tables[0] if tables else None


def _route(account: Account, pending: Pending) -> list[str]:
    table, destination = pending.inputs["routeTableId"], pending.inputs["destinationCidrBlock"]
    routes = (_route_table(account, table) or {}).get("Routes", [])
    if not any(route.get("DestinationCidrBlock") == destination for route in routes):
        return []
    # The official provider's id: the table and a hash (terraform-plugin-sdk, hashcode.String).
    return [f"r-{table}{crc32(destination.encode())}"]


def _table_association(account: Account, pending: Pending) -> list[str]:
    table = _route_table(account, pending.inputs["routeTableId"]) or {}
    return [
        str(item["RouteTableAssociationId"])
        for item in table.get("Associations", [])
        if item.get("SubnetId") == pending.inputs["subnetId"]
    ]


def _bucket_versioning(account: Account, pending: Pending) -> list[str]:
    bucket = pending.inputs["bucket"]
    with translated("s3:GetBucketVersioning"):
        answer = account.client("s3").get_bucket_versioning(Bucket=bucket)
    return [bucket] if answer.get("Status") else []


def _policy_attachment(account: Account, pending: Pending) -> list[str]:
    role, policy = pending.inputs["role"], pending.inputs["policyArn"]
    with translated("iam:ListAttachedRolePolicies"):
        try:
            answer = account.client("iam").list_attached_role_policies(RoleName=role)
        except ClientError as error:
            if error_code(error) in _GONE:
                return []
            raise
    attached = {item["PolicyArn"] for item in answer["AttachedPolicies"]}
    return [f"{role}/{policy}"] if policy in attached else []


def _pod_identity(account: Account, pending: Pending) -> list[str]:
    inputs = pending.inputs
    with translated("eks:ListPodIdentityAssociations"):
        answer = account.client("eks").list_pod_identity_associations(
            clusterName=inputs["clusterName"],
            namespace=inputs["namespace"],
            serviceAccount=inputs["serviceAccount"],
        )
    return [str(item["associationId"]) for item in answer["associations"]]


def _repository(account: Account, pending: Pending) -> list[str]:
    name = pending.inputs["name"]
    with translated("ecr:DescribeRepositories"):
        try:
            account.client("ecr").describe_repositories(repositoryNames=[name])
        except ClientError as error:
            if error_code(error) in _GONE:
                return []
            raise
    return [name]


def _eks_active(operation: str, result: str, *names: str) -> Callable[[Account, str], bool]:
    def settled(account: Account, identifier: str) -> bool:
        parameters = dict(zip(names, identifier.split(":"), strict=True))
        with translated(f"eks:{operation}"):
            answer = getattr(account.client("eks"), operation)(**parameters)
        # A failed one is settled too: the refresh shows it, and the apply replaces it.
        return not str(answer[result]["status"]).endswith("ING")

    return settled


def _nat_settled(account: Account, identifier: str) -> bool:
    with translated("ec2:DescribeNatGateways"):
        answer = account.client("ec2").describe_nat_gateways(NatGatewayIds=[identifier])
    return all(item["State"] != "pending" for item in answer["NatGateways"])


def _nat_alive(item: dict[str, Any]) -> bool:
    return item["State"] in ("pending", "available")


def _endpoint_alive(item: dict[str, Any]) -> bool:
    return str(item["State"]).lower() not in ("deleting", "deleted", "failed")


def _tag_row(operation: str, result: str, key: str, **more: Any) -> Adoption:
    camel = "".join(part.title() for part in operation.split("_"))
    return Adoption(
        "tag",
        f"ec2:{camel} with filters on its tags, among them {_URN} and {_BOUNDARY}",
        _tagged(operation, result, key, more.get("alive")),
        more.get("settled"),
    )


_BUCKET = _joined("", "bucket")

ADOPTIONS: dict[str, Adoption] = {
    "aws:ec2/vpc:Vpc": _tag_row("describe_vpcs", "Vpcs", "VpcId"),
    "aws:ec2/subnet:Subnet": _tag_row("describe_subnets", "Subnets", "SubnetId"),
    "aws:ec2/internetGateway:InternetGateway": _tag_row(
        "describe_internet_gateways", "InternetGateways", "InternetGatewayId"
    ),
    "aws:ec2/routeTable:RouteTable": _tag_row(
        "describe_route_tables", "RouteTables", "RouteTableId"
    ),
    "aws:ec2/eip:Eip": _tag_row("describe_addresses", "Addresses", "AllocationId"),
    "aws:ec2/natGateway:NatGateway": _tag_row(
        "describe_nat_gateways",
        "NatGateways",
        "NatGatewayId",
        alive=_nat_alive,
        settled=_nat_settled,
    ),
    "aws:ec2/vpcEndpoint:VpcEndpoint": _tag_row(
        "describe_vpc_endpoints", "VpcEndpoints", "VpcEndpointId", alive=_endpoint_alive
    ),
    "aws:ec2/route:Route": Adoption("parent", "ec2:DescribeRouteTables of the table", _route),
    "aws:ec2/routeTableAssociation:RouteTableAssociation": Adoption(
        "parent", "ec2:DescribeRouteTables of the table", _table_association
    ),
    "aws:kms/key:Key": Adoption(
        "tag", "kms:ListKeys, kms:ListResourceTags", _key, doomed=_doomed_key
    ),
    "aws:kms/alias:Alias": Adoption("name", "kms:ListAliases", _alias),
    "aws:s3/bucket:Bucket": Adoption(
        "name", "s3:HeadBucket", _named("s3", "head_bucket", _BUCKET, Bucket="bucket")
    ),
    "aws:s3/bucketVersioning:BucketVersioning": Adoption(
        "parent", "s3:GetBucketVersioning", _bucket_versioning
    ),
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": (
        Adoption(
            "parent",
            "s3:GetEncryptionConfiguration",
            _named("s3", "get_bucket_encryption", _BUCKET, Bucket="bucket"),
        )
    ),
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": Adoption(
        "parent",
        "s3:GetBucketPublicAccessBlock",
        _named("s3", "get_public_access_block", _BUCKET, Bucket="bucket"),
    ),
    "aws:s3/bucketPolicy:BucketPolicy": Adoption(
        "parent",
        "s3:GetBucketPolicy",
        _named("s3", "get_bucket_policy", _BUCKET, Bucket="bucket"),
    ),
    "aws:ecr/repository:Repository": Adoption("name", "ecr:DescribeRepositories", _repository),
    "aws:iam/role:Role": Adoption(
        "name", "iam:GetRole", _named("iam", "get_role", _joined("", "name"), RoleName="name")
    ),
    "aws:iam/rolePolicy:RolePolicy": Adoption(
        "parent",
        "iam:GetRolePolicy",
        _named(
            "iam",
            "get_role_policy",
            _joined(":", "role", "name"),
            RoleName="role",
            PolicyName="name",
        ),
    ),
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": Adoption(
        "parent", "iam:ListAttachedRolePolicies", _policy_attachment
    ),
    "aws:eks/cluster:Cluster": Adoption(
        "name",
        "eks:DescribeCluster",
        _named("eks", "describe_cluster", _joined("", "name"), name="name"),
        _eks_active("describe_cluster", "cluster", "name"),
    ),
    "aws:eks/nodeGroup:NodeGroup": Adoption(
        "name",
        "eks:DescribeNodegroup",
        _named(
            "eks",
            "describe_nodegroup",
            _joined(":", "clusterName", "nodeGroupName"),
            clusterName="clusterName",
            nodegroupName="nodeGroupName",
        ),
        _eks_active("describe_nodegroup", "nodegroup", "clusterName", "nodegroupName"),
    ),
    "aws:eks/addon:Addon": Adoption(
        "name",
        "eks:DescribeAddon",
        _named(
            "eks",
            "describe_addon",
            _joined(":", "clusterName", "addonName"),
            clusterName="clusterName",
            addonName="addonName",
        ),
        _eks_active("describe_addon", "addon", "clusterName", "addonName"),
    ),
    "aws:eks/podIdentityAssociation:PodIdentityAssociation": Adoption(
        "parent", "eks:ListPodIdentityAssociations", _pod_identity
    ),
}
