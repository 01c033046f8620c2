"""The engine's fixtures, for the fault tests."""

from tests.integration.adapters.conftest import bench, moto_url, state_url

__all__ = ["bench", "moto_url", "state_url"]
