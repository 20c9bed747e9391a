from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airserve.accounts.routes import ROUTES
from airserve.accounts.scope import Scope, address_of, networks_of, scope_of
from airserve.core.errors import InvalidInputError

MODELS = ("a", "b", "c")
# Networks within 10.0.0.0/28, so that every address of a scope can be tried.
ADDRESSES = [IPv4Address(f"10.0.0.{last}") for last in range(16)]
networks = st.builds(
    lambda last, length: str(IPv4Network((int(ADDRESSES[0]) + last, length), strict=False)),
    st.integers(0, 15), st.integers(28, 32),
)  # fmt: skip
scopes = st.builds(
    scope_of,
    st.none() | st.lists(st.sampled_from(MODELS), min_size=1),
    st.none() | st.lists(st.sampled_from(ROUTES), min_size=1),
    st.none() | st.lists(networks, min_size=1, max_size=6),
)


def opened(scope: Scope) -> set[tuple[str, str, IPv4Address]]:
    """Everything that a scope opens, by trying it."""
    return {
        (model, route, address)
        for model in (*MODELS, "another")
        for route in ROUTES
        for address in (*ADDRESSES, IPv4Address("192.0.2.1"))
        if (scope.models is None or model in scope.models)
        and (scope.routes is None or route in scope.routes)
        and (scope.addresses is None or any(address in network for network in scope.addresses))
    }


@settings(max_examples=150, deadline=None)
@given(scopes, scopes)
def test_a_scope_goes_beyond_another_exactly_where_it_opens_more(new: Scope, creator: Scope) -> None:
    # "Every route" and all six of them open the same today, but not once there is a seventh.
    todays = new.routes is None and creator.routes is not None
    if not todays:
        assert (new.beyond(creator) is None) == (opened(new) <= opened(creator))
    else:
        assert new.beyond(creator) is not None


def test_what_goes_beyond_is_named() -> None:
    creator = scope_of(["a"], ["infer", "read"], ["10.0.0.0/8"])
    assert scope_of(None, ["infer"], ["10.1.0.0/16"]).beyond(creator) == "every model"
    assert scope_of(["a"], ["chat"], ["10.1.0.0/16"]).beyond(creator) == "the route 'chat'"
    assert scope_of(["a"], ["read"], ["11.0.0.0/8"]).beyond(creator) == "the addresses 11.0.0.0/8"
    assert scope_of(["a"], ["read"]).beyond(creator) == "every address"
    assert scope_of(["a"], ["read"], ["10.1.0.0/16"]).beyond(creator) is None
    # Two halves cover the whole, and IPv6 is not inside IPv4.
    assert scope_of(addresses=["10.0.0.0/8"]).beyond(scope_of(addresses=["10.0.0.0/9", "10.128.0.0/9"])) is None
    assert scope_of(addresses=["::/0"]).beyond(scope_of(addresses=["0.0.0.0/0"])) == "the addresses ::/0"


@pytest.mark.parametrize(
    ("models", "routes", "addresses", "said"),
    [
        ([], None, None, "1 to 100"),
        (None, [], None, "1 to 100"),
        (None, None, [], "1 to 100"),
        (None, ["infer", "fly"], None, "no route"),
        (None, None, ["10.0.0.1/8"], "no network"),
        (None, None, ["example.org"], "no network"),
        (None, None, ["::ffff:10.0.0.0/104"], "IPv4 in IPv6"),
        (["\n"], None, None, "names"),
        (["m"] * 101, None, None, "1 to 100"),
    ],
)
def test_a_scope_that_makes_no_sense_is_refused(
    models: list[str] | None, routes: list[str] | None, addresses: list[str] | None, said: str
) -> None:
    with pytest.raises(InvalidInputError, match=said):
        scope_of(models, routes, addresses)


def test_an_address_of_ipv4_inside_ipv6_is_the_former() -> None:
    assert address_of("::ffff:10.1.2.3") == IPv4Address("10.1.2.3")
    assert address_of("unix:/socket") is None
    assert networks_of(["10.0.0.0/9", "10.128.0.0/9", "10.0.0.7"]) == (IPv4Network("10.0.0.0/8"),)
