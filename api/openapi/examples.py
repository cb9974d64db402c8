"""Commands to paste, for each operation that a client begins with."""

import shlex

KEY = "$FLUXFARM_API_KEY"
ID = "00000000-0000-0000-0000-000000000000"
AUTHENTICATE = f'-H "X-API-Key: {KEY}"'
BODY = '{"model": "%s", "input": {"prompt": "a red circle on a blue background"}}'


def curl(operation: str, address: str, slug: str) -> str | None:
    """A command for the operation at this address; None where one would show nothing new."""
    body = BODY % slug
    commands = {
        "createPrediction": f"curl -sS {_url(address, '/v1/prediction')} {AUTHENTICATE} \\\n"
        f"  -H 'Content-Type: application/json' \\\n  -d '{body}'",
        "getPrediction": f"curl -sS {_url(address, f'/v1/prediction/{ID}')} {AUTHENTICATE}",
        "cancelPrediction": f"curl -sS -X POST {_url(address, f'/v1/prediction/{ID}/cancel')} {AUTHENTICATE}",
        "listModels": f"curl -sS {_url(address, '/v1/models')}",
        "getModel": f"curl -sS {_url(address, f'/v1/model?slug={slug}')}",
        "getPicture": f"curl -sSOJ {_url(address, f'/files/{ID}/0.webp?exp=…&sig=…&download=1')}",
        "isReady": f"curl -sS {_url(address, '/readyz')}",
    }
    return commands.get(operation)


def _url(address: str, path: str) -> str:
    return shlex.quote(address + path)
