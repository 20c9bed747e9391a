"""What a key opens: models, routes, addresses. A key is never wider than the one that made it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    collapse_addresses,
    ip_address,
    ip_network,
)

from airserve.accounts.routes import ROUTES
from airserve.core.errors import InvalidInputError

Network = IPv4Network | IPv6Network
MAX_ENTRIES = 100
"""The most models, or networks, that one key names."""
_MAPPED = IPv6Network("::ffff:0:0/96")


@dataclass(frozen=True, slots=True)
class Scope:
    """None in a part is no restriction. `addresses` are collapsed: no network in it covers or extends another."""

    models: frozenset[str] | None = None
    routes: frozenset[str] | None = None
    addresses: tuple[Network, ...] | None = None

    def beyond(self, other: Scope) -> str | None:
        """In which words this opens what `other` does not; None where it opens nothing more."""
        if self.models is not None and len(self.models) == 0:
            return None
        for what, own, others in (("model", self.models, other.models), ("route", self.routes, other.routes)):
            if others is None:
                continue
            if own is None:
                return f"every {what}"
            if more := sorted(own - others):
                return f"the {what} '{more[0][:40]}'"
        if other.addresses is None:
            return None
        if self.addresses is None:
            return "every address"
        for network in self.addresses:
            if not any(_covers(each, network) for each in other.addresses):
                return f"the addresses {network}"
        return None


def scope_of(
    models: Sequence[str] | None = None, routes: Sequence[str] | None = None, addresses: Sequence[str] | None = None
) -> Scope:
    """A scope from texts, checked. Raises `InvalidInputError` for an empty list, an unknown route, a bad network."""
    for what, given in (("models", models), ("routes", routes), ("addresses", addresses)):
        if given is not None and not 0 < len(given) <= MAX_ENTRIES:
            raise InvalidInputError(f"{what} are 1 to {MAX_ENTRIES}, or left away for all; these are {len(given)}")
    if models is not None and any(not model or not model.isprintable() or len(model) > 200 for model in models):
        raise InvalidInputError("models are names such as digits")
    if routes is not None and (unknown := sorted(set(routes) - set(ROUTES))):
        raise InvalidInputError(f"'{unknown[0][:20]}' is no route; there are {', '.join(ROUTES)}")
    return Scope(
        None if models is None else frozenset(models),
        None if routes is None else frozenset(routes),
        None if addresses is None else networks_of(addresses),
    )


def networks_of(texts: Iterable[str]) -> tuple[Network, ...]:
    """Networks from texts such as 10.0.0.0/8, 2001:db8::/32 or one address; collapsed, in order."""
    of_4: list[IPv4Network] = []
    of_6: list[IPv6Network] = []
    for text in texts:
        try:
            network = ip_network(text.strip())
        except ValueError as error:
            raise InvalidInputError(f"'{text[:50]}' is no network: {error}; write it like 10.1.0.0/16") from None
        if isinstance(network, IPv4Network):
            of_4.append(network)
        elif network.subnet_of(_MAPPED):
            raise InvalidInputError(f"'{text[:50]}' speaks of IPv4 in IPv6; write it like 10.1.0.0/16")
        else:
            of_6.append(network)
    return (*collapse_addresses(of_4), *collapse_addresses(of_6))


def address_of(text: str) -> IPv4Address | IPv6Address | None:
    """A client's address; one of IPv4 inside IPv6 as the former. None where `text` is none."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _covers(outer: Network, inner: Network) -> bool:
    if isinstance(outer, IPv4Network):
        return isinstance(inner, IPv4Network) and inner.subnet_of(outer)
    return isinstance(inner, IPv6Network) and inner.subnet_of(outer)
