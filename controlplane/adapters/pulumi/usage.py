"""What one engine session takes of its host: memory at its highest and processor time, by part.

Kept by `process.py`, which looks at the session twice a second, and logged at the session's end:
how many runs a worker may carry is derived from it (`controlplane/worker_capacity.py`). Separate
because a figure for people decides nothing about the processes. Linux only: reads /proc.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
CHILD, ENGINE, PLUGIN = "child", "engine", "plugin"
"""Our own process, Pulumi's CLI, and the providers that the CLI starts."""


@dataclass
class SessionUsage:
    """Figures of one session. Units: bytes, seconds."""

    peak: dict[str, int] = field(default_factory=dict)
    """Part to the most resident memory that its processes had together."""
    _cpu: dict[tuple[int, str], float] = field(default_factory=dict)

    def look(self, leader: int, pids: Iterable[int]) -> None:
        """Take the processes that live now into account; one that just ended is left out."""
        resident: defaultdict[str, int] = defaultdict(int)
        for pid in pids:
            try:
                stat = Path(f"/proc/{pid}/stat").read_text()
                status = Path(f"/proc/{pid}/status").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            # The name may hold spaces and parentheses; the last one ends it (proc_pid_stat(5)).
            head, _, tail = stat.rpartition(")")
            fields = tail.split()
            part = _part(pid, leader, head.partition("(")[2])
            resident[part] += _high_water(status)
            self._cpu[pid, part] = (int(fields[11]) + int(fields[12])) / _TICKS
        for part, used in resident.items():
            self.peak[part] = max(self.peak.get(part, 0), used)

    def cpu_seconds(self, part: str) -> float:
        """Return the processor time of a part, as far as it was seen."""
        return sum(used for (_, of), used in self._cpu.items() if of == part)

    def document(self) -> dict[str, float]:
        """Return the figures for a log line: whole MiB, seconds."""
        return {
            f"{part}_{name}": value
            for part in (CHILD, ENGINE, PLUGIN)
            for name, value in (
                ("peak_mib", self.peak.get(part, 0) >> 20),
                ("cpu_seconds", round(self.cpu_seconds(part), 2)),
            )
        }


def _part(pid: int, leader: int, name: str) -> str:
    if pid == leader:
        return CHILD
    return ENGINE if name == "pulumi" else PLUGIN


def _high_water(status: str) -> int:
    """Return the most that a process ever had resident; a look twice a second misses peaks."""
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    return 0
