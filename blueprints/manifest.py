"""The registry of blueprints: `python -m blueprints.manifest NAME` prints a manifest as JSON.

Run by whoever registers a blueprint with a control plane. Imports no Pulumi: reading a manifest
must neither cost a second nor run a program.
"""

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path

from blueprints.eks_model_stack import about as eks_model_stack
from wire.manifest import BlueprintManifest

BLUEPRINTS: dict[str, tuple[Path, Callable[[str], BlueprintManifest]]] = {
    "eks_model_stack": (eks_model_stack.FOLDER, eks_model_stack.manifest),
}


def program_digest(folder: Path) -> str:
    """Return `sha256:…` over the path and content of each Python file, in order of path."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        content = path.read_bytes()
        header = f"{path.relative_to(folder).as_posix()}\0{len(content)}\0"
        digest.update(header.encode())
        digest.update(content)
    return f"sha256:{digest.hexdigest()}"


def load(name: str) -> BlueprintManifest:
    """Return the manifest of a blueprint, by module or product name. Raises: KeyError."""
    key = name.replace("-", "_")
    if key not in BLUEPRINTS:
        raise KeyError(f"no blueprint {name!r}; known: {', '.join(sorted(BLUEPRINTS))}")
    folder, manifest = BLUEPRINTS[key]
    return manifest(program_digest(folder))


def main() -> None:
    """Print the manifest named on the command line."""
    if len(sys.argv) != 2:
        sys.exit(f"usage: python -m blueprints.manifest NAME (one of {', '.join(BLUEPRINTS)})")
    try:
        found = load(sys.argv[1])
    except KeyError as error:
        sys.exit(str(error.args[0]))
    print(found.model_dump_json(indent=2))


if __name__ == "__main__":
    main()
