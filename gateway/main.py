"""Entry point of the image `ringfence/gateway`: settings, parts, loops, orderly end.

The settings (`GATEWAY_…`) are documented in `gateway.settings`. Exit codes: 0 after SIGTERM, 1 when
a part cannot be opened, 2 when a setting is wrong. Log lines on standard error are JSON and hold
nothing of a request.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import uvloop
from aiohttp import web
from psycopg import Error as DatabaseError
from psycopg_pool import PoolTimeout

from gateway.api import Api
from gateway.cluster import Cluster, ClusterAddress, ClusterError, in_cluster
from gateway.database import MigrationError, Pool, migrate, open_pool, pseudonymizer
from gateway.intake import Intake
from gateway.internal import Internal
from gateway.ledger import recover, ship
from gateway.periods import delete_old_listings, follow_policy
from gateway.policy import PolicyFolder
from gateway.relay import Relay
from gateway.rollup import delete_old, roll_up
from gateway.settings import GatewaySettings, GatewaySettingsError, load_settings
from gateway.spool import Spool, SpoolError
from gateway.watch import KINDS, Reflector, Routes

RETENTION_SECONDS = 3600
POLICY_SECONDS = 1.0
"""How often the customer's policy is looked at, so that no change of it goes unseen."""
_DATABASE_TROUBLE = (DatabaseError, PoolTimeout, OSError)


def log(message: str) -> None:
    """Write one line for the operator of the cluster."""
    line = {"time": datetime.now(UTC).isoformat(), "part": "gateway", "message": message}
    print(json.dumps(line), file=sys.stderr, flush=True)


