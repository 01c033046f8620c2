"""Delete what a boundary has in a cluster that stays: by kind, in its own namespaces only.

Used by `runner.work`. Separate from `cluster`, which only asks. What a release of the chart made is
helm's to remove; this is for what the operator made and for what helm keeps, such as volumes.
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Sequence
from typing import Any

from runner.cluster import connect
from wire.runner import ClusterAddress

_OURS = "apis/ringfence.dev/v1alpha1"
# In this order: what makes others goes before what it makes.
KINDS = (
    (_OURS, "gatewayaccesses"),
    (_OURS, "adapterbindings"),
    (_OURS, "modelinstances"),
    (_OURS, "modelartifacts"),
    ("apis/apps/v1", "deployments"),
    ("apis/batch/v1", "jobs"),
    ("api/v1", "persistentvolumeclaims"),
    ("api/v1", "secrets"),
    ("api/v1", "configmaps"),
    ("api/v1", "resourcequotas"),
)
_GOES_SLOWLY = (("api/v1", "pods"), ("api/v1", "persistentvolumeclaims"))
_POLL_SECONDS = 0.5
_GONE = frozenset({200, 202, 404})


class ClusterRefusedError(RuntimeError):
    """The cluster did not do what was asked; the message has the call and the answer."""


def empty(
    cluster: ClusterAddress, token: str, boundary: str, namespaces: Sequence[str], seconds: float
) -> list[str]:
    """Delete and wait at most `seconds`; return the pods and volumes that are still there.

    Raises: ClusterRefusedError.
    """
    _ask(cluster, token, "DELETE", f"/{_OURS}/securityboundaries/{boundary}")
    for namespace in namespaces:
        for group, plural in KINDS:
            _ask(cluster, token, "DELETE", f"/{group}/namespaces/{namespace}/{plural}")
    give_up = time.monotonic() + seconds
    while left := _left(cluster, token, namespaces):
        if time.monotonic() > give_up:
            break
        time.sleep(_POLL_SECONDS)
    return left


def _left(cluster: ClusterAddress, token: str, namespaces: Sequence[str]) -> list[str]:
    return [
        f"{namespace}/{plural}/{item['metadata']['name']}"
        for namespace in namespaces
        for group, plural in _GOES_SLOWLY
        for item in _ask(cluster, token, "GET", f"/{group}/namespaces/{namespace}/{plural}").get(
            "items", ()
        )
    ]


def _ask(cluster: ClusterAddress, token: str, method: str, path: str) -> dict[str, Any]:
    connection = connect(cluster)
    try:
        connection.request(method, path, headers={"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        status, body = answer.status, answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise ClusterRefusedError(f"{method} {path}: {type(error).__name__}") from error
    finally:
        connection.close()
    if status not in _GONE:
        raise ClusterRefusedError(f"{method} {path}: {status}")
    if status == 404:
        return {}
    found: dict[str, Any] = json.loads(body)
    return found
