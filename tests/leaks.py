"""What was left open and was found later: one is printed, the same one again and again fails.

A socket or connection that nobody closed is found by the garbage collector, in whatever test runs
at that moment. That test is not to blame, and a single find may be a thread that a kill or a slow
machine cut short. What a piece of code leaks each time it runs is found often, so the whole run
fails for it. Loaded by `tests/conftest.py`; with several processes it counts in the one that
gathers the results.
"""

from __future__ import annotations

import re
from collections import Counter
from warnings import WarningMessage

import pytest

OFTEN = 4
_FOUND_LATE = (
    pytest.PytestUnraisableExceptionWarning,
    pytest.PytestUnhandledThreadExceptionWarning,
)
_VARIES = re.compile(r"0x[0-9a-f]+|\d+")


class Leaks:
    """Counts what was found late, the like of it together; numbers and addresses do not differ."""

    def __init__(self) -> None:
        self.found: Counter[str] = Counter()

    def pytest_warning_recorded(self, warning_message: WarningMessage) -> None:
        """Count one find."""
        if issubclass(warning_message.category, _FOUND_LATE):
            self.found[_VARIES.sub("N", str(warning_message.message))] += 1

    @property
    def repeated(self) -> list[tuple[str, int]]:
        """The kinds that were found so often that code is to blame, with how often."""
        return [(kind, times) for kind, times in self.found.most_common() if times >= OFTEN]

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail a run whose tests all passed but which leaks by habit."""
        if self.repeated and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what failed the run."""
        for kind, times in self.repeated:
            terminalreporter.write_line(f"LEAKED {times} times: {kind}", red=True)


def pytest_configure(config: pytest.Config) -> None:
    """Count in the process that gathers the results; a worker of it hands its warnings over."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Leaks(), "leaks")
