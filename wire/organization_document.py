"""The organization's file as a document: what a solution architect writes.

Read through `wire.organization`, which checks it. Separate because the shape is stored and sent as
it is, while the checks grow.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, JsonValue

from wire.version import Document, Message

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
BoundaryName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,22}[a-z0-9]$")]
"""Part of role, bucket and namespace names, so 2 to 24 characters."""
ModelName = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$")]
GroupName = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
Subject = Annotated[str, Field(min_length=1, max_length=200)]
Account = Annotated[str, Field(pattern=r"^\d{12}$")]
Region = Annotated[str, Field(pattern=r"^[a-z]{2}(-[a-z]+)+-\d$")]
RoleName = Literal[
    "platform-admin", "solution-architect", "approver", "boundary-admin", "engineer", "auditor"
]


class AccountEntry(Document):
    """A cloud account of the organization, under a name that boundaries refer to."""

    name: Name
    account: Account
    partition: Literal["aws", "aws-cn", "aws-us-gov"] = "aws"


class TargetEntry(Document):
    """Where a boundary's stack lands."""

    kind: Literal["aws-account"] = "aws-account"
    account: Name
    """Name of an entry of `accounts`."""
    region: Region


class ConnectionEntry(Document):
    """How the boundary's cluster is reached while a grant is open, and what it depends on of us."""

    reach: Literal["public-cidr", "in-vpc-runner"] = "public-cidr"
    """Through a public endpoint limited to the control plane's addresses, or by a short-lived task
    in the private network while the endpoint never is public."""
    images: Literal["pulled", "copied"] = "pulled"
    """From where nodes get images: our registry, or repositories in the customer's account, into
    which each run copies them."""


class ModelsEntry(Document):
    """The models that run in a boundary."""

    base: ModelName
    adapters: tuple[ModelName, ...] = Field(default=(), max_length=50)


class BoundaryEntry(Document):
    """One security boundary."""

    name: BoundaryName
    display_name: str = Field(default="", max_length=100)
    target: TargetEntry
    connection: ConnectionEntry = ConnectionEntry()
    blueprint: Name
    version: str = Field(pattern=r"^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$")
    inputs: dict[str, JsonValue] = Field(default_factory=dict)
    """Checked against the blueprint's schema by the server."""
    models: ModelsEntry
    groups: tuple[GroupName, ...] = Field(max_length=100)
    """Groups whose members are the boundary's engineers and may use all of its models."""
    people: dict[RoleName, tuple[Subject, ...]] = Field(default_factory=dict)
    """Further roles in this boundary only."""


class GroupEntry(Document):
    """A group of people."""

    name: GroupName
    members: tuple[Subject, ...] = Field(max_length=10000)
    """May be empty where the identity provider says who is in it, at sign-in or over SCIM."""


class RoleMappingEntry(Document):
    """A role that every member of a group has while being in it."""

    group: GroupName
    """Name of an entry of `groups`."""
    role: RoleName
    boundary: BoundaryName | None = None
    """Name of an entry of `boundaries`; without it the role counts for the whole organization."""


class ProvisioningEntry(Document):
    """How people whom the identity provider pushes over SCIM are known again at sign-in."""

    subject: Literal["userName", "externalId"] = "userName"
    """The SCIM attribute that equals the subject (`sub`) of the provider's own tokens."""


Claim = Annotated[str, Field(pattern=r"^[A-Za-z0-9_:/.-]{1,200}$")]
ClientId = Annotated[str, Field(pattern=r"^[\x21-\x7e]{1,200}$")]


class SignInEntry(Document):
    """How people sign in with the organization's identity provider (OpenID Connect)."""

    client_id: ClientId | None = None
    """The control plane's client there; it authenticates by its published key, without a secret."""
    cli_client_id: ClientId | None = None
    """The public client of the command line there."""
    metadata_url: Annotated[str, Field(pattern=r"^https://\S+$", max_length=300)] | None = None
    """Where the provider's metadata is, when it is not below the issuer."""
    groups_claim: Claim | None = None
    """Claim with the names of the person's groups; only groups of this file count."""
    person_key_claim: Claim | None = None
    """Claim that is the same for all identities of one person, for example an employee number."""
    display_claim: Claim | None = None
    scopes: tuple[Annotated[str, Field(pattern=r"^[\x21\x23-\x5b\x5d-\x7e]{1,100}$")], ...] = ()
    """Scopes to ask for beside `openid`."""

    def columns(self) -> dict[str, str | None]:
        """Return the entry as the columns of the identity provider's row."""
        values = {k: v for k, v in self if k != "scopes"}
        return {**values, "scopes": " ".join(self.scopes) or None}


class OrganizationDocument(Message):
    """The whole file."""

    SCHEMA: ClassVar[str] = "ringfence.organization"

    organization: Name
    display_name: str = Field(default="", max_length=100)
    identity_provider: str = Field(pattern=r"^https://\S+$", max_length=300)
    """Issuer whose subjects are the organization's own people; all names below are its subjects."""
    sign_in: SignInEntry | None = None
    """None: the operator's settings for this issuer hold, where there are any."""
    guests: dict[Subject, Annotated[str, Field(pattern=r"^https://\S+$", max_length=300)]] = Field(
        default_factory=dict
    )
    """Subjects of other issuers (the vendor's architect); the file asks for a waiver for each,
    which two people approve."""
    accounts: tuple[AccountEntry, ...] = Field(min_length=1, max_length=100)
    groups: tuple[GroupEntry, ...] = Field(default=(), max_length=1000)
    people: dict[RoleName, tuple[Subject, ...]]
    """Roles for the whole organization."""
    role_mappings: tuple[RoleMappingEntry, ...] = Field(default=(), max_length=1000)
    """Roles by group, for the organization or one boundary."""
    provisioning: ProvisioningEntry = ProvisioningEntry()
    boundaries: tuple[BoundaryEntry, ...] = Field(min_length=1, max_length=200)

    def account(self, name: str) -> AccountEntry:
        """Return the account entry called `name`. Raises: KeyError."""
        for entry in self.accounts:
            if entry.name == name:
                return entry
        raise KeyError(name)

    def issuer_of(self, subject: str) -> str:
        """Return the issuer that vouches for a subject of this file."""
        return self.guests.get(subject, self.identity_provider)
