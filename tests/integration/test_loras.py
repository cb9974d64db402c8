"""LoRAs over the small weights: they change pictures, together and apart, and leave nothing behind."""

import dataclasses
import hashlib
import pickle
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save

from fluxfarm.catalog import Model, load_catalog
from fluxfarm.errors import LeaseLost, PredictionFailed, WorkerFault
from fluxfarm.loras import Allowed, AskedLora, NamedLora, Offered, Origin
from fluxfarm.settings import Settings
from tests.integration.test_kinds import Watch
from tests.loras import kohya, lora, of_layers, twice_told
from worker.lora_cache import LoraCache
from worker.loras import LoraReader
from worker.pipelines import DeviceOptions, Lora, Pipeline, Pixels, RenderOrder, load

WEIGHTS = {"flux-dev": "flux-tiny", "flux-krea-dev": "flux-tiny"}
CATALOG = load_catalog(Settings(models=tuple(WEIGHTS), weights=tuple(WEIGHTS.items())))
TINY = Path(CATALOG.model("flux-dev").weights.source) / "transformer"


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return load(CATALOG.model("flux-dev"), DeviceOptions())


def drawn(pipeline: Pipeline, *loras: Lora) -> Pixels:
    order = RenderOrder("a red circle", (7,), 64, 64, 2, 3.5, loras=loras)
    (found,) = pipeline.render(order, Watch())
    return found.pixels


def made(content: bytes, scale: float = 1.0) -> Lora:
    return Lora(content, scale, hashlib.sha256(content).hexdigest())


def state(pipeline: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in pipeline._pipe.transformer.state_dict().items()}


def test_loras_change_combine_and_leave_nothing_behind(pipeline: Pipeline) -> None:
    before, weights = drawn(pipeline), state(pipeline)
    one, other = made(lora(TINY)), made(lora(TINY, seed=1))
    first, second, both = drawn(pipeline, one), drawn(pipeline, other), drawn(pipeline, one, other)
    pictures = [before, first, second, both, drawn(pipeline, dataclasses.replace(one, scale=-1.0))]
    assert len({each.tobytes() for each in pictures}) == len(pictures)
    assert np.array_equal(drawn(pipeline, one), first)
    assert np.array_equal(drawn(pipeline, dataclasses.replace(one, scale=0.0)), before)
    assert np.array_equal(drawn(pipeline), before)
    after = state(pipeline)
    assert after.keys() == weights.keys()
    assert all(torch.equal(after[name], weights[name]) for name in weights)


def test_a_render_that_ends_early_takes_its_loras_off_for_every_model_of_the_weights(pipeline: Pipeline) -> None:
    sharing = load(CATALOG.model("flux-krea-dev"), DeviceOptions())
    before = drawn(sharing)

    class Stopping(Watch):
        def step(self, picture: int, step: int, steps: int) -> None:
            raise LeaseLost("gone")

    order = RenderOrder("a red circle", (7,), 64, 64, 2, 3.5, loras=(made(lora(TINY)),))
    with pytest.raises(LeaseLost):
        list(pipeline.render(order, Stopping()))
    assert np.array_equal(drawn(sharing), before)


ATTENTION = ("to_q", "to_k", "to_v", "add_q_proj", "add_k_proj", "add_v_proj", "to_out.0", "to_add_out")


def test_a_compiled_transformer_takes_loras_without_end() -> None:
    plain = load(CATALOG.model("flux-dev"), DeviceOptions(dtype="float32"))
    assert plain._pipe is not load(CATALOG.model("flux-dev"), DeviceOptions())._pipe  # type: ignore[attr-defined]
    worn = [made(of_layers(TINY, ATTENTION[:most], rank)) for most in range(1, 9) for rank in (1, 2)]
    expected = drawn(plain, worn[-1])
    plain._pipe.transformer.compile_repeated_blocks(fullgraph=True, dynamic=True, backend="eager")  # type: ignore[attr-defined]
    for each in worn:
        found = drawn(plain, each)
    assert np.array_equal(found, expected)


MISFITS: dict[str, Callable[[], bytes]] = {
    "wider": lambda: lora(TINY, wider=8),
    "of another model": lambda: save({"unet.down.lora_A.weight": torch.zeros(2, 4)}),
    "a layer that is not there": lambda: save(
        {f"transformer.none.lora_{which}.weight": torch.zeros(2, 2) for which in "AB"}
    ),
    "no LoRA": lambda: save({"transformer.norm_out.linear.weight": torch.zeros(2, 2)}),
    "not numbers": lambda: lora(TINY, strength=float("nan")),
    "Kohya's, of another width": lambda: kohya("single_blocks_0_linear1", 2, 2.0),
    "Kohya's, of no rank": lambda: kohya("double_blocks_0_img_attn_proj", 0, 2.0),
    "Kohya's, with an alpha below nothing": lambda: kohya("double_blocks_0_img_attn_proj", 2, -1.0),
    "half a pair": lambda: save({"transformer.transformer_blocks.0.attn.to_q.lora_A.weight": torch.zeros(2, 128)}),
}


