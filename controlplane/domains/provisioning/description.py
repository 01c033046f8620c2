"""What our SCIM service is: its resources, what it can do, and how strictly it reads.

Used by the router for the three discovery routes, and by whatever parses or writes a resource.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import Field
from scim2_models import (
    URN,
    AuthenticationScheme,
    Bulk,
    CaseExact,
    ChangePassword,
    ComplexAttribute,
    EnterpriseUser,
    ETag,
    Filter,
    Mutability,
    Patch,
    Reference,
    Required,
    Resource,
    ResourceType,
    ScimPolicy,
    ScimProvider,
    ServiceProviderConfig,
    Sort,
    User,
)

MOST_RESULTS: Final = 200
"""Resources in one page."""

ScimUser = User[EnterpriseUser]


class Member(ComplexAttribute):
    """A member of a group; without a display name, which is the person's own to tell."""

    value: Annotated[str | None, Mutability.immutable, CaseExact.true] = None
    """The id of a person of this service."""
    ref: Annotated[Reference[User[Any]] | None, Mutability.immutable] = Field(
        None, serialization_alias="$ref", validation_alias="$ref"
    )
    type: Annotated[str | None, Mutability.immutable] = Field(None, examples=["User"])


class ScimGroup(Resource[Any]):
    """A group of people; groups in groups are not supported."""

    __schema__ = URN("urn:ietf:params:scim:schemas:core:2.0:Group")

    display_name: Annotated[str | None, Required.true] = None
    """The name that the organization's file maps to roles."""
    members: list[Member] | None = None


POLICY: Final = ScimPolicy(
    # Providers send attributes of their own; what is not in the schema is dropped, never an error.
    unknown=ScimPolicy.Unknown.ignore,
    # Two forms of PATCH that Microsoft Entra sends beside those of the RFC.
    remove_value_as_filter=ScimPolicy.RemoveValue.apply,
    unmatched_path_filter=ScimPolicy.UnmatchedPathFilter.create,
)

CONFIG: Final = ServiceProviderConfig(
    patch=Patch(supported=True),
    bulk=Bulk(supported=False, max_operations=0, max_payload_size=0),
    filter=Filter(supported=True, max_results=MOST_RESULTS),
    change_password=ChangePassword(supported=False),
    sort=Sort(supported=False),
    etag=ETag(supported=True),
    authentication_schemes=[
        AuthenticationScheme(
            type="oauthbearertoken",
            name="Bearer token of a service identity",
            description="A token of a service identity with the role provisioner.",
            primary=True,
        )
    ],
)

PROVIDER: Final = ScimProvider(
    models=[User, EnterpriseUser, ScimGroup],
    resource_types=[ResourceType.from_resource(ScimUser), ResourceType.from_resource(ScimGroup)],
    config=CONFIG,
    policy=POLICY,
)
