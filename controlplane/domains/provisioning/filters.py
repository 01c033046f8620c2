"""SCIM filters as SQL conditions: `eq` on what providers look for, joined by `and`.

Used by the list routes. Whatever else the grammar has is refused by name and never answered with
too much: a provider that asked for one person must not take everybody for the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from scim2_models import InvalidFilterException, ScimFilter
from scim2_models.path import (
    CompareOperator,
    Comparison,
    FilterNode,
    FilterVisitor,
    LogicalExpr,
    LogicalOperator,
    Not,
    Present,
    ValuePath,
)
from sqlalchemy import ColumnElement, and_, exists, false, func, select

from controlplane.tables.identity import GroupMember, MembershipSource, PrincipalGroup
from controlplane.tables.provisioning import ProvisionedUser

Condition = Callable[[Any], ColumnElement[bool]]


def _by_id(column: Any) -> Condition:
    def condition(value: Any) -> ColumnElement[bool]:
        try:
            return ColumnElement.__eq__(column, UUID(str(value)))
        except ValueError:
            # No id of ours: nobody has it.
            return false()

    return condition


def _by_member(value: Any) -> ColumnElement[bool]:
    return exists(
        select(GroupMember.id)
        .join(ProvisionedUser, ProvisionedUser.principal_id == GroupMember.principal_id)
        .where(
            GroupMember.group_id == PrincipalGroup.id,
            GroupMember.source == MembershipSource.SCIM,
            GroupMember.valid_until.is_(None),
            ProvisionedUser.removed_at.is_(None),
            _by_id(ProvisionedUser.id)(value),
        )
    )


USERS: Mapping[str, Condition] = {
    "id": _by_id(ProvisionedUser.id),
    # `userName` is not case exact (RFC 7643, 4.1.1); `externalId` is (3.1).
    "username": lambda value: func.lower(ProvisionedUser.user_name) == str(value).lower(),
    "externalid": lambda value: ProvisionedUser.external_id == str(value),
    "active": lambda value: ProvisionedUser.is_active.is_not(value is not True),
    "displayname": lambda value: (
        func.lower(ProvisionedUser.attributes["displayName"].astext) == str(value).lower()
    ),
}
GROUPS: Mapping[str, Condition] = {
    "id": _by_id(PrincipalGroup.id),
    "displayname": lambda value: func.lower(PrincipalGroup.name) == str(value).lower(),
    "externalid": lambda value: PrincipalGroup.external_id == str(value),
    "members": _by_member,
    "members.value": _by_member,
}


def condition_of(
    wanted: ScimFilter[Any] | None, known: Mapping[str, Condition]
) -> ColumnElement[bool] | None:
    """Return the SQL condition of a filter, None for none. Raises: InvalidFilterException."""
    return _ToSql(known).visit(wanted.ast) if wanted is not None else None


class _ToSql(FilterVisitor[ColumnElement[bool]]):
    """Walks a filter's tree."""

    def __init__(self, known: Mapping[str, Condition], prefix: str = "") -> None:
        self._known = known
        self._prefix = prefix

    def visit_comparison(self, node: Comparison) -> ColumnElement[bool]:
        path = node.attr_path
        name = self._prefix + ".".join(p for p in (path.attr, path.sub_attr) if p)
        condition = self._known.get(name.lower())
        if condition is None or node.op is not CompareOperator.eq:
            raise self._refused(node)
        return condition(node.value)

    def visit_logical_expr(self, node: LogicalExpr) -> ColumnElement[bool]:
        if node.op is not LogicalOperator.and_:
            raise self._refused(node)
        return and_(*(self.visit(term) for term in node.terms))

    def visit_value_path(self, node: ValuePath) -> ColumnElement[bool]:
        inner = _ToSql(self._known, prefix=f"{node.attr_path.attr}.")
        return inner.visit(node.val_filter)

    def visit_not(self, node: Not) -> ColumnElement[bool]:
        raise self._refused(node)

    def visit_present(self, node: Present) -> ColumnElement[bool]:
        raise self._refused(node)

    def _refused(self, node: FilterNode) -> InvalidFilterException:
        names = ", ".join(sorted(self._known))
        return InvalidFilterException(
            filter=str(node),
            detail=f"{node!s} is not supported: use `eq` on one of {names}, joined by `and`",
        )
