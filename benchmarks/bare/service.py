"""The tutorial: Flask in front of Celery, results in Redis; no keys, no limits, no rows, nothing that lasts.

It stands for the least that a service of this kind can do, and is served by fluxfarm's own gunicorn settings.
"""

from flask import Flask, Response, jsonify, request

from benchmarks.bare.tasks import make_app

WORDS = {"SUCCESS": "success", "FAILURE": "error"}

app = Flask("bare")
# Of two, for one that also knows results subscribes to each task that it sends, which nothing here listens to.
queue = make_app(consumer=False, results=False)
results = make_app(consumer=False, results=True).backend


@app.post("/v1/prediction")
def create() -> Response:
    sent = request.get_json()
    task = queue.send_task("draw", args=[sent["input"]], retry=False)
    return jsonify(status="success", predictionID=task.id)


@app.get("/v1/prediction/<prediction>")
def read(prediction: str) -> Response:
    # One round trip: `state` and `result` of an AsyncResult would be one each.
    found = results.get_task_meta(prediction)
    status = WORDS.get(found["status"], "starting")
    return jsonify(id=prediction, status=status, output=found["result"])
