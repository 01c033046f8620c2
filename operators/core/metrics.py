"""Counters and gauges in Prometheus' text format.

Used by the whole operator, served by `operators.health`. Own code because the handful of series
here needs no registry, and a library would be the operator's largest import after aiohttp.
"""

from __future__ import annotations

from collections import defaultdict

PREFIX = "ringfence_operator_"
_HELP = {
    "workqueue_depth": ("gauge", "keys that wait for a worker"),
    "workqueue_latency_seconds_sum": ("counter", "seconds that keys waited for a worker"),
    "reconcile_seconds_sum": ("counter", "seconds spent in reconcile"),
    "reconcile_total": ("counter", "reconciles by result"),
    "writes_total": ("counter", "writes by kind and verb; noop means that none was needed"),
    "watch_restarts_total": ("counter", "watches that ended with an error"),
    "cache_objects": ("gauge", "objects in the cache"),
    "lease_transitions_total": ("counter", "times this process became the leader"),
    "engine_probe_total": ("counter", "calls to engines by result"),
}


class Metrics:
    """The numbers of one process; not shared between threads."""

    def __init__(self) -> None:
        self._values: dict[str, dict[tuple[tuple[str, str], ...], float]] = defaultdict(dict)

    def count(self, name: str, amount: float = 1.0, **labels: str) -> None:
        """Add to a counter."""
        series = self._series(name)
        key = tuple(sorted(labels.items()))
        series[key] = series.get(key, 0.0) + amount

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        self._series(name)[tuple(sorted(labels.items()))] = value

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of all series of `name` that carry `labels`."""
        wanted = set(labels.items())
        return sum(v for key, v in self._series(name).items() if wanted <= set(key))

    def _series(self, name: str) -> dict[tuple[tuple[str, str], ...], float]:
        if name not in _HELP:
            raise KeyError(f"metric {name} is not declared")
        return self._values[name]

    def render(self) -> str:
        """Return the text exposition."""
        lines = []
        for name, series in sorted(self._values.items()):
            kind, text = _HELP[name]
            lines += [f"# HELP {PREFIX}{name} {text}", f"# TYPE {PREFIX}{name} {kind}"]
            for labels, value in sorted(series.items()):
                shown = ",".join(f'{key}="{content}"' for key, content in labels)
                lines.append(f"{PREFIX}{name}{{{shown}}} {value:g}")
        return "\n".join([*lines, ""])
