"""Answers that are headers only: Werkzeug's own redirects are HTML pages, and it calls the lack of a body HTML too."""

from flask import Response


def bodiless(status: int, **headers: str) -> Response:
    response = Response(status=status, headers=headers)
    del response.headers["Content-Type"]
    return response
