"""Entry point of the image `ringfence/operator`.

Environment: see `operators.settings`. Serves /healthz, /readyz and /metrics on port 9090. A process
that is not the leader keeps its caches full and waits; one that loses its lease stops its workers
before the lease can lapse, and waits again.
Exit codes: 0 after SIGTERM, 2 when a setting is missing or wrong.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys

import aiohttp
import uvloop
from aiohttp import web

from operators.core.api import ApiError, KubernetesApi
from operators.core.connection import ClusterConnection, ConnectionSettingsError
from operators.core.lease import Lease
from operators.core.metrics import Metrics
from operators.runtime import Operator
from operators.settings import Settings, SettingsError

log = logging.getLogger("operators")

LEASE_NAME = "ringfence-operator"


def health_application(operator: Operator) -> web.Application:
    """Return the health and metrics endpoints."""

    async def alive(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def ready(_: web.Request) -> web.Response:
        if operator.synced:
            return web.Response(text="ok\n")
        return web.Response(status=503, text="the caches are being filled\n")

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(text=operator.metrics.render())

    application = web.Application()
    application.add_routes(
        [web.get("/healthz", alive), web.get("/readyz", ready), web.get("/metrics", metrics)]
    )
    return application


async def lead(operator: Operator, lease: Lease) -> None:
    """Work whenever this process holds the lease; runs until cancelled."""
    while True:
        await lease.acquire()
        async with asyncio.TaskGroup() as tasks:
            work = tasks.create_task(operator.control())
            await lease.keep()
            work.cancel()


async def watch_and_lead(operator: Operator, lease: Lease) -> None:
    """Keep the caches full, and lead when it is our turn; runs until cancelled."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(operator.watch())
        tasks.create_task(lead(operator, lease))


async def run(settings: Settings, connection: ClusterConnection) -> None:
    """Run until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    metrics = Metrics()
    async with KubernetesApi(connection) as api:
        operator = Operator(api, settings, metrics)
        lease = Lease(api, settings.system_namespace, LEASE_NAME, settings.identity, metrics)
        runner = web.AppRunner(health_application(operator), access_log=None)
        await runner.setup()
        # A pod's own address; the network policy decides who reaches it.
        await web.TCPSite(runner, "0.0.0.0", settings.metrics_port).start()  # noqa: S104
        work = asyncio.create_task(watch_and_lead(operator, lease))
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if work.done():
            work.result()
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        try:
            await lease.release()
        except (ApiError, aiohttp.ClientError, OSError) as error:
            log.warning("the lease was not released: %s", error)
        await runner.cleanup()


def main() -> int:
    """Read the settings and run; return the exit code."""
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
        stream=sys.stderr,
    )
    try:
        settings = Settings.from_environment()
        connection = ClusterConnection.in_cluster()
    except (SettingsError, ConnectionSettingsError) as error:
        print(f"operator: {error}", file=sys.stderr)
        return 2
    uvloop.run(run(settings, connection))
    return 0


if __name__ == "__main__":
    sys.exit(main())
