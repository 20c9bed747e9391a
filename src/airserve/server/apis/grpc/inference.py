"""The inference service: which procedures there are, who may call them, and what answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing

from protobuf import message_from_json_value

from airserve import __version__
from airserve.core.errors import AirserveError, InvalidInputError, NotImplementedHereError
from airserve.protocols import headers as wire
from airserve.protocols import open_inference as rest
from airserve.protocols import open_inference_grpc as oip
from airserve.protocols.encoded import Headers
from airserve.protocols.open_inference.checks import NO_SHARED_MEMORY
from airserve.protocols.open_inference.repository import check_change
from airserve.protocols.protos import open_inference_pb as pb
from airserve.protocols.protos.open_inference_connect import GRPCInferenceService
from airserve.server.apis.grpc.answers import Answers
from airserve.server.apis.grpc.arrival import arrival
from airserve.server.apis.grpc.limits import limits_told
from airserve.server.apis.grpc.refusals import Context
from airserve.server.calls import Calls, new_id
from airserve.server.idempotency import REPLAYED
from airserve.server.runtime import Runtime
from airserve.serving.service import Served
from airserve.serving.version import State, Version
from airserve.storage.idempotent_answers import Answer


class InferenceService(GRPCInferenceService):
    """Metadata may be read by tenants and operators, health by everybody; the repository is the operator's."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._answers = Answers(Calls(runtime))

    async def model_infer(self, request: pb.ModelInferRequest, ctx: Context) -> pb.ModelInferResponse:
        """One call of tensors."""
        with limits_told(self._runtime.admissions, ctx):
            response, headers = await self._once(request, ctx)
            for name, value in headers:
                ctx.response_headers[name.decode()] = value.decode()
            return response

    async def model_stream_infer(
        self, request: AsyncIterator[pb.ModelInferRequest], ctx: Context
    ) -> AsyncIterator[pb.ModelStreamInferResponse]:
        """Calls on one stream."""
        ctx.response_headers["x-request-id"] = wire.request_id(arrival().headers, new_id)
        if wire.idempotency_key(arrival().headers) is not None:
            raise InvalidInputError("a stream takes no idempotency-key: call ModelInfer with it, one message a call")
        # Left to the garbage collector, it would end its work after the library has closed what it reads from.
        async with aclosing(self._answers.all(request, ctx)) as responses:
            async for response in responses:
                yield response

    async def _once(self, request: pb.ModelInferRequest, ctx: Context) -> tuple[pb.ModelInferResponse, Headers]:
        """The response, which was perhaps given before under the same idempotency-key."""
        arrived = arrival()
        key = wire.idempotency_key(arrived.headers)
        if key is None:
            return await self._answers.one(request, ctx)
        principal = self._runtime.gate.known(wire.bearer_key(arrived.headers), arrived.client, arrived.certificate)
        idempotency = self._runtime.idempotency

        async def once() -> tuple[pb.ModelInferResponse, Headers]:
            claimed, before = await idempotency.begin(principal, key, "POST", arrived.path, request.to_binary())
            if before is not None:
                return pb.ModelInferResponse.from_binary(before.body), [*before.headers, REPLAYED]
            answer: Answer | None = None
            try:
                response, headers = await self._answers.one(request, ctx)
                answer = Answer(200, headers, response.to_binary())
            finally:
                await idempotency.finish(claimed, answer)
            return response, headers

        return await idempotency.unstoppable(once())

    async def server_live(self, request: pb.ServerLiveRequest, ctx: Context) -> pb.ServerLiveResponse:
        """The process can answer."""
        return pb.ServerLiveResponse(live=True)

    async def server_ready(self, request: pb.ServerReadyRequest, ctx: Context) -> pb.ServerReadyResponse:
        """Whether every model that should be served is."""
        return pb.ServerReadyResponse(ready=self._runtime.ready)

    async def model_ready(self, request: pb.ModelReadyRequest, ctx: Context) -> pb.ModelReadyResponse:
        """Whether this model can infer; one that is not known, or not loaded, cannot."""
        self._read(request.name)
        try:
            self._runtime.service.resolve(request.name, request.version or None)
        except AirserveError:
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=not self._runtime.draining)

    async def server_metadata(self, request: pb.ServerMetadataRequest, ctx: Context) -> pb.ServerMetadataResponse:
        """Name, version and extensions."""
        return oip.server_metadata(self._runtime.settings.server_name, __version__)

    async def model_metadata(self, request: pb.ModelMetadataRequest, ctx: Context) -> pb.ModelMetadataResponse:
        """Versions, inputs and outputs of a model."""
        served = self._visible(request.name, request.version)
        versions = [str(version) for version in self._runtime.service.versions(served.spec.model)]
        manifest = served.spec.manifest
        return oip.model_metadata(served.spec.model, versions, served.signature, manifest.engine, manifest.codecs)

    async def model_config(self, request: pb.ModelConfigRequest, ctx: Context) -> pb.ModelConfigResponse:
        """How a model is run."""
        config = rest.model_config(self._visible(request.name, request.version))
        return pb.ModelConfigResponse(config=message_from_json_value(pb.ModelConfig, config))

    async def model_statistics(self, request: pb.ModelStatisticsRequest, ctx: Context) -> pb.ModelStatisticsResponse:
        """What a version, all versions of a model, or all models that the key opens have done."""
        statistics = [rest.model_statistics(version) for version in self._asked(request.name, request.version)]
        entries = [message_from_json_value(pb.ModelStatistics, entry) for entry in statistics]
        return pb.ModelStatisticsResponse(model_stats=entries)

    def _asked(self, model: str, version: str) -> Iterable[Version]:
        service = self._runtime.service
        if not model:
            opened = self._runtime.gate.opened(_key(), service.models(), arrival().client, arrival().certificate)
            return [each for each in service.all_versions() if each.spec.model in opened]
        self._read(model)
        every = () if version or "@" in model else service.all_versions(model)
        return every or [service.find(model, version or None)]

    async def repository_index(self, request: pb.RepositoryIndexRequest, ctx: Context) -> pb.RepositoryIndexResponse:
        """Every version that an alias points at, and its state."""
        self._operate()
        versions = self._runtime.service.all_versions()
        entries = [rest.index_entry(each) for each in versions if not request.ready or each.state is State.READY]
        return pb.RepositoryIndexResponse(models=[pb.RepositoryIndexResponse.ModelIndex(**entry) for entry in entries])

    async def repository_model_load(
        self, request: pb.RepositoryModelLoadRequest, ctx: Context
    ) -> pb.RepositoryModelLoadResponse:
        """Load a model, or load it again; the answer comes when it is ready."""
        self._operate()
        check_change(request.parameters)
        await asyncio.to_thread(self._runtime.load_model, _model_of(request))
        return pb.RepositoryModelLoadResponse()

    async def repository_model_unload(
        self, request: pb.RepositoryModelUnloadRequest, ctx: Context
    ) -> pb.RepositoryModelUnloadResponse:
        """Take a model out of memory; the answer comes when its accepted calls have finished."""
        self._operate()
        check_change(request.parameters)
        await asyncio.to_thread(self._runtime.service.unload, _model_of(request))
        return pb.RepositoryModelUnloadResponse()

    async def system_shared_memory_status(
        self, request: pb.SystemSharedMemoryStatusRequest, ctx: Context
    ) -> pb.SystemSharedMemoryStatusResponse:
        """No region is ever registered."""
        return pb.SystemSharedMemoryStatusResponse()

    async def system_shared_memory_register(
        self, request: pb.SystemSharedMemoryRegisterRequest, ctx: Context
    ) -> pb.SystemSharedMemoryRegisterResponse:
        """Not offered."""
        raise NotImplementedHereError(NO_SHARED_MEMORY)

    async def system_shared_memory_unregister(
        self, request: pb.SystemSharedMemoryUnregisterRequest, ctx: Context
    ) -> pb.SystemSharedMemoryUnregisterResponse:
        """Nothing is registered, so nothing is left to do."""
        return pb.SystemSharedMemoryUnregisterResponse()

    async def cuda_shared_memory_status(
        self, request: pb.CudaSharedMemoryStatusRequest, ctx: Context
    ) -> pb.CudaSharedMemoryStatusResponse:
        """No region is ever registered."""
        return pb.CudaSharedMemoryStatusResponse()

    async def cuda_shared_memory_register(
        self, request: pb.CudaSharedMemoryRegisterRequest, ctx: Context
    ) -> pb.CudaSharedMemoryRegisterResponse:
        """Not offered."""
        raise NotImplementedHereError(NO_SHARED_MEMORY)

    async def cuda_shared_memory_unregister(
        self, request: pb.CudaSharedMemoryUnregisterRequest, ctx: Context
    ) -> pb.CudaSharedMemoryUnregisterResponse:
        """Nothing is registered, so nothing is left to do."""
        return pb.CudaSharedMemoryUnregisterResponse()

    async def trace_setting(self, request: pb.TraceSettingRequest, ctx: Context) -> pb.TraceSettingResponse:
        """Not offered."""
        raise NotImplementedHereError("trace settings are not offered: send a traceparent with the calls to be traced")

    async def log_settings(self, request: pb.LogSettingsRequest, ctx: Context) -> pb.LogSettingsResponse:
        """Not offered."""
        raise NotImplementedHereError(
            "log settings are not offered: the operator sets log_level when the server starts"
        )

    def _visible(self, model: str, version: str) -> Served:
        """The version that is asked about, for whoever may read about it."""
        self._read(model)
        return self._runtime.service.resolve(model, version or None)

    def _read(self, model: str) -> None:
        """Let operators, and tenants whose key opens `model`, read about it."""
        self._runtime.gate.reader(_key(), model, arrival().client, arrival().certificate)

    def _operate(self) -> None:
        self._runtime.gate.operator(_key(), arrival().client, arrival().certificate)


def _key() -> str:
    return wire.bearer_key(arrival().headers)


def _model_of(request: pb.RepositoryModelLoadRequest | pb.RepositoryModelUnloadRequest) -> str:
    # In KServe's edition of the protocol the model's name has the number that is the repository's in Triton's.
    return request.model_name or request.repository_name
