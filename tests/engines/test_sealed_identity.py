from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from airserve.codecs.sealed_key import public_text
from airserve.core.errors import AirserveError
from airserve.engines.sealed_identity import load_or_create_identity


def test_all_who_make_it_at_once_get_the_same_and_nobody_else_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "sealed" / "identity.pem"
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda _: public_text(load_or_create_identity(file)), range(16)))
    assert len(made) == 1
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("content", [b"", b"no key at all"])
def test_a_damaged_identity_is_not_replaced(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "identity.pem"
    file.write_bytes(content)
    with pytest.raises(AirserveError, match="holds no private key"):
        load_or_create_identity(file)
    assert file.read_bytes() == content
