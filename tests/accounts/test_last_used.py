from __future__ import annotations

import pytest

from airserve.accounts import create_key, list_keys
from airserve.accounts.last_used import LastUsed
from airserve.storage import Database
from tests.accounts.conftest import PEPPER

MINUTE_NS = 60 * 10**9


def test_the_last_use_is_known_to_the_minute_and_never_goes_back(acme_on_each: Database) -> None:
    used, idle = (create_key(acme_on_each, PEPPER, now_ns=1, tenant="acme")[1].id for _ in range(2))
    counter = acme_on_each.change_counter()
    last_used = LastUsed()
    for now_ns in (5 * MINUTE_NS, 7 * MINUTE_NS + 1):
        last_used.note(used, now_ns)
    assert last_used.flush(acme_on_each) == 1
    assert last_used.flush(acme_on_each) == 0
    last_used.note(used, 6 * MINUTE_NS)
    last_used.flush(acme_on_each)
    assert {key.id: key.last_used_ns for key in list_keys(acme_on_each)} == {used: 7 * MINUTE_NS, idle: None}
    # Servers need not take new snapshots for that.
    assert acme_on_each.change_counter() == counter


def test_what_could_not_be_written_is_written_later(acme: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    key = create_key(acme, PEPPER, now_ns=1, tenant="acme")[1].id
    last_used = LastUsed()
    last_used.note(key, 5 * MINUTE_NS)
    with monkeypatch.context() as patch:
        patch.setattr(acme, "write", None)
        with pytest.raises(TypeError):
            last_used.flush(acme)
    last_used.flush(acme)
    assert list_keys(acme)[0].last_used_ns == 5 * MINUTE_NS
