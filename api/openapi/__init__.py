"""OpenAPI 3.1 of this API; `/docs` is rendered from it."""

from api.openapi.document import document

__all__ = ["document"]
