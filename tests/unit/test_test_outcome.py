"""Who may ask for an outcome."""

import pytest
from werkzeug.wrappers import Request

from api import test_outcome
from fluxfarm.catalog import load_catalog
from fluxfarm.errors import InvalidInput
from fluxfarm.settings import Settings


def asking(**headers: str) -> Request:
    return Request.from_values(headers={name.replace("_", "-"): value for name, value in headers.items()})


def test_real_weights_bring_nothing_about() -> None:
    real = load_catalog(Settings()).model("flux-dev")
    assert test_outcome.wanted(asking(), real) is None
    with pytest.raises(InvalidInput, match="stand-in weights"):
        test_outcome.wanted(asking(X_Test_Outcome="content_blocked"), real)
