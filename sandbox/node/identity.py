"""EKS Pod Identity: what a pod needs to ask for credentials, and the endpoint that answers.

Called by the pod runner (injection) and by the agent (the endpoint). It stands in for EKS's
admission webhook and its Pod Identity Agent; the decision is the rehearsal account's.
"""

from __future__ import annotations

import contextlib
import json
from typing import Any

import aiohttp
from aiohttp import web

from sandbox.cluster.components import POD_IDENTITY_AUDIENCE
from sandbox.cluster.settings import IDENTITY_ADDRESS, ClusterSettings
from sandbox.node.api import Object

FOLDER = "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount"
TOKEN = "eks-pod-identity-token"  # noqa: S105  # a file's name
SECONDS = 86400
MAX_TOKEN = 16384


class IdentityUnavailable(RuntimeError):  # noqa: N818  # a state that passes, not a fault
    """The rehearsal account does not answer: the pod waits."""


class PodIdentity:
    """Injection and endpoint for one cluster."""

    def __init__(self, settings: ClusterSettings) -> None:
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Serve the credentials endpoint on the link-local address."""
        if self._settings.gate_socket is None:
            return
        self._session = aiohttp.ClientSession(
            "http://gate",
            connector=aiohttp.UnixConnector(self._settings.gate_socket),
            timeout=aiohttp.ClientTimeout(total=10),
        )
        application = web.Application()
        application.router.add_get("/v1/credentials", self._credentials)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, IDENTITY_ADDRESS, 80).start()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def associated(self, namespace: str, account: str) -> bool:
        """Ask the account whether a service account has a pod identity association.

        Raises: IdentityUnavailable when it does not answer.
        """
        if self._session is None:
            return False
        path = f"/_rehearsal/eks/{self._settings.name}/pod-identity"
        params = {"namespace": namespace, "service_account": account}
        try:
            async with self._session.get(path, params=params) as response:
                if response.status in (200, 404):
                    return response.status == 200
                raise IdentityUnavailable(f"pod identity: the gate answered {response.status}")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise IdentityUnavailable(f"pod identity: the gate does not answer: {error}") from error

    async def inject(self, pod: Object) -> None:
        """Add token volume, mounts and variables to a pod whose account has an association.

        Raises: IdentityUnavailable when the account does not answer.
        """
        account = pod["spec"].get("serviceAccountName", "default")
        if not await self.associated(pod["metadata"]["namespace"], account):
            return
        source = {
            "serviceAccountToken": {
                "audience": POD_IDENTITY_AUDIENCE,
                "expirationSeconds": SECONDS,
                "path": TOKEN,
            }
        }
        volumes = pod["spec"].setdefault("volumes", [])
        volumes.append({"name": TOKEN, "projected": {"sources": [source]}})
        for field in ("initContainers", "containers"):
            for container in pod["spec"].get(field) or ():
                mount = {"name": TOKEN, "mountPath": FOLDER, "readOnly": True}
                container.setdefault("volumeMounts", []).append(mount)
                container.setdefault("env", []).extend(_variables())

    async def _credentials(self, request: web.Request) -> web.Response:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not token or len(token) > MAX_TOKEN:
            return web.json_response({"message": "no token"}, status=401)
        assert self._session is not None
        path = f"/clusters/{self._settings.name}/assume-role-for-pod-identity"
        try:
            async with self._session.post(path, json={"token": token}) as response:
                raw = await response.read()
        except (aiohttp.ClientError, TimeoutError):
            return web.json_response({"message": "the account does not answer"}, status=503)
        answer: dict[str, Any] = {}
        with contextlib.suppress(json.JSONDecodeError):
            answer = json.loads(raw)
        if response.status != 200:
            message = answer.get("message") or "refused"
            return web.json_response({"message": message}, status=response.status)
        credentials = answer["credentials"]
        return web.json_response(
            {
                "AccessKeyId": credentials["accessKeyId"],
                "SecretAccessKey": credentials["secretAccessKey"],
                "Token": credentials["sessionToken"],
                "Expiration": credentials["expiration"],
            }
        )


def _variables() -> list[Object]:
    return [
        {
            "name": "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "value": f"http://{IDENTITY_ADDRESS}/v1/credentials",
        },
        {"name": "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "value": f"{FOLDER}/{TOKEN}"},
    ]
