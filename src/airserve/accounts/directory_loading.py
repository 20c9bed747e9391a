"""Building the directory from the database: keys, tenants, projects, members, plans and budgets in one snapshot."""

from __future__ import annotations

import json
import ssl
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import sqlalchemy as sa

from airserve.accounts.account import UNLIMITED, Account, BudgetOver
from airserve.accounts.directory import FOREVER_NS, Directory, Entry
from airserve.accounts.payload_logging import PayloadLogging
from airserve.accounts.principal import Principal
from airserve.accounts.roles import Role
from airserve.accounts.scope import Network, networks_of
from airserve.accounts.subscriptions import timeline
from airserve.accounts.terms import Budget, BudgetMode, BudgetPeriod, Terms
from airserve.storage import Database, tables

Segments = list[tuple[int, str | None]]
_NO_PLAN: Segments = [(0, None)]


@dataclass(slots=True)
class _Terms:
    """What the accounts are made of, and those that were made: equal ones are one object."""

    plans: dict[str, Terms]
    segments: dict[str, Segments]
    budgets: dict[tuple[str, str], list[BudgetOver]]
    authorities: dict[str, tuple[bytes, ...]]
    made: dict[tuple[str | None, tuple[BudgetOver, ...]], Account] = field(default_factory=dict)

    def accounts(self, tenant_id: str, project_id: str, key_id: str) -> list[tuple[int, Account]]:
        """What holds for a key from which moment on."""
        own = [
            budget
            for scope in (("tenant", tenant_id), ("project", project_id), ("key", key_id))
            for budget in self.budgets.get(scope, ())
        ]
        return [
            (starts_ns, self._account(tenant_id, plan_id, own))
            for starts_ns, plan_id in self.segments.get(tenant_id, _NO_PLAN)
        ]

    def _account(self, tenant_id: str, plan_id: str | None, own: Iterable[BudgetOver]) -> Account:
        terms = self.plans[plan_id] if plan_id is not None else UNLIMITED.terms
        of_plan = () if terms.budget is None else (BudgetOver("tenant", tenant_id, terms.budget),)
        budgets = _tightest((*of_plan, *own))
        if plan_id is None and not budgets:
            return UNLIMITED
        # Budgets name their tenant, so that only accounts of one tenant are ever shared.
        account = self.made.get((plan_id, budgets))
        if account is None:
            account = self.made[plan_id, budgets] = Account(plan_id, terms, budgets)
        return account


def load_directory(database: Database, pepper: bytes) -> Directory:
    """The directory as the database is now."""
    with database.read() as connection:
        rows = connection.execute(_query()).all()
        terms = _Terms(_plans(connection), _segments(connection), _budgets(connection), _authorities(connection))
    return Directory({bytes(row.mac): _entry(row, terms) for row in rows}, pepper)


def _entry(row: Any, terms: _Terms) -> Entry:
    if row.kind == "tenant":
        accounts = terms.accounts(row.tenant_id, row.project_id, row.counted_as or row.id)
    else:
        accounts = [(0, UNLIMITED)]
    return Entry(
        principals=[(starts_ns, _principal(row, account, terms)) for starts_ns, account in accounts],
        not_before_ns=row.not_before_ns or 0,
        expires_ns=FOREVER_NS if row.expires_ns is None else row.expires_ns,
        revoked=row.revoked_ns is not None or row.removed_ns is not None,
        replaced_by=row.replaced_by,
        tenant_status=row.status or "active",
        archived=row.archived_ns is not None,
    )


def _principal(row: Any, account: Account, terms: _Terms) -> Principal:
    role = Role.OPERATOR if row.kind == "operator" else Role(row.role) if row.kind == "member" else None
    logging = msgspec.json.decode(row.payload_logging or "{}", type=PayloadLogging)
    return Principal(
        key_id=row.counted_as or row.id,
        tenant_id=row.tenant_id,
        models=_names(row.models),
        project_id=row.project_id or "",
        routes=_names(row.routes),
        addresses=_networks(row.addresses),
        account=account,
        role=role,
        member=row.email or "",
        credential_id=row.id,
        cert_sha256=row.cert_sha256,
        authorities=terms.authorities.get(row.tenant_id, ()),
        payload_logging=logging if logging.enabled else None,
    )


def _query() -> sa.Select[Any]:
    keys, tenants, projects, members = tables.api_keys, tables.tenants, tables.projects, tables.members
    return (
        sa.select(
            keys,
            tenants.c.status,
            projects.c.archived_ns,
            projects.c.payload_logging,
            members.c.role,
            members.c.email,
            members.c.removed_ns,
        )
        .join_from(keys, tenants, tenants.c.id == keys.c.tenant_id, isouter=True)
        .join(projects, projects.c.id == keys.c.project_id, isouter=True)
        .join(members, members.c.id == keys.c.member_id, isouter=True)
    )


def _plans(connection: sa.Connection) -> dict[str, Terms]:
    rows = connection.execute(sa.select(tables.plans.c.id, tables.plans.c.terms))
    return {id: msgspec.json.decode(terms, type=Terms) for id, terms in rows}


def _segments(connection: sa.Connection) -> dict[str, Segments]:
    """For each tenant that ever had a plan: which plan holds from when on; the first from the beginning of time."""
    rows: dict[str, list[tuple[int, int, str | None]]] = defaultdict(list)
    for row in connection.execute(sa.select(tables.subscriptions)):
        rows[row.tenant_id].append((row.id, row.starts_ns, row.plan_id))
    return {tenant_id: [(0, None), *timeline(of_tenant)] for tenant_id, of_tenant in rows.items()}


def _budgets(connection: sa.Connection) -> dict[tuple[str, str], list[BudgetOver]]:
    found: dict[tuple[str, str], list[BudgetOver]] = defaultdict(list)
    for row in connection.execute(sa.select(tables.budgets).order_by(tables.budgets.c.id)):
        budget = Budget(row.limit_nano, BudgetPeriod(row.period), BudgetMode(row.mode))
        found[row.scope, row.scope_id].append(BudgetOver(row.scope, row.scope_id, budget))
    return found


def _authorities(connection: sa.Connection) -> dict[str, tuple[bytes, ...]]:
    """The certificate authorities of each tenant that has any, in DER."""
    columns = tables.client_authorities.c
    found: dict[str, tuple[bytes, ...]] = {}
    for tenant_id, pem in connection.execute(sa.select(columns.tenant_id, columns.pem).order_by(columns.id)):
        found[tenant_id] = (*found.get(tenant_id, ()), ssl.PEM_cert_to_DER_cert(pem))
    return found


def _tightest(budgets: Iterable[BudgetOver]) -> tuple[BudgetOver, ...]:
    """Of budgets over the same, of the same period and mode, the smallest: a tenant's own beside its plan's."""
    kept: dict[tuple[str, str, BudgetPeriod, BudgetMode], BudgetOver] = {}
    for each in budgets:
        kind = (each.scope, each.scope_id, each.budget.period, each.budget.mode)
        if kind not in kept or each.budget.limit_nano < kept[kind].budget.limit_nano:
            kept[kind] = each
    return tuple(kept.values())


def _names(text: str | None) -> frozenset[str] | None:
    return None if text is None else frozenset(json.loads(text))


def _networks(text: str | None) -> tuple[Network, ...] | None:
    return None if text is None else networks_of(json.loads(text))
