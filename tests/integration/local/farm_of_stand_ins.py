"""Runs the real `fluxfarm up` with small programs in the place of the API, the workers and the one-shot commands.

The last argument before `up`'s own is a JSON object: what each stand-in does.
"""

import json
import sys
from pathlib import Path

import fluxfarm.cli.up as module
from fluxfarm.local import supervisor
from fluxfarm.local.part import Part
from fluxfarm.local.plan import DOOR, Plan

API = """
import http.server, json, sys
class Door(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"status": "ok", "workers": {"flux-dev": 1}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
http.server.HTTPServer((sys.argv[1], int(sys.argv[2])), Door).serve_forever()
"""
# A worker that touches both servers, forks a grandchild, and hears SIGTERM.
WORKER = """
import os, subprocess, sys, time, psycopg, redis
psycopg.connect(os.environ["FLUXFARM_DATABASE_URL"]).execute("CREATE TABLE IF NOT EXISTS kept (n int)")
redis.Redis.from_url(os.environ["FLUXFARM_REDIS_URL"]).ping()
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("grandchild", child.pid, "weights", os.environ["FLUXFARM_WEIGHTS"])
time.sleep(600)
"""
KEEP = """
import os, psycopg
with psycopg.connect(os.environ["FLUXFARM_DATABASE_URL"], autocommit=True) as connection:
    connection.execute("CREATE TABLE IF NOT EXISTS starts (n int)")
    connection.execute("INSERT INTO starts VALUES (1)")
    print("starts so far:", connection.execute("SELECT count(*) FROM starts").fetchone()[0])
"""
KEY = """
import json, secrets, sys
print("a warning on standard error", file=sys.stderr)
print(json.dumps({"key": secrets.token_hex(8)}))
"""


def python(name: str, plan: Plan, code: str, *, words: tuple[str, ...] = (), wave: int = 0) -> Part:
    command = (sys.executable, "-c", code, *words)
    return Part(name, lambda: command, plan.environment, wave=wave)


def parts(plan: Plan, *_: object) -> list[Part]:
    api = CODE.get("api", API)
    return [
        python("api", plan, api, words=(plan.address.host, str(plan.address.port)), wave=DOOR),
        python("worker:flux-dev", plan, CODE.get("worker", WORKER)),
    ]


if __name__ == "__main__":
    CODE = json.loads(Path(sys.argv[1]).read_text())
    supervisor.FIRST_PAUSE = 0.05
    module.plan.parts = parts
    module.plan.migration = lambda plan: python("migrate", plan, CODE.get("migrate", KEEP))
    module.plan.demo_key = lambda plan: python("keys", plan, CODE.get("keys", KEY))
    module.up(sys.argv[2:], prog_name="fluxfarm up")
