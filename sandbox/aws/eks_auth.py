"""EKS Auth: a pod's own token is exchanged for a session of the role it is associated with.

Called by the gate. The cluster's API server reviews the token, so that only a living pod's service
account gets credentials. The node agent does not sign this call here; AWS would want the node's
own credentials too, which adds no power over the pod's token.
"""

from __future__ import annotations

import re
import uuid
from typing import Any

from sandbox.aws.eks.access import find_association
from sandbox.aws.eks.service import Eks
from sandbox.aws.eks.state import Cluster, not_found
from sandbox.aws.errors import AwsError
from sandbox.aws.messages import Call, Response
from sandbox.aws.storage import json_response
from sandbox.aws.sts import Asked, Sts

AUDIENCE = "pods.eks.amazonaws.com"
SESSION_SECONDS = 3600
_ACCOUNT = re.compile(r"^system:serviceaccount:([^:]+):([^:]+)$")


class EksAuth:
    """Answer AssumeRoleForPodIdentity."""

    def __init__(self, eks: Eks, sts: Sts) -> None:
        """Take clusters and sessions."""
        self._eks, self._sts = eks, sts

    def handle(self, call: Call) -> Response:
        """Exchange a token. Raises AwsError of EKS Auth."""
        name = str(call.params.get("clusterName", ""))
        with self._eks.state.lock:
            cluster = self._eks.state.by_runtime_name(name)
        if cluster is None:
            raise not_found(f"No cluster found for name: {name}.")
        call.account = cluster["account"]
        user = self._reviewed(cluster, str(call.params.get("token", "")))
        found = _ACCOUNT.match(str(user.get("username", "")))
        if not found:
            raise AwsError("InvalidTokenException", "The token is not of a service account", 400)
        namespace, account = found.groups()
        with self._eks.state.lock:
            association = find_association(cluster, namespace, account)
        if association is None:
            raise not_found(f"No association for {namespace}/{account} in {name}.")
        extra = user.get("extra", {})
        pod = (extra.get("authentication.kubernetes.io/pod-name") or [""])[0]
        tags = {
            "eks-cluster-arn": cluster["arn"],
            "eks-cluster-name": cluster["name"],
            "kubernetes-namespace": namespace,
            "kubernetes-service-account": account,
            "kubernetes-pod-name": pod,
            "kubernetes-pod-uid": (extra.get("authentication.kubernetes.io/pod-uid") or [""])[0],
        }
        session_name = f"eks-{cluster['name'][:20]}-{pod[:20]}-{uuid.uuid4().hex[:12]}"
        asked = Asked(association["roleArn"], session_name, SESSION_SECONDS, tags=tags)
        credentials, session = self._sts.assume(call, asked, AUDIENCE)
        return json_response(
            {
                "subject": {"namespace": namespace, "serviceAccount": account},
                "audience": AUDIENCE,
                "podIdentityAssociation": {
                    "associationArn": association["associationArn"],
                    "associationId": association["associationId"],
                },
                "assumedRoleUser": {"arn": session.arn, "assumeRoleId": session.user_id},
                "credentials": {
                    "accessKeyId": credentials["access_key_id"],
                    "secretAccessKey": credentials["secret_access_key"],
                    "sessionToken": credentials["session_token"],
                    "expiration": session.expires_at,
                },
            }
        )

    def _reviewed(self, cluster: Cluster, token: str) -> dict[str, Any]:
        """Have the cluster's API server review a token. Raises AwsError."""
        handle = self._eks.runtime.handle(cluster)
        if handle is None:
            raise AwsError("ServiceUnavailableException", "The cluster does not run", 503)
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [AUDIENCE]},
        }
        path = "/apis/authentication.k8s.io/v1/tokenreviews"
        answer = handle.admin().request("POST", path, body)
        status = answer.get("status", {})
        if not status.get("authenticated") or AUDIENCE not in status.get("audiences", []):
            raise AwsError("InvalidTokenException", "The token is not valid for pod identity", 400)
        user: dict[str, Any] = status["user"]
        return user
