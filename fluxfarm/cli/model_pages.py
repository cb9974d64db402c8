"""The pages of docs/models: each model's card, its fields, and programs to paste."""

import json
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from fluxfarm import inputs
from fluxfarm.card import Card
from fluxfarm.catalog import Model, load_catalog
from fluxfarm.memory_plans import FEWER_BYTES, device_gib
from fluxfarm.settings import Settings

INDEX = "README.md"
MADE = "Made by `make docs` from the catalogue and its cards; `GET /v1/model?slug=NAME` serves the same."
PLANS = {
    "none": "all on the device",
    "model": "one part at a time on the device",
    "group": "one block at a time on the device, the next on its way",
    "sequential": "one layer at a time on the device; slow",
    "fp8": "all on the device, the largest weights in 8 bits",
    "nf4": "all on the device, the largest weights in 4 bits",
}
PYTHON = """import os, time
import requests

farm = "http://127.0.0.1:8000"
headers = {{"X-API-Key": os.environ["FLUXFARM_API_KEY"]}}
body = {{"model": "{slug}", "input": {input}}}
created = requests.post(f"{{farm}}/v1/prediction", headers=headers, json=body, timeout=60).json()
if created["status"] != "success":
    raise SystemExit(created["error"])
while True:
    found = requests.get(
        f"{{farm}}/v1/prediction/{{created['predictionID']}}?wait=30", headers=headers, timeout=60
    ).json()
    if found["status"] not in ("starting", "processing"):
        break
    time.sleep(1)
print(found.get("output") or found["error"])"""
JAVASCRIPT = """const farm = "http://127.0.0.1:8000"
const headers = {{ "X-API-Key": process.env.FLUXFARM_API_KEY, "Content-Type": "application/json" }}
const body = JSON.stringify({{ model: "{slug}", input: {input} }})
const created = await (await fetch(`${{farm}}/v1/prediction`, {{ method: "POST", headers, body }})).json()
if (created.status !== "success") throw new Error(created.error)
let found
do {{
  found = await (await fetch(`${{farm}}/v1/prediction/${{created.predictionID}}?wait=30`, {{ headers }})).json()
}} while (["starting", "processing"].includes(found.status))
console.log(found.output ?? found.error)"""
CURL = """curl -sS -X POST "http://127.0.0.1:8000/v1/prediction/run" \\
  -H "X-API-Key: $FLUXFARM_API_KEY" -H "Content-Type: application/json" \\
  -d {body}"""


def pages() -> dict[str, str]:
    """The text of each page by its file's name, for the catalogue that comes with this release."""
    models = load_catalog(Settings()).models.values()
    return {INDEX: _index(models), **{f"{model.slug}.md": _page(model, model.card) for model in models if model.card}}


def _index(models: Iterable[Model]) -> str:
    rows = [
        (f"[{each.slug}]({each.slug}.md)", each.description, each.licence, f"{device_gib(each.card)['none']:g} GiB")
        for each in models
        if each.card
    ]
    return _text(["# Models", "", MADE, "", *_table(("model", "what it does", "licence", "device, all on it"), rows)])


def _page(model: Model, card: Card) -> str:
    return _text(
        [
            f"# {model.title}",
            "",
            f"{model.description}. Asked for as {', '.join(f'`{name}`' for name in (model.slug, *model.aliases))}.",
            "",
            MADE,
            "",
            *_facts(model, card),
            *_list("Good for", card.good_for),
            *_list("Limitations", card.limitations),
            *_list("Not to be used for", card.out_of_scope),
            *_memory(card),
            *_recommended(card),
            *_programs(model, card),
            *_fields(model),
        ]
    )


def _facts(model: Model, card: Card) -> list[str]:
    policy = f"[{card.use_policy_url}]({card.use_policy_url})" if card.use_policy_url else ""
    rows = [
        ("parameters", f"{card.parameters_billions:g} billion"),
        ("languages of prompts", ", ".join(card.languages)),
        ("quantised", "yes" if card.quantised else "no"),
        ("weights", f"`{model.weights.location}`"),
        ("licence", f"[{model.licence}]({model.licence_url})"),
        ("use policy", policy),
        ("pictures may be used for", card.outputs),
        ("who deploys it", card.filters),
    ]
    return [*_table(("", ""), [row for row in rows if row[1]]), ""]


def _list(title: str, lines: Iterable[str]) -> list[str]:
    return [f"## {title}", "", *(f"- {line}" for line in lines), ""]


def _memory(card: Card) -> list[str]:
    rows = [(_setting(name), f"{gib:g} GiB", PLANS[name]) for name, gib in device_gib(card).items()]
    said = "Reckoned, not measured: bfloat16 weights, and what one picture of 1024 x 1024 takes beside them."
    return ["## Memory of the device", "", said, "", *_table(("plan", "takes", "keeps"), rows), ""]


def _setting(plan: str) -> str:
    return f"`FLUXFARM_{'QUANTISE' if plan in FEWER_BYTES else 'OFFLOAD'}={plan}`"


def _recommended(card: Card) -> list[str]:
    rows = [(f"`{name}`", value) for name, value in card.recommended.items()]
    return ["## Values that do well", "", *_table(("field", "value"), rows), ""]


def _programs(model: Model, card: Card) -> list[str]:
    sent = json.dumps(dict(card.example))
    body = json.dumps({"model": model.slug, "input": dict(card.example)})
    programs = {
        "sh": CURL.format(body=shlex.quote(body)),
        "python": PYTHON.format(slug=model.slug, input=sent),
        "js": JAVASCRIPT.format(slug=model.slug, input=sent),
    }
    blocks = [line for name, text in programs.items() for line in (f"```{name}", text, "```", "")]
    return [
        "## To paste",
        "",
        "Addresses of pictures are yours to fill in; Node wants the last program in a file that ends in `.mjs`.",
        "",
        *blocks,
    ]


def _fields(model: Model) -> list[str]:
    schema = inputs.schema(model)
    rows = [_row(name, field, schema["required"]) for name, field in schema["properties"].items()]
    return ["## Fields", "", *_table(("field", "what it means", "default", "allowed", "example"), rows)]


def _row(name: str, field: Mapping[str, Any], required: Iterable[str]) -> tuple[str, ...]:
    default = "required" if name in required else _code(field["default"])
    return (f"`{name}`", field["description"], default, _allowed(field), _code(field["examples"][0]))


def _allowed(field: Mapping[str, Any]) -> str:
    if "enum" in field:
        return ", ".join(_code(each) for each in field["enum"] if each is not None)
    kinds = field["type"] if isinstance(field["type"], list) else [field["type"]]
    kind = next(each for each in kinds if each != "null")
    if "anyOf" in field:
        return "address or data URI of a picture"
    if "minimum" in field and "maximum" in field:
        multiple = f", in steps of {field['multipleOf']}" if "multipleOf" in field else ""
        return f"{kind}, {field['minimum']:g} to {field['maximum']}{multiple}"
    if "maxItems" in field:
        return f"{kind}, at most {field['maxItems']}"
    return f"{kind}, at most {field['maxLength']} characters" if "maxLength" in field else str(kind)


def _code(value: Any) -> str:
    return "none" if value is None else f"`{json.dumps(value, ensure_ascii=False)}`"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    lines = [head, ("---",) * len(head), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


def _text(lines: Iterable[str]) -> str:
    return "\n".join(lines).rstrip() + "\n"
