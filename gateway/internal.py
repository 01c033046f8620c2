"""The internal port: roll-ups for the agent, and nobody else.

Built by `main`. A port of its own, so that a network policy can tell it from the public one; the
caller is known by its service-account token, which the API server judges (TokenReview).
"""

from __future__ import annotations

from aiohttp import web
from psycopg import OperationalError
from psycopg_pool import PoolTimeout

from gateway.cluster import Cluster, ClusterError
from gateway.database import Pool
from gateway.policy import PolicyFolder
from gateway.rollup import list_buckets
from wire.usage import Export, RollupPush

MAX_BUCKETS = 100


class Internal:
    """The internal application."""

    def __init__(
        self,
        cluster: Cluster,
        pool: Pool,
        policy: PolicyFolder,
        boundary_id: str,
        agent_user: str,
    ) -> None:
        self._cluster, self._pool, self._policy = cluster, pool, policy
        self._boundary_id, self._agent_user = boundary_id, agent_user

    def application(self) -> web.Application:
        """Return the aiohttp application."""
        app = web.Application()
        app.add_routes([web.get("/internal/v1/rollups", self.rollups)])
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
            return _problem(403, "forbidden", "only the boundary's agent reads roll-ups")
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


def _problem(status: int, code: str, message: str) -> web.Response:
    return web.json_response({"error": {"code": code, "message": message}}, status=status)
