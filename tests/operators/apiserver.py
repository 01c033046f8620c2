"""A real API server for the tests of this folder: etcd and kube-apiserver, loopback only.

No controller manager and no node: the tests play those parts where they need them.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from operators.core.connection import ClusterConnection
from sandbox.toolchain import find_program

START_SECONDS = 60.0


def free_port() -> int:
    """Return a loopback port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class ApiServer:
    """One running control plane."""

    folder: Path
    port: int
    processes: list[subprocess.Popen[bytes]]

    @property
    def connection(self) -> ClusterConnection:
        """Return a connection with all rights."""
        return ClusterConnection(
            f"https://127.0.0.1:{self.port}",
            self.folder / "pki" / "apiserver.crt",
            self.folder / "token",
        )

    def stop(self) -> None:
        """End both processes and wait for them."""
        for process in reversed(self.processes):
            process.terminate()
        for process in reversed(self.processes):
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(15)
        shutil.rmtree(self.folder, ignore_errors=True)


def start(folder: Path) -> ApiServer:
    """Start both servers and return when the API server is ready."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    key_file = folder / "service-account.key"
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
    token = secrets.token_urlsafe(32)
    (folder / "token").write_text(token)
    (folder / "tokens.csv").write_text(f'{token},tests,tests,"system:masters"\n')
    etcd_port, peer_port, port = free_port(), free_port(), free_port()
    server = ApiServer(folder, port, [])
    log = (folder / "log").open("ab")
    try:
        etcd = _etcd(folder, etcd_port, peer_port)
        server.processes.append(subprocess.Popen(etcd, stdout=log, stderr=log))
        api = _api_server(folder, etcd_port, port)
        environment = {**os.environ, "GOMAXPROCS": "2"}
        server.processes.append(subprocess.Popen(api, stdout=log, stderr=log, env=environment))
        _wait_ready(server, token)
    except BaseException:
        server.stop()
        raise
    finally:
        log.close()
    return server


def _etcd(folder: Path, port: int, peer: int) -> list[str]:
    return [
        str(find_program("etcd")),
        f"--data-dir={folder / 'etcd'}",
        "--unsafe-no-fsync",
        f"--listen-client-urls=http://127.0.0.1:{port}",
        f"--advertise-client-urls=http://127.0.0.1:{port}",
        f"--listen-peer-urls=http://127.0.0.1:{peer}",
        f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
        f"--initial-cluster=default=http://127.0.0.1:{peer}",
        "--log-level=error",
    ]


def _api_server(folder: Path, etcd_port: int, port: int) -> list[str]:
    return [
        str(find_program("kube-apiserver")),
        f"--etcd-servers=http://127.0.0.1:{etcd_port}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        f"--secure-port={port}",
        f"--cert-dir={folder / 'pki'}",
        f"--token-auth-file={folder / 'tokens.csv'}",
        "--service-cluster-ip-range=10.96.0.0/16",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={folder / 'service-account.key'}",
        f"--service-account-signing-key-file={folder / 'service-account.key'}",
        "--authorization-mode=RBAC",
        # No controller manager makes the account that this plug-in wants in every namespace.
        "--disable-admission-plugins=ServiceAccount",
        "--endpoint-reconciler-type=none",
    ]


def _wait_ready(server: ApiServer, token: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    request = urllib.request.Request(
        f"https://127.0.0.1:{server.port}/readyz", headers={"Authorization": f"Bearer {token}"}
    )
    while True:
        ended = [p.args for p in server.processes if p.poll() is not None]
        if ended or time.monotonic() > deadline:
            tail = (server.folder / "log").read_text(errors="replace")[-3000:]
            raise RuntimeError(f"the API server did not start ({ended}):\n{tail}")
        try:
            context = ssl.create_default_context(cafile=str(server.connection.ca_file))
            with urllib.request.urlopen(request, timeout=2, context=context) as answer:
                if answer.status == 200:
                    return
        except (OSError, urllib.error.URLError):
            time.sleep(0.1)  # between two looks, with the deadline above
