"""The OpenAPI document of every route over HTTP, and a page to read it on."""

from airserve.protocols.openapi.document import ModelSchema, document
from airserve.protocols.openapi.page import page

__all__ = ["ModelSchema", "document", "page"]
