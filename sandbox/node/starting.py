"""One start of a container: everything the launcher needs, resolved from pod and image.

Called by the pod runner. Separate from it because this is where a pod's specification becomes a
process: user, command, environment, mounts and what of the checkout is visible.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path

from sandbox.cluster.settings import ClusterSettings
from sandbox.node import podfiles
from sandbox.node.api import Object
from sandbox.node.environment import (
    ConfigError,
    Fetch,
    aws_variables,
    expand,
    resolve,
    service_variables,
)
from sandbox.node.images import Image
from sandbox.node.images import resolve as resolve_image
from sandbox.node.process import Launch, Mount
from sandbox.node.volumes import Volumes

ROOT = Path(__file__).resolve().parents[2]
WORKDIR = "/tmp"  # noqa: S108  # a path of the container


@dataclass(frozen=True)
class Start:
    """What one start is made from."""

    settings: ClusterSettings
    pod: Object
    spec: Object
    address: str
    volumes: Volumes
    fetch: Fetch
    services: list[Object]
    hosts: str
    base: dict[str, str]
    folder: Path
    """The pod's folder on tmpfs."""
    own_processes: bool


async def make_launch(start: Start) -> Launch:
    """Return the launcher's specification of one start.

    Raises: ImageError, ConfigError or VolumeError with what is wrong.
    """
    pod, spec = start.pod, start.spec
    _refuse_unsupported(pod, spec)
    image = resolve_image(spec["image"])
    user, group = _identity(pod, spec, image)
    env = await resolve(pod, spec, start.address, _base(start), start.fetch)
    context = spec.get("securityContext") or {}
    name = image.name.rpartition("/")[2].partition("-")[0]
    etc = start.folder / f"etc-{spec['name']}"
    hostname = pod["spec"].get("hostname") or pod["metadata"]["name"]
    await asyncio.to_thread(podfiles.write_etc, etc, hostname, user, group, name, start.hosts)
    termination = spec.get("terminationMessagePath") or "/dev/termination-log"
    log = Mount(str(start.folder / f"{spec['name']}.termination"), termination, False)
    return Launch(
        root=str(start.folder / f"root-{spec['name']}"),
        etc=str(etc),
        hostname=hostname[:63],
        visible=visible_paths(image),
        mounts=[*start.volumes.mounts(spec), log],
        argv=_argv(spec, image, env),
        env=env,
        workdir=spec.get("workingDir") or WORKDIR,
        user=user,
        group=group,
        read_only_root=bool(context.get("readOnlyRootFilesystem")),
        own_processes=start.own_processes,
    )


def _refuse_unsupported(pod: Object, spec: Object) -> None:
    """Refuse what the sandbox does not emulate instead of running something else."""
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if pod["spec"].get(field):
            raise ConfigError(f"{field} is not emulated by the sandbox: remove it")
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        if "grpc" in (spec.get(probe) or {}):
            raise ConfigError(f"{probe}: grpc is not emulated by the sandbox: use httpGet or exec")
    if (spec.get("securityContext") or {}).get("privileged"):
        raise ConfigError("privileged containers are not emulated by the sandbox")


def _base(start: Start) -> dict[str, str]:
    meta, spec = start.pod["metadata"], start.pod["spec"]
    links = spec.get("enableServiceLinks", True)
    return {
        **start.base,
        "HOSTNAME": meta["name"],
        "HOME": WORKDIR,
        "PYTHONPATH": str(ROOT),
        **aws_variables(start.settings.region),
        **service_variables(start.services, meta["namespace"], links),
    }


def _identity(pod: Object, spec: Object, image: Image) -> tuple[int, int]:
    """Return the uid and gid a container sees.

    Raises: ConfigError when it may not be root but would be.
    """
    outer = pod["spec"].get("securityContext") or {}
    inner = {**outer, **(spec.get("securityContext") or {})}
    user = int(inner.get("runAsUser", image.user))
    group = int(inner.get("runAsGroup", user))
    if inner.get("runAsNonRoot") and user == 0:
        raise ConfigError(
            f"container {spec['name']!r} has runAsNonRoot and would run as uid 0: set runAsUser"
        )
    return user, group


def _argv(spec: Object, image: Image, env: dict[str, str]) -> list[str]:
    """Return command and arguments: `command` replaces the entry point, `args` its defaults."""
    command = list(spec.get("command") or ())
    arguments = list(spec.get("args") or ())
    if not command:
        command = list(image.entrypoint)
        arguments = arguments or list(image.command)
    argv = [expand(word, env) for word in [*command, *arguments]]
    if argv[0] == "python":
        argv[0] = sys.executable
    return argv


def visible_paths(image: Image) -> list[str]:
    """Return the paths of the host an image consists of."""
    paths = [sys.base_prefix, sys.prefix, *(str(ROOT / package) for package in image.packages)]
    found = [path for path in dict.fromkeys(paths) if Path(path).exists()]
    # Outer folders first: binding one later would hide what lies inside.
    return sorted(found, key=len)
