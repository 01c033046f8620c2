"""Find `nft`, or unpack its Debian package into the cache where it is not installed.

Called by `make prepare` and by the sandbox's node. Standard library only, since it runs before the
Python environment exists. Everything else the sandbox needs of the host is in its base system
(`unshare`, `setpriv`, `ip`); `missing_commands` names what is not.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from sandbox.toolchain import cache_root

PACKAGES = ("nftables", "libnftables1", "libnftnl11", "libmnl0", "libjansson4", "libedit2")
NEEDED = ("unshare", "setpriv", "ip", "nsenter", "mount")
SBIN = "/usr/sbin:/sbin:/usr/local/sbin"


class HostPackageError(RuntimeError):
    """`nft` is missing and could not be had; the message says what to install."""


def search_path() -> str:
    """Return PATH with the administrators' folders: an ordinary user's often lacks them."""
    return f"{os.environ.get('PATH', '')}:{SBIN}"


def unpacked() -> Path:
    """Return the folder the Debian packages are unpacked into."""
    return cache_root() / "nft"


def find_nft() -> tuple[Path, dict[str, str]]:
    """Return the program and the environment it needs. Raises: HostPackageError."""
    found = shutil.which("nft", path=search_path())
    if found:
        return Path(found), {}
    local = unpacked() / "usr" / "sbin" / "nft"
    if local.exists():
        libraries = sorted({str(p.parent) for p in unpacked().rglob("*.so*")})
        return local, {"LD_LIBRARY_PATH": ":".join(libraries)}
    raise HostPackageError("nft is missing; run: make prepare (or install the package nftables)")


def missing_commands() -> list[str]:
    """Return the commands of the base system that this host lacks."""
    return [name for name in NEEDED if shutil.which(name, path=search_path()) is None]


def _run(argv: list[str], cwd: Path | None = None) -> str | None:
    """Run a command; return None on success, else its last lines."""
    try:
        done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, check=False)
    except OSError as error:
        return str(error)
    if done.returncode == 0:
        return None
    return "\n".join((done.stdout + done.stderr).strip().splitlines()[-5:])


def ensure() -> str:
    """Make `nft` available; return how. Raises: HostPackageError with the last lines."""
    try:
        return f"nft at {find_nft()[0]}"
    except HostPackageError:
        pass
    problems: list[str] = []
    if os.geteuid() == 0:
        install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "nftables"]
        failed = _run(install)
        if failed is not None:
            _run(["apt-get", "update", "-qq"])
            failed = _run(install)
        if failed is None:
            return "nft installed"
        problems.append(failed)
    with tempfile.TemporaryDirectory() as folder:
        failed = _run(["apt-get", "download", "-qq", *PACKAGES], Path(folder))
        if failed is not None:
            problems.append(failed)
        for package in sorted(Path(folder).glob("*.deb")):
            unpacked().mkdir(parents=True, exist_ok=True)
            failed = _run(["dpkg", "-x", str(package), str(unpacked())])
            if failed is not None:
                problems.append(failed)
    try:
        return f"nft unpacked at {find_nft()[0]}"
    except HostPackageError as error:
        raise HostPackageError("\n  ".join([str(error), *problems])) from None


def main() -> int:
    """Entry of `python -m sandbox.host_packages ensure`."""
    if sys.argv[1:] != ["ensure"]:
        print("usage: python -m sandbox.host_packages ensure", file=sys.stderr)
        return 2
    lacking = missing_commands()
    if lacking:
        print(
            f"error: this host lacks {', '.join(lacking)}; install util-linux and iproute2",
            file=sys.stderr,
        )
        return 1
    try:
        print(f"host       {ensure()}", file=sys.stderr)
    except HostPackageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
