"""Logs: one JSON object a line. Values are fields, never part of the message, so that no input can forge a line."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

LONGEST_VALUE = 2000


class JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage()[:LONGEST_VALUE],
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)[-LONGEST_VALUE:]
        return json.dumps(line, default=str)


def configure_logging(level: str) -> None:
    """Send every log record of this process to standard error as JSON lines."""
    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter(JsonLines())
    logging.basicConfig(level=level.upper(), handlers=[lines], force=True)
    # Of its own, for Celery sets the root's when a worker starts.
    logging.getLogger("fluxfarm").setLevel(level.upper())
    for noisy in ("celery", "kombu", "amqp", "botocore", "boto3", "urllib3", "diffusers", "transformers"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLevelName(level.upper())))
