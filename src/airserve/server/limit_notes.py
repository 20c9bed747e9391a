"""The headers that tell a client of its tenant's limits and budgets, out of what was found out about its request."""

from __future__ import annotations

import time

from airserve.protocols.encoded import Headers
from airserve.protocols.limit_headers import Quota, budget_headers, openai_limit_headers, policies, state
from airserve.serving.admission import Admissions
from airserve.serving.standing import Limit, Standing

_MANY = 1_000
_GOOD_FOR_NS = 10_000_000
_WHOSE = {"tenant": "account", "project": "project", "key": "key"}


def headers_for(admissions: Admissions, standing: Standing, *, openai: bool = False) -> Headers:
    """Nothing for a tenant without limits; for `openai` also in the words of its clients."""
    headers: Headers = []
    if standing.limits:
        now_ns = time.monotonic_ns()
        fresh = now_ns < standing.told_until_ns and not openai
        if not fresh:
            with admissions.lock:
                admissions.let_go()
        headers = list(standing.told) if fresh else _told(standing, now_ns)
        if openai:
            headers += openai_limit_headers([_quota(limit, now_ns) for limit in standing.limits])
    if standing.warns:
        passed = admissions.passed(standing)
        headers += budget_headers([f"{line.period} budget of this {_WHOSE[line.scope]}" for line in passed])
    return headers


def _told(standing: Standing, now_ns: int) -> Headers:
    """All limits, and the one nearest to its end: written anew when that matters, not for each of a hundred calls."""
    if not standing.policies:
        standing.policies = policies([_quota(limit, now_ns) for limit in standing.limits])
    nearest = max(standing.limits, key=lambda limit: limit.bucket.fullness(now_ns))
    headers = [(b"ratelimit-policy", standing.policies), (b"ratelimit", state(_quota(nearest, now_ns)))]
    if nearest.bucket.rate.quota >= _MANY and nearest.bucket.fullness(now_ns) < 0.5:
        standing.told, standing.told_until_ns = tuple(headers), now_ns + _GOOD_FOR_NS
    return headers


def _quota(limit: Limit, now_ns: int) -> Quota:
    """A limit as it is now."""
    kind, bucket = limit
    remaining = bucket.remaining(now_ns)
    reset_ns = bucket.reset_ns(now_ns) if remaining else bucket.wait_ns(1, now_ns)
    return Quota(kind.name, kind.unit, bucket.rate.quota, kind.period_ns // 1_000_000_000, remaining, reset_ns)
