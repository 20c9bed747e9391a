from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from airserve.serving.tenant_memory import OVERHEAD_BYTES, TenantMemory

TENANTS = ("a", "b", "c")
PUTS = st.lists(
    st.tuples(st.sampled_from(TENANTS), st.integers(0, 9), st.integers(0, 3000), st.integers(0, 50)), max_size=60
)
BOUND = 12_000


@given(PUTS)
def test_it_never_holds_more_than_its_bound_nor_anything_too_old_and_gives_back_what_was_put(puts: list) -> None:  # type: ignore[type-arg]
    memory: TenantMemory[int] = TenantMemory(BOUND, max_age_ns=100)
    newest: dict[tuple[str, int], tuple[int, int]] = {}
    now_ns = 0
    for number, (tenant, key, size, later) in enumerate(puts):
        now_ns += later
        if memory.put(tenant, key, number, size, now_ns):
            newest[tenant, key] = number, now_ns
        assert memory.size_bytes <= BOUND
        for (whose, what), (value, put_ns) in newest.items():
            found = memory.get(whose, what, now_ns)
            assert found in (None, value)
            assert found is None or now_ns - put_ns < 100
    memory.forget_expired(now_ns + 100)
    assert (memory.size_bytes, len(memory)) == (0, 0)


@given(st.lists(st.tuples(st.sampled_from(TENANTS[1:]), st.integers(0, 99), st.integers(0, 2500)), max_size=80))
def test_who_holds_no_more_than_its_share_loses_nothing_to_the_others(others: list) -> None:  # type: ignore[type-arg]
    memory: TenantMemory[str] = TenantMemory(BOUND, max_age_ns=10**9)
    share = (BOUND - BOUND // 16) // len(TENANTS)
    mine = share // 3 - OVERHEAD_BYTES
    assert all(memory.put("a", key, "mine", mine, 0) for key in range(3))
    for tenant, key, size in others:
        memory.put(tenant, key, "theirs", size, 1)
        assert [memory.get("a", number, 1) for number in range(3)] == ["mine"] * 3


def test_a_tenant_finds_its_own_alone() -> None:
    memory: TenantMemory[str] = TenantMemory(BOUND, max_age_ns=10)
    memory.put("a", "key", "mine", 1, 0)
    assert memory.get("a", "key", 0) == "mine"
    assert memory.get("b", "key", 0) is None


def test_what_is_large_is_not_kept_and_a_bound_of_nothing_keeps_nothing() -> None:
    memory: TenantMemory[str] = TenantMemory(BOUND, max_age_ns=10)
    assert memory.put("a", "fits", "x", memory.largest, 0)
    assert not memory.put("a", "large", "x", memory.largest + 1, 0)
    nothing: TenantMemory[str] = TenantMemory(0, max_age_ns=10)
    assert not nothing.put("a", "key", "x", 0, 0)
