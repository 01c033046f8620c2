"""A way into the install's cluster for the customer's own credentials, shut again at the end.

Used by takeover.py, from the same folder of a kit. Separate because a customer who has a way in
already needs none of it: then --kubeconfig names it. Where no endpoint may be public (`inside`),
nothing of the endpoint is changed: who runs this is in the network already.
"""

from __future__ import annotations

import base64
import json
import os
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import boto3
from botocore.exceptions import ClientError
from botocore.signers import RequestSigner

ADMIN = "AmazonEKSClusterAdminPolicy"
UPDATE_SECONDS = 1200
LET_IN_SECONDS, ASK_SECONDS, POLL_SECONDS = 120.0, 5.0, 1.0


@contextmanager
def way_in(
    cluster: str,
    region: str,
    work: Path,
    *,
    cidrs: list[str],
    kubeconfig: Path | None,
    inside: bool,
) -> Iterator[Path]:
    """Yield a kubeconfig; what was opened for it is shut again, also after an error.

    With `inside` the endpoint stays as it is. Raises: RuntimeError that says what to do.
    """
    if kubeconfig is not None:
        yield kubeconfig
        return
    if inside and cidrs:
        raise RuntimeError(
            f"--cidr: the endpoint of {cluster} is not opened to the public (input reach); {INSIDE}"
        )
    if not inside and not cidrs:
        raise RuntimeError("give --cidr with your own address, or --kubeconfig with a way in")
    session = boto3.Session(region_name=region)
    eks = session.client("eks")
    found = cluster_of(eks, cluster)
    if inside:
        _require_answer(found)
    principal, file = principal_of(session), work / "kubeconfig"
    with ExitStack() as shut:
        _open_entry(eks, cluster, principal, shut)
        if not inside:
            _open_endpoint(eks, found, cidrs, shut)
        token = _await_let_in(found, lambda: token_for(session, cluster, region))
        shut.callback(file.unlink, missing_ok=True)
        write_kubeconfig(file, found, token)
        yield file


INSIDE = (
    "run this inside its network (RUNBOOK.md, section 4), or give --kubeconfig with a way in of"
    " your own"
)


def cluster_of(eks: Any, name: str) -> dict[str, Any]:
    """Return the cluster as EKS has it. Raises: RuntimeError when it is gone."""
    try:
        found: dict[str, Any] = eks.describe_cluster(name=name)["cluster"]
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceNotFoundException":
            raise
        raise RuntimeError(
            f"the cluster {name} is gone: delete the rest with --skip-chart"
        ) from error
    return found


def account_of(region: str) -> str:
    """Return the account of the credentials that are found."""
    sts = boto3.Session(region_name=region).client("sts")
    return str(sts.get_caller_identity()["Account"])


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


def _open_entry(eks: Any, cluster: str, principal: str, shut: ExitStack) -> None:
    """Let the caller in as an administrator; what is made here is taken back at the end."""
    place = {"clusterName": cluster, "principalArn": principal}
    policy = f"arn:{principal.split(':')[1]}:eks::aws:cluster-access-policy/{ADMIN}"
    try:
        eks.create_access_entry(**place, type="STANDARD")
        shut.callback(eks.delete_access_entry, **place)
    except ClientError as error:
        # Who has an entry already keeps it, with what it was allowed before.
        if error.response["Error"]["Code"] != "ResourceInUseException":
            raise
        allowed = eks.list_associated_access_policies(**place)["associatedAccessPolicies"]
        if policy in (one["policyArn"] for one in allowed):
            return
        shut.callback(eks.disassociate_access_policy, **place, policyArn=policy)
    eks.associate_access_policy(**place, policyArn=policy, accessScope={"type": "cluster"})


def _open_endpoint(eks: Any, found: dict[str, Any], cidrs: list[str], shut: ExitStack) -> None:
    """Let the caller's address through; who could pass before is restored at the end."""
    before = found["resourcesVpcConfig"]
    settings = {"endpointPublicAccess": before["endpointPublicAccess"]}
    if before["endpointPublicAccess"]:
        settings["publicAccessCidrs"] = before["publicAccessCidrs"]
    shut.callback(_set_endpoint, eks, found["name"], settings)
    opened = {"endpointPublicAccess": True, "publicAccessCidrs": cidrs}
    _set_endpoint(eks, found["name"], opened)


def _require_answer(found: dict[str, Any]) -> None:
    """See that the endpoint answers here at all, before anything is made. Raises: RuntimeError."""
    answer = _ask(found, None)
    if isinstance(answer, str):
        raise RuntimeError(
            f"the endpoint of {found['name']} is private and does not answer here ({answer});"
            f" {INSIDE}"
        )


def _await_let_in(found: dict[str, Any], make_token: Callable[[], str]) -> str:
    """Wait until the new entry counts; return the token that was let in. Raises: RuntimeError."""
    give_up = time.monotonic() + LET_IN_SECONDS
    while True:
        # A token of its own for each question: the API server keeps its verdict on one it refused.
        token = make_token()
        answer = _ask(found, token)
        if answer == 200:
            return token
        if time.monotonic() > give_up:
            raise RuntimeError(f"the cluster {found['name']} does not let you in: {answer}")
        time.sleep(POLL_SECONDS)


def _ask(found: dict[str, Any], token: str | None) -> int | str:
    """Ask the cluster for its namespaces; return the status, or why there is none."""
    authority = base64.b64decode(found["certificateAuthority"]["data"]).decode()
    question = Request(f"{found['endpoint']}/api/v1/namespaces?limit=1")  # noqa: S310  # https
    if token is not None:
        question.add_header("Authorization", f"Bearer {token}")
    trust = ssl.create_default_context(cadata=authority)
    try:
        with urlopen(question, timeout=ASK_SECONDS, context=trust) as answer:  # noqa: S310  # https
            return int(answer.status)
    except HTTPError as error:
        error.close()
        return error.code
    except OSError as error:
        return str(getattr(error, "reason", error))


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
