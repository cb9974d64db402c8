"""Commands to paste, for each operation that a client begins with."""

import shlex

KEY = "$FLUXFARM_API_KEY"
ID = "00000000-0000-0000-0000-000000000000"
OWN_ID = "6f1c2f0e-6a3b-4a51-9a53-0c7f7a0d1f52"
AUTHENTICATE = f'-H "X-API-Key: {KEY}"'
BODY = '{"model": "%s", "input": {"prompt": "a red circle on a blue background"}}'


def curl(operation: str, address: str, slug: str) -> str | None:
    """A command for the operation at this address; None where one would show nothing new."""
    body = BODY % slug
    commands = {
        "createPrediction": f"curl -sS {_url(address, '/v1/prediction')} {AUTHENTICATE} \\\n"
        f"  -H 'Content-Type: application/json' \\\n  -d '{body}'",
        "putPrediction": f"curl -sS -X PUT {_url(address, f'/v1/prediction/{OWN_ID}')} {AUTHENTICATE} \\\n"
        f"  -H 'Content-Type: application/json' \\\n  -d '{body}'",
        "getPrediction": f"curl -sS {_url(address, f'/v1/prediction/{ID}?wait=30')} {AUTHENTICATE}",
        "runPrediction": f"curl -sS {_url(address, '/v1/prediction/run')} {AUTHENTICATE} \\\n"
        f"  -H 'Content-Type: application/json' \\\n  -d '{body}'",
        "followPrediction": f"curl -sSN {_url(address, f'/v1/prediction/{ID}/events')} {AUTHENTICATE}",
        "repeatPrediction": f"curl -sS {_url(address, f'/v1/prediction/{ID}/again')} {AUTHENTICATE} \\\n"
        "  -H 'Content-Type: application/json' \\\n  -d '{\"input\": {\"guidance\": 5}}'",
        "cancelPrediction": f"curl -sS -X POST {_url(address, f'/v1/prediction/{ID}/cancel')} {AUTHENTICATE}",
        "deletePrediction": f"curl -sS -X DELETE {_url(address, f'/v1/prediction/{ID}')} {AUTHENTICATE}",
        "listExecutions": f"curl -sS {_url(address, '/v1/executions?status=success,error&limit=50')} {AUTHENTICATE}",
        "listModels": f"curl -sS {_url(address, '/v1/models')}",
        "getModel": f"curl -sS {_url(address, f'/v1/model?slug={slug}')}",
        "getPicture": f"curl -sSOJ {_url(address, f'/files/{ID}/0.webp?exp=…&sig=…&download=1')}",
        "isReady": f"curl -sS {_url(address, '/readyz')}",
    }
    return commands.get(operation)


def _url(address: str, path: str) -> str:
    return shlex.quote(address + path)
