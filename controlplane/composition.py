"""Put the worker's parts together: adapters, sagas and jobs from the settings.

Called by `worker` only. Separate from `worker_loop`, which knows no saga and is also run by tests
with sagas of their own.
"""

from __future__ import annotations

import json
from pathlib import Path

from controlplane.adapters.aws.sessions import StsSessions
from controlplane.adapters.helm.release import HelmReleases
from controlplane.adapters.kubernetes.reach import Budget
from controlplane.adapters.pulumi.engine import EngineSettings as PulumiSettings
from controlplane.adapters.pulumi.engine import PulumiEngine
from controlplane.adapters.pulumi.process import Limits
from controlplane.adapters.pulumi.recovery import ABSENCE_SECONDS, Recovery
from controlplane.adapters.pulumi.state import StateStore
from controlplane.adapters.signing.control_plane_key import ControlPlaneKey
from controlplane.adapters.signing.countersigner import HttpCountersigner
from controlplane.adapters.typesetting.report import TypstTypesetter
from controlplane.core.db import Database
from controlplane.core.jobs import Job
from controlplane.core.run_engine.executor import EngineSettings
from controlplane.domains.agents.service import PUBLISH
from controlplane.domains.agents.tasks import publish_changes
from controlplane.domains.audit.tasks import CHECKPOINT, sign_checkpoint
from controlplane.domains.connections.service import VERIFY
from controlplane.domains.grants.tasks import verify_connection
from controlplane.domains.reports.service import GENERATE
from controlplane.domains.reports.session_record import RecordedSessions
from controlplane.domains.reports.tasks import Maker, report_job
from controlplane.reconcilers import access_end
from controlplane.reconcilers.grants import CLOSE_PARKED, WATCH
from controlplane.sagas import (
    install_deprovision,
    install_drift,
    install_provision,
    install_restore,
    install_snapshots,
    install_takeover,
    install_update,
)
from controlplane.sagas.provisioning.ports import AwsCloud, Ports, ProvisionSettings
from controlplane.worker_capacity import memory_bytes, run_slots
from controlplane.worker_config import WorkerSettings
from controlplane.worker_loop import WorkerParts
from proof.keys import decode_public

OWN_REACH_SECONDS = 90.0
"""What our own side may add to a cluster's answer, on a busy machine."""
DEFINITIONS = (
    install_provision.DEFINITION,
    install_update.DEFINITION,
    install_restore.DEFINITION,
    install_deprovision.DEFINITION,
    install_deprovision.PURGE,
    install_drift.DEFINITION,
    install_takeover.DEFINITION,
    install_snapshots.DEFINITION,
)
"""Every saga that a worker can carry out."""


def worker_parts(settings: WorkerSettings) -> WorkerParts:
    """Return everything the worker is made of. Raises: SecretFileError, InternalError."""
    ports = provision_ports(settings)
    maker = Maker(
        signer=ControlPlaneKey(settings.control_plane_key_file),
        typesetter=TypstTypesetter(),
        work_dir=settings.work_dir,
        vendor_principal=settings.vendor_principal,
    )
    # Reports are few and long; the job that makes one holds one connection.
    reading = Database.connect(settings.auditor_database_url(), pool_size=2)
    return WorkerParts(
        database_url=settings.database_url(),
        redis_url=settings.redis_url(),
        definitions={definition.kind: definition for definition in DEFINITIONS},
        ports=ports,
        jobs=lambda db: {
            **jobs(db, ports),
            GENERATE: report_job(db, reading, maker),
        },
        engine=EngineSettings(
            lease_seconds=settings.lease_seconds, max_parallel_steps=settings.parallel_steps
        ),
        run_slots=settings.run_slots or run_slots(memory_bytes(), Limits().memory_bytes),
        task_threads=settings.task_threads,
    )


def jobs(db: Database, ports: Ports) -> dict[str, Job]:
    """Return the short jobs by the names under which services enqueue them."""
    return {
        VERIFY: lambda **ids: verify_connection(db, ports.sessions, **ids),
        PUBLISH: lambda **ids: publish_changes(db, ports.signer, ports.countersigner, **ids),
        CHECKPOINT: lambda **ids: sign_checkpoint(db, ports.signer, **ids),
        WATCH: lambda **ids: access_end.watch_grant(db, ports.sessions, **ids),
        CLOSE_PARKED: lambda **ids: access_end.close_parked(db, ports.sessions, ports.cloud, **ids),
    }


def provision_ports(settings: WorkerSettings) -> Ports:
    """Return the outside systems of an install."""
    # Every session of a customer's role is recorded, whoever asks for it.
    sessions = RecordedSessions(
        StsSessions(settings.aws_credentials_file, settings.aws_endpoint_url),
        Database.connect(settings.database_url(), pool_size=2),
    )
    state = StateStore.from_file(settings.state_database_url_file)
    engine = PulumiEngine(
        PulumiSettings(
            pulumi=settings.tool_pulumi,
            plugins=settings.pulumi_plugins,
            work_root=settings.work_dir,
            passphrase_file=settings.state_passphrase_file,
            aws_endpoint_url=settings.aws_endpoint_url,
        ),
        state,
    )
    return Ports(
        sessions=sessions,
        cloud=AwsCloud(
            sessions,
            settings.aws_endpoint_url,
            settings.control_plane_cidrs,
            Budget().scaled(settings.time_scale, OWN_REACH_SECONDS),
        ),
        engine=engine,
        state=state,
        # The two looks at an absent resource wait for the cloud, so they scale with it.
        recovery=Recovery(engine, state, absence_seconds=ABSENCE_SECONDS * settings.time_scale),
        releases=lambda folder: HelmReleases(settings.tool_helm, folder),
        signer=ControlPlaneKey(settings.control_plane_key_file),
        countersigner=HttpCountersigner(
            settings.countersigner_url,
            settings.countersigner_token_file,
            decode_public(settings.customer_public_key),
        ),
        settings=_provision_settings(settings),
    )


def _provision_settings(settings: WorkerSettings) -> ProvisionSettings:
    return ProvisionSettings(
        work_dir=settings.work_dir,
        artifact_store=settings.artifact_store,
        blueprints_root=settings.blueprints_root,
        charts=settings.charts,
        images=_images(settings.images_file),
        crane=settings.tool_crane,
        agent_url=settings.agent_url,
        customer_public_key=settings.customer_public_key,
        state_passphrase_file=settings.state_passphrase_file,
        vendor_account=settings.vendor_principal.split(":")[4],
        control_plane_cidrs=settings.control_plane_cidrs,
        time_scale=settings.time_scale,
        is_rehearsal=settings.aws_endpoint_url is not None,
        close_probe_seconds=settings.close_probe_seconds,
    )


def _images(path: Path) -> dict[str, str]:
    images: dict[str, str] = json.loads(path.read_text())
    return images
