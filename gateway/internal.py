"""The internal port: roll-ups and, if the customer says so, events for the agent, nobody else.

Built by `main`. A port of its own, so that a network policy can tell it from the public one; the
caller is known by its service-account token, which the API server judges (TokenReview).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from datetime import UTC, datetime

from aiohttp import web
from psycopg import OperationalError
from psycopg_pool import PoolTimeout

from gateway.cluster import Cluster, ClusterError
from gateway.database import Pool
from gateway.export import body_of, next_page
from gateway.periods import follow_policy
from gateway.policy import PolicyFolder
from gateway.rollup import list_buckets
from wire.usage import MAX_PAGE, EventPush, Export, RollupPush

MAX_BUCKETS = 100
CURSOR = re.compile(r"^(|[0-9a-f-]{36}:\d{1,18})$")


class Internal:
    """The internal application."""

    def __init__(
        self,
        cluster: Cluster,
        pool: Pool,
        policy: PolicyFolder,
        boundary_id: str,
        agent_user: str,
        log: Callable[[str], None],
    ) -> None:
        self._cluster, self._pool, self._policy = cluster, pool, policy
        self._log = log
        self._boundary_id, self._agent_user = boundary_id, agent_user

    def application(self) -> web.Application:
        """Return the aiohttp application."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/internal/v1/rollups", self.rollups),
                web.post("/internal/v1/events", self.events),
            ]
        )
        return app

    async def _authorize(self, request: web.Request) -> web.Response | None:
        """Return the refusal of a caller who is not the agent, else None."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            return _problem(401, "unauthenticated", "send the service account's token")
        try:
            user = await self._cluster.reviewed_user(token.strip())
        except ClusterError as error:
            return _problem(503, "unavailable", str(error))
        if user is None:
            return _problem(401, "unauthenticated", "the token is not valid")
        if user != self._agent_user:
            return _problem(403, "forbidden", "only the boundary's agent reads usage")
        return None

    async def rollups(self, request: web.Request) -> web.Response:
        """Return buckets changed after `after` (default 0), at most `limit` (default 500).

        Where the customer lets nothing out, only that word is returned, and `after` stays.
        """
        if (refusal := await self._authorize(request)) is not None:
            return refusal
        try:
            after = int(request.query.get("after", "0"))
            limit = int(request.query.get("limit", str(MAX_BUCKETS)))
        except ValueError:
            return _problem(400, "invalid_request", "after and limit must be whole numbers")
        if not 0 <= after < 2**53 or not 1 <= limit <= MAX_BUCKETS:
            return _problem(400, "invalid_request", f"after >= 0, 1 <= limit <= {MAX_BUCKETS}")
        if self._policy.read().export is Export.NONE:
            return web.json_response(RollupPush(export=Export.NONE, sequence=after).to_wire())
        try:
            push = await list_buckets(self._pool, self._boundary_id, after, limit)
        except (OperationalError, PoolTimeout):
            return _problem(503, "unavailable", "the boundary's database does not answer")
        return web.json_response(push.to_wire())

    async def events(self, request: web.Request) -> web.Response:
        """Return events after the cursor `after`, at most `limit`, and forget those up to it.

        A POST, because the cursor acknowledges: what it names is committed outside and is not
        handed out again. Where the customer does not let events out, only that word is returned.
        """
        if (refusal := await self._authorize(request)) is not None:
            return refusal
        after, number = request.query.get("after", ""), request.query.get("limit", str(MAX_PAGE))
        if not CURSOR.fullmatch(after):
            return _problem(400, "invalid_request", "after must be a cursor from here, or empty")
        if not number.isdecimal() or not 1 <= int(number) <= MAX_PAGE:
            return _problem(400, "invalid_request", f"1 <= limit <= {MAX_PAGE}")
        export = self._policy.read().export
        push: EventPush | None = EventPush(export=export) if export is not Export.EVENTS else None
        try:
            await follow_policy(self._pool, export, datetime.now(UTC))
            if push is None:
                push = await next_page(self._pool, self._boundary_id, after, int(number), self._log)
        except (OperationalError, PoolTimeout):
            return _problem(503, "unavailable", "the boundary's database does not answer")
        if push is None:
            return _problem(503, "unavailable", "the policy is just changing; ask again")
        body = await asyncio.to_thread(body_of, push)
        return web.Response(body=body, content_type="application/json")


def _problem(status: int, code: str, message: str) -> web.Response:
    return web.json_response({"error": {"code": code, "message": message}}, status=status)
