"""What the operator must be told: read from the environment once, at start."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass


class SettingsError(ValueError):
    """A setting is missing or wrong; the message names it."""


@dataclass(frozen=True)
class Settings:
    """`OPERATOR_…` variables; the chart sets them all."""

    namespace: str
    """`OPERATOR_NAMESPACE`: the boundary's namespace, the only one this operator acts in."""
    system_namespace: str
    """`OPERATOR_SYSTEM_NAMESPACE`: where the operator itself runs and keeps its Lease."""
    fetcher_image: str
    """`OPERATOR_FETCHER_IMAGE`: image of the fetch Job, by digest."""
    identity: str
    """`OPERATOR_IDENTITY`: who holds the Lease; the pod's name."""
    boundary: str
    """`OPERATOR_BOUNDARY`: name of the one SecurityBoundary it sees; a neighbour has its own."""
    model_store_claim: str = "model-store"
    """`OPERATOR_MODEL_STORE_CLAIM`: the volume claim that holds verified artifacts."""
    engine_port: int = 8000
    """`OPERATOR_ENGINE_PORT`: where engines listen; the chart's policies assume the default."""
    metrics_port: int = 9090
    """`OPERATOR_METRICS_PORT`: health and metrics."""
    probe_seconds: float = 10.0
    """`OPERATOR_PROBE_SECONDS`: how often a ready engine is asked again."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Read and check the variables. Raises: SettingsError."""

        def needed(name: str) -> str:
            value = environment.get(f"OPERATOR_{name}", "")
            if not value:
                raise SettingsError(f"OPERATOR_{name} is not set; the chart boundary-stack sets it")
            return value

        image = needed("FETCHER_IMAGE")
        if "@sha256:" not in image:
            raise SettingsError(f"OPERATOR_FETCHER_IMAGE={image}: name the image by digest")
        return cls(
            namespace=needed("NAMESPACE"),
            system_namespace=needed("SYSTEM_NAMESPACE"),
            fetcher_image=image,
            identity=needed("IDENTITY"),
            boundary=needed("BOUNDARY"),
            model_store_claim=environment.get("OPERATOR_MODEL_STORE_CLAIM", "model-store"),
            engine_port=_number(environment, "ENGINE_PORT", 8000),
            metrics_port=_number(environment, "METRICS_PORT", 9090),
            probe_seconds=_number(environment, "PROBE_SECONDS", 10),
        )


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    raw = environment.get(f"OPERATOR_{name}", str(default))
    if not raw.isdigit() or not 0 < int(raw) < 65536:
        raise SettingsError(f"OPERATOR_{name}={raw}: must be a number from 1 to 65535")
    return int(raw)
