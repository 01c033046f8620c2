"""The run engine: runs of steps that survive the death of any process.

Rows hold the truth (`tables`), a lease with a fence decides who may act (`fence`), a pure function
decides what is next (`decide`, `graph`), the executor does it (`executor`, `store`), sagas say what
a step is (`definition`). Used by `domains/runs` and `domains/installs` through the functions below,
by `sagas/` through `definition`, by the worker and the scheduler.
"""

from controlplane.core.run_engine.service import (
    ADVANCE,
    approve,
    create_run,
    deny,
    request_cancel,
)
from controlplane.core.run_engine.steering import (
    request_pause,
    resume,
    retry,
    skip_step,
    wake_paused,
)

__all__ = [
    "ADVANCE",
    "approve",
    "create_run",
    "deny",
    "request_cancel",
    "request_pause",
    "resume",
    "retry",
    "skip_step",
    "wake_paused",
]
