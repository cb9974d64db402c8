"""What the licences of weights ask of whoever runs them; by the ids that catalogues give. Not legal advice."""

from typing import Final

FLUX_DEV: Final = "flux-1-dev"
"""FLUX.1 [dev] Non-Commercial License, and what is made from weights under it."""
