"""The cluster's door and what is installed behind it: reach, weights, the chart boundary-stack.

Called by the steps `weights`, `reach_open`, `stack`, `reach_close` and their undos.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from controlplane.adapters.aws.artifacts import Artifact
from controlplane.adapters.kubernetes.reach import ClusterReach, WayInClosed
from controlplane.adapters.kubernetes.reach_runner import Guest
from controlplane.adapters.kubernetes.runner_orders import RunnerSite
from controlplane.core.errors import InvalidRequestError, NotFoundError
from controlplane.core.run_engine.definition import RunView
from controlplane.domains.agents.enrolment import issue_token
from controlplane.sagas.provisioning.access import (
    Context,
    OpenAccount,
    open_account,
    output,
    run_folder,
)
from controlplane.sagas.provisioning.images import foundation_of, references
from controlplane.sagas.provisioning.params import IN_VPC_RUNNER, ProvisionParams
from controlplane.sagas.provisioning.ports import Ports, WayIn
from proof.canonical import digest

CHART = "boundary-stack"
RUNNER_IMAGE = "ringfence/runner"
REHEARSAL_NETWORK = {
    "awsEndpoints": [{"cidr": "10.88.0.10/32", "port": 80}],
    "clientCidrs": ["10.88.0.20/32"],
}
"""Addresses inside the emulated VPC: where AWS answers, and whom load balancers send from."""
RELEASE = "ringfence"
# 5 % steps: enough to see it move, few enough to store.
_PROGRESS_STEPS = 20


@contextmanager
def reach(context: Context) -> Iterator[ClusterReach]:
    """Open the run's way into the boundary's cluster."""
    cluster = output(context, "cluster").get("cluster_name", context.params.cluster)
    with open_account(context) as opened:
        params = context.params
        guest = Guest(params.guest_group, params.system_namespace, params.boundary)
        way = WayIn(
            cluster,
            run_folder(context),
            context.run.id,
            _runner(context, opened),
            guest if params.host is not None else None,
        )
        yield context.ports.cloud.reach(opened.account, way)


def require_way(context: Context) -> None:
    """See that this deployment has what the chosen way in needs. Raises: InvalidRequestError."""
    if context.params.reach == IN_VPC_RUNNER and RUNNER_IMAGE not in context.ports.settings.images:
        raise InvalidRequestError(
            f"reach is {IN_VPC_RUNNER}, and this deployment has no image {RUNNER_IMAGE}",
            code="no-runner-image",
            field="reach",
            fix="name it in RINGFENCE_IMAGES_FILE, or install with reach: public-cidr",
        )


def _runner(context: Context, opened: OpenAccount) -> RunnerSite | None:
    """Return where the runner of an install that has one is started."""
    if context.params.reach != IN_VPC_RUNNER:
        return None
    require_way(context)
    return RunnerSite(
        bucket=context.params.bucket,
        image=references(context.ports, foundation_of(context))[RUNNER_IMAGE],
        fence=context.run.fence,
        grant_until=opened.role.grant_until,
        signer=context.ports.signer,
        check=context.check,
    )


def copy_models(context: Context) -> list[dict[str, Any]]:
    """Copy every model into the boundary's bucket; return where each is."""
    bucket = output(context, "foundation")["artifact_bucket"]
    copied = []
    with open_account(context) as opened:
        for model in context.params.models:
            context.check()
            path = context.ports.settings.artifact_store / model.digest.removeprefix("sha256:")
            stored = context.ports.cloud.store(
                opened.account,
                bucket,
                Artifact(model.name, model.digest, path),
                _bytes_progress(context, model.name),
            )
            context.resource(
                "done", kind="artifact", name=model.name, digest=model.digest, bytes=stored.size
            )
            copied.append(
                {"name": model.name, "digest": model.digest, "bucket": bucket, "key": stored.key}
            )
    return copied


def _bytes_progress(context: Context, name: str) -> Any:
    last = -1

    def show(done: int, total: int) -> None:
        nonlocal last
        context.check()
        share = done * _PROGRESS_STEPS // max(total, 1)
        if share > last:
            last = share
            context.progress(artifact=name, bytes=min(done, total), total_bytes=total)

    return show


