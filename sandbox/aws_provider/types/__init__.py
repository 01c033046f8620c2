"""The resource types the blueprints use, one table entry each; read by the servicer."""

from sandbox.aws_provider.schema import ResourceType
from sandbox.aws_provider.types import (
    ec2_nat,
    ec2_network,
    ec2_routing,
    ecr,
    eks,
    eks_parts,
    iam,
    kms,
    s3,
)

RESOURCE_TYPES: dict[str, ResourceType] = {
    entry.type_name: entry
    for module in (ec2_network, ec2_nat, ec2_routing, kms, s3, ecr, iam, eks, eks_parts)
    for entry in module.ENTRIES
}
