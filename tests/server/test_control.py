"""The control API: what each role may do, in its own tenant and in another's, over every route that there is."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from airserve.accounts.roles import ALLOWED, Action, Role
from tests.conftest import Service, start_service
from tests.server.wire import send

pytestmark = pytest.mark.server

NEEDED = {
    ("GET", "/control/tenants"): Action.TENANTS,
    ("POST", "/control/tenants"): Action.TENANTS,
    ("GET", "/control/tenants/{tenant}"): Action.READ,
    ("PATCH", "/control/tenants/{tenant}"): Action.TENANTS,
    ("GET", "/control/tenants/{tenant}/billing"): Action.INVOICES,
    ("PATCH", "/control/tenants/{tenant}/billing"): Action.BILLING,
    ("GET", "/control/tenants/{tenant}/projects"): Action.READ,
    ("POST", "/control/tenants/{tenant}/projects"): Action.PROJECTS,
    ("DELETE", "/control/tenants/{tenant}/projects/{project}"): Action.PROJECTS,
    ("PUT", "/control/tenants/{tenant}/projects/{project}/payload-logging"): Action.PROJECTS,
    ("GET", "/control/tenants/{tenant}/members"): Action.READ,
    ("POST", "/control/tenants/{tenant}/members"): Action.MEMBERS,
    ("PATCH", "/control/tenants/{tenant}/members/{member}"): Action.MEMBERS,
    ("DELETE", "/control/tenants/{tenant}/members/{member}"): Action.MEMBERS,
    ("GET", "/control/tenants/{tenant}/keys"): Action.READ,
    ("POST", "/control/tenants/{tenant}/keys"): Action.KEYS,
    ("POST", "/control/tenants/{tenant}/keys/{key}/rotate"): Action.KEYS,
    ("DELETE", "/control/tenants/{tenant}/keys/{key}"): Action.KEYS,
    ("GET", "/control/plans"): Action.PLANS,
    ("GET", "/control/tenants/{tenant}/subscriptions"): Action.READ,
    ("POST", "/control/tenants/{tenant}/subscriptions"): Action.PLANS,
    ("GET", "/control/tenants/{tenant}/budgets"): Action.READ,
    ("POST", "/control/tenants/{tenant}/budgets"): Action.BUDGETS,
    ("DELETE", "/control/tenants/{tenant}/budgets/{budget}"): Action.BUDGETS,
    ("GET", "/control/tenants/{tenant}/usage"): Action.USAGE,
    ("GET", "/control/tenants/{tenant}/invoices"): Action.INVOICES,
    ("GET", "/control/tenants/{tenant}/invoices/{number}"): Action.INVOICES,
    ("GET", "/control/tenants/{tenant}/webhooks"): Action.WEBHOOKS,
    ("POST", "/control/tenants/{tenant}/webhooks"): Action.WEBHOOKS,
    ("DELETE", "/control/tenants/{tenant}/webhooks/{endpoint}"): Action.WEBHOOKS,
    ("GET", "/control/tenants/{tenant}/log"): Action.LOG,
    ("GET", "/control/log"): Action.LOG,
    ("GET", "/control/models"): Action.MODELS,
    ("GET", "/control/models/{model}"): Action.MODELS,
    ("GET", "/control/models/{model}/drift"): Action.MODELS,
    ("GET", "/control/drift"): Action.MODELS,
    ("GET", "/control/rollouts"): Action.MODELS,
    ("GET", "/control/models/{model}/rollout"): Action.MODELS,
    ("POST", "/control/models/{model}/rollout"): Action.MODELS,
    ("DELETE", "/control/models/{model}/rollout"): Action.MODELS,
    ("POST", "/control/models/{model}/rollout/next"): Action.MODELS,
    ("GET", "/control/models/{model}/rollouts"): Action.MODELS,
}
OPERATORS_ALONE = {Action.TENANTS, Action.PLANS, Action.ISSUE, Action.MODELS}
BODIES: dict[str, Any] = {
    "/control/tenants": {"name": "gamma"},
    "/projects": {"name": "vision"},
    "/payload-logging": {"enabled": True, "retention_days": 7, "redact": ["x"]},
    "/members": {"email": "new@example.org", "role": "viewer"},
    "/members/{member}": {"role": "viewer"},
    "/keys": {"name": "phone", "models": ["digits"]},
    "/rotate": {"overlap_seconds": 60},
    "/subscriptions": {"plan": None},
    "/webhooks": {"url": "https://example.org/hook"},
    "/budgets": {"limit_nano": 10**9, "mode": "strict"},
    "/billing": {"legal_name": "Alpha Ltd", "address": "1 Way\nTown"},
    "/tenants/{tenant}": {"status": "active"},
    "/rollout": {"version": 2},
    "/rollout/next": {},
}


@dataclass
class Control:
    """The control API of one service, with a key for each role in tenant `alpha`, and one of tenant `beta`."""

    service: Service
    keys: dict[str, str] = field(default_factory=dict)

    def call(self, who: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        content = None if body is None else json.dumps(body).encode()
        headers = {"authorization": f"Bearer {self.keys.get(who, who)}", "content-type": "application/json"}
        answer = send(self.service, path, content, headers=headers, method=method)
        return answer.status, json.loads(answer.body)

    def until_known(self, who: str) -> None:
        end = time.monotonic() + 5
        while self.call(who, "GET", "/control/me")[0] != 200:
            assert time.monotonic() < end, who
            time.sleep(0.05)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    running = start_service(tmp_path_factory.mktemp("control") / "state")
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def control(service: Service) -> Control:
    control = Control(service)
    control.keys["operator"] = service.run("keys", "create", "--operator")["key"]
    control.until_known("operator")
    for tenant in ("alpha", "beta"):
        assert control.call("operator", "POST", "/control/tenants", {"name": tenant})[0] == 201
        for role in ("owner", "developer", "billing", "viewer"):
            email = f"{role}@{tenant}.org"
            members = f"/control/tenants/{tenant}/members"
            assert control.call("operator", "POST", members, {"email": email, "role": role})[0] == 201
            status, made = control.call("operator", "POST", f"/control/tenants/{tenant}/keys", {"member": email})
            assert status == 201
            control.keys[f"{tenant} {role}"] = made["key"]
        _, made = control.call("operator", "POST", f"/control/tenants/{tenant}/keys", {"name": "service"})
        control.keys[f"{tenant} service"] = made["key"]
    control.until_known("beta service")
    return control


def body_of(method: str, path: str) -> Any:
    if method in ("GET", "DELETE"):
        return None
    return BODIES[max((end for end in BODIES if path.endswith(end)), key=len)]


def filled(path: str, tenant: str) -> str:
    """A path of things that are not there, so that nothing is changed where it is allowed."""
    return re.sub(r"\{\w+\}", "nothing", path.replace("{tenant}", tenant))


def test_every_route_is_in_the_table(control: Control) -> None:
    _, document = control.call("operator", "GET", "/control/openapi.json")
    there = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert there == NEEDED.keys() | {("GET", "/control/me")}


@pytest.mark.parametrize("role", ["owner", "developer", "billing", "viewer"])
@pytest.mark.parametrize(("method", "path"), [route for route in NEEDED if route[0] == "GET"])
def test_a_member_reads_what_the_role_allows_and_nothing_of_another_tenant(
    role: str, method: str, path: str, control: Control
) -> None:
    needed = NEEDED[method, path]
    allowed = needed in ALLOWED[Role(role)] and "{tenant}" in path
    status, _ = control.call(f"alpha {role}", method, filled(path, "me"))
    assert status == (403 if not allowed else 404 if "{number}" in path else 200)
    assert control.call(f"beta {role}", method, filled(path, "alpha"))[0] == (404 if allowed else 403)


@pytest.mark.parametrize("role", ["owner", "developer", "billing", "viewer", "service"])
@pytest.mark.parametrize(("method", "path"), [route for route in NEEDED if route[0] != "GET"])
def test_a_change_needs_the_role_and_is_never_made_in_another_tenant(
    role: str, method: str, path: str, control: Control
) -> None:
    needed = NEEDED[method, path]
    allowed = role != "service" and needed in ALLOWED[Role(role)] and needed not in OPERATORS_ALONE
    before = control.call("operator", "GET", "/control/log?count=1000")[1]
    status, answer = control.call(f"beta {role}", method, filled(path, "alpha"), body_of(method, path))
    # Things of another tenant are not there; where a role is asked only of things that are, they are not there first.
    assert status in ({404} if allowed else {403, 404}), answer
    if not allowed:
        status, answer = control.call(f"alpha {role}", method, filled(path, "me"), body_of(method, path))
        assert status in (403, 404), answer
    assert control.call("operator", "GET", "/control/log?count=1000")[1] == before


def test_a_tenant_is_run_by_its_own_people(control: Control) -> None:
    own = "/control/tenants/me"
    call = control.call
    status, project = call("alpha developer", "POST", f"{own}/projects", {"name": "cameras"})
    assert (status, project["name"]) == (201, "cameras")
    status, made = call("alpha developer", "POST", f"{own}/keys", {"project": "cameras", "models": ["digits"]})
    assert (status, made["info"]["models"]) == (201, ["digits"])
    status, rotated = call("alpha developer", "POST", f"{own}/keys/{made['info']['id']}/rotate", {"overlap_seconds": 0})
    assert status == 201 and rotated["key"] != made["key"]
    assert call("alpha developer", "DELETE", f"{own}/keys/{rotated['info']['id']}")[1]["revoked"]
    status, budget = call("alpha billing", "POST", f"{own}/budgets", {"limit_nano": 5 * 10**9, "mode": "strict"})
    assert (status, budget["scope"]) == (201, "tenant")
    assert call("alpha billing", "DELETE", f"{own}/budgets/{budget['id']}")[0] == 200
    assert call("beta billing", "DELETE", f"{own}/budgets/{budget['id']}")[0] == 404
    status, payloads = call("alpha developer", "PUT", f"{own}/projects/cameras/payload-logging", {"enabled": True})
    assert status == 200, payloads
    status, details = call("alpha billing", "PATCH", f"{own}/billing", {"legal_name": "Alpha Ltd"})
    assert (status, details["legal_name"], details["payment_days"]) == (200, "Alpha Ltd", 14)
    assert call("alpha billing", "PATCH", f"{own}/billing", {"tax_ppm": 0})[0] == 403
    status, log = call("alpha owner", "GET", f"{own}/log")
    told = [(row["actor"], row["action"]) for row in log][-8:]
    assert told == [
        ("member:developer@alpha.org", "project.create"),
        ("member:developer@alpha.org", "key.create"),
        ("member:developer@alpha.org", "key.rotate"),
        ("member:developer@alpha.org", "key.revoke"),
        ("member:billing@alpha.org", "budget.set"),
        ("member:billing@alpha.org", "budget.remove"),
        ("member:developer@alpha.org", "project.payload_logging"),
        ("member:billing@alpha.org", "tenant.billing"),
    ]


def test_an_owner_is_told_of_what_happens_and_nobody_elses_endpoint_is_touched(control: Control) -> None:
    own = "/control/tenants/me/webhooks"
    status, made = control.call("alpha owner", "POST", own, {"url": "https://93.184.216.34/hook"})
    assert status == 201 and made["secret"].startswith("whsec_")
    assert control.call("beta owner", "DELETE", f"{own}/{made['endpoint']['id']}")[0] == 404
    assert control.call("alpha owner", "POST", own, {"url": "http://169.254.169.254/latest"})[0] == 400
    assert control.call("alpha owner", "DELETE", f"{own}/{made['endpoint']['id']}")[0] == 200
    assert control.call("alpha owner", "GET", own) == (200, [])


def test_nobody_makes_a_key_that_opens_more_than_their_own(control: Control) -> None:
    status, made = control.call(
        "alpha owner", "POST", "/control/tenants/me/keys", {"member": "owner@alpha.org", "addresses": ["127.0.0.0/8"]}
    )
    assert status == 201
    control.keys["confined"] = made["key"]
    control.until_known("confined")
    status, refused = control.call("confined", "POST", "/control/tenants/me/keys", {"name": "wide"})
    assert (status, refused["code"]) == (403, "forbidden")
    assert "every address" in refused["detail"]
    status, refused = control.call("alpha developer", "POST", "/control/tenants/me/keys", {"member": "owner@alpha.org"})
    assert status == 403


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "says"),
    [
        ("POST", "/control/tenants", {"name": "x", "price": 0}, 400, "body.price"),
        ("POST", "/control/tenants", {}, 400, "body.name"),
        ("POST", "/control/tenants", {"name": "alpha"}, 409, "already"),
        ("POST", "/control/tenants/alpha/budgets", {"limit_nano": -1}, 400, "budget"),
        ("POST", "/control/tenants/alpha/keys", {"models": []}, 400, "models"),
        ("POST", "/control/tenants/alpha/subscriptions", {"plan": "none-such"}, 404, "plan"),
        ("GET", "/control/tenants/alpha/usage?since=yesterday", None, 400, "query.since"),
        ("GET", "/control/nothing", None, 404, "openapi.json"),
        ("DELETE", "/control/tenants", None, 405, "DELETE"),
    ],
)
def test_what_cannot_be_done_is_told_as_problem_details(
    method: str, path: str, body: Any, status: int, says: str, control: Control
) -> None:
    found, problem = control.call("operator", method, path, body)
    assert found == status, problem
    assert says in problem["detail"]
    assert problem["status"] == status
    assert not problem["retryable"]


def test_without_a_key_nothing_is_told(control: Control) -> None:
    for method, path in NEEDED:
        assert control.call("as_adm_none", method, filled(path, "alpha"), body_of(method, path))[0] in (401, 429)


def test_a_whole_cycle_leaves_usage_that_its_owner_reads(service: Service, control: Control, tmp_path: Path) -> None:
    row = {"inputs": [{"name": "x", "shape": [1, 64], "datatype": "FP32", "data": [0.0] * 64}]}
    assert control.call("alpha service", "POST", "/v2/models/digits/infer", row)[0] == 200
    end = time.monotonic() + 10
    while not (usage := control.call("alpha viewer", "GET", "/control/tenants/me/usage")[1]):
        assert time.monotonic() < end, "the call is not in the ledger"
        time.sleep(0.1)
    assert [(each["model"], each["ok"]) for each in usage] == [("digits", 1)]
