"""How many runs a worker may carry at once, from the memory it has.

Called by `composition.py` when `run_slots` is not set. Separate from the settings because these are
measured figures with their source, not a choice (docs/reference/worker-capacity.md).
"""

from __future__ import annotations

from pathlib import Path

MIB = 1 << 20
RUN_BYTES = 730 * MIB
"""One run that applies: our child, the engine, and the official plug-in's published use."""
WORKER_BYTES = 400 * MIB
"""The worker itself: the product, its libraries, the threads of its short tasks."""
MOST_SLOTS = 64
_CGROUP_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def run_slots(memory_bytes: int, runaway_bytes: int) -> int:
    """Return how many runs fit, at least one.

    `runaway_bytes` is what one run may take before it is stopped: one may do so at any time, and
    must not take the others along.
    """
    spare = max(runaway_bytes - RUN_BYTES, 0)
    fitting = (memory_bytes - WORKER_BYTES - spare) // RUN_BYTES
    return max(1, min(MOST_SLOTS, fitting))


def memory_bytes(limits: tuple[Path, ...] = _CGROUP_LIMITS) -> int:
    """Return what this process may use: its control group's limit, or else the machine's memory."""
    found = [_machine_bytes()]
    for limit in limits:
        try:
            text = limit.read_text().strip()
        except OSError:
            continue
        if text.isdigit():  # "max" is no limit
            found.append(int(text))
    return min(found)


def _machine_bytes() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) << 10
    raise OSError("/proc/meminfo does not say MemTotal")