@pytest.mark.parametrize("misfit", MISFITS.values(), ids=MISFITS)
def test_one_for_other_weights_fails_its_prediction_alone(pipeline: Pipeline, misfit: Callable[[], bytes]) -> None:
    before = drawn(pipeline)
    with pytest.raises(PredictionFailed) as caught:
        drawn(pipeline, made(lora(TINY, seed=1)), made(misfit()))
    assert caught.value.reason == "lora_mismatch"
    assert np.array_equal(drawn(pipeline), before)


def test_what_another_trainer_wrote_draws_the_same(pipeline: Pipeline) -> None:
    theirs, ours = (drawn(pipeline, made(content)) for content in twice_told(TINY))
    assert np.array_equal(theirs, ours)
    assert not np.array_equal(theirs, drawn(pipeline))


def test_what_a_failed_device_left_on_is_taken_off_before_the_next_render(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = drawn(pipeline)

    def failing() -> None:
        raise RuntimeError("device lost")

    with monkeypatch.context() as patch:
        patch.setattr(pipeline._pipe, "unload_lora_weights", failing)  # type: ignore[attr-defined]
        with pytest.raises(WorkerFault):
            drawn(pipeline, made(lora(TINY)))
    assert np.array_equal(drawn(pipeline), before)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "style.safetensors").write_bytes(lora(TINY))
    (tmp_path / "secret.safetensors").write_bytes(lora(TINY))
    (tmp_path / "there" / "link.safetensors").symlink_to(tmp_path / "secret.safetensors")
    return tmp_path / "there"


def failure(reader: LoraReader, offered: Offered, origin: Origin, where: str) -> str:
    with pytest.raises(PredictionFailed) as caught:
        reader.read(offered, AskedLora(origin, where, 1.0), "loras[0]", lambda: False)
    assert caught.value.message.startswith("loras[0]: ")
    return caught.value.reason


def test_only_whole_safetensors_files_of_the_operators_are_read(directory: Path) -> None:
    whole = lora(TINY)
    reader = LoraReader(Settings(data_dir=directory, lora_max_bytes=len(whole)))
    offered = Offered(Allowed.NAMED, (), directory)
    found, notices = reader.read(offered, AskedLora(Origin.FILE, "style.safetensors", 2.0), "loras[0]", lambda: False)
    assert (found.content, found.scale, notices) == (whole, 2.0, [])
    spoiled = {
        "pickle": pickle.dumps({"weight": [1.0]}, protocol=2),
        "empty": b"",
        "cut": whole[:-1],
        "longer": whole[:-4] + b"x" * 3,
        "endless": b"\xff" * 64,
        "deep": (100_000).to_bytes(8, "little") + b"[" * 100_000,
        "whole numbers": save({"a": torch.zeros(2, dtype=torch.int64)}),
    }
    for name, content in spoiled.items():
        (directory / f"{name}.safetensors").write_bytes(content)
        assert failure(reader, offered, Origin.FILE, f"{name}.safetensors") in ("lora_unreadable", "input_too_large")
    (directory / "large.safetensors").write_bytes(whole + b"x")
    assert failure(reader, offered, Origin.FILE, "large.safetensors") == "input_too_large"
    for escape in ("../secret.safetensors", "link.safetensors", "none.safetensors", str(directory)):
        assert failure(reader, offered, Origin.FILE, escape) == "lora_missing"
    assert failure(reader, offered, Origin.URL, "http://example.com/a") == "lora_forbidden"
    anywhere = Offered(Allowed.ANY, (), None)
    assert failure(reader, anywhere, Origin.URL, "http://127.0.0.1/a") == "input_forbidden"
    assert failure(reader, anywhere, Origin.FILE, "style.safetensors") == "lora_forbidden"


