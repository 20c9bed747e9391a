from __future__ import annotations

import pytest

from airserve.accounts import create_key, create_tenant, load_directory
from airserve.accounts.payload_logging import PayloadLogging
from airserve.accounts.projects import archive_project, create_project, list_projects, set_payload_logging
from airserve.accounts.tenants import set_tenant_currency, set_tenant_status
from airserve.core.errors import ConflictError, ForbiddenError, InvalidInputError, NotFoundError
from airserve.storage import Database
from tests.accounts.conftest import PEPPER


def test_a_tenant_begins_with_a_project_that_its_keys_are_of(acme: Database) -> None:
    (default,) = list_projects(acme, "acme")
    assert default.name == "default"
    key, info = create_key(acme, PEPPER, now_ns=2, tenant="acme")
    assert info.project == "default"
    assert load_directory(acme, PEPPER).authenticate(key, 3).project_id == default.id


def test_an_archived_project_opens_nothing_and_gets_nothing_new(acme_on_each: Database) -> None:
    project = create_project(acme_on_each, "acme", "line 4", now_ns=2)
    key, _ = create_key(acme_on_each, PEPPER, now_ns=2, tenant="acme", project="line 4")
    assert load_directory(acme_on_each, PEPPER).authenticate(key, 3).project_id == project.id
    archive_project(acme_on_each, "acme", "line 4", now_ns=4)
    with pytest.raises(ForbiddenError, match="archived"):
        load_directory(acme_on_each, PEPPER).authenticate(key, 5)
    for refused in (
        lambda: create_key(acme_on_each, PEPPER, now_ns=5, tenant="acme", project="line 4"),
        lambda: set_payload_logging(acme_on_each, "acme", "line 4", PayloadLogging(True), now_ns=5),
        lambda: create_project(acme_on_each, "acme", "line 4", now_ns=5),
        lambda: archive_project(acme_on_each, "acme", "default", now_ns=5),
    ):
        with pytest.raises(ConflictError):
            refused()


def test_payloads_are_kept_only_where_a_project_says_so(acme: Database) -> None:
    create_project(acme, "acme", "line 4", now_ns=2)
    keys = [create_key(acme, PEPPER, now_ns=2, tenant="acme", project=name)[0] for name in ("line 4", "default")]
    setting = PayloadLogging(True, 7, ("prompt",))
    set_payload_logging(acme, "acme", "line 4", setting, now_ns=3)
    directory = load_directory(acme, PEPPER)
    assert [directory.authenticate(key, 4).payload_logging for key in keys] == [setting, None]
    set_payload_logging(acme, "acme", "line 4", PayloadLogging(), now_ns=5)
    assert load_directory(acme, PEPPER).authenticate(keys[0], 6).payload_logging is None
    with pytest.raises(InvalidInputError, match="days"):
        set_payload_logging(acme, "acme", "line 4", PayloadLogging(True, 366), now_ns=5)


def test_a_project_is_found_by_its_own_tenant_alone(acme: Database) -> None:
    create_tenant(acme, "other", now_ns=1)
    project = create_project(acme, "acme", "line 4", now_ns=2)
    for name in ("line 4", project.id):
        with pytest.raises(NotFoundError):
            create_key(acme, PEPPER, now_ns=2, tenant="other", project=name)
        with pytest.raises(NotFoundError):
            archive_project(acme, "other", name, now_ns=3)


def test_a_closed_tenant_changes_no_more(acme: Database) -> None:
    set_tenant_status(acme, "acme", "closed", now_ns=2)
    with pytest.raises(ConflictError, match="closed"):
        create_project(acme, "acme", "line 4", now_ns=3)
    with pytest.raises(ConflictError, match="closed"):
        set_tenant_currency(acme, "acme", "CHF", now_ns=3)
