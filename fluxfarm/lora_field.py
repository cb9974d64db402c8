"""The kind of field that takes LoRAs: a list of objects, each of which says where one is and how strongly it counts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from fluxfarm.fields import Field, Number, RefusedError
from fluxfarm.loras import FILE, MOST, SHA256, Offered, Origin
from fluxfarm.picture_field import LONGEST_URL as LONGEST
from fluxfarm.picture_field import URL_PATTERN, checked_url
from fluxfarm.sent import shown

SCALE: Final = Number(-1, 3)
_SCALED: Final = "How strongly it counts; 1 is as it was trained."
_PINNED: Final = "Of its file, if it may be no other."


@dataclass(frozen=True, slots=True)
class Loras:
    offered: Offered

    @property
    def allowed(self) -> str:
        said = " or ".join(self.offered.origins)
        return f"a list of up to {MOST} objects with {said}, and perhaps scale and sha256"

    def read(self, sent: Any) -> list[dict[str, Any]]:
        if not isinstance(sent, list) or len(sent) > MOST:
            raise RefusedError(f"must be {self.allowed}")
        return [self._one(place, each) for place, each in enumerate(sent)]

    def schema(self) -> dict[str, Any]:
        described: dict[str, Any] = {str(origin): self._described(origin) for origin in self.offered.origins}
        scale = {**SCALE.schema(), "default": 1.0, "description": _SCALED, "examples": [0.8]}
        sha256 = {"type": "string", "pattern": f"^{SHA256.pattern}$", "description": _PINNED, "examples": ["0" * 64]}
        one: dict[str, Any] = {
            "type": "object",
            "properties": described | {"scale": scale, "sha256": sha256},
            "oneOf": [{"required": [origin]} for origin in described],
            "additionalProperties": False,
        }
        return {"type": "array", "maxItems": MOST, "items": one}

    def _one(self, place: int, sent: Any) -> dict[str, Any]:
        origins = self.offered.origins
        if not isinstance(sent, dict) or not sent.keys() <= {*origins, "scale", "sha256"}:
            raise RefusedError(f"[{place}] must be an object with {' or '.join(origins)}, and perhaps scale and sha256")
        said = [origin for origin in origins if sent.get(origin) is not None]
        if len(said) != 1:
            raise RefusedError(f"[{place}] must have exactly one of {', '.join(origins)}")
        try:
            scale = 1.0 if sent.get("scale") is None else SCALE.read(sent["scale"])
            where = {str(said[0]): self._where(said[0], sent[said[0]])}
            return {**where, "scale": scale, **_pinned(sent.get("sha256"))}
        except RefusedError as refusal:
            raise RefusedError(f"[{place}] {refusal}") from None

    def _where(self, origin: Origin, sent: Any) -> str:
        if not isinstance(sent, str):
            raise RefusedError(f"{origin} must be text")
        if origin is Origin.URL:
            return checked_url(sent)
        if origin is Origin.FILE and not (len(sent) <= LONGEST and FILE.fullmatch(sent)):
            raise RefusedError("file must be the path of a .safetensors file in the operator's directory of LoRAs")
        if origin is Origin.NAME and sent not in self.offered.names:
            raise RefusedError(f"name must be one of {', '.join(self.offered.names)}, not {shown(sent)}")
        return sent

    def _described(self, origin: Origin) -> dict[str, Any]:
        described: dict[Origin, dict[str, Any]] = {
            Origin.URL: {"format": "uri", "maxLength": LONGEST, "pattern": URL_PATTERN},
            Origin.FILE: {"maxLength": LONGEST, "pattern": f"^{FILE.pattern}$"},
            Origin.NAME: {"enum": [*self.offered.names]},
        }
        said = {"description": _WHERE[origin], "examples": [_example(self.offered, origin)]}
        return {"type": "string", **said, **described[origin]}


_WHERE: Final[Mapping[Origin, str]] = {
    Origin.URL: "An http(s) URL of its file.",
    Origin.FILE: "Its file's path in the operator's directory of LoRAs.",
    Origin.NAME: "Its name in the operator's catalogue.",
}


def _example(offered: Offered, origin: Origin) -> str:
    examples: Mapping[Origin, str] = {
        Origin.URL: "https://example.com/style.safetensors",
        Origin.FILE: "style.safetensors",
        Origin.NAME: next(iter(offered.names), ""),
    }
    return examples[origin]


def _pinned(sent: Any) -> dict[str, str]:
    if sent is None:
        return {}
    if not isinstance(sent, str) or not SHA256.fullmatch(sent):
        raise RefusedError("sha256 must be 64 hexadecimal digits in lower case")
    return {"sha256": sent}


def lora_fields(offered: Offered) -> tuple[Field, ...]:
    """The field, where any are offered."""
    if not offered.origins:
        return ()
    origin = offered.origins[0]
    field = Field(
        "loras",
        Loras(offered),
        "LoRAs to draw with, as safetensors files; several count together.",
        default=[],
        example=[{origin.value: _example(offered, origin), "scale": 0.8}],
    )
    return (field,)
