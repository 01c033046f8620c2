"""The public conformance checker against the real application."""

from __future__ import annotations

from scim2_client.engines.httpx2 import SyncSCIMClient
from scim2_tester import Status, check_server
from starlette.testclient import TestClient

from tests.integration.api.conftest import PersonOf
from tests.integration.scim.conftest import provisioner_token


def test_the_service_passes_the_conformance_checker(acme: PersonOf, client: TestClient) -> None:
    http = TestClient(
        client.app,
        base_url="http://testserver/scim/v2",
        headers={"Authorization": f"Bearer {provisioner_token(acme)}"},
        raise_server_exceptions=False,
    )
    results = check_server(SyncSCIMClient(http))
    failed = [r for r in results if r.status in (Status.DEVIATION, Status.ERROR, Status.CRITICAL)]
    assert not failed, "\n".join(f"{r.title} ({r.resource_type}): {r.reason}" for r in failed)
    passed = [r for r in results if r.status is Status.SUCCESS]
    assert len(passed) >= 30
