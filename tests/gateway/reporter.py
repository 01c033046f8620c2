"""A boundary whose clients report changes, for the tests of the intake and of the client."""

from __future__ import annotations

import json
from typing import Any

import httpx2

from tests.gateway.parts import AGENT, Boundary, until
from wire.usage import EventPush, RollupPush


class Reporter:
    """A boundary without an engine, whose customer keeps a usage policy."""

    def __init__(self, boundary: Boundary) -> None:
        self.boundary = boundary
        self.policy = boundary.folder / "usage-policy"
        self.policy.mkdir()
        boundary.publish("http://127.0.0.1:9")
        boundary.start(GATEWAY_USAGE_POLICY_DIR=str(self.policy), GATEWAY_RETRY_SECONDS="0")
        boundary.api.tokens["agent-token"] = AGENT

    def send(self, body: Any, person: int | str | None = None, **headers: str) -> httpx2.Response:
        """Post a batch; text and bytes go as they are."""
        if person is not None:
            headers["X-Ringfence-Synthetic-Person"] = str(person)
        content = body if isinstance(body, str | bytes) else json.dumps(body)
        return httpx2.post(
            f"{self.boundary.url}/usage/v1/events",
            content=content,
            headers={"Authorization": f"Bearer {self.boundary.key}", **headers},
            timeout=30,
        )

    def leaves(self, after: int = 0) -> RollupPush:
        """Return what the agent gets now."""
        answer = httpx2.get(
            f"{self.boundary.internal_url}/internal/v1/rollups?after={after}",
            headers={"Authorization": "Bearer agent-token"},
        )
        assert answer.status_code == 200, answer.text
        return RollupPush.from_wire(answer.json())

    def page(self, after: str = "", limit: int | None = None) -> EventPush:
        """Return the page of events that the agent gets now."""
        size = {} if limit is None else {"limit": limit}
        answer = httpx2.post(
            f"{self.boundary.internal_url}/internal/v1/events",
            params={"after": after, **size},
            headers={"Authorization": "Bearer agent-token"},
        )
        assert answer.status_code == 200, answer.text
        return EventPush.from_wire(answer.json())

    def let_out(self, word: str) -> None:
        """Set the customer's word and wait until the gateway has taken it up."""
        (self.policy / "export").write_text(word)
        periods = "SELECT ended_at IS NULL FROM export_period WHERE ended_at IS NULL"
        until(lambda: bool(self.boundary.rows(periods)) == (word == "events"))

    def count(self, table: str = "change_event") -> int:
        ((number,),) = self.boundary.rows(f"SELECT count(*) FROM {table}")
        return int(number)
