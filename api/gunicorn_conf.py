"""gunicorn's settings: `gunicorn -c python:api.gunicorn_conf api.wsgi:app`."""

# The arbiter imports this before anything else, so nothing is ever imported unpatched.
from gevent import monkey

monkey.patch_all()

import ctypes  # noqa: E402
import os  # noqa: E402

from api.serving import Worker  # noqa: E402
from fluxfarm.settings import Settings  # noqa: E402

# glibc would keep what a few large bodies took, for good: large blocks are mapped, and unmapped, each on its own.
LARGE_BLOCK, KEPT = 2 * 2**20, 4 * 2**20
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
    mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK)
    mallopt(M_TRIM_THRESHOLD, KEPT)
    mallopt(M_ARENA_MAX, 1)

worker_class = Worker
workers = Settings.from_environment(os.environ).api_workers
# Held polls are cheap; the default of 1000 is not enough for them.
worker_connections = 5000
preload_app = False
timeout = 30
graceful_timeout = 10
keepalive = 75
# X-Forwarded-* is judged by api.proxies alone.
forwarded_allow_ips = ""
forwarder_headers = ""
control_socket_disable = True
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 (a heartbeat file, not data)
loglevel = "warning"
max_requests = 0