def install_chart(context: Context) -> dict[str, Any]:
    """Install or upgrade the chart with a fresh enrolment token; return the release's facts.

    The token exists in memory and in the values file only, which helm's client deletes.
    """
    with context.transaction() as session:
        issued = issue_token(
            session,
            context.ctx,
            context.run.organization_id,
            context.run.boundary_id,
            context.params.install_id,
        )
    return {**upgrade_chart(context, issued.token), "enrolment_token_id": str(issued.id)}


def upgrade_chart(context: Context, enrolment_token: str) -> dict[str, Any]:
    """Install or upgrade the chart; an agent that lives needs no token."""
    folder = run_folder(context)
    with reach(context) as way:
        release = way.install(
            context.ports.releases(folder),
            RELEASE,
            Path(context.ports.settings.charts) / CHART,
            context.params.system_namespace,
            chart_values(context, enrolment_token),
        )
    return {
        "release": release.name,
        "revision": release.revision,
        "chart": release.chart,
        "release_digest": release_digest(context, context.outputs),
    }


def release_digest(context: Context, outputs: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the digest of what the chart is given beside the token, and of its own files."""
    root = Path(context.ports.settings.charts) / CHART
    files = {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }
    values = values_of(context.run, context.params, outputs, context.ports, enrolment_token="")
    return digest({"chart": files, "values": values})


def remove_chart(context: Context) -> None:
    """Remove the chart, so that its load balancers go before their network does."""
    folder = run_folder(context)
    try:
        with reach(context) as way:
            way.uninstall(context.ports.releases(folder), RELEASE, context.params.system_namespace)
            if context.params.host is not None:
                # The cluster stays, and what is not the release's would stay with it.
                way.empty(context.params.namespace, context.params.system_namespace)
    except NotFoundError:
        # The cluster is gone, and the release with it.
        context.log(message="no cluster: nothing to uninstall")


def close_reach(context: Context) -> WayInClosed | None:
    """Shut the way in and prove it; None when the cluster does not exist (any more)."""
    try:
        with reach(context) as way:
            closed = way.close()
    except NotFoundError:
        return None
    # For who follows the run; the certificate has it, too.
    context.progress(message="the way in is shut", **closed.way_in.model_dump(exclude_none=True))
    return closed


def chart_values(context: Context, enrolment_token: str) -> dict[str, Any]:
    """Return the chart's values; see charts/boundary-stack/values.yaml for what each does."""
    return values_of(
        context.run, context.params, context.outputs, context.ports, enrolment_token=enrolment_token
    )


def _shared(params: ProvisionParams) -> dict[str, Any]:
    """Return what the chart must know where a cluster is shared; empty where it is not."""
    if params.host is not None:
        # The host's own release has made it; a guest's may not.
        return {"customResources": {"install": False}, "clusterScope": {"install": False}}
    return {"guests": list(params.guests)} if params.guests else {}


def values_of(
    run: RunView,
    params: ProvisionParams,
    outputs: Mapping[str, Mapping[str, Any]],
    ports: Ports,
    *,
    enrolment_token: str,
) -> dict[str, Any]:
    """Return the values for what an install's steps gave; also written into take-over kits."""
    settings, foundation, built = ports.settings, outputs["foundation"], outputs["cluster"]
    pins = outputs.get("preflight", {}).get("pins", {})
    return {
        "organization": {"id": str(run.organization_id), "name": params.organization},
        "boundary": {
            "id": str(run.boundary_id),
            "name": params.boundary,
            "displayName": params.boundary_display,
            "namespace": params.namespace,
        },
        "cluster": {"name": built["cluster_name"], "region": params.region},
        **_shared(params),
        "network": {
            "vpcCidr": foundation["vpc_cidr"],
            **(REHEARSAL_NETWORK if settings.is_rehearsal else {}),
        },
        "artifacts": {"bucket": foundation["artifact_bucket"], "region": params.region},
        "images": references(ports, foundation),
        "agent": {
            "controlPlaneUrl": settings.agent_url,
            "enrolmentToken": enrolment_token,
            "closerRole": f"ringfence-{params.boundary}-closer",
            "customerPublicKey": settings.customer_public_key,
            "pins": pins,
        },
    }
