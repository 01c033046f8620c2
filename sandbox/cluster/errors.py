"""The error of the emulated cluster, apart so that every module of it may raise it."""

from __future__ import annotations


class ClusterError(RuntimeError):
    """A cluster could not be started or asked; the message names it, the cause and the log."""
