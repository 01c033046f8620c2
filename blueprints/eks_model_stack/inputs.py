"""The blueprint's inputs: types, limits and what they imply; no network, no Pulumi.

Read by the program and, as JSON Schema in the manifest, by everything that asks a person for them.
"""

from ipaddress import IPv4Network
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

ACCELERATORS: dict[str, dict[str, Any]] = {
    # class: what EKS is asked for. The class is also the label that placement selects on.
    "cpu": {"ami_type": "AL2023_x86_64_STANDARD", "instance_types": ["m7i.4xlarge"]},
}


BoundaryName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,22}[a-z0-9]$")]
"""Part of every name, so at most 24 characters."""


class InputsError(ValueError):
    """The inputs cannot be used; the message names every wrong field and its fix."""


def _network(text: str) -> str:
    try:
        return str(IPv4Network(text))
    except ValueError as error:
        raise ValueError(
            f"{error}; write the first address of the block, as in 10.20.0.0/16"
        ) from None


Cidr = Annotated[
    str,
    AfterValidator(_network),
    Field(pattern=r"^\d{1,3}(\.\d{1,3}){3}/\d{1,2}$", examples=["10.20.0.0/16"]),
]
ImageName = Annotated[str, Field(pattern=r"^[a-z0-9]+([._/-][a-z0-9]+)*$", max_length=120)]
Arn = Annotated[str, Field(pattern=r"^arn:aws(-cn|-us-gov)?:iam::\d{12}:(role|policy)/.+$")]


def _by_cluster(schema: dict[str, Any]) -> None:
    """Say in the schema what only a boundary with a cluster of its own is asked for."""
    own = ("cidr", "zones")
    schema["required"] = [name for name in schema["required"] if name not in own]
    schema["if"] = {"properties": {"cluster": {"const": "existing"}}, "required": ["cluster"]}
    schema["then"] = {"required": ["host"]}
    schema["else"] = {"required": [*own]}


