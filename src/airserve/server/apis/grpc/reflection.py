"""Server reflection: tools such as grpcurl learn from it what can be called. It tells what the .proto files tell."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Literal

from protobuf import DescFile, DescMessage, Oneof

from airserve.protocols.protos.reflection_connect import ServerReflection
from airserve.protocols.protos.reflection_pb import (
    ErrorResponse,
    FileDescriptorResponse,
    ListServiceResponse,
    ServerReflectionRequest,
    ServerReflectionResponse,
    ServiceResponse,
)
from airserve.server.apis.grpc.refusals import Context

_Error = Oneof[Literal["error_response"], ErrorResponse]

# Status codes of gRPC.
_NOT_FOUND = 5
_UNIMPLEMENTED = 12


class ReflectionService(ServerReflection):
    """Answers about `files`, none of which imports another."""

    def __init__(self, files: Sequence[DescFile]) -> None:
        self._services = [service.type_name for file in files for service in file.services]
        self._by_name = {file.name: file.proto.to_binary() for file in files}
        self._by_symbol = {symbol: file.name for file in files for symbol in _symbols(file)}

    async def server_reflection_info(
        self, request: AsyncIterator[ServerReflectionRequest], ctx: Context
    ) -> AsyncIterator[ServerReflectionResponse]:
        """One answer to each question."""
        async for question in request:
            yield self._answer(question)

    def _answer(self, question: ServerReflectionRequest) -> ServerReflectionResponse:
        answer = ServerReflectionResponse(valid_host=question.host, original_request=question)
        match question.message_request:
            case Oneof(field="list_services"):
                answer.message_response = self._list()
            case Oneof(field="file_by_filename", value=str(name)):
                answer.message_response = self._file(name) if name in self._by_name else _unknown(name)
            case Oneof(field="file_containing_symbol", value=str(name)):
                file = self._by_symbol.get(name)
                answer.message_response = self._file(file) if file is not None else _unknown(name)
            case _:
                answer.message_response = _error(_UNIMPLEMENTED, "no message here has extensions")
        return answer

    def _list(self) -> Oneof[Literal["list_services_response"], ListServiceResponse]:
        services = [ServiceResponse(name=name) for name in self._services]
        return Oneof("list_services_response", ListServiceResponse(service=services))

    def _file(self, name: str) -> Oneof[Literal["file_descriptor_response"], FileDescriptorResponse]:
        return Oneof("file_descriptor_response", FileDescriptorResponse(file_descriptor_proto=[self._by_name[name]]))


def _unknown(name: str) -> _Error:
    return _error(_NOT_FOUND, f"'{name[:80]}' is not known here")


def _error(code: int, message: str) -> _Error:
    return Oneof("error_response", ErrorResponse(error_code=code, error_message=message))


def _symbols(file: DescFile) -> Iterable[str]:
    """The full names of a file's services, methods, messages and enums."""
    for service in file.services:
        yield service.type_name
        yield from (f"{service.type_name}.{method.name}" for method in service.methods)
    yield from (enum.type_name for enum in file.enums)
    for message in file.messages:
        yield from _symbols_of(message)


def _symbols_of(message: DescMessage) -> Iterable[str]:
    yield message.type_name
    yield from (enum.type_name for enum in message.nested_enums)
    for nested in message.nested_messages:
        yield from _symbols_of(nested)
