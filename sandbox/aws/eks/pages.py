"""What a cluster's own processes ask the account: token reviews, pod identity, images.

These pages are not AWS; the cluster's API server and node agent reach them through their forwarder.
"""

from __future__ import annotations

import json
from urllib.parse import parse_qs

from sandbox.aws.clock import Clock
from sandbox.aws.ecr.pulls import Pulls
from sandbox.aws.eks.access import find_association
from sandbox.aws.eks.state import Cluster, State, not_found
from sandbox.aws.eks.tokens import TokenRefusedError, TokenRules, answer, caller_of, review
from sandbox.aws.keys import KeyStore
from sandbox.aws.messages import Request, Response

IN_VPC_ADDRESS = "10.88.0.10"
_JSON = {"Content-Type": "application/json"}


class ClusterPages:
    """Answer below /_rehearsal/eks/."""

    def __init__(self, state: State, clock: Clock, keys: KeyStore, port: int) -> None:
        """Take the state; `port` is the gate's own, the host that tokens must be made for."""
        self._state, self._clock, self._keys = state, clock, keys
        self.port = port
        self.pulls: Pulls | None = None
        """Who gets images for nodes; set by the account, which is made around it."""

    def handle(self, request: Request) -> Response:
        """Answer one request. Raises AwsError for an unknown cluster or page."""
        parts = request.path.split("/")
        with self._state.lock:
            cluster = self._state.by_runtime_name(parts[3]) if len(parts) == 5 else None
        if cluster is None:
            raise not_found("No such cluster")
        if (request.method, parts[4]) == ("POST", "tokenreview"):
            return self._token_review(cluster, request)
        if (request.method, parts[4]) == ("GET", "pod-identity"):
            return self._pod_identity(cluster, request)
        if (request.method, parts[4]) == ("POST", "pull"):
            return self._pull(cluster, request)
        raise not_found("No such page")

    def _pull(self, cluster: Cluster, request: Request) -> Response:
        """Get an image for a node, with the role of its node group."""
        with self._state.lock:
            roles = [str(group["nodeRole"]) for group in cluster["nodegroups"].values()]
        if not roles or self.pulls is None:
            raise not_found("No node group")
        return self.pulls.page(roles[0], str(json.loads(request.body)["node"]), request)

    def _token_review(self, cluster: Cluster, request: Request) -> Response:
        """Review a token of the cluster's API server."""
        try:
            token = str(json.loads(request.body)["spec"]["token"])
        except (ValueError, KeyError, TypeError):
            return Response(400, {}, b"a TokenReview has spec.token")
        region = cluster["region"]
        hosts = {
            f"127.0.0.1:{self.port}",
            f"localhost:{self.port}",
            IN_VPC_ADDRESS,
            f"{IN_VPC_ADDRESS}:80",
            f"sts.{region}.amazonaws.com",
        }
        rules = TokenRules(cluster["name"], frozenset(hosts), region)
        try:
            caller = caller_of(token, rules, self._keys, self._clock)
            with self._state.lock:
                user = review(cluster["entries"].get(caller.role_arn), caller)
        except TokenRefusedError as refused:
            return Response(200, dict(_JSON), answer(None, str(refused)))
        return Response(200, dict(_JSON), answer(user))

    def _pod_identity(self, cluster: Cluster, request: Request) -> Response:
        """Tell whether a service account has an association: 200 or 404."""
        query = parse_qs(request.raw_query)
        namespace = query.get("namespace", [""])[0]
        with self._state.lock:
            account = query.get("service_account", [""])[0]
            found = find_association(cluster, namespace, account)
        body = json.dumps({"associated": found is not None}).encode()
        return Response(200 if found else 404, dict(_JSON), body)
