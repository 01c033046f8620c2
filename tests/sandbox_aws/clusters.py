"""What the EKS tests share: a network, roles, a cluster, and a client with an EKS token."""

from __future__ import annotations

import base64
import itertools
import json
import ssl
import urllib.error
import urllib.request
from typing import Any

from botocore.signers import RequestSigner

from tests.sandbox_aws.conftest import CUSTOMER, REGION, Boundary
from tests.sandbox_aws.test_blueprint_calls import boundary_policy, make_vpc, wait_for

ADMIN_POLICY = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"
# Two presigned tokens of one session in one second are the same text, and the API server keeps a
# verdict on a text for seconds: with a lifetime of its own, no test sees an earlier test's verdict.
_LIFETIMES = itertools.cycle(range(60, 900))


def service_trust(service: str) -> str:
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": service},
        "Action": ["sts:AssumeRole", "sts:TagSession"],
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def make_role(iam: Any, boundary: Boundary, name: str, service: str) -> str:
    answer = iam.create_role(
        RoleName=f"ringfence-{boundary.name}-{name}",
        Path=f"/ringfence/{boundary.name}/",
        AssumeRolePolicyDocument=service_trust(service),
        PermissionsBoundary=boundary_policy(boundary),
        Tags=[{"Key": "ringfence:boundary", "Value": boundary.name}],
    )
    return str(answer["Role"]["Arn"])


def make_subnets(ec2: Any, boundary: Boundary) -> list[str]:
    vpc = make_vpc(ec2, boundary)
    return [
        ec2.create_subnet(
            VpcId=vpc,
            CidrBlock=f"10.20.{16 * index}.0/20",
            AvailabilityZone=f"{REGION}{zone}",
            TagSpecifications=boundary.tags("subnet"),
        )["Subnet"]["SubnetId"]
        for index, zone in enumerate("ab")
    ]


def make_cluster(boundary: Boundary, session: dict[str, str], **vpc: Any) -> str:
    gate = boundary.gate
    subnets = make_subnets(gate.client("ec2", session), boundary)
    role = make_role(gate.client("iam", session), boundary, "cluster", "eks.amazonaws.com")
    name = f"ringfence-{boundary.name}"
    gate.client("eks", session).create_cluster(
        name=name,
        version="1.34",
        roleArn=role,
        resourcesVpcConfig={
            "subnetIds": subnets,
            "endpointPublicAccess": True,
            "endpointPrivateAccess": True,
            "publicAccessCidrs": ["127.0.0.1/32"],
            **vpc,
        },
        accessConfig={
            "authenticationMode": "API",
            "bootstrapClusterCreatorAdminPermissions": False,
        },
        tags={"ringfence:boundary": boundary.name},
    )
    return name


def active(eks: Any, name: str, seconds: float = 120) -> dict[str, Any]:
    def status() -> Any:
        cluster = eks.describe_cluster(name=name)["cluster"]
        assert cluster["status"] != "FAILED", cluster["health"]
        return cluster if cluster["status"] == "ACTIVE" else None

    found: dict[str, Any] = wait_for(status, seconds)
    assert found, eks.describe_cluster(name=name)
    return found


def token(boundary: Boundary, session: dict[str, str], cluster: str, **changes: Any) -> str:
    """Make a token as `aws eks get-token` does; changes make it wrong."""
    sts = boundary.gate.client("sts", session)
    signer = RequestSigner(
        sts.meta.service_model.service_id, REGION, "sts", "v4",
        sts._request_signer._credentials, sts.meta.events,
    )  # fmt: skip
    endpoint = changes.get("endpoint", boundary.gate.endpoint)
    action = changes.get("action", "GetCallerIdentity")
    url = signer.generate_presigned_url(
        {
            "method": "GET",
            "url": f"{endpoint}/{changes.get('url_path', '')}?Action={action}&Version=2011-06-15",
            "body": {},
            "headers": {"x-k8s-aws-id": cluster, **changes.get("headers", {})},
            "context": {},
        },
        region_name=REGION,
        expires_in=changes.get("expires") or next(_LIFETIMES),
        operation_name="",
    )
    url += str(changes.get("suffix", ""))
    return "k8s-aws-v1." + base64.urlsafe_b64encode(url.encode()).decode().rstrip("=")


def api(cluster: dict[str, Any], bearer: str, path: str) -> int:
    """Call the cluster's API server through its public endpoint and give the status."""
    authority = base64.b64decode(cluster["certificateAuthority"]["data"]).decode()
    context = ssl.create_default_context(cadata=authority)
    request = urllib.request.Request(
        cluster["endpoint"] + path, headers={"Authorization": f"Bearer {bearer}"}
    )
    try:
        with urllib.request.urlopen(request, context=context, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return int(error.code)


def role_of(boundary: Boundary, number: int = 1) -> str:
    return f"arn:aws:iam::{CUSTOMER}:role/ringfence-{boundary.name}-g{number}"
