"""Certificates and keys of one emulated cluster, made once and kept in its data folder.

Called by the host-side process before the servers start. Separate because it is the only place
that touches private keys; nothing here leaves the folder `pki/` (0700).
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sandbox.cluster.settings import NODE_ADDRESS, write_private

LIFETIME = dt.timedelta(days=3650)
SERVER_NAMES = (
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    "localhost",
)
SERVER_ADDRESSES = ("127.0.0.1", NODE_ADDRESS, "10.96.0.1")
CLIENTS = {
    "admin": ("kubernetes-admin", "system:masters"),
    "controller-manager": ("system:kube-controller-manager", ""),
    "scheduler": ("system:kube-scheduler", ""),
    "node-agent": ("ringfence:node-agent", "ringfence:node-agents"),
    "kubelet-client": ("kube-apiserver-kubelet-client", ""),
}


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + LIFETIME)
    )


class Authority:
    """The cluster's own certificate authority."""

    def __init__(self, folder: Path, cluster: str) -> None:
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"sandbox {cluster}"[:64])])
        public = self.key.public_key()
        certificate = (
            _builder(self.name, self.name, public)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=True,
                    content_commitment=False,
                    key_encipherment=False,
                    data_encipherment=False,
                    key_agreement=False,
                    key_cert_sign=True,
                    crl_sign=True,
                    encipher_only=False,
                    decipher_only=False,
                ),
                critical=True,
            )
            .sign(self.key, hashes.SHA256())
        )
        write_private(folder / "ca.key", _pem(self.key))
        write_private(folder / "ca.crt", certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, file: str, common_name: str, organization: str = "", *, server: bool) -> None:
        """Write `<file>.key` and `<file>.crt`; a server certificate carries every address."""
        key = ec.generate_private_key(ec.SECP256R1())
        attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
        if organization:
            attributes.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
        usage = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = (
            _builder(x509.Name(attributes), self.name, key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()),
                critical=False,
            )
        )
        if server:
            names: list[x509.GeneralName] = [x509.DNSName(name) for name in SERVER_NAMES]
            names += [x509.IPAddress(ipaddress.ip_address(a)) for a in SERVER_ADDRESSES]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.sign(self.key, hashes.SHA256())
        write_private(self.folder / f"{file}.key", _pem(key))
        write_private(
            self.folder / f"{file}.crt", certificate.public_bytes(serialization.Encoding.PEM)
        )


def ensure_certificates(folder: Path, cluster: str) -> None:
    """Make every key and certificate unless the folder is complete already."""
    if (folder / "complete").exists():
        return
    authority = Authority(folder, cluster)
    authority.issue("server", "kube-apiserver", server=True)
    authority.issue("kubelet", "ringfence:node-agent", server=True)
    for file, (common_name, organization) in CLIENTS.items():
        authority.issue(file, common_name, organization, server=False)
    # EKS signs service-account tokens with RS256; verifiers in the sandbox expect the same.
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    write_private(folder / "service-account.key", _pem(key))
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    write_private(folder / "service-account.pub", public)
    write_private(folder / "complete", b"")


def kubeconfig(folder: Path, client: str, server: str) -> bytes:
    """Return a kubeconfig (JSON is YAML) that names the client's files by path."""
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "sandbox",
            "clusters": [
                {
                    "name": "sandbox",
                    "cluster": {
                        "server": server,
                        "certificate-authority": str(folder / "ca.crt"),
                    },
                }
            ],
            "users": [
                {
                    "name": client,
                    "user": {
                        "client-certificate": str(folder / f"{client}.crt"),
                        "client-key": str(folder / f"{client}.key"),
                    },
                }
            ],
            "contexts": [{"name": "sandbox", "context": {"cluster": "sandbox", "user": client}}],
        },
        indent=1,
    ).encode()
