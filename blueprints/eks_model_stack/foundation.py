"""The foundation: network, key, artifact bucket and image repositories, which come first."""

from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws

from blueprints.eks_model_stack import policies
from blueprints.eks_model_stack.naming import subnets
from blueprints.eks_model_stack.stack import Stack


@dataclass(frozen=True)
class Network:
    """The VPC and what else is needed of it."""

    vpc: Any
    public: Any
    private: list[Any]
    private_table: Any


def build(stack: Stack) -> dict[str, Any]:
    """Declare the foundation and return its outputs; a guest has no network of its own."""
    network = _whole_network(stack) if stack.inputs.host is None else {}
    key = _key(stack)
    bucket = _bucket(stack, key)
    return {
        **network,
        **_repositories(stack),
        "vpc_cidr": stack.inputs.cidr,
        "kms_key_arn": key.arn,
        "artifact_bucket": bucket.bucket,
        "artifact_bucket_arn": bucket.arn,
    }


def _whole_network(stack: Stack) -> dict[str, Any]:
    """Declare the network and return what is needed of it."""
    network = _network(stack)
    _public_side(stack, network)
    _s3_endpoint(stack, network)
    return {
        "vpc_id": network.vpc.id,
        "private_subnet_ids": [subnet.id for subnet in network.private],
        "public_subnet_id": network.public.id,
        "private_route_table_id": network.private_table.id,
    }


def _network(stack: Stack) -> Network:
    blocks = subnets(stack.inputs.cidr)
    vpc = aws.ec2.Vpc(
        "vpc",
        cidr_block=stack.inputs.cidr,
        # Private endpoints of EKS and of AWS services resolve only with both.
        enable_dns_support=True,
        enable_dns_hostnames=True,
        tags=stack.tags("aws:ec2/vpc:Vpc", "vpc"),
        opts=stack.options(),
    )
    private = [
        _subnet(stack, vpc, f"private-{letter}", block, zone, "kubernetes.io/role/internal-elb")
        for letter, block, zone in zip("ab", blocks.private, stack.inputs.zones, strict=True)
    ]
    # Holds the NAT gateway only: no node and no load balancer ever gets a public address.
    public = _subnet(stack, vpc, "public", blocks.public, stack.inputs.zones[0], None)
    table = aws.ec2.RouteTable(
        "private",
        vpc_id=vpc.id,
        tags=stack.tags("aws:ec2/routeTable:RouteTable", "private"),
        opts=stack.options(),
    )
    for letter, subnet in zip("ab", private, strict=True):
        aws.ec2.RouteTableAssociation(
            f"private-{letter}",
            subnet_id=subnet.id,
            route_table_id=table.id,
            opts=stack.options(),
        )
    return Network(vpc=vpc, public=public, private=private, private_table=table)


def _subnet(stack: Stack, vpc: Any, name: str, block: str, zone: str, role: str | None) -> Any:
    extra = {role: "1"} if role else {}
    return aws.ec2.Subnet(
        name,
        vpc_id=vpc.id,
        cidr_block=block,
        availability_zone=zone,
        map_public_ip_on_launch=False,
        tags=stack.tags("aws:ec2/subnet:Subnet", name, **extra),
        opts=stack.options(),
    )


def _public_side(stack: Stack, network: Network) -> None:
    """Declare what the NAT gateway needs; the gateway itself is of the stack `cluster`."""
    gateway = aws.ec2.InternetGateway(
        "internet",
        vpc_id=network.vpc.id,
        tags=stack.tags("aws:ec2/internetGateway:InternetGateway", "internet"),
        opts=stack.options(),
    )
    table = aws.ec2.RouteTable(
        "public",
        vpc_id=network.vpc.id,
        tags=stack.tags("aws:ec2/routeTable:RouteTable", "public"),
        opts=stack.options(),
    )
    aws.ec2.Route(
        "public-out",
        route_table_id=table.id,
        destination_cidr_block="0.0.0.0/0",
        gateway_id=gateway.id,
        opts=stack.options(),
    )
    aws.ec2.RouteTableAssociation(
        "public", subnet_id=network.public.id, route_table_id=table.id, opts=stack.options()
    )


def _s3_endpoint(stack: Stack, network: Network) -> None:
    # Weights are by far the largest traffic: this keeps them off the NAT gateway, at no charge.
    aws.ec2.VpcEndpoint(
        "s3",
        vpc_id=network.vpc.id,
        service_name=f"com.amazonaws.{stack.inputs.region}.s3",
        vpc_endpoint_type="Gateway",
        route_table_ids=[network.private_table.id],
        tags=stack.tags("aws:ec2/vpcEndpoint:VpcEndpoint", "s3"),
        opts=stack.options(),
    )


def _key(stack: Stack) -> Any:
    key = aws.kms.Key(
        "data",
        description=f"Ringfence boundary {stack.inputs.boundary}: artifacts and cluster secrets",
        policy=policies.key_policy(stack.names),
        enable_key_rotation=True,
        deletion_window_in_days=7,
        tags=stack.tags("aws:kms/key:Key", "data"),
        opts=stack.options(),
    )
    aws.kms.Alias(
        "data", name=stack.names.key_alias, target_key_id=key.key_id, opts=stack.options()
    )
    return key


def _bucket(stack: Stack, key: Any) -> Any:
    bucket = aws.s3.Bucket(
        "artifacts",
        bucket=stack.names.bucket,
        # It holds copies of the vendor's artifacts: an uninstall removes them with the bucket.
        force_destroy=True,
        tags=stack.tags("aws:s3/bucket:Bucket", "artifacts"),
        opts=stack.options(),
    )
    aws.s3.BucketVersioning(
        "artifacts",
        bucket=bucket.id,
        versioning_configuration={"status": "Enabled"},
        opts=stack.options(),
    )
    default = {"sse_algorithm": "aws:kms", "kms_master_key_id": key.arn}
    aws.s3.BucketServerSideEncryptionConfiguration(
        "artifacts",
        bucket=bucket.id,
        rules=[{"apply_server_side_encryption_by_default": default, "bucket_key_enabled": True}],
        opts=stack.options(),
    )
    block = aws.s3.BucketPublicAccessBlock(
        "artifacts",
        bucket=bucket.id,
        block_public_acls=True,
        block_public_policy=True,
        ignore_public_acls=True,
        restrict_public_buckets=True,
        opts=stack.options(),
    )
    aws.s3.BucketPolicy(
        "artifacts",
        bucket=bucket.id,
        policy=pulumi.Output.all(bucket.arn).apply(lambda found: policies.bucket_policy(found[0])),
        # S3 refuses two changes of a bucket's access at the same time.
        opts=stack.options(depends_on=[block]),
    )
    return bucket


def _repositories(stack: Stack) -> dict[str, Any]:
    """Declare a repository for each image that is copied; nothing where none is."""
    if stack.inputs.images != "copied":
        return {}
    made = {}
    for image in stack.inputs.image_names:
        name = f"image-{image.removeprefix('ringfence/').replace('/', '-')}"
        made[image] = aws.ecr.Repository(
            name,
            name=stack.names.repository(image),
            image_tag_mutability="IMMUTABLE",
            # They hold what we publish and nothing of the customer's. The boundary's key would need
            # grants of its own, one pair per repository, and the right to retire them.
            encryption_configurations=[{"encryption_type": "AES256"}],
            # Copies again: an uninstall removes them with their repository.
            force_delete=True,
            tags=stack.tags("aws:ecr/repository:Repository", name),
            opts=stack.options(),
        ).repository_url
    return {"image_repositories": made}