class Inputs(BaseModel):
    """What one boundary's stack needs to know."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra=_by_cluster)

    organization: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
    boundary: BoundaryName
    """Unique within the account."""
    install_id: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]+$")]
    account: Annotated[str, Field(pattern=r"^\d{12}$", description="AWS account number, as text")]
    region: Annotated[str, Field(pattern=r"^[a-z]{2}(-[a-z]+)+-\d$", examples=["eu-central-1"])]
    partition: Literal["aws", "aws-cn", "aws-us-gov"] = "aws"
    cidr: Annotated[
        Cidr,
        Field(
            description="The VPC's block, /16 to /22; in a host's cluster the host's",
            json_schema_extra={"pattern": r"^\d{1,3}(\.\d{1,3}){3}/(1[6-9]|2[0-2])$"},
        ),
    ]
    zones: Annotated[
        tuple[str, ...],
        Field(
            description="Two different availability zones of the region; none in a host's cluster",
            json_schema_extra={"minItems": 2, "maxItems": 2, "uniqueItems": True},
        ),
    ]
    # The schema names what works, so that a file is refused before anything starts.
    cluster: Annotated[
        Literal["new", "existing"],
        Field(
            description="A network and a cluster of its own, or the cluster of the boundary `host`"
        ),
    ] = "new"
    host: Annotated[
        BoundaryName | None,
        Field(description="With existing: the boundary in whose cluster this one is to live"),
    ] = None
    guests: Annotated[
        tuple[BoundaryName, ...],
        Field(
            max_length=20,
            description="With new: boundaries of the organization that may live in this cluster",
            json_schema_extra={"uniqueItems": True},
        ),
    ] = ()
    egress: Annotated[
        Literal["nat", "proxy", "privatelink"],
        Field(
            description="Way out of the private network; only nat is implemented",
            json_schema_extra={"enum": ["nat"]},
        ),
    ] = "nat"
    reach: Annotated[
        Literal["public-cidr", "in-vpc-runner"],
        Field(
            description="How the control plane gets to the cluster while a grant is open: through "
            "a public endpoint limited to its addresses, or by a runner in the private network "
            "while the endpoint never is public"
        ),
    ] = "public-cidr"
    images: Annotated[
        Literal["pulled", "copied"],
        Field(
            description="Where nodes get images from: our registry, through the way out, or "
            "repositories in the customer's account, into which the run copies them"
        ),
    ] = "pulled"
    image_names: Annotated[
        tuple[ImageName, ...],
        Field(
            max_length=50,
            description="With copied: the images that get a repository each",
            json_schema_extra={"uniqueItems": True},
        ),
    ] = ()
    accelerator: Annotated[
        str,
        Field(
            description="Accelerator class of the nodes",
            json_schema_extra={"enum": [*ACCELERATORS]},
        ),
    ] = "cpu"
    node_count: Annotated[int, Field(ge=1, le=100)] = 2
    kubernetes_version: Annotated[str, Field(pattern=r"^1\.\d{2}$")] = "1.34"
    control_plane_cidrs: Annotated[
        tuple[Cidr, ...],
        Field(min_length=1, max_length=40, description="From where the public endpoint answers"),
    ]
    permissions_boundary_arn: Arn | None = None
    """None means the policy `ringfence-<boundary>-boundary` of the customer's template."""
    closer_role_arn: Arn | None = None
    """None means the role `ringfence-<boundary>-closer` of the customer's template."""

    @model_validator(mode="before")
    @classmethod
    def _a_guest_has_no_zones(cls, values: Any) -> Any:
        is_guest = isinstance(values, dict) and values.get("cluster") == "existing"
        return {"zones": (), **values} if is_guest else values

    @field_validator("zones", mode="before")
    @classmethod
    def _accept_a_list(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @field_validator("egress")
    @classmethod
    def _only_nat(cls, value: str) -> str:
        if value != "nat":
            raise ValueError(f"{value!r} is not implemented in this version; use 'nat'")
        return value

    @field_validator("accelerator")
    @classmethod
    def _known_accelerator(cls, value: str) -> str:
        if value not in ACCELERATORS:
            raise ValueError(f"{value!r} is not a class of this version; use {list(ACCELERATORS)}")
        return value

    @field_validator("cidr")
    @classmethod
    def _room_for_subnets(cls, value: str) -> str:
        if not 16 <= IPv4Network(value).prefixlen <= 22:
            raise ValueError(f"{value} must be between /16 and /22: it holds three subnets")
        return value

    @field_validator("control_plane_cidrs")
    @classmethod
    def _not_the_whole_internet(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for cidr in value:
            if IPv4Network(cidr).prefixlen < 8:
                raise ValueError(f"{cidr} opens the endpoint to nearly everyone; narrow it")
        return value

    @model_validator(mode="after")
    def _guest_or_not(self) -> Self:
        """See that a guest names its host and nothing that is its host's to say."""
        if self.cluster == "new":
            if self.host is not None:
                raise ValueError("host: only with cluster: existing; take it out")
            return self
        if self.host is None:
            raise ValueError("host: name the boundary in whose cluster this one is to live")
        if self.host == self.boundary:
            raise ValueError("host: a boundary cannot live in its own cluster as a guest")
        if self.reach != "in-vpc-runner":
            raise ValueError("reach: a host's cluster is reached by a runner; use in-vpc-runner")
        for name in ("zones", "guests"):
            if getattr(self, name):
                raise ValueError(f"{name}: the host {self.host} has it; take it out")
        return self

    @model_validator(mode="after")
    def _copies_have_names(self) -> Self:
        if self.images == "copied" and not self.image_names:
            raise ValueError("image_names: name the images that are copied")
        if self.images == "pulled" and self.image_names:
            raise ValueError("image_names: only with images: copied; take it out")
        return self

    @model_validator(mode="after")
    def _fields_agree(self) -> Self:
        if self.cluster == "new" and (len(self.zones) != 2 or len(set(self.zones)) != 2):
            raise ValueError(f"zones: name two different zones, got {list(self.zones)}")
        for zone in self.zones:
            if not zone.startswith(self.region):
                raise ValueError(f"zones: {zone} is not in the region {self.region}")
        expected = partition_of(self.region)
        if self.partition != expected:
            raise ValueError(
                f"partition: the region {self.region} is in {expected}, not {self.partition}"
            )
        return self

    @classmethod
    def parse(cls, values: dict[str, Any]) -> "Inputs":
        """Return checked inputs. Raises: InputsError with one line per wrong field."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            lines = [_line(item["loc"], item["msg"]) for item in error.errors()]
            raise InputsError(
                "the inputs of eks-model-stack are wrong:\n" + "\n".join(lines)
            ) from None


def _line(location: tuple[int | str, ...], message: str) -> str:
    where = ".".join(str(part) for part in location)
    text = message.removeprefix("Value error, ")
    return f"  {where}: {text}" if where else f"  {text}"


def partition_of(region: str) -> str:
    """Return the partition a region belongs to."""
    if region.startswith("cn-"):
        return "aws-cn"
    return "aws-us-gov" if region.startswith("us-gov-") else "aws"
