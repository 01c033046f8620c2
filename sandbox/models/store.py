"""Keep the demo models in the cache: make them once per recipe, under a lock, all or nothing.

Called by `python -m sandbox.models ensure` at set-up, and by the sandbox and tests to find the
files. Separate from training because finding must not import numpy: training runs in a child
process with one BLAS thread.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from sandbox.toolchain import cache_root

BASE = "tiny-coder"
ADAPTERS = {"payments-style": "payments", "research-style": "research"}
"""Adapter name -> corpus name."""
RECIPE_SOURCES = ("corpus.py", "bpe.py", "llama.py", "training.py", "artifacts.py", "recipe.py")
"""Files whose change makes other artifacts; their bytes are part of the recipe's hash."""


class ModelStoreError(RuntimeError):
    """The demo models could not be made; the message says which step and why."""


@dataclass(frozen=True)
class ModelArtifact:
    """One file of the set; digests are `sha256:<hex>`, sizes in bytes."""

    name: str
    kind: Literal["Base", "Adapter"]
    file: str
    digest: str
    size: int
    format: str
    base_digest: str | None
    corpus_digest: str
    loss: float
    """Mean loss in nats of the last ten steps."""


@dataclass(frozen=True)
class ModelSet:
    """All artifacts of one recipe, and the folder they are in."""

    recipe: str
    folder: Path
    artifacts: tuple[ModelArtifact, ...]

    def path(self, name: str) -> Path:
        """Return the file of an artifact. Raises: KeyError when there is none of that name."""
        return self.folder / self.artifact(name).file

    def artifact(self, name: str) -> ModelArtifact:
        """Return an artifact by name. Raises: KeyError when there is none."""
        for artifact in self.artifacts:
            if artifact.name == name:
                return artifact
        raise KeyError(f"no demo model {name!r}; there are {[a.name for a in self.artifacts]}")


def recipe_hash() -> str:
    """Return the name of the recipe: corpora, code and settings that make the artifacts."""
    here = Path(__file__).resolve().parent
    digest = hashlib.sha256()
    for path in [*sorted((here / "corpora").glob("*.txt")), *(here / n for n in RECIPE_SOURCES)]:
        digest.update(f"{path.name}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def file_digest(path: Path) -> str:
    """Return `sha256:<hex>` of a file."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _read(folder: Path, recipe: str) -> ModelSet | None:
    """Return the set in a folder, or None when it is absent or damaged."""
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        return None
    content: dict[str, Any] = json.loads(manifest.read_text())
    found = ModelSet(recipe, folder, tuple(ModelArtifact(**a) for a in content["artifacts"]))
    for artifact in found.artifacts:
        path = folder / artifact.file
        if not path.is_file() or file_digest(path) != artifact.digest:
            print(f"models     {path.name} is damaged, training again", file=sys.stderr)
            return None
    return found


def write_manifest(folder: Path, recipe: str, artifacts: tuple[ModelArtifact, ...]) -> None:
    """Write the manifest that makes a folder a complete set."""
    content = {"recipe": recipe, "artifacts": [asdict(a) for a in artifacts]}
    (folder / "manifest.json").write_text(json.dumps(content, indent=2) + "\n")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _train(folder: Path) -> None:
    """Run the training in a child process; its progress goes to our standard error."""
    environment = dict(os.environ)
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        environment[name] = "1"
    command = [sys.executable, "-m", "sandbox.models.recipe", str(folder)]
    root = Path(__file__).resolve().parents[2]
    environment["PYTHONPATH"] = str(root)
    result = subprocess.run(command, env=environment, cwd=root, check=False)
    if result.returncode != 0:
        raise ModelStoreError(
            f"training the demo models failed with exit code {result.returncode}; "
            "the cause stands above. Run `python -m sandbox.models ensure` to try again"
        )


def find() -> ModelSet | None:
    """Return the artifacts of the present recipe if they are in the cache."""
    recipe = recipe_hash()
    return _read(cache_root() / "models" / recipe, recipe)


def ensure() -> ModelSet:
    """Return the artifacts, training them first when the cache does not hold them.

    About two minutes on one core the first time; a second caller waits for the first.
    Raises: ModelStoreError when the training fails.
    """
    recipe = recipe_hash()
    root = cache_root() / "models"
    folder = root / recipe
    with _locked(root / f"{recipe}.lock"):
        if (found := _read(folder, recipe)) is not None:
            return found
        folder.mkdir(parents=True, exist_ok=True)
        # The manifest is written last and its digests are checked, so a killed training
        # leaves a folder that counts as absent.
        (folder / "manifest.json").unlink(missing_ok=True)
        _train(folder)
        made = _read(folder, recipe)
    if made is None:
        raise ModelStoreError(f"training finished but {folder}/manifest.json does not verify")
    return made
