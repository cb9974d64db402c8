"""Starts one process in a session of its own, announced to the guardian before it becomes what it is to be."""

import subprocess
from collections.abc import Mapping, Sequence
from typing import IO

from fluxfarm.local.guardian import Guardian

# The shell announces its own number and then turns into the command, so a supervisor that dies between starting
# a process and noting it still leaves a guardian that knows: the pipe only closes once the line is in it.
ANNOUNCE = 'echo "+ $$ $0" >&0; exec "$@" </dev/null'


def spawn(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    stop_signal: int,
    guardian: Guardian,
    output: int | IO[bytes],
    errors: int = subprocess.STDOUT,
) -> subprocess.Popen[bytes]:
    """Start `command`; its standard output goes to `output`, its errors there too unless told otherwise."""
    return subprocess.Popen(  # noqa: S603 - the words are fluxfarm's own
        ["/bin/sh", "-c", ANNOUNCE, str(int(stop_signal)), *command],
        stdin=guardian.pipe,
        stdout=output,
        stderr=errors,
        env=dict(environment),
        start_new_session=True,
    )
