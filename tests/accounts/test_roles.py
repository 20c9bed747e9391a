from __future__ import annotations

import pytest

from airserve.accounts import Principal
from airserve.accounts.roles import ALLOWED, Action, Role, require
from airserve.core.errors import ForbiddenError, NotFoundError

# Written down a second time, letter by letter, so that a slip in the table is seen: o = owner, d = developer,
# b = billing, v = viewer; the operator may do everything.
WHO = {
    Action.READ: "odbv", Action.USAGE: "odbv", Action.INVOICES: "ob", Action.PROJECTS: "od", Action.KEYS: "od",
    Action.MEMBERS: "o", Action.BUDGETS: "ob", Action.BILLING: "ob", Action.WEBHOOKS: "o", Action.LOG: "o",
    Action.TENANTS: "", Action.PLANS: "", Action.ISSUE: "", Action.MODELS: "",
}  # fmt: skip


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("action", list(Action))
def test_each_role_may_do_what_the_table_says_and_nothing_else(role: Role, action: Action) -> None:
    operator = role is Role.OPERATOR
    principal = Principal("k", None if operator else "ten_a", None, role=role)
    if operator or role.value[0] in WHO[action]:
        require(principal, action, "ten_a")
    else:
        with pytest.raises(ForbiddenError):
            require(principal, action, "ten_a")


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.OPERATOR])
def test_another_tenant_is_not_found_and_the_whole_service_is_the_operators(role: Role) -> None:
    principal = Principal("k", "ten_a", None, role=role)
    for action in ALLOWED[role]:
        with pytest.raises(NotFoundError, match="no such tenant"):
            require(principal, action, "ten_b")
        with pytest.raises(ForbiddenError):
            require(principal, action)


def test_a_service_key_does_nothing_on_the_control_side() -> None:
    for action in Action:
        with pytest.raises(ForbiddenError):
            require(Principal("k", "ten_a", None), action, "ten_a")


def test_the_log_names_each_kind_of_caller() -> None:
    assert Principal("first", "ten_a", None, credential_id="second").actor == "key:second"
    assert Principal("k", None, None, role=Role.OPERATOR, credential_id="k").actor == "operator:k"
    assert Principal("k", "ten_a", None, role=Role.OWNER, member="a@b.org").actor == "member:a@b.org"
