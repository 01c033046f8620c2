"""The customer's own side of the sandbox: what their countersigner allows.

Used by `sandbox.parts` before the countersigner starts. In a real account the customer writes this
file; here it is written from the release lists that the customer would check: the demo models'
digests and the image table. It is the customer's, and no part of the control plane can read it.
"""

from __future__ import annotations

from pathlib import Path

from countersigner.policy import BoundaryPolicy, PolicyFile
from sandbox.home import write_private
from sandbox.models import store
from sandbox.node.images import references


def write_policy(path: Path, control_plane_public_key: str) -> None:
    """Write the allow-list: each boundary may serve the base and its own adapter, nothing else."""
    models = store.ensure()
    base = models.artifact(store.BASE).digest
    images = frozenset(references().values())
    boundaries = {
        boundary: BoundaryPolicy(
            artifacts=frozenset({base, models.artifact(adapter).digest}), images=images
        )
        for adapter, boundary in store.ADAPTERS.items()
    }
    file = PolicyFile(control_plane_public_key=control_plane_public_key, boundaries=boundaries)
    write_private(path, file.model_dump_json(indent=2))
