"""The manifest of the blueprint: what the control plane and the command line may know of it."""

from pathlib import Path

from blueprints.eks_model_stack import naming
from blueprints.eks_model_stack.inputs import Inputs
from wire.manifest import BlueprintManifest, Component, Latency, OutputSpec, OutputType, StackSpec

VERSION = "0.4.0"
FOLDER = Path(naming.__file__).parent
PROGRAM = "blueprints.eks_model_stack.program"
_CLUSTER, _GROUP, _ADDON = (
    "aws:eks/cluster:Cluster",
    "aws:eks/nodeGroup:NodeGroup",
    "aws:eks/addon:Addon",
)
_NAT = "aws:ec2/natGateway:NatGateway"
_POOLED = "{} published creations, {}: sandbox/aws/published_times.py has each with its page"
_ESTIMATE = "estimate from practice; AWS publishes no figure"

FOUNDATION_TYPES = (
    "aws:ec2/internetGateway:InternetGateway",
    "aws:ec2/route:Route",
    "aws:ec2/routeTable:RouteTable",
    "aws:ec2/routeTableAssociation:RouteTableAssociation",
    "aws:ec2/subnet:Subnet",
    "aws:ec2/vpc:Vpc",
    "aws:ec2/vpcEndpoint:VpcEndpoint",
    "aws:ecr/repository:Repository",
    "aws:kms/alias:Alias",
    "aws:kms/key:Key",
    "aws:s3/bucket:Bucket",
    "aws:s3/bucketPolicy:BucketPolicy",
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
    "aws:s3/bucketVersioning:BucketVersioning",
    "pulumi:providers:aws",
)
CLUSTER_TYPES = (
    "aws:ec2/eip:Eip",
    _NAT,
    "aws:ec2/route:Route",
    _ADDON,
    _CLUSTER,
    _GROUP,
    "aws:eks/podIdentityAssociation:PodIdentityAssociation",
    "aws:iam/role:Role",
    "aws:iam/rolePolicy:RolePolicy",
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment",
    "pulumi:providers:aws",
)