def test_what_is_left_out_of_one_is_told(directory: Path) -> None:
    tensors = {"transformer.a.dora_scale": torch.zeros(2), "text_encoder.b.lora_A.weight": torch.zeros(2, 2)}
    (directory / "more.safetensors").write_bytes(save(tensors))
    asked = AskedLora(Origin.FILE, "more.safetensors", 1.0)
    _, notices = LoraReader(Settings(data_dir=directory)).read(
        Offered(Allowed.NAMED, (), directory), asked, "loras[1]", lambda: False
    )
    assert ["text encoders" in notices[0], "DoRA" in notices[1]] == [True, True]
    assert all(notice.startswith("loras[1]: ") for notice in notices)


def test_a_named_one_may_be_pinned(directory: Path) -> None:
    reader = LoraReader(Settings(data_dir=directory))
    pinned = hashlib.sha256(lora(TINY)).hexdigest()
    entry = NamedLora("style", "./style.safetensors", directory, sha256=pinned)
    asked = AskedLora(Origin.NAME, "style", 1.0)
    found, _ = reader.read(Offered(Allowed.NAMED, (entry,)), asked, "loras[0]", lambda: False)
    assert found.sha256 == pinned
    other = dataclasses.replace(entry, sha256="0" * 64)
    assert failure(reader, Offered(Allowed.NAMED, (other,)), Origin.NAME, "style") == "lora_forbidden"
    assert failure(reader, Offered(Allowed.ANY), Origin.NAME, "style") == "lora_forbidden"


def test_what_was_fetched_is_kept_within_bounds(tmp_path: Path) -> None:
    cache = LoraCache(tmp_path, 250)
    for place in range(3):
        cache.keep(f"http://example.com/{place}", bytes([place]) * 100)
    assert cache.find("http://example.com/2") == b"\2" * 100
    files = list(tmp_path.glob("*.safetensors"))
    assert sum(file.stat().st_size for file in files) <= 250
    files[0].write_bytes(b"spoiled")
    assert b"spoiled" not in [cache.find(f"http://example.com/{place}") for place in range(3)]


def test_a_url_is_fetched_once_an_hour_through_the_guarded_door(tmp_path: Path) -> None:
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            content = lora(TINY) if self.path == "/style" else pickle.dumps([1])
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url, port = f"http://127.0.0.1:{server.server_port}", server.server_port
    reader = LoraReader(Settings(data_dir=tmp_path, fetch_allow=(ip_network("127.0.0.1/32"),)))
    offered = Offered(Allowed.ANY)
    with_url = AskedLora(Origin.URL, f"{url}/style", 1.0)
    found = [reader.read(offered, with_url, "loras[0]", lambda: False)[0] for _ in range(2)]
    assert [each.content for each in found] == [lora(TINY)] * 2
    assert asked == ["/style"]
    pinned = dataclasses.replace(with_url, sha256=found[0].sha256)
    assert reader.read(offered, pinned, "loras[0]", lambda: False)[0].content == lora(TINY)
    assert asked == ["/style"]
    with pytest.raises(PredictionFailed) as caught:
        reader.read(offered, dataclasses.replace(with_url, sha256="0" * 64), "loras[0]", lambda: False)
    assert (caught.value.reason, asked) == ("lora_changed", ["/style"] * 2), "what is kept may be older than the file"
    assert failure(reader, offered, Origin.URL, f"{url}/pickle") == "lora_unreadable"
    assert failure(LoraReader(Settings(data_dir=tmp_path / "x")), offered, Origin.URL, url) == "input_forbidden"
    small = LoraReader(Settings(data_dir=tmp_path / "y", lora_max_bytes=9, fetch_allow=(ip_network("127.0.0.1/32"),)))
    assert failure(small, offered, Origin.URL, f"http://127.0.0.1:{port}/style") == "input_too_large"
    server.shutdown()
    server.server_close()


def a_model(**settings: Any) -> Model:
    return load_catalog(Settings(models=("flux-dev",), weights=(("flux-dev", "flux-tiny"),), **settings)).model(
        "flux-dev"
    )


def test_an_operator_says_which_ones_a_model_takes(tmp_path: Path) -> None:
    catalog = tmp_path / "more.toml"
    catalog.write_text(
        '[loras.style]\nlocation = "./style.safetensors"\n'
        '[loras.other]\nlocation = "/o.safetensors"\nmodels = ["flux-fill-dev"]\n'
    )
    assert a_model().loras.origins == (Origin.URL,)
    assert a_model(loras="none", catalog=catalog, lora_dir=tmp_path).loras.origins == ()
    offered = a_model(loras="named", catalog=catalog, lora_dir=tmp_path).loras
    assert offered.origins == (Origin.FILE, Origin.NAME)
    assert offered.names == ("style",)
    assert offered.named[0].path == tmp_path / "style.safetensors"
