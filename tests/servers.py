"""Real servers that tests start and stop: an S3 store that checks signatures and expiry."""

import os
import re
import signal
import socket
import subprocess
import sysconfig
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fluxfarm.local.guardian import Guardian
from fluxfarm.local.spawn import spawn

LISTENING = re.compile(rb"Starting s3 server on \[(http://127\.0\.0\.1:\d+)/\]")


@dataclass(frozen=True, slots=True)
class S3Server:
    endpoint: str
    access_key: str
    secret_key: str
    bucket: str
    pid: int = 0

    def environment(self) -> dict[str, str]:
        """The settings that make fluxfarm use this server."""
        return {
            "FLUXFARM_S3_ENDPOINT_URL": self.endpoint,
            "FLUXFARM_S3_ACCESS_KEY_ID": self.access_key,
            "FLUXFARM_S3_SECRET_ACCESS_KEY": self.secret_key,
            "FLUXFARM_S3_BUCKET": self.bucket,
        }


@contextmanager
def rclone_s3(directory: Path) -> Iterator[S3Server]:
    """`rclone serve s3` over `directory`, on a port of its own choice; buckets are directories there."""
    bucket, access_key, secret_key = "pictures", "A" * 20, "s" * 22  # shorter ones are refused
    (directory / bucket).mkdir(parents=True, exist_ok=True)
    command = [f"{sysconfig.get_path('scripts')}/rclone", "serve", "s3", str(directory)]
    options = ["--addr", "127.0.0.1:0", "--auth-key", f"{access_key},{secret_key}", "--config", ""]
    with Guardian() as guardian:
        server = spawn(
            [*command, *options],
            environment=os.environ,
            stop_signal=signal.SIGKILL,
            guardian=guardian,
            output=subprocess.DEVNULL,
            errors=subprocess.PIPE,
        )
        try:
            assert server.stderr is not None
            endpoint = next((found[1] for line in server.stderr if (found := LISTENING.search(line))), None)
            assert endpoint is not None, "rclone ended without listening"
            # Else what it has to say of many failures would fill the pipe and stop it.
            listener = threading.Thread(target=server.stderr.read)
            listener.start()
            try:
                yield S3Server(endpoint.decode(), access_key, secret_key, bucket, server.pid)
            finally:
                server.kill()
                listener.join()
        finally:
            server.kill()
            server.communicate()


def free_port() -> int:
    """A port that nothing listens on right now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
