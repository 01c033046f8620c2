"""The customer's own side of the sandbox: what their countersigner allows.

Used by `sandbox.parts` before the countersigner starts. In a real account the customer writes this
file; here it is written from the release lists that the customer would check: the demo models'
digests and the image table. It is the customer's, and no part of the control plane can read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from countersigner.policy import BoundaryPolicy, PolicyFile
from sandbox.home import write_private
from sandbox.models import store


def write_policy(
    path: Path, control_plane_public_key: str, published: Mapping[str, str], registry: str
) -> None:
    """Write the allow-list: each boundary may serve the base and its own adapter, nothing else.

    `published` are the images of the release, of which copies may lie in the customer's `registry`.
    """
    models = store.ensure()
    base = models.artifact(store.BASE).digest
    images = frozenset(published.values())
    boundaries = {
        boundary: BoundaryPolicy(
            artifacts=frozenset({base, models.artifact(adapter).digest}),
            images=images,
            own_registry=f"{registry}/ringfence/{boundary}",
        )
        for adapter, boundary in store.ADAPTERS.items()
    }
    file = PolicyFile(control_plane_public_key=control_plane_public_key, boundaries=boundaries)
    write_private(path, file.model_dump_json(indent=2))
