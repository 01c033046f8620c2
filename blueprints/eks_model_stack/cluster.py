"""The cluster: EKS, its nodes, their way out, and the roles of the pods that need AWS.

The way out is here, not in `foundation`: only nodes need it, so that it is built beside the control
plane and not before it.
"""

from typing import Any

import pulumi
import pulumi_aws as aws

from blueprints.eks_model_stack import policies
from blueprints.eks_model_stack.inputs import ACCELERATORS
from blueprints.eks_model_stack.stack import Stack, Upstream

NODE_POLICIES = (
    "AmazonEKSWorkerNodePolicy",
    "AmazonEKS_CNI_Policy",
    "AmazonEC2ContainerRegistryPullOnly",
)
POD_TRUST = ("sts:AssumeRole", "sts:TagSession")
# Serves pods their credentials; without it an association has no effect.
POD_IDENTITY_ADDON = "eks-pod-identity-agent"
# Who may reach the endpoint is changed by the run's own steps, not by the program (ADR: decision
# "the way in belongs to reach_open and reach_close"). Only the first value is the program's.
OPENNESS = ["vpcConfig.endpointPublicAccess", "vpcConfig.publicAccessCidrs"]


def build(stack: Stack, upstream: Upstream) -> dict[str, Any]:
    """Declare the cluster and its pods' roles, a guest only the roles; return the outputs."""
    if stack.inputs.host is not None:
        # The host's cluster, its nodes and its add-on: nothing of them is declared here.
        return {"cluster_name": stack.names.cluster, **_pod_roles(stack, upstream, None, None)}
    cluster, cluster_role = _cluster(stack, upstream)
    nat, route = _way_out(stack, upstream)
    group, node_role = _nodes(stack, upstream, cluster, route)
    addon = _pod_identity_agent(stack, cluster)
    return {
        "cluster_name": cluster.name,
        "cluster_arn": cluster.arn,
        "cluster_endpoint": cluster.endpoint,
        "cluster_certificate_authority": cluster.certificate_authority.apply(
            lambda authority: authority["data"]
        ),
        "cluster_role_arn": cluster_role.arn,
        "egress_address": nat.public_ip,
        "node_group_name": group.node_group_name,
        "node_role_arn": node_role.arn,
        **_pod_roles(stack, upstream, cluster, addon),
    }


def _pod_roles(stack: Stack, upstream: Upstream, cluster: Any, addon: Any) -> dict[str, Any]:
    """Declare which pods use which role; `cluster` and `addon` are None where they are a host's."""
    names = stack.names
    name = names.cluster if cluster is None else cluster.name
    fetcher_role = _fetcher_role(stack, upstream)
    fetcher = _association(stack, name, "fetcher", names.namespace, fetcher_role.arn, addon)
    agent = _association(stack, name, "agent", names.system_namespace, names.closer_role, addon)
    return {
        "fetcher_role_arn": fetcher_role.arn,
        "fetcher_association_id": fetcher.association_id,
        "agent_association_id": agent.association_id,
    }


def _role(stack: Stack, name: str, trust: str, description: str) -> Any:
    return aws.iam.Role(
        name,
        name=f"{stack.names.prefix}-{name}",
        path=stack.names.iam_path,
        description=description,
        assume_role_policy=trust,
        permissions_boundary=stack.names.permissions_boundary,
        tags=stack.tags("aws:iam/role:Role", name),
        opts=stack.options(),
    )


def _attach(stack: Stack, role: Any, role_name: str, policy: str) -> Any:
    return aws.iam.RolePolicyAttachment(
        f"{role_name}-{policy}",
        role=role.name,
        policy_arn=stack.names.aws_policy(policy),
        opts=stack.options(),
    )


def _cluster(stack: Stack, upstream: Upstream) -> tuple[Any, Any]:
    trust = policies.trust(stack.names.service_principal("eks"), "sts:AssumeRole", "sts:TagSession")
    role = _role(stack, "cluster", trust, "The control plane of the boundary's cluster")
    attachment = _attach(stack, role, "cluster", "AmazonEKSClusterPolicy")
    cluster = aws.eks.Cluster(
        "cluster",
        name=stack.names.cluster,
        version=stack.inputs.kubernetes_version,
        role_arn=role.arn,
        access_config={
            "authentication_mode": "API",
            # Whoever runs this program gets no standing way into the cluster.
            "bootstrap_cluster_creator_admin_permissions": False,
        },
        vpc_config={
            "subnet_ids": upstream.get("private_subnet_ids"),
            "endpoint_private_access": True,
            **_openness(stack),
        },
        encryption_config={
            "resources": ["secrets"],
            "provider": {"key_arn": upstream.get("kms_key_arn")},
        },
        enabled_cluster_log_types=["api", "audit", "authenticator"],
        tags=stack.tags("aws:eks/cluster:Cluster", "cluster"),
        opts=stack.options(depends_on=[attachment], ignore_changes=OPENNESS),
    )
    return cluster, role


