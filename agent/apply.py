"""Write an accepted bundle into the cluster, and remove what it no longer names.

Called by `agent.desired`. Only objects that the agent itself made (its label) are ever removed.
"""

from __future__ import annotations

from agent.bundles import Accepted
from agent.kubernetes import Kubernetes, own_path
from wire.resources import KINDS

LABEL = "ringfence.dev/managed-by"
LABEL_VALUE = "agent"


async def apply_bundle(
    kubernetes: Kubernetes, accepted: Accepted, namespace: str, boundary: str
) -> None:
    """Apply every resource in order, then prune. Raises: KubernetesError at the first refusal.

    Safe to repeat: applying the same bundle again changes nothing.
    """
    wanted: set[tuple[str, str]] = set()
    for kind_name, name, spec in accepted.resources:
        kind = KINDS[kind_name]
        manifest = kind.manifest(name, namespace, spec)
        manifest["metadata"]["labels"] = {LABEL: LABEL_VALUE}
        await kubernetes.apply(kind.path(namespace, name), manifest)
        wanted.add((kind_name, name))
    # In reverse, so that nothing is left that refers to something already gone.
    for kind in reversed(KINDS.values()):
        path = own_path(kind, namespace, boundary, labelSelector=f"{LABEL}={LABEL_VALUE}")
        for found in await kubernetes.list(path):
            name = found["metadata"]["name"]
            if (kind.kind, name) not in wanted:
                await kubernetes.delete(kind.path(namespace, name))
