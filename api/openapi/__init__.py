"""OpenAPI 3.1 of this API; `/docs` is rendered from it."""
