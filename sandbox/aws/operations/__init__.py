"""The table of API operations: what each asks for, in actions, resources and context keys.

An operation that is not in the table is denied. One module per service.
"""

from sandbox.aws.operations.checks import Check
from sandbox.aws.operations.table import checks_for

__all__ = ["Check", "checks_for"]