COMPONENTS = (
    ("network", "foundation", "VPC, subnets over two zones, S3 endpoint", ("aws:ec2/",)),
    ("key", "foundation", "The key of the boundary's data", ("aws:kms/",)),
    ("artifacts", "foundation", "The bucket the boundary's artifacts come from", ("aws:s3/",)),
    ("images", "foundation", "Repositories of the images, where they are copied", ("aws:ecr/",)),
    ("way-out", "cluster", "NAT gateway, its address and the route to it", ("aws:ec2/",)),
    ("cluster", "cluster", "EKS with access entries and no creator admin", (_CLUSTER, _ADDON)),
    ("nodes", "cluster", "Nodes by accelerator class", (_GROUP,)),
    ("identities", "cluster", "Roles of the cluster, its nodes and its pods", ("aws:iam/",)),
    ("pods", "cluster", "Which pods may use which role", ("aws:eks/podIdentity",)),
)
PURPOSES = {
    "aws:ec2/vpc:Vpc": "The boundary's own network; nothing else of the account is in it",
    "aws:ec2/subnet:Subnet": "Private ones hold cluster and nodes, the public one the NAT only",
    "aws:ec2/internetGateway:InternetGateway": "The NAT gateway's way to the internet",
    "aws:ec2/eip:Eip": "The fixed address the boundary is seen from outside",
    "aws:ec2/natGateway:NatGateway": "The one way out: the agent dials out, nothing dials in",
    "aws:ec2/routeTable:RouteTable": "Keeps the routes of private and public subnets apart",
    "aws:ec2/route:Route": "Sends what leaves to the NAT, and from there outside",
    "aws:ec2/routeTableAssociation:RouteTableAssociation": "Puts each subnet under its routes",
    "aws:ec2/vpcEndpoint:VpcEndpoint": "Reads weights from S3 past the NAT, without its charge",
    "aws:ecr/repository:Repository": "Holds one of our images, so that no node needs our registry",
    "aws:kms/key:Key": "Encrypts the artifacts and the cluster's secrets; stays the customer's",
    "aws:kms/alias:Alias": "The key's name, so that people find it",
    "aws:s3/bucket:Bucket": "Holds the model files, in the customer's account",
    "aws:s3/bucketPolicy:BucketPolicy": "Refuses the bucket's use without TLS",
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": "No file can become public",
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": (
        "Every file is encrypted with the boundary's key"
    ),
    "aws:s3/bucketVersioning:BucketVersioning": "A file that is overwritten can be had back",
    _CLUSTER: "The boundary's own Kubernetes; who installs gets no standing way in",
    _ADDON: "Gives pods their credentials; without it their roles have no effect",
    _GROUP: "The machines on which models run",
    "aws:iam/role:Role": "An identity each for cluster, nodes and the job that fetches files",
    "aws:iam/rolePolicy:RolePolicy": "Lets the fetching job read the bucket, and nothing else",
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": (
        "What AWS asks for, so that a cluster and its nodes can work"
    ),
    "aws:eks/podIdentityAssociation:PodIdentityAssociation": "Says which pod may use which role",
}
RETAINED = {
    "artifacts": (
        "holds the boundary's models, some fine-tuned on the customer's data, and the anchors of"
        " its audit chain"
    ),
    "key": "nothing in the retained bucket can be read without it",
}
OUTPUTS: tuple[tuple[str, str, OutputType, str], ...] = (
    ("vpc_id", "foundation", "string", "The VPC"),
    ("vpc_cidr", "foundation", "string", "Its address block"),
    ("private_subnet_ids", "foundation", "string_list", "The subnets of cluster and nodes"),
    ("public_subnet_id", "foundation", "string", "The subnet of the NAT gateway"),
    ("private_route_table_id", "foundation", "string", "The routes of cluster and nodes"),
    ("kms_key_arn", "foundation", "string", "The key of artifacts and cluster secrets"),
    ("artifact_bucket", "foundation", "string", "The artifact bucket"),
    ("artifact_bucket_arn", "foundation", "string", "Its ARN"),
    ("image_repositories", "foundation", "string_map", "Image to repository, where copied"),
    ("cluster_name", "cluster", "string", "The cluster"),
    ("cluster_arn", "cluster", "string", "Its ARN"),
    ("cluster_endpoint", "cluster", "string", "URL of its API server"),
    ("cluster_certificate_authority", "cluster", "string", "Its CA, PEM in base64"),
    ("cluster_role_arn", "cluster", "string", "The role of its control plane"),
    ("egress_address", "cluster", "string", "The address the boundary is seen from outside"),
    ("node_group_name", "cluster", "string", "The node group"),
    ("node_role_arn", "cluster", "string", "The role of the nodes"),
    ("fetcher_role_arn", "cluster", "string", "The role of the artifact Job"),
    ("fetcher_association_id", "cluster", "string", "Its pod identity association"),
    ("agent_association_id", "cluster", "string", "The agent's association to the closer role"),
)
GUEST_OUTPUTS = frozenset(
    {
        "vpc_cidr",
        "kms_key_arn",
        "artifact_bucket",
        "artifact_bucket_arn",
        "cluster_name",
        "fetcher_role_arn",
        "fetcher_association_id",
        "agent_association_id",
    }
)
"""What a boundary in a host's cluster has, too; the others are of a cluster of its own."""
# Type, stack, p50, p90, source, and the type beside which it is made.
LATENCIES = (
    (_CLUSTER, "cluster", 606, 780, _POOLED.format(11, "2022-2026"), None),
    (_NAT, "cluster", 95.5, 150, _POOLED.format(2, "2023-2026") + "; p90 assumed", _CLUSTER),
    (_GROUP, "cluster", 115.5, 144.5, _POOLED.format(6, "2020-2026"), None),
    (_ADDON, "cluster", 60, 120, _ESTIMATE, _GROUP),
)
BUDGETS = {
    "foundation.preview": 60,
    "foundation.up": 480,
    "foundation.destroy": 600,
    "cluster.preview": 60,
    "cluster.up": 1800,
    "cluster.destroy": 1800,
}


def manifest(digest: str) -> BlueprintManifest:
    """Return the manifest; `digest` is that of the program's files."""
    types = {"foundation": FOUNDATION_TYPES, "cluster": CLUSTER_TYPES}
    return BlueprintManifest(
        name="eks-model-stack",
        version=VERSION,
        description="One security boundary on Amazon EKS: network, key, artifacts, cluster, roles.",
        digest=digest,
        providers={"aws": "7.34.0"},
        inputs_schema=Inputs.model_json_schema(),
        stacks=(
            StackSpec(
                name="foundation",
                entry=f"{PROGRAM}:foundation",
                resource_types=FOUNDATION_TYPES,
            ),
            StackSpec(
                name="cluster",
                entry=f"{PROGRAM}:cluster",
                depends_on=("foundation",),
                resource_types=CLUSTER_TYPES,
            ),
        ),
        components=tuple(
            Component(
                name=name,
                stack=stack,
                description=text,
                resource_types=found,
                purposes={kind: PURPOSES[kind] for kind in found},
                retained=RETAINED.get(name),
            )
            for name, stack, text, prefixes in COMPONENTS
            for found in [tuple(kind for kind in types[stack] if kind.startswith(prefixes))]
        ),
        budgets=BUDGETS,
        latencies=_latencies(),
        outputs=tuple(
            OutputSpec(
                name=name,
                stack=stack,
                type=kind,
                description=text,
                optional=name not in GUEST_OUTPUTS,
            )
            for name, stack, kind, text in OUTPUTS
        ),
    )


def _latencies() -> tuple[Latency, ...]:
    return tuple(
        Latency(
            resource_type=kind,
            stack=stack,
            p50_seconds=p50,
            p90_seconds=p90,
            source=source,
            beside=beside,
            only_with={"cluster": "new"},
        )
        for kind, stack, p50, p90, source, beside in LATENCIES
    )
