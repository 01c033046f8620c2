"""Entry of the agent: enrol once, then run its five loops until SIGTERM.

Run as `python -m agent.main` in the boundary's cluster.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections.abc import Awaitable, Callable
from uuid import UUID

import aiohttp
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.anchors import Anchors
from agent.bundles import Trust
from agent.cloud import Cloud, CloudError
from agent.control_plane import ControlPlane, ControlPlaneError
from agent.desired import DesiredLoop
from agent.events import EventCarrier
from agent.identity import Volume
from agent.kubernetes import Kubernetes, KubernetesError, in_cluster
from agent.observer import Observer
from agent.settings import Settings, SettingsError
from agent.usage import UsageCarrier
from proof.keys import decode_public, encode_public, fingerprint
from wire.agent import EnrolResponse

log = structlog.get_logger("agent")

STATUS_SECONDS = 1.0
USAGE_SECONDS = 2.0
ANCHOR_SECONDS = 15.0
LONGEST_BACKOFF_SECONDS = 20.0
TRANSIENT = (ControlPlaneError, KubernetesError, CloudError, aiohttp.ClientError, TimeoutError)


class PinError(RuntimeError):
    """The control plane's key is not the one that the customer's template pins."""


async def repeat(name: str, seconds: float, action: Callable[[], Awaitable[None]]) -> None:
    """Run an action for ever, `seconds` apart; back off with jitter while it fails."""
    delay = 0.5
    while True:
        try:
            await action()
            delay = 0.5
            await asyncio.sleep(seconds)
        except TRANSIENT as error:
            log.warning("will retry", loop=name, error=str(error), seconds=round(delay, 1))
            await asyncio.sleep(delay * random.uniform(0.8, 1.2))  # noqa: S311 - jitter only
            delay = min(delay * 2, LONGEST_BACKOFF_SECONDS)


async def enrol(
    settings: Settings, volume: Volume, control_plane: ControlPlane, cloud: Cloud
) -> EnrolResponse:
    """Return who this agent is, enrolling with the one-time token at the first start.

    Raises: PinError; ControlPlaneError; CloudError; OSError when the token's file is missing.
    """
    identity = volume.identity()
    if identity is not None:
        return identity
    key = volume.key()
    token = settings.enrolment_token_file.read_text().strip()
    pin = await asyncio.to_thread(cloud.pinned_control_plane_key, settings.closer_role)
    identity = await control_plane.enrol(token)
    offered = fingerprint(decode_public(identity.control_plane_public_key))
    if offered != pin:
        raise PinError(f"the control plane's key is {offered}, the customer's template pins {pin}")
    if str(identity.boundary_id) != settings.boundary_id:
        raise PinError(f"enrolled into boundary {identity.boundary_id}, not {settings.boundary_id}")
    name = f"agent/{settings.boundary_name}.pub"
    await asyncio.to_thread(cloud.publish_public_key, settings.bucket, name, encode_public(key))
    volume.save_identity(identity)
    log.info("enrolled", agent_id=str(identity.agent_id), key=fingerprint(key))
    return identity


async def enrol_with_patience(
    settings: Settings, volume: Volume, control_plane: ControlPlane, cloud: Cloud
) -> EnrolResponse:
    """Enrol, retrying what may pass; a wrong pin or a spent token ends the agent."""
    delay = 0.3
    while True:
        try:
            return await enrol(settings, volume, control_plane, cloud)
        except TRANSIENT as error:
            if isinstance(error, ControlPlaneError) and 400 <= error.status < 500:
                raise
            log.warning("enrolment will be retried", error=str(error))
            await asyncio.sleep(delay)
            delay = min(delay * 2, LONGEST_BACKOFF_SECONDS)


def _loops(
    settings: Settings,
    identity: EnrolResponse,
    key: Ed25519PrivateKey,
    volume: Volume,
    control_plane: ControlPlane,
    kubernetes: Kubernetes,
    cloud: Cloud,
    usage: UsageCarrier,
    events: EventCarrier,
) -> list[asyncio.Task[None]]:
    trust = Trust(
        control_plane=decode_public(identity.control_plane_public_key),
        customer=decode_public(settings.customer_key),
        boundary_id=UUID(settings.boundary_id),
        boundary_name=settings.boundary_name,
        namespace=settings.namespace,
    )
    observer = Observer(
        control_plane, kubernetes, volume, settings.namespace, settings.boundary_name
    )
    desired = DesiredLoop(control_plane, kubernetes, cloud, volume, trust, key, observer)
    anchors = Anchors(control_plane, cloud, volume, trust, settings.bucket)
    return [
        asyncio.create_task(repeat("desired", 0.0, desired.run_once)),
        asyncio.create_task(repeat("status", STATUS_SECONDS, observer.push)),
        asyncio.create_task(repeat("usage", USAGE_SECONDS, usage.run_once)),
        asyncio.create_task(repeat("events", USAGE_SECONDS, events.run_once)),
        asyncio.create_task(repeat("anchors", ANCHOR_SECONDS, anchors.run_once)),
    ]


async def run(settings: Settings) -> None:
    """Run until SIGTERM; raises what a loop could not recover from."""
    volume = Volume(settings.key_dir)
    key = volume.key()
    control_plane = ControlPlane(settings.control_plane_url, key)
    cloud = Cloud(settings.region)
    kubernetes = in_cluster(os.environ, settings.service_account_token)
    gateway = (settings.gateway_internal_url, settings.service_account_token)
    usage = UsageCarrier(*gateway, control_plane, volume)
    events = EventCarrier(*gateway, control_plane, volume)
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    tasks: list[asyncio.Task[None]] = []
    stopped = asyncio.create_task(stopping.wait())
    try:
        enrolment = asyncio.create_task(enrol_with_patience(settings, volume, control_plane, cloud))
        await asyncio.wait([enrolment, stopped], return_when=asyncio.FIRST_COMPLETED)
        if not enrolment.done():
            enrolment.cancel()
            return
        identity = enrolment.result()
        control_plane.use(identity)
        tasks = _loops(
            settings, identity, key, volume, control_plane, kubernetes, cloud, usage, events
        )
        done, _ = await asyncio.wait([*tasks, stopped], return_when=asyncio.FIRST_COMPLETED)
        for task in done - {stopped}:
            task.result()
    finally:
        for task in [*tasks, stopped]:
            task.cancel()
        await usage.close()
        await events.close()
        await kubernetes.close()
        await control_plane.close()


def main() -> int:
    """Return 0 after SIGTERM, 2 on bad settings, 1 when the agent must not go on."""
    try:
        settings = Settings.from_environment(os.environ)
    except SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    try:
        asyncio.run(run(settings))
    except (PinError, ControlPlaneError, OSError) as error:
        print(f"error: the agent stops: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
