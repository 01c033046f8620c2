"""Command lines of the servers of one emulated cluster.

Called by the supervisor inside the namespace. Separate so that every flag that makes the
emulation differ from EKS's managed control plane stands in one place.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from sandbox.cluster.certificates import kubeconfig
from sandbox.cluster.settings import (
    API_PORT,
    AWS_ADDRESS,
    NODE_ADDRESS,
    SERVICE_RANGE,
    ClusterSettings,
    write_private,
)
from sandbox.toolchain import find_program

SERVER = f"https://{NODE_ADDRESS}:{API_PORT}"
ETCD = "http://127.0.0.1:2379"
POD_IDENTITY_AUDIENCE = "pods.eks.amazonaws.com"
# Two cores are enough here. Collecting garbage late saves a quarter of the start's processor time;
# the limit brings it forward again before memory grows.
GO_ENVIRONMENT = {"GOMAXPROCS": "2", "GOGC": "200", "GOMEMLIMIT": "300MiB"}

# An emulated cluster has no use for these: no cloud, no attachable disks, no metrics server.
UNUSED_CONTROLLERS = (
    "certificatesigningrequest-signing",
    "cloud-node-lifecycle",
    "horizontal-pod-autoscaler",
    "legacy-serviceaccount-token-cleaner",
    "node-ipam",
    "node-route",
    "persistentvolume-attach-detach",
    "persistentvolume-expander",
    "service-lb",
)


@dataclass(frozen=True)
class Component:
    """One supervised program: its name is also that of its log."""

    name: str
    command: list[str]
    environment: dict[str, str]


def _go(name: str, *flags: str) -> Component:
    return Component(name, [str(find_program(name)), *flags], dict(GO_ENVIRONMENT))


def write_configuration(settings: ClusterSettings) -> None:
    """Write kubeconfigs and the token webhook's configuration into `pki/`."""
    pki = settings.pki
    for client in ("admin", "controller-manager", "scheduler", "node-agent"):
        write_private(pki / f"{client}.kubeconfig", kubeconfig(pki, client, SERVER))
    if settings.webhook_path is not None:
        webhook = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "gate",
            "clusters": [
                {
                    "name": "gate",
                    "cluster": {"server": f"http://{AWS_ADDRESS}:80{settings.webhook_path}"},
                }
            ],
            "users": [{"name": "api-server", "user": {}}],
            "contexts": [{"name": "gate", "context": {"cluster": "gate", "user": "api-server"}}],
        }
        write_private(pki / "webhook.kubeconfig", json.dumps(webhook, indent=1).encode())


def etcd(settings: ClusterSettings) -> Component:
    # No fsync: the sandbox's data outlives its processes, not a power cut.
    return _go(
        "etcd",
        f"--data-dir={settings.data / 'etcd'}",
        "--unsafe-no-fsync",
        f"--listen-client-urls={ETCD}",
        f"--advertise-client-urls={ETCD}",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--initial-advertise-peer-urls=http://127.0.0.1:2380",
        "--initial-cluster=default=http://127.0.0.1:2380",
        "--auto-compaction-retention=5m",
        "--snapshot-count=5000",
        "--log-level=warn",
    )


def api_server(settings: ClusterSettings) -> Component:
    pki = settings.pki
    flags = [
        f"--etcd-servers={ETCD}",
        f"--advertise-address={NODE_ADDRESS}",
        f"--secure-port={API_PORT}",
        f"--service-cluster-ip-range={SERVICE_RANGE}",
        f"--cert-dir={pki}",
        f"--tls-cert-file={pki / 'server.crt'}",
        f"--tls-private-key-file={pki / 'server.key'}",
        f"--client-ca-file={pki / 'ca.crt'}",
        f"--service-account-issuer={settings.issuer}",
        f"--api-audiences={settings.issuer},https://kubernetes.default.svc",
        f"--service-account-key-file={pki / 'service-account.pub'}",
        f"--service-account-signing-key-file={pki / 'service-account.key'}",
        # Tokens must end when they say: the default stretches them to a year.
        "--service-account-extend-token-expiration=false",
        f"--kubelet-client-certificate={pki / 'kubelet-client.crt'}",
        f"--kubelet-client-key={pki / 'kubelet-client.key'}",
        f"--kubelet-certificate-authority={pki / 'ca.crt'}",
        "--kubelet-preferred-address-types=InternalIP",
        "--authorization-mode=Node,RBAC",
        "--anonymous-auth=false",
        "--allow-privileged=false",
        "--profiling=false",
        "--shutdown-delay-duration=0s",
    ]
    if settings.webhook_path is not None:
        flags += [
            f"--authentication-token-webhook-config-file={pki / 'webhook.kubeconfig'}",
            "--authentication-token-webhook-version=v1",
            # The default of two minutes would hide a revoked access entry.
            "--authentication-token-webhook-cache-ttl=5s",
        ]
    return _go("kube-apiserver", *flags)


def controller_manager(settings: ClusterSettings) -> Component:
    pki = settings.pki
    configuration = pki / "controller-manager.kubeconfig"
    return _go(
        "kube-controller-manager",
        f"--kubeconfig={configuration}",
        "--bind-address=127.0.0.1",
        f"--cert-dir={pki}",
        f"--root-ca-file={pki / 'ca.crt'}",
        f"--service-account-private-key-file={pki / 'service-account.key'}",
        "--use-service-account-credentials=true",
        "--leader-elect=false",
        "--allocate-node-cidrs=false",
        "--profiling=false",
        "--controllers=*," + ",".join(f"-{name}-controller" for name in UNUSED_CONTROLLERS),
        "--kube-api-qps=1000",
        "--kube-api-burst=2000",
        "--concurrent-deployment-syncs=20",
        "--concurrent-replicaset-syncs=20",
        "--concurrent-job-syncs=20",
        "--concurrent-service-endpoint-syncs=20",
        "--concurrent-endpoint-syncs=20",
        "--concurrent-namespace-syncs=20",
    )


def scheduler(settings: ClusterSettings) -> Component:
    pki = settings.pki
    return _go(
        "kube-scheduler",
        f"--kubeconfig={pki / 'scheduler.kubeconfig'}",
        "--bind-address=127.0.0.1",
        f"--cert-dir={pki}",
        "--leader-elect=false",
        "--profiling=false",
        "--kube-api-qps=1000",
        "--kube-api-burst=2000",
    )
