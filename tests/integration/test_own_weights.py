"""An operator's own weights: a transformer over the parts of a base, named by a catalogue file alone."""

from pathlib import Path

import diffusers
import diffusers.loaders.single_file_utils as single_file
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from fluxfarm.catalog import Model, load_catalog
from fluxfarm.errors import WorkerFault
from fluxfarm.settings import Settings
from tests.bfl import original
from tests.integration.test_kinds import drawn, model, plain
from worker.pipelines import DeviceOptions, Pixels, load

FLUX_WIDE = 3072
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


def test_a_single_file_in_the_layout_of_flux_itself_draws_its_own(
    trained: diffusers.FluxTransformer2DModel, expected: Pixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # diffusers' reader takes every such file to be as wide as FLUX.1; otherwise it is diffusers' own.
    reader, wide = single_file.convert_flux_transformer_checkpoint_to_diffusers, trained.inner_dim
    constants = tuple(wide if each == FLUX_WIDE else each for each in reader.__code__.co_consts)
    assert constants != reader.__code__.co_consts
    monkeypatch.setattr(reader, "__code__", reader.__code__.replace(co_consts=constants))
    config = trained.config
    tensors = original(trained.state_dict(), config.num_layers, config.num_single_layers)
    assert len(tensors) < len(trained.state_dict())
    save_file(tensors, tmp_path / "original.safetensors")
    assert np.array_equal(drawn(load(mine(tmp_path, "./original.safetensors"), DeviceOptions())), expected)


@pytest.mark.parametrize("tensors", [{"a.lora_A.weight": torch.zeros(2, 2)}, {}])
def test_a_single_file_of_something_else_is_one_sentence(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    save_file(tensors, tmp_path / "other.safetensors")
    with pytest.raises(WorkerFault, match=r"The weights of mine cannot be loaded from .*other\.safetensors"):
        load(mine(tmp_path, "./other.safetensors"), DeviceOptions())
