from __future__ import annotations

import pytest
from connectrpc.code import Code
from connectrpc.errors import ConnectError
from connectrpc.request import Headers, RequestContext

from airserve.core.errors import BY_CODE, AirserveError, InvalidInputError, OverloadedError
from airserve.server.apis.grpc.arrival import arrive
from airserve.server.apis.grpc.refusals import Context, as_status


@pytest.fixture
def context() -> Context:
    arrive("/inference.GRPCInferenceService/ModelInfer", {}, "192.0.2.7")
    return RequestContext(method=None, http_method="POST", request_headers=Headers())  # type: ignore[arg-type]


def status(context: Context, failure: Exception) -> ConnectError:
    with pytest.raises(ConnectError) as raised, as_status(context):
        raise failure
    return raised.value


@pytest.mark.parametrize("kind", BY_CODE.values())
def test_every_refusal_has_its_status(context: Context, kind: type[AirserveError]) -> None:
    raised = status(context, kind("a sentence"))
    assert raised.message == "a sentence"
    assert raised.code.name.replace("CANCELED", "CANCELLED") == kind.grpc_status
    assert context.response_trailers["airserve-code"] == kind.code


def test_when_to_come_back_is_told_in_whole_seconds(context: Context) -> None:
    status(context, OverloadedError("busy", retry_after=1.2))
    assert context.response_trailers["retry-after"] == "2"


def test_what_is_no_unicode_is_told_all_the_same(context: Context) -> None:
    assert status(context, InvalidInputError("no file '\udcff'")).message == "no file '?'"


def test_an_unexpected_failure_tells_an_id_and_nothing_of_itself(context: Context) -> None:
    raised = status(context, ZeroDivisionError("a secret"))
    assert raised.code is Code.INTERNAL
    assert raised.message.startswith("an unexpected failure; report it with the id ")
    assert "secret" not in raised.message
