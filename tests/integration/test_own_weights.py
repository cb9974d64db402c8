"""An operator's own weights: a transformer over the parts of a base, named by a catalogue file alone."""

from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from fluxfarm.catalog import Model, load_catalog
from fluxfarm.settings import Settings
from tests.integration.test_kinds import drawn, model, plain
from worker.pipelines import DeviceOptions, Pixels, load

CATALOGUE = """
[models.mine]
title = "Mine"
description = "A transformer that was trained further"
release = "1.0"
weights = "mine"
licence = "none"
licence_url = "https://example.com/licence"
steps = {{ minimum = 1, maximum = 50, default = 28 }}
guidance = {{ minimum = 0, maximum = 10, default = 3.5 }}
max_sequence_length = 512
pixel_step_microseconds = 15

[weights.mine]
location = "{location}"
base = "flux-tiny"
licence = "apache-2.0"
native_side = 64
max_sequence_length = 64
stand_in = true
"""


@pytest.fixture(scope="module")
def trained() -> diffusers.FluxTransformer2DModel:
    """Not what it was."""
    source = model("flux-dev").weights.source
    found = diffusers.FluxTransformer2DModel.from_pretrained(source, subfolder="transformer", torch_dtype=torch.float32)
    with torch.no_grad():
        found.proj_out.bias += 0.2
    return found


@pytest.fixture(scope="module")
def expected(trained: diffusers.FluxTransformer2DModel) -> Pixels:
    source = model("flux-dev").weights.source
    pipe = diffusers.FluxPipeline.from_pretrained(source, transformer=trained)
    pipe.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(7)
    given = {"width": 64, "height": 64, "num_inference_steps": 4, "max_sequence_length": 64, "guidance_scale": 3.5}
    return np.asarray(pipe("a red circle on a blue background", generator=generator, **given).images[0])


def mine(directory: Path, location: str) -> Model:
    path = directory / "catalog.toml"
    path.write_text(CATALOGUE.format(location=location))
    return load_catalog(Settings(catalog=path)).model("mine")


def test_a_directory_over_a_base_draws_its_own(
    trained: diffusers.FluxTransformer2DModel, expected: Pixels, tmp_path: Path
) -> None:
    trained.save_pretrained(tmp_path / "mine" / "transformer")
    found = drawn(load(mine(tmp_path, "./mine"), DeviceOptions()))
    assert np.array_equal(found, expected)
    assert not np.array_equal(found, plain(diffusers.FluxPipeline, "flux-dev", guidance_scale=3.5))


def test_a_single_file_over_a_base_draws_its_own(
    trained: diffusers.FluxTransformer2DModel, expected: Pixels, tmp_path: Path
) -> None:
    save_file(trained.state_dict(), tmp_path / "mine.safetensors")
    assert np.array_equal(drawn(load(mine(tmp_path, "./mine.safetensors"), DeviceOptions())), expected)
