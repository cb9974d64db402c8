"""What `fluxfarm up` prints once predictions can be made."""

import json
import shlex

from fluxfarm.local.plan import Plan

PROMPT = "a red circle on a blue background"


def banner(ready: Plan, key: str, *, shared: bool = False) -> str:
    url, models = ready.address.url, ready.catalog.models
    rows = [("address", url), ("key", key), ("data", str(ready.settings.data_dir))]
    if ready.settings.public_url not in (None, url):
        rows.insert(1, ("links", f"start with {ready.settings.public_url}"))
    if shared:
        rows.append(("shared", "`fluxfarm join-token` prints the line that makes another machine work for this farm"))
    if ready.stand_ins:
        served = ", ".join(ready.stand_ins)
        notice = f"stand-in weights serve {served}: shapes, colours and places only; FLUXFARM_WEIGHTS names real ones"
        rows.append(("notice", notice))
    body = {"model": "flux-dev" if "flux-dev" in models else next(iter(models)), "input": {"prompt": PROMPT}}
    headers = [shlex.quote(f"X-API-Key: {key}"), "'Content-Type: application/json'"]
    sent = f"curl -sS {url}/v1/prediction -H {headers[0]} -H {headers[1]} -d {shlex.quote(json.dumps(body))}"
    table = "\n".join(f"  {name:<9}{value}" for name, value in rows)
    return f"\nfluxfarm is ready; Ctrl-C stops all of it\n\n{table}\n\n{sent}\n"