class LibraryLog(logging.Handler):
    """Write what libraries log as our own lines, without anything that came from a request.

    aiohttp puts malformed request lines into its messages: of it only the fixed text and the kind
    of the error are kept.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        text = record.getMessage() if record.name.startswith("psycopg") else str(record.msg)
        kind = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else ""
        log(f"{record.name}: {text} {kind}".strip())


async def _every(seconds: float, name: str, work: Callable[[], Awaitable[object]]) -> None:
    """Do some work again and again; while the database is away, say so once and go on trying."""
    failing = False
    while True:
        started = time.monotonic()
        try:
            await work()
            if failing:
                log(f"{name}: works again")
            failing = False
        except _DATABASE_TROUBLE as error:
            if not failing:
                log(f"{name}: {type(error).__name__}; trying again, usage waits in the spool")
            failing = True
        # At most a tenth of the time: a busy hour is summed up anew at every pass.
        costly = 10 * (time.monotonic() - started)
        await asyncio.sleep(max(seconds, 1.0 if failing else 0.0, min(costly, 60.0)))


class Gateway:
    """All parts of one gateway, opened and closed in order."""

    def __init__(self, settings: GatewaySettings, address: ClusterAddress) -> None:
        self.settings = settings
        self.spool = Spool(settings.spool_dir, settings.spool_max_bytes)
        self.pool: Pool = open_pool(settings.database_url_file)
        self.cluster = Cluster(address)
        self.routes = Routes(log)
        self.relay = Relay(
            self.spool,
            connect_seconds=settings.connect_seconds,
            retry_seconds=settings.retry_seconds,
            idle_seconds=settings.idle_seconds,
        )
        self.policy = policy = PolicyFolder(settings.usage_policy_dir, log)
        self.api = Api(self.routes, self.relay, Intake(self.pool), policy, settings.boundary_id)
        self.internal = Internal(
            self.cluster, self.pool, policy, settings.boundary_id, settings.agent_user, log
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._runners: list[web.AppRunner] = []

    async def start(self) -> None:
        """Listen at once (not ready), then open what readiness needs in the background."""
        settings = self.settings
        for app, port, name in (
            (self.api.application(), settings.port, "api"),
            (self.internal.application(), settings.internal_port, "internal"),
        ):
            runner = web.AppRunner(
                app,
                access_log=None,
                handle_signals=False,
                handler_cancellation=True,
                shutdown_timeout=1,
            )
            await runner.setup()
            self._runners.append(runner)
            await web.TCPSite(runner, settings.host, port, reuse_address=True).start()
            log(f"{name} listens on port {runner.addresses[0][1]}")
        for kind in KINDS:
            reflector = Reflector(self.cluster, settings.namespace, kind, self.routes)
            self._tasks.append(asyncio.create_task(reflector.run(log)))
        self._tasks.append(asyncio.create_task(self._keep_books()))

    async def _open_books(self) -> None:
        await migrate(self.pool)
        pseudonym = await pseudonymizer(self.pool)
        # First: what the spool still holds is stored under the policy of now.
        await self._follow_policy()
        added = await recover(self.pool, self.spool)
        if added:
            log(f"recovered {added} requests of an earlier process from the spool")
        self.api.open(pseudonym)

    async def _keep_books(self) -> None:
        """Open the database, however long it takes, then ship, roll up and delete for ever."""
        await self.pool.open(wait=False)
        while True:
            try:
                await self._open_books()
                break
            except _DATABASE_TROUBLE as error:
                log(f"database: {type(error).__name__}; not ready, trying again")
                await asyncio.sleep(1)
        log("database is open")
        settings = self.settings

        async def roll() -> None:
            await self._roll_up()

        async def prune() -> None:
            await delete_old(self.pool, datetime.now(UTC), settings.retention_days)
            await delete_old_listings(self.pool, datetime.now(UTC), settings.retention_days)

        async def send() -> None:
            await ship(self.pool, self.spool)

        async with asyncio.TaskGroup() as group:
            group.create_task(_every(settings.ship_seconds, "usage", send))
            group.create_task(_every(POLICY_SECONDS, "export", self._follow_policy))
            group.create_task(_every(settings.rollup_seconds, "roll-up", roll))
            group.create_task(_every(RETENTION_SECONDS, "retention", prune))

    async def _follow_policy(self) -> None:
        await follow_policy(self.pool, self.policy.read().export, datetime.now(UTC))

    async def _roll_up(self) -> None:
        settings = self.settings
        await roll_up(
            self.pool,
            settings.boundary_id,
            datetime.now(UTC),
            settings.retention_days,
            settings.shown_ms,
        )

    async def wait(self, stop: asyncio.Event) -> None:
        """Return on a signal; raise when a loop ends, which none ever should."""
        stopped = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait([stopped, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        for task in done:
            task.result()

    async def stop(self) -> None:
        """Refuse new requests, let live answers end, bring the last usage in, close."""
        self.api.live.draining = True
        for runner in self._runners:
            for site in list(runner.sites):
                await site.stop()
        log(f"draining {self.api.live.count} live answers")
        try:
            await asyncio.wait_for(self.api.live.idle.wait(), self.settings.drain_seconds)
        except TimeoutError:
            log(f"{self.api.live.count} answers were cut after draining")
        for runner in self._runners:
            await runner.cleanup()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            await ship(self.pool, self.spool)
            await self._roll_up()
        except _DATABASE_TROUBLE as error:
            log(f"database: {type(error).__name__}; the last usage stays in the spool")
        await self.relay.close()
        await self.cluster.close()
        await self.pool.close()
        self.spool.close()


async def serve(settings: GatewaySettings, address: ClusterAddress) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    gateway = Gateway(settings, address)
    try:
        await gateway.start()
        await gateway.wait(stop)
    finally:
        await gateway.stop()


def main() -> int:
    """Read the settings and serve; return the exit code."""
    logging.basicConfig(level=logging.WARNING, handlers=[LibraryLog()])
    try:
        settings, address = load_settings(), in_cluster()
    except (GatewaySettingsError, ClusterError) as error:
        log(str(error))
        return 2
    try:
        uvloop.run(serve(settings, address))
    except (SpoolError, OSError, ClusterError, MigrationError) as error:
        log(f"cannot start: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
