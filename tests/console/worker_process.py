"""The worker as a process of its own: the product's loop, broker and jobs, without run slots.

The world's runs are rows that stand still, so no run is claimed here; reports are made and roles
probed exactly as in the product: `python -m tests.console.worker_process FOLDER REDIS_URL AWS_URL`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from controlplane.adapters.aws.sessions import StsSessions
from controlplane.adapters.signing.control_plane_key import ControlPlaneKey
from controlplane.adapters.typesetting.report import TypstTypesetter
from controlplane.core.db import Database
from controlplane.core.jobs import Job
from controlplane.core.logging import configure
from controlplane.domains.connections.service import VERIFY
from controlplane.domains.grants.tasks import verify_connection
from controlplane.domains.reports.service import GENERATE
from controlplane.domains.reports.session_record import RecordedSessions
from controlplane.domains.reports.tasks import Maker, report_job
from controlplane.worker_loop import WorkerParts, serve
from tests.console.worker import CHILD
from tests.integration.api.reporting import VENDOR


def main() -> None:
    """Serve until told to stop."""
    folder, redis_url, aws_url = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    configure("console-worker")
    sys.executable = str(folder / CHILD)
    url = (folder / "database-url").read_text()
    keeper = Database.connect(url, pool_size=2)
    reading = Database.connect((folder / "auditor-database-url").read_text(), pool_size=1)
    sessions = RecordedSessions(StsSessions(folder / "aws.json", aws_url), keeper)
    signer = ControlPlaneKey(folder / "control-plane-key.pem")
    maker = Maker(signer, TypstTypesetter(), folder / "work", VENDOR)

    def jobs(db: Database) -> dict[str, Job]:
        return {
            GENERATE: report_job(db, reading, maker),
            VERIFY: lambda **ids: verify_connection(db, sessions, **ids),
        }

    serve(WorkerParts(url, redis_url, definitions={}, ports=None, jobs=jobs, run_slots=0))
    keeper.close()


if __name__ == "__main__":
    main()
