"""The API described as OpenAPI 3.1, put together from what validates, answers and refuses."""

from collections.abc import Iterable
from typing import Any

from api.codes import number_and_meaning
from api.openapi import headers, shapes
from api.openapi.examples import curl
from api.openapi.operation import CONCURRENCY, JSON, RATE, Answer, Operation
from api.openapi.operations import OPERATIONS
from api.openapi.parameters import PARAMETERS
from api.openapi.values import ref
from fluxfarm.catalog import Catalog

VERSION = "1"
SUMMARY = "Pictures from FLUX.1 models: create a prediction, look at it until it has ended, fetch its pictures."

EVERYWHERE = ("X-Request-Id", "X-Content-Type-Options", "Cache-Control")
OF_ERRORS = {
    401: ("WWW-Authenticate",),
    405: ("Allow",),
    409: ("Retry-After",),
    416: ("Content-Range",),
    429: ("Retry-After", *RATE, *CONCURRENCY),
    503: ("Retry-After",),
    504: ("Retry-After",),
}


def document(catalog: Catalog, address: str) -> dict[str, Any]:
    """The whole document, for a deployment at `address`."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "fluxfarm",
            "version": VERSION,
            "summary": SUMMARY,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": address}],
        "paths": _paths(address, next(iter(catalog.models))),
        "components": {
            "securitySchemes": shapes.SECURITY,
            "parameters": {_component(name): each for name, each in PARAMETERS.items()},
            "headers": headers.HEADERS,
            "schemas": shapes.schemas(catalog),
        },
    }


def _paths(address: str, slug: str) -> dict[str, Any]:
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation, address, slug)
    return paths


def _operation(operation: Operation, address: str, slug: str) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "description": operation.description,
        "security": [{scheme: []} for scheme in shapes.SECURITY] if operation.scope else [],
        "parameters": [{"$ref": f"#/components/parameters/{_component(each)}"} for each in operation.parameters],
        "responses": {str(number): each for number, each in sorted(_responses(operation).items())},
    }
    if operation.scope:
        described["x-scope"] = operation.scope
    if operation.same_as:
        described["x-same-as"] = operation.same_as
    if operation.body:
        described["requestBody"] = {"required": True, "content": {JSON: {"schema": ref(operation.body)}}}
    if example := curl(operation.name, address, slug):
        described["x-codeSamples"] = [{"lang": "Shell", "label": "curl", "source": example}]
    return described


def _responses(operation: Operation) -> dict[int, dict[str, Any]]:
    answers = {number: _success(answer) for number, answer in operation.answers.items()}
    codes = (*operation.errors, "internal_error")
    # What is counted first says so on a refusal too: a read, and a create that is a dry run.
    counted = any({*RATE} <= {*answer.headers} for answer in operation.answers.values())
    # A held call may be refused once what it asked for has ended.
    held = operation.refusal != "Error" and any(
        "Idempotent-Replayed" in answer.headers for answer in operation.answers.values()
    )
    more = (*(RATE if counted else ()), *(CONCURRENCY if held else ()))
    numbers = {code: operation.numbers.get(code, number_and_meaning(code)[0]) for code in codes}
    for number in sorted({*numbers.values()}):
        headers = (*OF_ERRORS.get(number, ()), *more)
        found = [code for code in codes if numbers[code] == number]
        answers.setdefault(number, _refusal(operation, number, found, headers))
    return answers


def _success(answer: Answer) -> dict[str, Any]:
    described = {"description": answer.description, "headers": _headers(answer.headers)}
    if answer.media_types != (JSON,):
        return {**described, "content": {each: {} for each in answer.media_types}}
    if answer.schema is None:
        return described
    schema = ref(answer.schema) if isinstance(answer.schema, str) else answer.schema
    return {**described, "content": {JSON: {"schema": schema}}}


def _refusal(operation: Operation, number: int, codes: list[str], headers: Iterable[str]) -> dict[str, Any]:
    own = {"properties": {"code": {"enum": codes}, "status": {"const": number}}}
    shape = ref(operation.refusal)
    return {
        "description": " ".join(f"`{code}`: {number_and_meaning(code)[1]}" for code in codes),
        "headers": _headers(headers),
        "content": {JSON: {"schema": {"allOf": [shape, own]} if operation.refusal == "Error" else shape}},
    }


def _headers(names: Iterable[str]) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in (*EVERYWHERE, *names)}


def _component(name: str) -> str:
    return name.replace(" ", "-")
