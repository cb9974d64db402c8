"""What licences of weights ask of whoever runs them, by the ids that catalogues give. Not legal advice."""

import re
from collections.abc import Iterable
from typing import Final

_FLUX_DEV: Final = re.compile(r"flux1?[a-z]*dev")
"""The FLUX.1 [dev] Non-Commercial License, without what is neither letter nor digit."""
NON_COMMERCIAL: Final = "non-commercial"
COMMERCIAL: Final = "commercial:"
TERMS: Final = f"""\
{{model}}: its weights are under the FLUX.1 [dev] Non-Commercial License and start only once you say how you run them.
FLUXFARM_BFL_LICENSE={NON_COMMERCIAL}: for personal use, for research and for tests outside of production.
It forbids: revenue from running the model, production, serving end users, training other models for commerce;
and demands: filters that stay on or a review of every picture, and that generated pictures say so where law asks.
FLUXFARM_BFL_LICENSE={COMMERCIAL}REFERENCE: under a licence of your own; ask for one at https://bfl.ai/licensing"""
"""What somebody reads who has not said it yet, in five lines."""


def under_flux_dev(licences: Iterable[str]) -> bool:
    """Whether one of these is the FLUX.1 [dev] licence: `flux-1-dev`, or as the hub or the licence itself writes it."""
    return any(_FLUX_DEV.match(re.sub(r"[\W_]", "", each.lower())) for each in licences)


def bfl_license(value: str) -> str:
    """Read the setting of that name; raises `ValueError`."""
    said = value.strip()
    if said == NON_COMMERCIAL or said.removeprefix(COMMERCIAL) not in (said, ""):
        return said
    raise ValueError(f"must be {NON_COMMERCIAL}, or {COMMERCIAL} with the reference of your licence")
