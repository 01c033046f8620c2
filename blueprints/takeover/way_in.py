"""A way into the install's cluster for the customer's own credentials, shut again at the end.

Used by takeover.py, from the same folder of a kit. Separate because a customer who has a way in
already needs none of it: then --kubeconfig names it.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.exceptions import ClientError
from botocore.signers import RequestSigner

ADMIN = "AmazonEKSClusterAdminPolicy"
UPDATE_SECONDS = 1200


@contextmanager
def way_in(
    cluster: str, region: str, work: Path, *, cidrs: list[str], kubeconfig: Path | None
) -> Iterator[Path]:
    """Yield a kubeconfig; what was opened for it is shut again, also after an error."""
    if kubeconfig is not None:
        yield kubeconfig
        return
    if not cidrs:
        raise RuntimeError("give --cidr with your own address, or --kubeconfig with a way in")
    session = boto3.Session(region_name=region)
    eks = session.client("eks")
    found = eks.describe_cluster(name=cluster)["cluster"]
    before = found["resourcesVpcConfig"]
    principal = principal_of(session)
    file = work / "kubeconfig"
    made = _open_entry(eks, cluster, principal)
    try:
        _set_endpoint(eks, cluster, {"endpointPublicAccess": True, "publicAccessCidrs": cidrs})
        write_kubeconfig(file, found, token_for(session, cluster, region))
        yield file
    finally:
        file.unlink(missing_ok=True)
        settings = {"endpointPublicAccess": before["endpointPublicAccess"]}
        if before["endpointPublicAccess"]:
            settings["publicAccessCidrs"] = before["publicAccessCidrs"]
        _set_endpoint(eks, cluster, settings)
        if made:
            eks.delete_access_entry(clusterName=cluster, principalArn=principal)


def neighbours(cluster: str, region: str, namespace: str) -> list[str]:
    """Return the other boundaries whose pods have roles in the cluster; none without a cluster."""
    eks = boto3.Session(region_name=region).client("eks")
    try:
        eks.describe_cluster(name=cluster)
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceNotFoundException":
            raise
        return []
    pages = eks.get_paginator("list_pod_identity_associations").paginate(clusterName=cluster)
    found = {one["namespace"] for page in pages for one in page["associations"]}
    prefix = "boundary-"
    return sorted(n.removeprefix(prefix) for n in found - {namespace} if n.startswith(prefix))


def run_helm(kubeconfig: Path, arguments: list[str], work: Path) -> str:
    """Run helm (or what HELM names); return what it printed. Raises: RuntimeError."""
    return _run("helm", kubeconfig, arguments, work)


def run_kubectl(kubeconfig: Path, arguments: list[str], work: Path) -> str:
    """Run kubectl (or what KUBECTL names); return what it printed. Raises: RuntimeError."""
    return _run("kubectl", kubeconfig, arguments, work)


def _run(name: str, kubeconfig: Path, arguments: list[str], work: Path) -> str:
    """Run a program with homes of its own."""
    program = os.environ.get(name.upper(), name)
    environment = {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "HOME": str(work),
        "HELM_CACHE_HOME": str(work / "helm/cache"),
        "HELM_CONFIG_HOME": str(work / "helm/config"),
        "HELM_DATA_HOME": str(work / "helm/data"),
    }
    done = subprocess.run(
        [program, *arguments, "--kubeconfig", str(kubeconfig)],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{name} {arguments[0]}: {done.stderr.strip()[-1500:]}")
    return done.stdout


def principal_of(session: Any) -> str:
    """Return who calls, as an access entry names it: a session stands for its role."""
    arn: str = session.client("sts").get_caller_identity()["Arn"]
    if ":assumed-role/" not in arn:
        return arn
    role = arn.split(":assumed-role/", 1)[1].split("/", 1)[0]
    # The session's name leaves the role's path out.
    found: str = session.client("iam").get_role(RoleName=role)["Role"]["Arn"]
    return found


def _open_entry(eks: Any, cluster: str, principal: str) -> bool:
    """Let the caller in as an administrator; return whether an entry was made."""
    made = True
    try:
        eks.create_access_entry(clusterName=cluster, principalArn=principal, type="STANDARD")
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceInUseException":
            raise
        made = False
    partition = principal.split(":")[1]
    eks.associate_access_policy(
        clusterName=cluster,
        principalArn=principal,
        policyArn=f"arn:{partition}:eks::aws:cluster-access-policy/{ADMIN}",
        accessScope={"type": "cluster"},
    )
    return made


def _set_endpoint(eks: Any, cluster: str, settings: dict[str, Any]) -> None:
    """Change the cluster's endpoint and wait until it is done."""
    now = eks.describe_cluster(name=cluster)["cluster"]["resourcesVpcConfig"]
    wanted = {key: value for key, value in settings.items() if now.get(key) != value}
    if not wanted:
        return
    update = eks.update_cluster_config(
        name=cluster, resourcesVpcConfig={**settings, "endpointPrivateAccess": True}
    )["update"]["id"]
    deadline = time.monotonic() + UPDATE_SECONDS
    while True:
        state = eks.describe_update(name=cluster, updateId=update)["update"]["status"]
        if state == "Successful":
            return
        if state in ("Failed", "Cancelled") or time.monotonic() > deadline:
            raise RuntimeError(f"the change {update} of the cluster's endpoint is {state}")
        time.sleep(0.5)


def token_for(session: Any, cluster: str, region: str) -> str:
    """Return a token for the cluster, good for 15 minutes (aws-iam-authenticator, pkg/token)."""
    sts = session.client("sts")
    host = urlsplit(sts.meta.endpoint_url)
    signer = RequestSigner(
        sts.meta.service_model.service_id,
        region,
        "sts",
        "v4",
        session.get_credentials(),
        sts.meta.events,
    )
    url = signer.generate_presigned_url(
        {
            "method": "GET",
            "url": f"{host.scheme}://{host.netloc}/?Action=GetCallerIdentity&Version=2011-06-15",
            "body": {},
            "headers": {"x-k8s-aws-id": cluster},
            "context": {},
        },
        region_name=region,
        expires_in=60,
        operation_name="",
    )
    return "k8s-aws-v1." + base64.urlsafe_b64encode(url.encode()).decode().rstrip("=")


def write_kubeconfig(file: Path, cluster: dict[str, Any], token: str) -> None:
    """Write a kubeconfig that only its owner can read."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "cluster",
        "clusters": [
            {
                "name": "cluster",
                "cluster": {
                    "server": cluster["endpoint"],
                    "certificate-authority-data": cluster["certificateAuthority"]["data"],
                },
            }
        ],
        "users": [{"name": "caller", "user": {"token": token}}],
        "contexts": [{"name": "cluster", "context": {"cluster": "cluster", "user": "caller"}}],
    }
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as open_file:
        json.dump(document, open_file)
