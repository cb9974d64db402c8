"""What licences of weights ask of whoever runs them, by the ids that catalogues give. Not legal advice."""

from typing import Final

FLUX_DEV: Final = "flux-1-dev"
"""FLUX.1 [dev] Non-Commercial License, and what is made from weights under it."""

NON_COMMERCIAL: Final = "non-commercial"
COMMERCIAL: Final = "commercial:"
TERMS: Final = f"""\
{{model}}: its weights are under the FLUX.1 [dev] Non-Commercial License and start only once you say how you run them.
FLUXFARM_BFL_LICENSE={NON_COMMERCIAL}: for personal use, for research and for tests outside of production.
It forbids: revenue from running the model, production, serving end users, training other models for commerce;
and demands: filters that stay on or a review of every picture, and that generated pictures say so where law asks.
FLUXFARM_BFL_LICENSE={COMMERCIAL}REFERENCE: under a licence of your own; ask for one at https://bfl.ai/licensing"""
"""What somebody reads who has not said it yet, in five lines."""


def bfl_license(value: str) -> str:
    """Read the setting of that name; raises `ValueError`."""
    said = value.strip()
    if said == NON_COMMERCIAL or said.removeprefix(COMMERCIAL) not in (said, ""):
        return said
    raise ValueError(f"must be {NON_COMMERCIAL}, or {COMMERCIAL} with the reference of your licence")
