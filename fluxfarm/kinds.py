"""The kinds of model: what each is given beside words, and which module draws for it."""

from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    TEXT = "text"
    """From words; or from words and a picture, of which a mask may keep a part."""
    CONTROL = "control"
    """Along the edges or the depth of a picture."""
    FILL = "fill"
    """What a mask leaves out of a picture, or what lies beyond its sides."""
    REDUX = "redux"
    """Something like a picture."""
    KONTEXT = "kontext"
    """A picture, changed as the words say."""


class Control(StrEnum):
    """What a control model draws along."""

    CANNY = "canny"
    DEPTH = "depth"


SOURCES: Final = {
    Kind.TEXT: "image",
    Kind.CONTROL: "control_image",
    Kind.FILL: "image",
    Kind.REDUX: None,
    Kind.KONTEXT: "image",
}
"""The field whose picture the size may follow."""

PIPELINES: Final = {
    Kind.TEXT: "worker.pipelines.flux",
    Kind.CONTROL: "worker.pipelines.flux_control",
    Kind.FILL: "worker.pipelines.flux_fill",
    Kind.REDUX: "worker.pipelines.flux_redux",
    Kind.KONTEXT: "worker.pipelines.flux_kontext",
}
"""Modules that have `load(model, options)`, as `worker.pipelines` says."""
