"""Build a container's root from the host's programs and become its process.

Run by the node agent as `python -I -S launch.py SPEC` inside fresh network, mount, process, host
name and IPC namespaces, as their first process. Standard library only and apart from the agent,
so that a container starts in some 30 ms. The root is a tmpfs with the host's programs, the
interpreter and the image's packages bound read-only; nothing else of the host is visible, neither
its files nor the Unix sockets that lead out of the cluster.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from typing import Any

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_REC = 32, 4096, 16384
MNT_DETACH = 2
CLONE_NEWUSER = 0x10000000
PR_SET_NO_NEW_PRIVS = 38
SYS_PIVOT_ROOT = 155 if os.uname().machine == "x86_64" else 41
SYSTEM = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32")
ETC = (
    "ssl",
    "ca-certificates",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "alternatives",
    "services",
    "protocols",
)
DEVICES = ("null", "zero", "full", "random", "urandom")
# statvfs flag -> mount flag: a remount in a user namespace must repeat the locked ones.
LOCKED = {2: 2, 4: 4, 8: 8, 1024: 1024, 2048: 2048, 4096: 1 << 21}
START_ERROR = 128
SIGHUP = 1
SHARED = "/dev/shm"  # noqa: S108  # a path of the container

libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _mount(source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    code = libc.mount(
        source.encode(),
        target.encode(),
        kind.encode() if kind else None,
        ctypes.c_ulong(flags),
        options.encode() or None,
    )
    _check(code, f"mount {source} on {target}")


def _bind(source: str, target: str, *, read_only: bool) -> None:
    _mount(source, target, None, MS_BIND | MS_REC)
    if read_only:
        locked = os.statvfs(target).f_flag
        flags = sum(flag for bit, flag in LOCKED.items() if locked & bit)
        _mount("none", target, None, MS_REMOUNT | MS_BIND | MS_RDONLY | flags)


def _place(root: str, source: str, target: str, *, read_only: bool) -> None:
    """Bind a file or folder at a path of the new root, creating the mount point."""
    inside = f"{root}/{target.lstrip('/')}"
    if os.path.isdir(source):
        os.makedirs(inside, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(inside), exist_ok=True)
        if not os.path.exists(inside):
            os.close(os.open(inside, os.O_CREAT | os.O_WRONLY, 0o644))
    _bind(source, inside, read_only=read_only)


def _covers(target: str, paths: list[str]) -> bool:
    return any(path.startswith(target.rstrip("/") + "/") for path in paths)


def _system(root: str, spec: dict[str, Any]) -> None:
    for name in SYSTEM:
        path = f"/{name}"
        if os.path.islink(path):
            os.symlink(os.readlink(path), f"{root}/{name}")
        elif os.path.isdir(path):
            _place(root, path, path, read_only=True)
    for mount in spec["mounts"]:
        # A volume above the interpreter or the packages would hide them: it goes below them.
        if _covers(mount["target"], spec["visible"]):
            _place(root, mount["source"], mount["target"], read_only=mount["read_only"])
    for path in spec["visible"]:
        if not path.startswith("/usr/"):
            _place(root, path, path, read_only=True)
    for name in ("tmp", "var/tmp", "run", "home", "dev/shm"):
        os.makedirs(f"{root}/{name}", exist_ok=True)
        os.chmod(f"{root}/{name}", 0o1777)  # noqa: S103  # as /tmp is everywhere
    # Relative: an absolute one would lead mount points to the host's /run before the pivot.
    os.symlink("../run", f"{root}/var/run")
    for name in DEVICES:
        _place(root, f"/dev/{name}", f"/dev/{name}", read_only=False)
    for name, target in (("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        os.symlink(f"/proc/self/{target}", f"{root}/dev/{name}")
    # A mount of its own: shared memory is needed also under a read-only root.
    _mount("shm", f"{root}{SHARED}", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777,size=256m")
    # Thread pools size themselves by this folder.
    if os.path.isdir("/sys/devices/system/cpu"):
        _place(root, "/sys/devices/system/cpu", "/sys/devices/system/cpu", read_only=True)
    _place(root, spec["etc"], "/etc", read_only=False)
    for name in ETC:
        if os.path.exists(f"/etc/{name}"):
            _place(root, f"/etc/{name}", f"/etc/{name}", read_only=True)


def _proc(root: str, spec: dict[str, Any]) -> None:
    os.makedirs(f"{root}/proc", exist_ok=True)
    if spec["own_processes"]:
        _mount("proc", f"{root}/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    else:
        _bind("/proc", f"{root}/proc", read_only=False)


def _pivot(root: str) -> None:
    os.chdir(root)
    _check(libc.syscall(SYS_PIVOT_ROOT, b".", b"."), "pivot_root")
    _check(libc.umount2(b".", MNT_DETACH), "detach the host's root")
    os.chdir("/")


def _become(user: int, group: int) -> None:
    """Appear as this uid inside; outside it stays the user who runs the sandbox."""
    _check(libc.unshare(CLONE_NEWUSER), "unshare a user namespace")
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{user} 0 1"),
        ("gid_map", f"{group} 0 1"),
    ):
        with open(f"/proc/self/{name}", "w") as handle:
            handle.write(text)


def _enter(spec: dict[str, Any]) -> None:
    root = spec["root"]
    hostname = spec["hostname"].encode()
    _check(libc.sethostname(hostname, len(hostname)), "sethostname")
    _mount("container", root, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=512m")
    _system(root, spec)
    _proc(root, spec)
    for mount in spec["mounts"]:
        if not _covers(mount["target"], spec["visible"]):
            _place(root, mount["source"], mount["target"], read_only=mount["read_only"])
    workdir = spec["workdir"]
    os.makedirs(f"{root}/{workdir.lstrip('/')}", exist_ok=True)
    _pivot(root)
    if spec["read_only_root"]:
        _mount("none", "/", None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV)
    _become(spec["user"], spec["group"])
    _check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    os.chdir(workdir)


def main() -> None:
    report = int(sys.argv[2])
    os.set_inheritable(report, False)
    try:
        with open(sys.argv[1]) as handle:
            spec = json.load(handle)
        # It holds the environment, which may hold secrets.
        os.unlink(sys.argv[1])
        os.umask(0o022)
        # The agent ignores it while it starts; libc spares the import of a module.
        libc.signal(SIGHUP, 0)
        _enter(spec)
        os.write(report, b"OK\n")
        os.execvpe(spec["argv"][0], spec["argv"], spec["env"])  # noqa: S606  # becomes the image
    except (OSError, KeyError, ValueError) as error:
        os.write(report, f"ERR {error}\n".encode())
        os._exit(START_ERROR)


if __name__ == "__main__":
    main()
