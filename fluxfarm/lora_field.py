"""The kind of field that takes LoRAs: a list of objects, each of which says where one is and how strongly it counts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from fluxfarm.fields import Field, Number, RefusedError
from fluxfarm.loras import FILE, MOST, Offered, Origin
from fluxfarm.picture_field import LONGEST_URL as LONGEST
from fluxfarm.picture_field import URL_PATTERN, checked_url
from fluxfarm.sent import shown

SCALE: Final = Number(-1, 3)


@dataclass(frozen=True, slots=True)
class Loras:
    offered: Offered

    @property
    def allowed(self) -> str:
        said = " or ".join(self.offered.origins)
        return f"a list of up to {MOST} objects with {said}, and perhaps scale"

    def read(self, sent: Any) -> list[dict[str, Any]]:
        if not isinstance(sent, list) or len(sent) > MOST:
            raise RefusedError(f"must be {self.allowed}")
        return [self._one(place, each) for place, each in enumerate(sent)]

    def schema(self) -> dict[str, Any]:
        described: dict[str, Any] = {str(origin): self._described(origin) for origin in self.offered.origins}
        scale = {**SCALE.schema(), "default": 1.0, "description": "How strongly it counts; 1 is as it was trained."}
        one: dict[str, Any] = {
            "type": "object",
            "properties": described | {"scale": scale},
            "oneOf": [{"required": [origin]} for origin in described],
            "additionalProperties": False,
        }
        return {"type": "array", "maxItems": MOST, "items": one}

    def _one(self, place: int, sent: Any) -> dict[str, Any]:
        origins = self.offered.origins
        if not isinstance(sent, dict) or not sent.keys() <= {*origins, "scale"}:
            raise RefusedError(f"[{place}] must be an object with {' or '.join(origins)}, and perhaps scale")
        said = [origin for origin in origins if sent.get(origin) is not None]
        if len(said) != 1:
            raise RefusedError(f"[{place}] must have exactly one of {', '.join(origins)}")
        try:
            scale = 1.0 if sent.get("scale") is None else SCALE.read(sent["scale"])
            return {str(said[0]): self._where(said[0], sent[said[0]]), "scale": scale}
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
            Origin.URL: {"type": "string", "format": "uri", "maxLength": LONGEST, "pattern": URL_PATTERN},
            Origin.FILE: {"type": "string", "maxLength": LONGEST, "pattern": f"^{FILE.pattern}$"},
            Origin.NAME: {"type": "string", "enum": [*self.offered.names]},
        }
        return described[origin]


def lora_fields(offered: Offered) -> tuple[Field, ...]:
    """The field, where any are offered."""
    if not offered.origins:
        return ()
    examples: Mapping[Origin, str] = {
        Origin.URL: "https://example.com/style.safetensors",
        Origin.FILE: "style.safetensors",
        Origin.NAME: next(iter(offered.names), ""),
    }
    origin = offered.origins[0]
    field = Field(
        "loras",
        Loras(offered),
        "LoRAs to draw with, as safetensors files; several count together.",
        default=[],
        example=[{origin.value: examples[origin], "scale": 0.8}],
    )
    return (field,)
