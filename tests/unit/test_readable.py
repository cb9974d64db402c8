"""Log lines as `fluxfarm up` shows them."""

import json
import logging

import pytest

from fluxfarm.local.readable import readable
from fluxfarm.telemetry import JsonLines

FORGED = 'x"}\n{"time": "now", "event": "forged"}\x1b[31m'


def line(message: str, **fields: object) -> str:
    record = logging.LogRecord("fluxfarm", logging.INFO, "", 0, message, None, None)
    record.fields = fields
    return JsonLines().format(record)


def test_our_lines_become_text() -> None:
    (shown,) = readable(line("prediction queued", model="flux-dev", code=None))
    assert shown[2] == shown[5] == ":"
    assert shown[9:] == "info    prediction queued  model=flux-dev"


@pytest.mark.parametrize("other", ["", "LOG:  listening", "{", '{"time": 3', '{"time": 3}', '{"a": 1}'])
def test_any_other_line_stays(other: str) -> None:
    assert readable(other) == [other]


def test_no_value_can_forge_a_line() -> None:
    written = line("prediction queued", value=FORGED)
    assert written.isprintable()
    assert json.loads(written)["value"] == FORGED


def test_no_value_can_forge_what_is_shown() -> None:
    (shown,) = readable(line("prediction queued", value=FORGED))
    assert shown.isprintable()
