"""Turns our JSON log lines into text for a person who watches; any other line stays as it is."""

import json
from typing import Any

HEAD = ("time", "level", "logger", "event")


def readable(line: str) -> list[str]:
    """`11:26:02 info prediction queued  model=flux-dev …`; a traceback follows on lines of its own."""
    if not line.startswith('{"time": '):
        return [line]
    try:
        fields = json.loads(line)
        head = f"{fields['time'][11:19]} {fields['level']:<7} {_plain(fields['event'])}"
    except (ValueError, KeyError, TypeError):
        return [line]
    trace = str(fields.pop("error", ""))
    rest = "  ".join(
        f"{name}={_plain(value)}" for name, value in fields.items() if name not in HEAD and value is not None
    )
    return [f"{head}  {rest}".rstrip(), *(_plain(each) for each in trace.splitlines())]


def _plain(value: Any) -> str:
    """What came from outside must not break the line, nor speak to the terminal."""
    text = str(value)
    return text if text.isprintable() else json.dumps(text)
