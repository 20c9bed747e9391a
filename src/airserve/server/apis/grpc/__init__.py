"""The services over gRPC, one file each, and the application that puts them on the same port as everything else."""

from airserve.server.apis.grpc.application import GrpcApplication

__all__ = ["GrpcApplication"]
