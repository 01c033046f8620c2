"""The entries of the blueprint's two stacks; started by reference inside a Pulumi program."""

from collections.abc import Mapping
from typing import Any

import pulumi

from blueprints.eks_model_stack import cluster as cluster_stack
from blueprints.eks_model_stack import foundation as foundation_stack
from blueprints.eks_model_stack.inputs import Inputs
from blueprints.eks_model_stack.stack import Stack, Upstream


def foundation(inputs: dict[str, Any], upstream: dict[str, Any] | None = None) -> None:
    """Declare the stack `foundation`. Raises: InputsError."""
    _export(foundation_stack.build(Stack(Inputs.parse(inputs))))


def cluster(inputs: dict[str, Any], upstream: dict[str, Any] | None = None) -> None:
    """Declare the stack `cluster`; `upstream` are the outputs of `foundation`, None when planned.

    Raises: InputsError; UpstreamMissingError when applied without `upstream`.
    """
    _export(cluster_stack.build(Stack(Inputs.parse(inputs)), Upstream(upstream)))


def _export(outputs: Mapping[str, Any]) -> None:
    for name, value in outputs.items():
        pulumi.export(name, value)