def _way_out(stack: Stack, upstream: Upstream) -> tuple[Any, Any]:
    """Declare the NAT gateway and the private subnets' route to it; return both."""
    address = aws.ec2.Eip(
        "nat", domain="vpc", tags=stack.tags("aws:ec2/eip:Eip", "nat"), opts=stack.options()
    )
    nat = aws.ec2.NatGateway(
        "nat",
        allocation_id=address.id,
        subnet_id=upstream.get("public_subnet_id"),
        tags=stack.tags("aws:ec2/natGateway:NatGateway", "nat"),
        opts=stack.options(),
    )
    route = aws.ec2.Route(
        "private-out",
        route_table_id=upstream.get("private_route_table_id"),
        destination_cidr_block="0.0.0.0/0",
        nat_gateway_id=nat.id,
        opts=stack.options(),
    )
    return nat, route


def _openness(stack: Stack) -> dict[str, Any]:
    """Return who may reach the endpoint from outside, from its first second on."""
    if stack.inputs.reach == "in-vpc-runner":
        return {"endpoint_public_access": False}
    return {
        "endpoint_public_access": True,
        "public_access_cidrs": list(stack.inputs.control_plane_cidrs),
    }


def _nodes(stack: Stack, upstream: Upstream, cluster: Any, route: Any) -> tuple[Any, Any]:
    role = _role(
        stack,
        "node",
        policies.trust(stack.names.service_principal("ec2")),
        "The nodes of the boundary's cluster",
    )
    attachments = [_attach(stack, role, "node", policy) for policy in NODE_POLICIES]
    accelerator, count = stack.inputs.accelerator, stack.inputs.node_count
    group = aws.eks.NodeGroup(
        "nodes",
        cluster_name=cluster.name,
        node_group_name=f"{stack.names.prefix}-{accelerator}",
        node_role_arn=role.arn,
        subnet_ids=upstream.get("private_subnet_ids"),
        ami_type=ACCELERATORS[accelerator]["ami_type"],
        instance_types=ACCELERATORS[accelerator]["instance_types"],
        capacity_type="ON_DEMAND",
        disk_size=100,
        scaling_config={"desired_size": count, "min_size": count, "max_size": count},
        update_config={"max_unavailable": 1},
        labels={
            "ringfence.dev/accelerator": accelerator,
            "ringfence.dev/boundary": stack.inputs.boundary,
        },
        tags=stack.tags("aws:eks/nodeGroup:NodeGroup", "nodes"),
        # A node without a way out cannot fetch its images, and never joins.
        opts=stack.options(depends_on=[*attachments, route]),
    )
    return group, role


def _pod_identity_agent(stack: Stack, cluster: Any) -> Any:
    return aws.eks.Addon(
        "pod-identity",
        cluster_name=cluster.name,
        addon_name=POD_IDENTITY_ADDON,
        resolve_conflicts_on_create="OVERWRITE",
        tags=stack.tags("aws:eks/addon:Addon", "pod-identity"),
        # A DaemonSet that wants no pods yet is active, so that it need not wait for the nodes:
        # each node then starts with its agent.
        opts=stack.options(),
    )


def _fetcher_role(stack: Stack, upstream: Upstream) -> Any:
    principal = "pods.eks.amazonaws.com"
    trust = policies.trust(principal, *POD_TRUST)
    role = _role(stack, "fetcher", trust, "The Job that copies artifacts out of the bucket")
    found = pulumi.Output.all(upstream.get("artifact_bucket_arn"), upstream.get("kms_key_arn"))
    aws.iam.RolePolicy(
        "fetcher",
        name="read-artifacts",
        role=role.name,
        policy=found.apply(lambda arns: policies.fetcher_policy(arns[0], arns[1])),
        opts=stack.options(),
    )
    return role


def _association(
    stack: Stack, cluster: Any, account: str, namespace: str, role_arn: Any, addon: Any | None
) -> Any:
    return aws.eks.PodIdentityAssociation(
        account,
        cluster_name=cluster,
        namespace=namespace,
        service_account=account,
        role_arn=role_arn,
        tags=stack.tags("aws:eks/podIdentityAssociation:PodIdentityAssociation", account),
        opts=stack.options(depends_on=[addon] if addon else []),
    )
