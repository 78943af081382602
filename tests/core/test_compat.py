"""The private parts of Oumi and its libraries on which this package depends."""

import pytest

from coalm_oumi.core.compat import finalize
from coalm_oumi.core.errors import CoalmError


def test_a_hub_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch):
    """Oumi looks there for the name under which a server has a model."""
    from huggingface_hub import constants
    from oumi.core.configs import InferenceConfig

    closed = "http://127.0.0.1:9"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", closed)
    monkeypatch.setattr(
        constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        closed + "/{repo_id}/resolve/{revision}/{filename}",
    )
    config = InferenceConfig()
    config.model.model_name = "coalm"
    with pytest.raises(CoalmError, match="HF_HUB_OFFLINE=1"):
        finalize(config)
    config.model.model_name = "no/such/name"  # no name of the Hub
    finalize(config)
