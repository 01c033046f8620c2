"""Put the provider stand-in where the engine looks for plugins.

`python -m sandbox.aws_provider.install DIR` writes `DIR/resource-aws-v7.34.0/pulumi-resource-aws`,
a script that runs this checkout's code with this Python. Called by the sandbox's set-up and tests.
"""

import shlex
import sys
from pathlib import Path

VERSION = "7.34.0"


def install(plugins: Path) -> Path:
    """Write the launcher below `plugins` and return its path; harmless when repeated."""
    root = Path(__file__).resolve().parents[2]
    folder = plugins / f"resource-aws-v{VERSION}"
    folder.mkdir(parents=True, exist_ok=True)
    launcher = folder / "pulumi-resource-aws"
    text = (
        "#!/bin/sh\n"
        "# Emulation: the rehearsal account's stand-in for the official aws provider.\n"
        f"PYTHONPATH={shlex.quote(str(root))} RINGFENCE_ENGINE_PID=$PPID "
        f'exec {shlex.quote(sys.executable)} -m sandbox.aws_provider "$@"\n'
    )
    fresh = launcher.with_suffix(".new")
    fresh.write_text(text)
    fresh.chmod(0o755)
    fresh.replace(launcher)
    return launcher


def main() -> None:
    """Install below the folder named on the command line and print the launcher's path."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m sandbox.aws_provider.install DIR")
    print(install(Path(sys.argv[1])))


if __name__ == "__main__":
    main()
