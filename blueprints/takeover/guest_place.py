"""A guest's place in its host's cluster for the customer's own credentials: way in, and emptying.

Used by takeover.py, from the same folder of a guest's kit. Separate from way_in.py because nothing
of the host is changed here: its endpoint stays as it is, and what may be done inside is what the
host's release gives to the guest's group.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import ClientError
from way_in import (  # type: ignore[import-not-found]  # beside this file in a kit
    cluster_of,
    principal_of,
    run_kubectl,
    token_for,
    write_kubeconfig,
)

OURS = ("gatewayaccesses", "adapterbindings", "modelinstances", "modelartifacts")
KINDS = (
    "deployments.apps", "jobs.batch", "persistentvolumeclaims", "secrets", "configmaps",
    "resourcequotas",
)  # fmt: skip
"""What makes others is deleted before what it makes, so `OURS` comes first."""
GOES_SLOWLY = "pods,persistentvolumeclaims"
LET_IN_SECONDS, EMPTY_SECONDS, POLL_SECONDS = 120.0, 600.0, 1.0
NO_SUCH_KIND = "the server doesn't have a resource type"


@contextmanager
def way_in(
    facts: dict[str, Any], work: Path, *, cidrs: Sequence[str], kubeconfig: Path | None
) -> Iterator[Path]:
    """Yield a kubeconfig; the entry that was made for it is deleted again, also after an error."""
    host = facts["host"]
    if cidrs:
        raise RuntimeError(
            f"--cidr: the endpoint of {facts['cluster']} is for {host['boundary']} to open; run"
            " this inside its network, or give --kubeconfig with a way in"
        )
    if kubeconfig is not None:
        yield kubeconfig
        return
    session = boto3.Session(region_name=facts["region"])
    eks, cluster, principal = session.client("eks"), facts["cluster"], principal_of(session)
    found = cluster_of(eks, cluster)
    file = work / "kubeconfig"

    def renew() -> None:
        write_kubeconfig(file, found, token_for(session, cluster, facts["region"]))

    made = _open_entry(eks, cluster, principal, host["group"])
    try:
        _await_let_in(file, renew, host, work)
        yield file
    finally:
        file.unlink(missing_ok=True)
        if made:
            eks.delete_access_entry(clusterName=cluster, principalArn=principal)


def empty(kubeconfig: Path, facts: dict[str, Any], work: Path) -> None:
    """Delete what the guest has in its host's cluster and wait until pods and volumes are gone.

    Raises: RuntimeError naming what is left.
    """
    own = f"securityboundaries.ringfence.dev/{facts['boundary']}"
    _delete(kubeconfig, [own], work)
    for namespace in facts["host"]["namespaces"]:
        for kind in (*(f"{name}.ringfence.dev" for name in OURS), *KINDS):
            _delete(kubeconfig, [kind, "--all", "--namespace", namespace], work)
    give_up = time.monotonic() + EMPTY_SECONDS
    while left := _left(kubeconfig, facts["host"]["namespaces"], work):
        if time.monotonic() > give_up:
            raise RuntimeError(f"left after {EMPTY_SECONDS:.0f} s: {', '.join(left[:5])}")
        time.sleep(POLL_SECONDS)


def _delete(kubeconfig: Path, arguments: list[str], work: Path) -> None:
    try:
        run_kubectl(kubeconfig, ["delete", *arguments, "--ignore-not-found", "--wait=false"], work)
    except RuntimeError as error:
        # The host's release was removed first, and the kind with it.
        if NO_SUCH_KIND not in str(error):
            raise


def _left(kubeconfig: Path, namespaces: Sequence[str], work: Path) -> list[str]:
    found = []
    for namespace in namespaces:
        arguments = ["get", GOES_SLOWLY, "--namespace", namespace, "--output", "name"]
        names = run_kubectl(kubeconfig, arguments, work).split()
        found += [f"{namespace}/{name}" for name in names]
    return found


def _open_entry(eks: Any, cluster: str, principal: str, group: str) -> bool:
    """Let the caller in as a member of the guest's group; return whether an entry was made."""
    try:
        eks.create_access_entry(
            clusterName=cluster,
            principalArn=principal,
            type="STANDARD",
            kubernetesGroups=[group],
        )
    except ClientError as error:
        # Who has an entry already keeps it as it is: it is not ours to change or to delete.
        if error.response["Error"]["Code"] != "ResourceInUseException":
            raise
        return False
    return True


def _await_let_in(
    kubeconfig: Path, renew: Callable[[], None], host: dict[str, Any], work: Path
) -> None:
    """Wait until the new entry counts. Raises: RuntimeError with what the cluster said last."""
    namespace, give_up = host["namespaces"][-1], time.monotonic() + LET_IN_SECONDS
    question = ["get", "pods", "--namespace", namespace, "--request-timeout=5s"]
    while True:
        # A token of its own for each question: the API server keeps its verdict on one it refused.
        renew()
        try:
            run_kubectl(kubeconfig, question, work)
            return
        except RuntimeError as error:
            if time.monotonic() > give_up:
                raise RuntimeError(
                    f"{error}\nrun this inside the network of {host['boundary']}, whose release"
                    f" must let {host['group']} in, or give --kubeconfig with a way in"
                ) from error
        time.sleep(POLL_SECONDS)
