"""The vendor's release as the sandbox has it: model files by digest, and their list.

Used by `sandbox.parts`: the worker copies weights from this store into a boundary's bucket, the
control plane learns from the list what can be shipped. In production both come signed from the
vendor's release pipeline.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from sandbox.home import write_private
from sandbox.models import store

VERSION = "1"


def publish_artifacts(folder: Path) -> None:
    """Put every demo model into `folder` under the hex of its SHA-256; harmless when repeated."""
    folder.mkdir(parents=True, exist_ok=True)
    models = store.ensure()
    for artifact in models.artifacts:
        target = folder / artifact.digest.removeprefix("sha256:")
        if target.exists() and target.stat().st_size == artifact.size:
            continue
        stage = target.with_suffix(f".{os.getpid()}")
        shutil.copyfile(models.path(artifact.name), stage)
        stage.replace(target)


def write_models(path: Path) -> None:
    """Write the list of models that the control plane may offer."""
    models = store.ensure()
    rows = [
        {
            "name": artifact.name,
            "version": VERSION,
            "kind": artifact.kind,
            "format": artifact.format,
            "digest": artifact.digest,
            "size": artifact.size,
            "base_digest": artifact.base_digest,
        }
        for artifact in models.artifacts
    ]
    write_private(path, json.dumps({"artifacts": rows}, indent=2))
