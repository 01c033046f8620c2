"""Bring a standing install to other inputs, another blueprint version or other models.

    preflight > plan > approval > what `provisioning/standing.py` shows

It starts from what the account holds, so it also sets right what was changed there outside of our
runs. Nothing is taken back (ADR 0036): a failure stops behind the last step that ended, closes,
and leaves the install `partial`; another update goes on from there, or back.
"""

from __future__ import annotations

from controlplane.core.run_engine.definition import Definition, Done, Step, StepResult
from controlplane.sagas.provisioning import standing, updating
from controlplane.sagas.provisioning.access import Context
from controlplane.sagas.provisioning.updating import UpdateParams

# ---- Params ---------------------------------------------------------------------------------

Params = UpdateParams

# ---- Steps ----------------------------------------------------------------------------------


def plan(context: Context) -> StepResult:
    """Compare with the account and write the constraint that a second person approves."""
    document, digest, facts = updating.make_plan(context)
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
    kind="install.update",
    params=UpdateParams,
    complete=updating.complete,
    keeps=True,
    idle=updating.found_nothing,
    steps=(
        Step("preflight", "Check role and pins", standing.preflight, None, planning=True,
             budget=60, estimate=2),
        Step("plan", "Compare with the account", plan, None, ("preflight",), planning=True,
             budget=240, estimate=14),
        Step("approval", "Approval of the plan", standing.approval, None, ("plan",),
             planning=True, budget=60, estimate=0),
        *standing.CHAIN,
    ),
)  # fmt: skip
