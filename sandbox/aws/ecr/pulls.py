"""What a node or a task does to get an image: the calls of its own role, as any other's.

Called for a cluster's node agent (a page of the account) and by ECS before a task starts. Separate
because the image itself is not unpacked: it stands for an entry of the image table. Whether a role
may have it, and whether it is there with all its layers, is asked of the registry as in AWS.
An image of any other registry is not looked at.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

from sandbox.aws.ecr import distribution
from sandbox.aws.ecr.service import Ecr
from sandbox.aws.errors import AwsError, meaning
from sandbox.aws.messages import Call, Caller, Request, Response
from sandbox.aws.operations.iam import find_role
from sandbox.aws.storage import json_response

Run = Callable[[Call], Response]


class Pulls:
    """Pulls images for roles of the account."""

    def __init__(self, ecr: Ecr, region: str, run: Run) -> None:
        """`run` authorizes, runs and records a call, as the gate does for every caller."""
        self._ecr, self._region, self._run = ecr, region, run

    def page(self, role_arn: str, holder: str, request: Request) -> Response:
        """Answer a node agent: 200 for an image that its node has now, else why it has not."""
        reference = str(json.loads(request.body or b"{}").get("reference", ""))
        try:
            self.pull(role_arn, holder, reference)
        except AwsError as error:
            return json_response({"message": f"{reference}: {error.code}: {error.message}"}, 403)
        return json_response({"pulled": True})

    def pull(self, role_arn: str, holder: str, reference: str) -> None:
        """Get manifest and layers with a role. Raises: AwsError with what is missing."""
        host, _, rest = reference.partition("/")
        if host != self._ecr.host:
            return
        caller = _session(role_arn, holder)
        repository, _, digest = rest.partition("@")
        self._call(caller, "GetAuthorizationToken", "json", {}, "/")
        target = f"{distribution.BASE}{repository}/manifests/{digest}"
        manifest = self._asked(caller, target)
        for layer in json.loads(manifest.body).get("layers", []):
            self._asked(caller, f"{distribution.BASE}{repository}/blobs/{layer['digest']}")

    def _asked(self, caller: Caller, target: str) -> Response:
        request = Request("GET", target, {}, b"", "127.0.0.1")
        operation, params = distribution.read_request(request)
        return self._call(caller, operation, distribution.PROTOCOL, params, target)

    def _call(
        self, caller: Caller, operation: str, protocol: str, params: dict[str, Any], target: str
    ) -> Response:
        call = Call(
            id=str(uuid.uuid4()), service="ecr", protocol=protocol, operation=operation,
            region=self._region, account=caller.account, caller=caller, params=params,
            request=Request("GET", target, {}, b"", "127.0.0.1"),
        )  # fmt: skip
        return self._run(call)


def _session(role_arn: str, holder: str) -> Caller:
    """Give the session that AWS hands to a node or to what starts a task."""
    account, name = role_arn.split(":")[4], role_arn.rpartition("/")[2]
    role: Any = find_role(account, name)
    if role is None:
        raise meaning("denied", f"the role {role_arn} does not exist", distribution.PROTOCOL)
    arn = f"arn:aws:sts::{account}:assumed-role/{name}/{holder}"
    return Caller(
        "session", account, arn, f"{role.id}:{holder}", "", name, role_arn=role_arn,
        session_name=holder,
    )  # fmt: skip
