"""The parts of the sandbox, in the order in which they start.

Called by `sandbox.supervisor`. Everything a part is told stands here: its command, its settings,
its secret files. Each part gets only its own settings; secrets travel as files of mode 0600, never
in argv or environment.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from blueprints.manifest import load
from proof.keys import create_private_key, encode_public, fingerprint, load_private_key
from sandbox import postgres, redis
from sandbox.aws_provider.install import install
from sandbox.cluster import stop_clusters
from sandbox.customer import write_policy
from sandbox.home import Home, write_private
from sandbox.identity_provider import settings as identity_provider
from sandbox.identity_provider.install import FOLDER as PROVIDER_FOLDER
from sandbox.identity_provider.install import find_node
from sandbox.isolation import dies_with_parent, hiding, namespaces_available
from sandbox.part import Part, base_environment, http_ok
from sandbox.people import write_people
from sandbox.registry.vendor import last_manifest, references
from sandbox.release import publish_artifacts, write_models
from sandbox.toolchain import ROOT, find_program

CONSOLE_PORT = 8400
BLUEPRINTS = ("eks_model_stack",)
CUSTOMER_ACCOUNT = "111122223333"
VENDOR_ACCOUNT = "999988887777"
VENDOR_PRINCIPAL = f"arn:aws:iam::{VENDOR_ACCOUNT}:role/ringfence-control-plane"
AGENT_URL = "http://10.88.0.11"
DEFAULT_TIME_SCALE = "0.01"


def latency_choice() -> dict[str, float | int]:
    """Return which latencies the emulated cloud plays, as the environment asks; p50 by default."""
    chosen: dict[str, float | int] = {}
    if quantile := os.environ.get("RINGFENCE_LATENCY_QUANTILE"):
        chosen["latency_quantile"] = float(quantile)
    if seed := os.environ.get("RINGFENCE_LATENCY_SEED"):
        chosen["latency_seed"] = int(seed)
    return chosen


class PartsBuilder:
    """Collects ports, secrets and files of one home, then lists the parts."""

    def __init__(self, home: Home) -> None:
        self._home = home
        home.create()
        self.time_scale = os.environ.get("RINGFENCE_TIME_SCALE", DEFAULT_TIME_SCALE)
        self.postgres_port = home.port("postgres")
        self.redis_port = home.port("redis")
        self.aws_port = home.port("aws")
        self.countersigner_port = home.port("countersigner")
        self.registry_port = home.port("registry")
        identity_port = home.port("identity", host=identity_provider.HOST)
        self.api_listener = home.listener("api", CONSOLE_PORT)
        self.api_port: int = self.api_listener.getsockname()[1]
        self.api_socket = home.run / "api.sock"
        self.gate_socket = home.run / "gate.sock"
        self.aws_url = f"http://127.0.0.1:{self.aws_port}"
        self.api_url = f"http://127.0.0.1:{self.api_port}"
        self.identity_url = identity_provider.address(identity_port)
        self.sign_in = identity_provider.write_files(home, identity_port, self.api_url)
        self.python = sys.executable

    def secret_file(self, name: str, text: str) -> Path:
        path = self._home.secrets / name
        write_private(path, text)
        return path

    def key(self, name: str) -> Path:
        """Return the path of an Ed25519 key, making it at first start."""
        path = self._home.secrets / name
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():
            create_private_key(path)
        return path

    def database_url_file(self, role: str, database: str = postgres.DATABASE) -> Path:
        password = self._home.secret(f"database-{role}")
        url = postgres.conninfo(self.postgres_port, role, password, database)
        return self.secret_file(f"database-url-{role}", url)

    def build(self) -> tuple[list[Part], dict[str, Any]]:
        """Return the parts and the facts that `sandbox.json` shows."""
        parts = [
            self._postgres(),
            self._redis(),
            self._aws(),
            self._registry(),
            self._roles(),
            self._migrate(),
            self._countersigner(),
            self._bootstrap(),
            self._identity(),
            self._api(),
            self._edge(),
            self._worker(),
            self._scheduler(),
        ]
        facts = {
            "api_url": self.api_url,
            "aws_endpoint_url": self.aws_url,
            "customer_account": CUSTOMER_ACCOUNT,
            "identity_provider_url": self.identity_url,
            "identity_provider_password_file": str(self.sign_in.password),
            "time_scale": float(self.time_scale),
            "emulated": "AWS account, the organization's identity provider, what images hold",
            "customer_key_hidden": namespaces_available(),
            "real": "Pulumi engine, Kubernetes API, PostgreSQL, Redis, registries, model engine",
        }
        return parts, facts

    def _postgres(self) -> Part:
        data = self._home.data / "postgres"
        password = self._home.secret("database-postgres")
        url = postgres.conninfo(self.postgres_port, "postgres", password, "postgres")
        self.secret_file("database-url-postgres", url)
        return Part(
            "postgres",
            # Wrapped from the inside: entering a user namespace clears the death signal.
            postgres.server_argv(data, self.postgres_port, self._home.run),
            base_environment(),
            ready=lambda: postgres.accepts(url),
            before=lambda: postgres.initialise(data, password),
            address=f"127.0.0.1:{self.postgres_port}",
            # SIGTERM would wait for every client to leave.
            stop_signal=signal.SIGINT,
        )

    def _redis(self) -> Part:
        password = self._home.secret("redis")
        config = self._home.secrets / "redis.conf"
        url = redis.url(self.redis_port, password)
        self.secret_file("redis-url", url)
        return Part(
            "redis",
            dies_with_parent([str(redis.program()), str(config)]),
            base_environment(),
            ready=lambda: redis.accepts(url),
            before=lambda: redis.write_config(
                config, self.redis_port, password, self._home.data / "redis"
            ),
            address=f"127.0.0.1:{self.redis_port}",
        )

    def _aws(self) -> Part:
        config = {
            "port": self.aws_port,
            "unix_socket": str(self.gate_socket),
            "data_dir": str(self._home.data / "aws"),
            "run_dir": str(self._home.run),
            "secrets_dir": str(self._home.secrets),
            "time_scale": float(self.time_scale),
            **latency_choice(),
            "accounts": [CUSTOMER_ACCOUNT],
            "vendor_account": VENDOR_ACCOUNT,
            "api_socket": str(self.api_socket),
            # The clusters live on while the account restarts; they end with the supervisor.
            "cluster_owner_pid": os.getpid(),
        }
        path = self.secret_file("aws-config.json", json.dumps(config, indent=2))
        return Part(
            "aws",
            dies_with_parent([self.python, "-m", "sandbox.aws", "--config", str(path)]),
            base_environment(),
            ready=http_ok(f"{self.aws_url}/_rehearsal/health"),
            address=self.aws_url,
            emulated=True,
            # It ends its clusters first.
            stop_seconds=40,
            after=lambda: stop_clusters(self._home.data / "aws" / "clusters"),
        )

    def _registry(self) -> Part:
        folder = self._home.data / "registry"
        host = f"127.0.0.1:{self.registry_port}"
        words = ["--port", str(self.registry_port), "--folder", str(folder)]
        return Part(
            "registry",
            dies_with_parent([self.python, "-m", "sandbox.registry", *words]),
            base_environment(),
            ready=http_ok(f"http://{host}{last_manifest()}"),
            address=host,
        )

    def _images(self) -> dict[str, str]:
        """Return name -> reference of what the vendor's registry has."""
        return references(f"localhost:{self.registry_port}")

    def _roles(self) -> Part:
        return Part(
            "database-roles",
            [self.python, "-m", "sandbox.database_roles"],
            {**base_environment(), "RINGFENCE_HOME": str(self._home.root)},
            once=True,
        )

    def _migrate(self) -> Part:
        owner = self.database_url_file(postgres.OWNER)
        return Part(
            "migrate",
            [self.python, "-m", "controlplane.migrate"],
            {**base_environment(), "RINGFENCE_OWNER_DATABASE_URL_FILE": str(owner)},
            once=True,
        )

    def _bootstrap(self) -> Part:
        owner = self.database_url_file(postgres.OWNER)
        people = write_people(self._home)
        manifests = self._home.data / "blueprints.json"
        models = self._home.data / "models.json"
        return Part(
            "bootstrap",
            [
                self.python,
                "-m",
                "controlplane.bootstrap",
                "--people",
                str(people),
                "--blueprints",
                str(manifests),
                "--models",
                str(models),
            ],
            {**base_environment(), "RINGFENCE_OWNER_DATABASE_URL_FILE": str(owner)},
            once=True,
            before=lambda: self._write_release(manifests, models),
        )

    @staticmethod
    def _write_release(path: Path, models: Path) -> None:
        # Blueprints are read through their manifests only (decision 17).
        loaded = [load(name) for name in BLUEPRINTS]
        write_private(path, json.dumps([m.model_dump(mode="json") for m in loaded], indent=2))
        write_models(models)

    def _countersigner(self) -> Part:
        folder = self._home.secrets / "customer"
        folder.mkdir(exist_ok=True, mode=0o700)
        key = self.key("customer/key.pem")
        self._home.secret("countersigner-token")
        config = {
            "port": self.countersigner_port,
            "key_file": str(key),
            "token_file": str(self._home.secrets / "countersigner-token"),
            "policy_file": str(folder / "policy.json"),
            "log_file": str(folder / "bundle-log.jsonl"),
        }
        path = folder / "config.json"
        write_private(path, json.dumps(config, indent=2))
        public = encode_public(load_private_key(self.key("control-plane-key.pem")))
        return Part(
            "countersigner",
            dies_with_parent([self.python, "-m", "countersigner", "--config", str(path)]),
            base_environment(),
            ready=http_ok(f"http://127.0.0.1:{self.countersigner_port}/healthz"),
            before=lambda: write_policy(
                folder / "policy.json", public, self._images(), f"localhost:{self.aws_port}"
            ),
            address=f"127.0.0.1:{self.countersigner_port}",
        )

    def _common(self, role: str) -> dict[str, str]:
        key = load_private_key(self.key("control-plane-key.pem"))
        release = load_private_key(self.key("release-key.pem"))
        customer = load_private_key(self.key("customer/key.pem"))
        return {
            **base_environment(),
            "RINGFENCE_DATABASE_URL_FILE": str(self.database_url_file(role)),
            "RINGFENCE_REDIS_URL_FILE": str(self._home.secrets / "redis-url"),
            "RINGFENCE_AWS_ENDPOINT_URL": self.aws_url,
            "RINGFENCE_VENDOR_PRINCIPAL": VENDOR_PRINCIPAL,
            "RINGFENCE_AGENT_URL": AGENT_URL,
            "RINGFENCE_TIME_SCALE": self.time_scale,
            "RINGFENCE_CONTROL_PLANE_PUBLIC_KEY": encode_public(key),
            "RINGFENCE_CONTROL_PLANE_FINGERPRINT": fingerprint(key),
            "RINGFENCE_RELEASE_FINGERPRINT": fingerprint(release),
            "RINGFENCE_CUSTOMER_PUBLIC_KEY": encode_public(customer),
        }

    def _identity(self) -> Part:
        program = PROVIDER_FOLDER / "server.mjs"
        return Part(
            "identity",
            dies_with_parent([str(find_node()), str(program), str(self.sign_in.config)]),
            base_environment(),
            ready=http_ok(f"{self.identity_url}/.well-known/openid-configuration"),
            address=self.identity_url,
            emulated=True,
        )

    def _api(self) -> Part:
        return Part(
            "api",
            self._without_customer_key(
                [self.python, "-m", "sandbox.api", str(self.api_listener.fileno())]
            ),
            {
                **self._common("ringfence_api"),
                "RINGFENCE_PUBLIC_URL": self.api_url,
                "RINGFENCE_SIGN_IN_KEY_FILE": str(self.sign_in.client_key),
                "RINGFENCE_SIGN_IN_PROVIDERS_FILE": str(self.sign_in.providers),
            },
            ready=http_ok(f"{self.api_url}/healthz"),
            address=self.api_url,
            timeout_seconds=90,
            listener=self.api_listener,
        )

    def _edge(self) -> Part:
        # The vendor's host as an emulated VPC sees it: a socket that leads to the API.
        return Part(
            "edge",
            dies_with_parent(
                [self.python, "-m", "sandbox.edge", str(self.api_socket), str(self.api_port)]
            ),
            base_environment(),
            ready=self.api_socket.exists,
            before=lambda: self.api_socket.unlink(missing_ok=True),
        )

    def worker_environment(self) -> dict[str, str]:
        """Return the worker's settings: the only part with the control-plane key and cloud keys."""
        images = self._home.data / "images.json"
        write_private(images, json.dumps(self._images(), indent=2))
        state = self.database_url_file(postgres.STATE_ROLE, postgres.STATE_DATABASE)
        auditor = self.database_url_file(postgres.AUDITOR_ROLE)
        return {
            **self._common("ringfence_worker"),
            "RINGFENCE_AUDITOR_DATABASE_URL_FILE": str(auditor),
            "RINGFENCE_STATE_DATABASE_URL_FILE": str(state),
            "RINGFENCE_CONTROL_PLANE_KEY_FILE": str(self.key("control-plane-key.pem")),
            "RINGFENCE_COUNTERSIGNER_URL": f"http://127.0.0.1:{self.countersigner_port}",
            "RINGFENCE_COUNTERSIGNER_TOKEN_FILE": str(self._home.secrets / "countersigner-token"),
            "RINGFENCE_AWS_CREDENTIALS_FILE": str(self._home.secrets / "aws" / "vendor.json"),
            "RINGFENCE_STATE_PASSPHRASE_FILE": str(self._passphrase()),
            "RINGFENCE_ARTIFACT_STORE": str(self._home.data / "artifacts"),
            "RINGFENCE_TOOL_PULUMI": str(find_program("pulumi")),
            "RINGFENCE_TOOL_HELM": str(find_program("helm")),
            "RINGFENCE_TOOL_CRANE": str(find_program("crane")),
            "RINGFENCE_PULUMI_PLUGINS": str(self._home.data / "pulumi-plugins"),
            "RINGFENCE_CHARTS": str(ROOT / "charts"),
            "RINGFENCE_IMAGES_FILE": str(images),
            "RINGFENCE_WORK_DIR": str(self._home.data / "worker"),
            "RINGFENCE_PYTHONPATH": str(ROOT),
        }

    def _passphrase(self) -> Path:
        self._home.secret("state-passphrase")
        return self._home.secrets / "state-passphrase"

    def _worker(self) -> Part:
        return Part(
            "worker",
            (self._without_customer_key([self.python, "-m", "controlplane.worker"])),
            self.worker_environment(),
            before=self._prepare_worker,
        )

    def _prepare_worker(self) -> None:
        (self._home.data / "worker").mkdir(exist_ok=True, mode=0o700)
        install(self._home.data / "pulumi-plugins")
        publish_artifacts(self._home.data / "artifacts")

    def _scheduler(self) -> Part:
        environment = {
            **self._common("ringfence_scheduler"),
            "RINGFENCE_AWS_CREDENTIALS_FILE": str(self._home.secrets / "aws" / "vendor.json"),
        }
        return Part(
            "scheduler",
            (self._without_customer_key([self.python, "-m", "controlplane.scheduler"])),
            environment,
        )

    def _without_customer_key(self, argv: list[str]) -> list[str]:
        return hiding(self._home.secrets / "customer", argv)


def build_parts(home: Home) -> tuple[list[Part], dict[str, Any]]:
    """Return all parts of a home in starting order, and the facts for its record."""
    return PartsBuilder(home).build()
