"""What gunicorn serves. One process, one application, made after the fork."""

import os

from gevent import monkey

from api.app import create_app
from fluxfarm.settings import Settings
from fluxfarm.telemetry import configure_logging

# psycopg imported before the patch blocks the whole process at each query, and nothing warns of it.
assert monkey.is_module_patched("socket"), "serve this with gunicorn -c python:api.gunicorn_conf, without --preload"

settings = Settings.from_environment(os.environ)
configure_logging(settings.log_level)
app = create_app(settings)
