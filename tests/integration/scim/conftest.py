"""A provisioner of the demo's organization, made as an administrator makes one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.integration.api.conftest import (  # noqa: F401 - the API and its people
    PersonOf,
    acme,
    api_database,
    client,
    control_plane_key,
    person,
)

USER = "urn:ietf:params:scim:schemas:core:2.0:User"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"


def provisioner_token(people: PersonOf, organization: str = "acme", admin: str = "max") -> str:
    """Make a service identity with the role provisioner, and return its token."""
    path = f"/v1/organizations/{organization}/services"
    body = {"name": "idp", "purpose": "push", "roles": ["provisioner"]}
    made = people(admin).post(path, body)
    assert made.status_code == 201, made.text
    token = people(admin).post(f"{path}/{made.json()['id']}/tokens", {"name": "idp"})
    return str(token.json()["token"])


class Scim:
    """A connector's calls."""

    def __init__(self, http: TestClient, token: str) -> None:
        self._http = http
        self._headers = {"Authorization": f"Bearer {token}"}

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Call a path below the service's address."""
        sent = {"Content-Type": "application/scim+json", **self._headers, **headers}
        return self._http.request(method, f"/scim/v2{path}", json=body, headers=sent)

    def user(self, name: str, **fields: Any) -> dict[str, Any]:
        """Push a person and return the resource."""
        answer = self.call("POST", "/Users", {"schemas": [USER], "userName": name, **fields})
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    def group(self, name: str, *members: dict[str, Any]) -> dict[str, Any]:
        """Push a group and return the resource."""
        body = {
            "schemas": [GROUP],
            "displayName": name,
            "members": [{"value": m["id"]} for m in members],
        }
        answer = self.call("POST", "/Groups", body)
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    def patch(self, path: str, *operations: dict[str, Any], **headers: str) -> Any:
        """Send PATCH operations."""
        body = {"schemas": [PATCH], "Operations": list(operations)}
        return self.call("PATCH", path, body, **headers)


@pytest.fixture
def scim(acme: PersonOf, client: TestClient) -> Scim:  # noqa: F811
    """The connector of the demo's organization."""
    return Scim(client, provisioner_token(acme))


@pytest.fixture
def scim_of(person: PersonOf, client: TestClient) -> Callable[..., Scim]:  # noqa: F811
    """Return a connector of an organization that exists already."""
    return lambda organization, admin: Scim(client, provisioner_token(person, organization, admin))
