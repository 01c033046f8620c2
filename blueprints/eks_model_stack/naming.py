"""Every name, ARN, address block and tag of the blueprint, from one place; pure.

Names carry the boundary, so that boundaries can share an account. The customer's template and the
role's policy rely on the patterns: change one only together with them.
"""

from dataclasses import dataclass
from ipaddress import IPv4Network

from blueprints.eks_model_stack.inputs import Inputs

SYSTEM_NAMESPACE = "ringfence-system"
# AWS allows 256 characters in the value of a tag.
MAX_TAG = 256


@dataclass(frozen=True)
class Subnets:
    """The blocks of the three subnets."""

    private: tuple[str, str]
    public: str


@dataclass(frozen=True)
class Names:
    """The names of one boundary's resources."""

    inputs: Inputs

    @property
    def prefix(self) -> str:
        """Return what every name starts with."""
        return f"ringfence-{self.inputs.boundary}"

    @property
    def cluster(self) -> str:
        """Return the name of the cluster: its own, or its host's."""
        return f"ringfence-{self.inputs.host or self.inputs.boundary}"

    @property
    def system_namespace(self) -> str:
        """Return the agent's namespace; in a host's cluster the plain name is the host's."""
        host = self.inputs.host
        return f"{SYSTEM_NAMESPACE}-{self.inputs.boundary}" if host else SYSTEM_NAMESPACE

    @property
    def bucket(self) -> str:
        """Return the name of the artifact bucket; the account makes it unique in the world."""
        return f"{self.prefix}-{self.inputs.account}-artifacts"

    @property
    def key_alias(self) -> str:
        """Return the alias of the key."""
        return f"alias/{self.prefix}"

    @property
    def iam_path(self) -> str:
        """Return the path of every role made here; the role's policy is limited to it."""
        return f"/ringfence/{self.inputs.boundary}/"

    def repository(self, image: str) -> str:
        """Return the name of an image's repository; the role's policy is limited to the prefix."""
        return f"ringfence/{self.inputs.boundary}/{image.removeprefix('ringfence/')}"

    @property
    def namespace(self) -> str:
        """Return the boundary's Kubernetes namespace."""
        return f"boundary-{self.inputs.boundary}"

    @property
    def permissions_boundary(self) -> str:
        """Return the ARN of the policy that bounds every role made here."""
        chosen = self.inputs.permissions_boundary_arn
        return chosen or self.account_arn("iam", f"policy/{self.prefix}-boundary")

    @property
    def closer_role(self) -> str:
        """Return the ARN of the customer's closer role."""
        return self.inputs.closer_role_arn or self.account_arn("iam", f"role/{self.prefix}-closer")

    @property
    def account_root(self) -> str:
        """Return the ARN that stands for the account itself in a policy."""
        return self.account_arn("iam", "root")

    def account_arn(self, service: str, resource: str) -> str:
        """Return the ARN of a global resource of the account."""
        return f"arn:{self.inputs.partition}:{service}::{self.inputs.account}:{resource}"

    def aws_policy(self, name: str) -> str:
        """Return the ARN of a policy managed by AWS."""
        return f"arn:{self.inputs.partition}:iam::aws:policy/{name}"

    def service_principal(self, service: str) -> str:
        """Return a service's principal; EC2 has its own in China."""
        china = self.inputs.partition == "aws-cn" and service == "ec2"
        return f"{service}.amazonaws.com{'.cn' if china else ''}"

    def tags(self, urn: str, label: str | None = None, **extra: str) -> dict[str, str]:
        """Return the tags of one resource.

        `ringfence:urn` is how a run that was killed finds what it made, so it must be exact.
        """
        if len(urn) > MAX_TAG:
            raise ValueError(
                f"the URN {urn} is longer than a tag may be ({MAX_TAG}): shorten names"
            )
        tags = {
            "ringfence:boundary": self.inputs.boundary,
            "ringfence:install": self.inputs.install_id,
            "ringfence:urn": urn,
        }
        return {"Name": f"{self.prefix}-{label}" if label else self.prefix, **tags, **extra}


def subnets(cidr: str) -> Subnets:
    """Return the blocks: two private quarters, and a small public block in the third quarter."""
    first, second, third, _ = IPv4Network(cidr).subnets(prefixlen_diff=2)
    public = next(third.subnets(new_prefix=min(28, third.prefixlen + 4)))
    return Subnets(private=(str(first), str(second)), public=str(public))
