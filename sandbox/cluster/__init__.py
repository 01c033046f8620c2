"""One emulated EKS cluster: a real Kubernetes control plane inside one network namespace.

Imported by the rehearsal account, which starts a cluster when one is created in it.
"""

from sandbox.cluster.errors import ClusterError
from sandbox.cluster.handle import (
    ClusterHandle,
    attach_cluster,
    resume_cluster,
    start_cluster,
    stop_clusters,
)

__all__ = [
    "ClusterError",
    "ClusterHandle",
    "attach_cluster",
    "resume_cluster",
    "start_cluster",
    "stop_clusters",
]
