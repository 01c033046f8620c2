"""Budgets and estimates of steps, from an install's parameters. Units: seconds.

Called by the definitions of all `install.*` sagas. Separate because each of them scales the cloud's
part of a time and leaves our own as it is.
"""

from __future__ import annotations

from collections.abc import Callable

from pydantic import BaseModel

from controlplane.sagas.provisioning.params import ProvisionParams

Seconds = Callable[[BaseModel], float]
# The close after the applies, at time scale 1: shutting the way in is the slow part.
CLOSE_P90_SECONDS = 900.0
CLOSE_OVERHEAD_SECONDS = 30.0


def scaled(cloud: float, own: float) -> Seconds:
    """Return cloud seconds at the deployment's time scale plus seconds of our own."""
    return lambda params: cloud * _known(params).time_scale + own


def stack_budget(name: str) -> Seconds:
    """Return the budget of one of the blueprint's stacks."""
    return lambda params: _known(params).stack(name).budget


def stack_estimate(name: str) -> Seconds:
    """Return the estimate of one of the blueprint's stacks."""
    return lambda params: _known(params).stack(name).estimate


def until_closed(params: ProvisionParams, applies: float) -> float:
    """Return how long a grant must last for applies of that p90 and the close after them."""
    return applies + CLOSE_P90_SECONDS * params.time_scale + CLOSE_OVERHEAD_SECONDS


def _known(params: BaseModel) -> ProvisionParams:
    assert isinstance(params, ProvisionParams)
    return params
