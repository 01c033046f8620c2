"""The columns and keys that every tenant table has, in one place.

Used by `tables/` and by the run engine's tables. Row-level security itself is in the migrations
(`migrations/rls.py`); a catalogue test checks that every table with `boundary_id` has both.
Source: access.md 5, decision 18.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKeyConstraint, PrimaryKeyConstraint
from sqlalchemy.orm import Mapped, mapped_column

from controlplane.core.ids import new_id


class OrganizationScoped:
    """Columns of a table of class organization."""

    organization_id: Mapped[UUID] = mapped_column(sort_order=-3)
    id: Mapped[UUID] = mapped_column(default=new_id, sort_order=-1)


class BoundaryScoped(OrganizationScoped):
    """Columns of a table of class boundary; its primary key is (boundary_id, id)."""

    boundary_id: Mapped[UUID] = mapped_column(sort_order=-2)


def organization_table(*constraints: Any) -> tuple[Any, ...]:
    """Return `__table_args__` of an organization table: keys first, then `constraints`."""
    return (
        PrimaryKeyConstraint("organization_id", "id"),
        ForeignKeyConstraint(["organization_id"], ["organization.id"]),
        *constraints,
        {"info": {"tenancy": "organization"}},
    )


def boundary_table(*constraints: Any) -> tuple[Any, ...]:
    """Return `__table_args__` of a boundary table: keys first, then `constraints`.

    A foreign-key check bypasses row-level security, so every reference is composite and starts
    with the boundary: a row can only point at a row of its own boundary.
    """
    return (
        PrimaryKeyConstraint("boundary_id", "id"),
        ForeignKeyConstraint(
            ["organization_id", "boundary_id"], ["boundary.organization_id", "boundary.id"]
        ),
        *constraints,
        {"info": {"tenancy": "boundary"}},
    )


def within_boundary(column: str, target: str) -> ForeignKeyConstraint:
    """Return the foreign key from `column` to table `target` of the same boundary."""
    return ForeignKeyConstraint(["boundary_id", column], [f"{target}.boundary_id", f"{target}.id"])


def within_organization(column: str, target: str) -> ForeignKeyConstraint:
    """Return the foreign key from `column` to table `target` of the same organization."""
    return ForeignKeyConstraint(
        ["organization_id", column], [f"{target}.organization_id", f"{target}.id"]
    )
