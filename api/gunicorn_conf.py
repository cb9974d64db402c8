"""gunicorn's settings: `gunicorn -c python:api.gunicorn_conf api.wsgi:app`."""

# The arbiter imports this before anything else, so nothing is ever imported unpatched.
from gevent import monkey

monkey.patch_all()

import os  # noqa: E402

from api.serving import Worker  # noqa: E402
from fluxfarm.settings import Settings  # noqa: E402

worker_class = Worker
workers = Settings.from_environment(os.environ).api_workers
# Held polls are cheap; the default of 1000 is not enough for them.
worker_connections = 4000
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
