"""Make an install whole again: its record after it was lost, its resources after they were.

    preflight > state > adopt > plan > approval > what `provisioning/standing.py` shows

The record is brought to what the account holds, so nothing is made twice; then what is missing is
planned, approved and made. Nothing is taken back (ADR 0041): a failure stops behind the last step
that ended, closes, and leaves the install `partial`; another restore goes on from there.
"""

from __future__ import annotations

from controlplane.core.run_engine.definition import Definition, Done, Step, StepResult
from controlplane.sagas.provisioning import restoring, standing, times, updating
from controlplane.sagas.provisioning.access import Context
from controlplane.sagas.provisioning.restoring import RestoreParams

# ---- Params ---------------------------------------------------------------------------------

Params = RestoreParams

# ---- Steps ----------------------------------------------------------------------------------


def plan(context: Context) -> StepResult:
    """Plan what is missing or otherwise, for a second person to approve."""
    document, digest, facts = restoring.make_plan(context)
    context.journal.save_plan(document, digest)
    return Done(
        {
            "digest": digest,
            "counts": document["counts"],
            "constraint": document["constraint"],
            **facts,
        }
    )


# ---- Definition -----------------------------------------------------------------------------

DEFINITION = Definition(
    kind="install.restore",
    params=RestoreParams,
    complete=restoring.complete,
    keeps=True,
    idle=updating.found_nothing,
    steps=(
        Step("preflight", "Check role and pins", standing.preflight, None, planning=True,
             budget=60, estimate=2),
        Step("state", "Choose the record", restoring.put_back, None, ("preflight",),
             planning=True, budget=60, estimate=1),
        Step("adopt", "Adopt what the account holds", restoring.adopt, None, ("state",),
             planning=True, budget=times.scaled(1800, 600), estimate=20),
        Step("plan", "Compare with the account", plan, None, ("adopt",), planning=True,
             budget=240, estimate=14),
        Step("approval", "Approval of the plan", standing.approval, None, ("plan",),
             planning=True, budget=60, estimate=0),
        *standing.CHAIN,
    ),
)  # fmt: skip
