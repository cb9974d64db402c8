"""What gunicorn serves on the admin port: `gunicorn -c python:api.gunicorn_conf api.admin_wsgi:app --bind …`."""

import os

from gevent import monkey

from api.admin import create_admin_app
from fluxfarm.settings import Settings
from fluxfarm.telemetry import configure_logging

assert monkey.is_module_patched("socket"), "serve this with gunicorn -c python:api.gunicorn_conf, without --preload"

settings = Settings.from_environment(os.environ)
configure_logging(settings.log_level)
app = create_admin_app(settings)
