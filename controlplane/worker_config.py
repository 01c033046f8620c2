"""Settings of the worker and of the scheduler, from the environment, prefix `RINGFENCE_`.

Read once by their composition roots. Separate from `config`, which the API reads too: the worker's
list names the files of every key and credential that no other process may have.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, ValidationError

from controlplane.config import DatabaseSettings, read_secret


class WorkerSettings(DatabaseSettings):
    """Settings of the worker, which executes runs. Secrets are files, named here."""

    redis_url_file: Path
    """File with the `redis://` address of the broker."""
    auditor_database_url_file: Path
    """File with the address of the same database for the role `ringfence_auditor`, under which
    reports are read: it cannot write."""
    state_database_url_file: Path
    """File with the address of the database that holds the engine's state."""
    state_passphrase_file: Path
    """Key of the secrets in that state, on the control plane's side (decision 11)."""
    control_plane_key_file: Path
    """Ed25519 key (PEM) that signs bundles, verbs and certificates; the worker's alone."""
    countersigner_url: str
    """Address of the customer's countersigner."""
    countersigner_token_file: Path
    """Bearer token for the countersigner."""
    customer_public_key: str
    """The customer's public key, base64: checks what the countersigner returns; given to agents."""
    vendor_principal: str
    """The one ARN that the customers' role templates trust; its account is ours."""
    aws_endpoint_url: str | None = None
    """The rehearsal account's endpoint; None in production, where AWS is asked directly."""
    aws_credentials_file: Path
    """The control plane's own AWS keys, JSON, 0600."""
    agent_url: str
    """What agents dial, from inside the boundary."""
    artifact_store: Path
    """Folder of model files, each named by the hex of its SHA-256."""
    tool_pulumi: Path
    """The pinned Pulumi CLI."""
    tool_helm: Path
    """The pinned helm CLI."""
    tool_crane: Path | None = None
    """The pinned crane, which copies images; None: none can be copied."""
    pulumi_plugins: Path
    """Folder with `resource-aws-v<version>/pulumi-resource-aws`."""
    charts: Path
    """Folder that holds `boundary-stack`."""
    blueprints_root: Path = Path(__file__).resolve().parent.parent
    """Folder under which the blueprints' programs are found."""
    images_file: Path
    """JSON: image name -> reference with digest."""
    work_dir: Path
    """Folder for what child processes need; one folder per run in it."""
    control_plane_cidrs: tuple[str, ...] = ("127.0.0.1/32",)
    """Addresses from which this worker reaches a cluster's public endpoint while a grant is open;
    the default fits the sandbox only."""
    time_scale: float = Field(default=1.0, gt=0)
    """Multiplier of the cloud's latencies; below 1 only with a rehearsal account."""
    run_slots: int | None = Field(default=None, ge=1, le=64)
    """Runs that this worker executes side by side; None: as many as its memory holds."""
    lease_seconds: float = Field(default=30.0, gt=1)
    """How long a silent worker keeps a run; renewed every third of it."""
    parallel_steps: int = Field(default=4, ge=1, le=16)
    """Steps of one run that this worker executes side by side."""
    task_threads: int = Field(default=4, ge=1, le=64)
    """Threads for the short tasks."""
    close_probe_seconds: float = Field(default=30.0, gt=0)
    """How often a role that waits for its customer is probed (decision 5)."""

    def redis_url(self) -> str:
        """Return the broker's address. Raises: SecretFileError."""
        return read_secret(self.redis_url_file, "redis_url_file")

    def auditor_database_url(self) -> str:
        """Return the database's address for the auditor's role. Raises: SecretFileError."""
        return read_secret(self.auditor_database_url_file, "auditor_database_url_file")


class SchedulerSettings(DatabaseSettings):
    """Settings of the scheduler: it watches, and leaves every outside call to the worker."""

    redis_url_file: Path
    """File with the `redis://` address of the broker."""
    reap_seconds: float = Field(default=5.0, gt=0)
    """How often leases are looked at."""
    watch_seconds: float = Field(default=10.0, gt=0)
    """How often grants and closings are looked at."""
    checkpoint_seconds: float = Field(default=60.0, gt=0)
    """How long an audit event waits at most until a signed checkpoint covers it is asked for."""
    checkpoint_events: int = Field(default=1000, ge=1)
    """How many events of one chain bring its checkpoint on before that time."""
    parked_access_seconds: float = Field(default=600.0, gt=0)
    """How long a parked run keeps the customer's role open (decision 6)."""

    def redis_url(self) -> str:
        """Return the broker's address. Raises: SecretFileError."""
        return read_secret(self.redis_url_file, "redis_url_file")


def settings_problems(error: ValidationError) -> str:
    """Say which variables are missing or wrong, without their values."""
    found = error.errors(include_input=False, include_url=False)
    lines = (f"RINGFENCE_{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in found)
    return "set these variables:\n" + "\n".join(lines)
