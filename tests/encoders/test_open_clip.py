"""Tiny open_clip models through open_clip's real loading code."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmsearch.encoders import load_encoder
from mmsearch.encoders.model_folder import ModelFolder, ModelMeta, Weights
from mmsearch.encoders.open_clip import OpenClipEncoder
from mmsearch.errors import EncoderError, ModelMissingError, UnknownEncoderError, UsageError
from mmsearch.types import PatchFormat
from tests.encoders import tiny as tiny_models
from tests.encoders.conftest import open_clip_encoder, picture
from tests.encoders.contract import TEXTS, EncoderContract

pytestmark = [pytest.mark.full, pytest.mark.usefixtures("needs_open_clip")]


class TestContract(EncoderContract):
    @pytest.fixture
    def encoder(self, tiny: OpenClipEncoder) -> OpenClipEncoder:
        return tiny


def test_embeddings_are_those_of_open_clip_itself(tiny: OpenClipEncoder, tiny_folder: Path) -> None:
    import open_clip
    import torch

    name = f"local-dir:{tiny_folder}"
    model, transform = open_clip.create_model_from_pretrained(name)
    images, texts = [picture(seed, (90, 60)) for seed in range(4)], [*TEXTS, "word " * 200]
    with torch.inference_mode():
        from_images = model.eval().encode_image(torch.stack([transform(image) for image in images]), normalize=True)
        from_texts = model.encode_text(open_clip.get_tokenizer(name)(texts), normalize=True)
    got = tiny.encode_images([tiny.prepare_image(image) for image in images])
    assert (got * from_images.numpy()).sum(axis=1).min() > 0.9999
    np.testing.assert_allclose(tiny.encode_texts(texts), from_texts.numpy(), atol=1e-4)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_hardly_turns_an_embedding(tiny: OpenClipEncoder, tiny_folder: Path, precision: str) -> None:
    half = open_clip_encoder(tiny_folder, precision=precision)
    prepared = [tiny.prepare_image(picture(seed)) for seed in range(8)]
    assert (tiny.encode_images(prepared) * half.encode_images(prepared)).sum(axis=1).min() >= 0.99


def test_it_says_what_it_is_without_loading_torch(exported: Path, tiny_folder: Path) -> None:
    code = (
        "import sys; from mmsearch.encoders import load_encoder; "
        f"encoder = load_encoder('open_clip/local-dir:{tiny_folder}'); "
        "print(encoder.dim, encoder.image_size, encoder.encode_texts(['a dog', 'two cats']).shape); "
        "print([name for name in ('torch', 'open_clip', 'transformers', 'PIL', 'onnx') if name in sys.modules])"
    )
    environment = {**os.environ, "MMSEARCH_CACHE": str(exported)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.splitlines() == ["24 48 (2, 24)", "[]"]
    assert done.stderr == ""


def test_the_first_use_exports_the_text_tower_and_says_so(
    cache: Path, exported: Path, tiny_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(exported, cache)  # one that a crash or a full disk cut off is none
    (meta,) = cache.rglob("meta.json")
    meta.write_text(meta.read_text()[:-20])
    said: list[str] = []
    encoder = load_encoder(f"open_clip/local-dir:{tiny_folder}", notify=said.append)
    assert said == []
    encoder.encode_images([encoder.prepare_image(picture())])
    assert len(said) == 1
    assert "this happens once" in said[0]
    again = load_encoder(f"open_clip/local-dir:{tiny_folder}", notify=said.append)
    np.testing.assert_array_equal(again.encode_texts(TEXTS), encoder.encode_texts(TEXTS))
    assert len(said) == 1
    assert capfd.readouterr() == ("", "")


def test_a_checkpoint_of_a_known_architecture_is_used(tmp_path: Path, as_if_exported: Any) -> None:
    tiny_models.register(tmp_path)
    checkpoint = tiny_models.save_weights(tmp_path / "mine.safetensors", seed=3)
    encoder = load_encoder(f"open_clip/{tiny_models.TINY}/{checkpoint}", precision="fp32")
    assert encoder.id == f"open_clip/{tiny_models.TINY}/{checkpoint.resolve()}"
    as_if_exported(encoder.id, checkpoint)
    assert encoder.encode_images([encoder.prepare_image(picture())]).shape == (1, 24)


def test_a_model_is_loaded_without_drawing_the_weights_that_are_read_thereafter(tiny_folder: Path) -> None:
    import torch
    from safetensors.torch import load_file
    from torch.overrides import TorchFunctionMode

    from mmsearch.encoders.open_clip_loading import load_model
    from mmsearch.encoders.open_clip_source import OpenClipSource

    drawn: list[str] = []

    class Watch(TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if "normal_" in function.__name__ or "uniform_" in function.__name__:
                drawn.append(function.__name__)
            return function(*args, **(kwargs or {}))

    with Watch():
        loaded = load_model(OpenClipSource.parse(f"open_clip/local-dir:{tiny_folder}")).model
        assert drawn == []
        torch.nn.Linear(3, 4)
        assert drawn != []  # what is made elsewhere is as ever
    state = loaded.state_dict()
    for name, value in load_file(tiny_folder / "open_clip_model.safetensors").items():
        assert torch.equal(state[name], value), name


def test_a_changed_checkpoint_is_exported_anew(cache: Path, tmp_path: Path, as_if_exported: Any) -> None:
    folder = tiny_models.save_repository(tmp_path / "model")
    as_if_exported(f"open_clip/local-dir:{folder}", folder)
    before = open_clip_encoder(folder).encode_texts(["a dog"])
    os.utime(folder / "open_clip_model.safetensors")  # touched, but the same
    said: list[str] = []
    load_encoder(f"open_clip/local-dir:{folder}", notify=said.append).encode_texts(["a dog"])
    assert said == []
    tiny_models.save_repository(folder, tiny_models.architecture(layers=1), seed=2)
    after = open_clip_encoder(folder).encode_texts(["a dog"])
    assert float((before * after).sum()) < 0.9
    assert len(list(cache.rglob("text.onnx"))) == 1


def test_texts_are_answered_when_the_weights_are_gone_and_images_are_not(tmp_path: Path, as_if_exported: Any) -> None:
    folder = tiny_models.save_repository(tmp_path / "model")
    as_if_exported(f"open_clip/local-dir:{folder}", folder)
    shutil.rmtree(folder)
    encoder = open_clip_encoder(folder)
    assert encoder.encode_texts(["a dog"]).shape == (1, 24)
    with pytest.raises(ModelMissingError, match="are not there"):
        encoder.encode_images([encoder.prepare_image(picture())])


def test_a_path_that_never_was_is_an_unknown_model(tmp_path: Path) -> None:
    with pytest.raises(UnknownEncoderError, match="There is no checkpoint"):
        load_encoder(f"open_clip/local-dir:{tmp_path / 'nowhere'}")
    with pytest.raises(UnknownEncoderError, match="There is no checkpoint"):
        load_encoder(f"open_clip/ViT-B-32/{tmp_path / 'nowhere.pt'}")


@pytest.mark.parametrize("damage", ["truncated", "other architecture", "no weights", "text"])
def test_weights_that_do_not_load_are_one_sentence(damage: str, tmp_path: Path, tiny_folder: Path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(tiny_folder, folder)
    weights = folder / "open_clip_model.safetensors"
    if damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:5000])
    elif damage == "other architecture":
        config = tiny_models.architecture(layers=3)
        (folder / "open_clip_config.json").write_text(f'{{"model_cfg": {config!r}}}'.replace("'", '"'))
    elif damage == "no weights":
        weights.unlink()
    else:
        weights.write_text("<html>404</html>")
    with pytest.raises(EncoderError, match="cannot be loaded") as caught:
        open_clip_encoder(folder).encode_texts(["a dog"])
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("id", ["open_clip/ViT-B-32/laion2b_s34b_b79k", "open_clip/hf-hub:someone/something"])
def test_a_model_that_is_not_here_is_not_asked_for_over_the_network_when_offline(id: str) -> None:
    encoder = load_encoder(id, offline=True)
    with pytest.raises(ModelMissingError, match="the network is not to be used") as caught:
        encoder.encode_texts(["a dog"])
    assert f"mmsearch models pull {id}" in str(caught.value.hint)


def test_a_device_that_is_not_there_is_wrong_usage(tiny: OpenClipEncoder, tiny_folder: Path) -> None:
    import torch

    device = f"cuda:{torch.cuda.device_count()}"
    encoder = load_encoder(f"open_clip/local-dir:{tiny_folder}", device=device)
    with pytest.raises(UsageError, match="is not there"):
        encoder.encode_images([encoder.prepare_image(picture())])


def short_of_memory(encoder: OpenClipEncoder, most: int, error: Exception) -> list[int]:
    """Put a tower in the place of the encoder's that has memory for so many images; returns the sizes it is given."""
    import torch

    sizes: list[int] = []

    class Tower(torch.nn.Module):
        def __init__(self, inner: torch.nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, batch: torch.Tensor) -> Any:
            sizes.append(len(batch))
            if len(batch) > most:
                raise error
            return self.inner(batch)

    tower = encoder._image_tower()
    tower._tower = Tower(tower._tower)
    tower._workers = None  # one call for each batch
    return sizes


def test_memory_that_runs_out_in_one_of_several_workers_halves_the_batch(tiny: OpenClipEncoder) -> None:
    prepared = [tiny.prepare_image(picture(seed)) for seed in range(32)]
    expected = tiny.encode_images(prepared)
    workers = tiny._image_tower()._workers
    sizes = short_of_memory(tiny, 3, out_of_memory("cpu"))
    tiny._image_tower()._workers = workers
    np.testing.assert_allclose(tiny.encode_images(prepared), expected, atol=2e-5)
    assert workers is not None
    assert max(sizes[-workers.count :]) <= 3
    assert tiny.batch_size <= 3 * workers.count


def out_of_memory(kind: str) -> Exception:
    import torch

    if kind == "cuda":
        return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
    return RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")


@pytest.mark.parametrize("kind", ["cuda", "cpu"])
def test_batches_halve_where_memory_is_short_and_stay_small(tiny: OpenClipEncoder, kind: str) -> None:
    prepared = [tiny.prepare_image(picture(seed)) for seed in range(11)]
    expected = tiny.encode_images(prepared)
    sizes = short_of_memory(tiny, 3, out_of_memory(kind))
    np.testing.assert_allclose(tiny.encode_images(prepared), expected, atol=2e-5)
    assert sizes == [11, 5, 2, 2, 2, 2, 2, 1]
    assert tiny.batch_size == 2
    sizes.clear()
    tiny.encode_images(prepared[:4])
    assert sizes == [2, 2]


@pytest.mark.parametrize("kind", ["cuda", "cpu"])
def test_a_single_image_that_does_not_fit_is_an_error(tiny: OpenClipEncoder, kind: str) -> None:
    prepared = [tiny.prepare_image(picture(seed)) for seed in range(4)]
    short_of_memory(tiny, 0, out_of_memory(kind))
    with pytest.raises(EncoderError, match="does not hold a single image"):
        tiny.encode_images(prepared)


def test_another_failure_of_the_tower_is_an_error_at_once(tiny: OpenClipEncoder) -> None:
    prepared = [tiny.prepare_image(picture(seed)) for seed in range(4)]
    sizes = short_of_memory(tiny, 0, RuntimeError("the weights are haunted"))
    with pytest.raises(EncoderError, match="the weights are haunted"):
        tiny.encode_images(prepared)
    assert sizes == [4]


def test_what_is_not_a_number_is_an_error(tiny: OpenClipEncoder) -> None:
    import torch

    tower = tiny._image_tower()
    with torch.inference_mode():
        tower._pixels.shift = tower._pixels.shift * float("nan")
    with pytest.raises(EncoderError, match="no numbers") as caught:
        tiny.encode_images([tiny.prepare_image(picture())])
    assert "fp32" in str(caught.value.hint)


def test_threads_prepare_while_another_encodes(tiny: OpenClipEncoder) -> None:
    images = [picture(seed) for seed in range(32)]
    stop = threading.Event()

    def encode() -> None:
        prepared = [tiny.prepare_image(images[0])]
        while not stop.is_set():
            tiny.encode_images(prepared)

    busy = threading.Thread(target=encode)
    busy.start()
    try:
        with ThreadPoolExecutor(6) as pool:
            prepared = list(pool.map(tiny.prepare_image, images))
    finally:
        stop.set()
        busy.join()
    for image, array in zip(images, prepared, strict=True):
        np.testing.assert_array_equal(tiny.prepare_image(image), array)


@pytest.mark.parametrize("name", ["RN50", "timm", "siglip"])
def test_other_kinds_of_towers_are_encoded_as_open_clip_does(name: str, tmp_path: Path) -> None:
    import open_clip
    import torch

    vision: dict[str, Any] = {
        "RN50": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None},
        "timm": {"image_size": 64, "timm_model_name": "resnet10t", "timm_pool": "avg", "timm_proj": "linear"},
        "siglip": {
            "image_size": 224,
            "timm_model_name": "vit_tiny_patch16_224",
            "timm_pool": "map",
            "timm_proj": "none",
            "timm_model_pretrained": False,
        },
    }[name]
    text = {"no_causal_mask": True, "pool_type": "last"} if name == "siglip" else {}
    config = {**tiny_models.architecture(layers=1, **text), "vision_cfg": vision, "custom_text": name != "RN50"}
    if name == "siglip":
        config["embed_dim"] = 192
    preprocess = {**tiny_models.PREPROCESS, "resize_mode": "squash"}
    folder = tiny_models.save_repository(tmp_path / name, config, preprocess=preprocess)
    model, transform = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    images = [picture(seed, (90, 60)) for seed in range(3)]
    with torch.inference_mode():
        expected = (
            model.eval().encode_image(torch.stack([transform(image) for image in images]), normalize=True).numpy()
        )
    meta = ModelMeta(
        f"open_clip/local-dir:{folder}",
        config["embed_dim"],
        {**preprocess, "size": vision["image_size"]},
        Weights.of(folder),
        None,
    )
    ModelFolder(meta.id).write(meta)  # the text tower is not what is tested here
    places = {"RN50": (2, 2, 256), "timm": (2, 2, 512), "siglip": (14, 14, 192)}[name]
    for precision, least in (("fp32", 0.9999), ("bf16", 0.99)):
        encoder = open_clip_encoder(folder, precision=precision)
        prepared = [encoder.prepare_image(image) for image in images]
        got = encoder.encode_images(prepared)
        assert (got * expected).sum(axis=1).min() > least
        assert encoder.patches == PatchFormat(*places)
        embeddings, patches = encoder.encode_images_with_patches(prepared)
        np.testing.assert_allclose(embeddings, got, atol=1e-5 if precision == "fp32" else 0.02)
        assert patches.shape == (3, places[0] * places[1], places[2])


def test_patches_are_what_the_last_block_gives_for_each_place(tiny: OpenClipEncoder, tiny_folder: Path) -> None:
    import open_clip
    import torch

    model, transform = open_clip.create_model_from_pretrained(f"local-dir:{tiny_folder}")
    images = [picture(seed, (90, 60)) for seed in range(4)]
    blocks: list[Any] = []
    model.eval().visual.transformer.register_forward_hook(lambda module, inputs, output: blocks.append(output))
    with torch.inference_mode():
        model.visual(torch.stack([transform(image) for image in images]))
        expected = model.visual.ln_post(blocks[0])[:, 1:].numpy()  # the first is the class token
    assert tiny.patches == PatchFormat(rows=3, columns=3, width=64)
    _, patches = tiny.encode_images_with_patches([tiny.prepare_image(image) for image in images])
    np.testing.assert_allclose(patches, expected, atol=0.05)  # resized in eight bits, as all pictures are here
    np.testing.assert_allclose(patches.mean(), expected.mean(), atol=1e-3)


def test_half_precision_hardly_turns_a_patch(tiny: OpenClipEncoder, tiny_folder: Path) -> None:
    half = open_clip_encoder(tiny_folder, precision="bf16")
    prepared = [tiny.prepare_image(picture(seed)) for seed in range(4)]
    (_, expected), (_, got) = (one.encode_images_with_patches(prepared) for one in (tiny, half))
    cosines = (got * expected).sum(-1) / np.linalg.norm(got, axis=-1) / np.linalg.norm(expected, axis=-1)
    assert cosines.min() > 0.99


def test_a_tower_that_pools_by_attention_yields_the_places_before_it(tmp_path: Path) -> None:
    config = tiny_models.architecture(layers=1)
    config["vision_cfg"] |= {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True}
    folder = tiny_models.save_repository(tmp_path / "pooled", config)
    encoder = open_clip_encoder(folder, precision="fp32")
    prepared = [encoder.prepare_image(picture(seed)) for seed in range(2)]
    assert encoder.patches == PatchFormat(3, 3, 64)
    embeddings, patches = encoder.encode_images_with_patches(prepared)
    np.testing.assert_allclose(embeddings, encoder.encode_images(prepared), atol=1e-5)
    assert patches.shape == (2, 9, 64)


def test_a_tower_that_does_not_tell_of_places_yields_none(tiny: OpenClipEncoder) -> None:
    sizes = short_of_memory(tiny, 99, RuntimeError())  # a tower of another make
    prepared = [tiny.prepare_image(picture())]
    assert tiny.patches is None
    with pytest.raises(EncoderError, match="yields no patches"):
        tiny.encode_images_with_patches(prepared)
    sizes.clear()
    assert tiny.encode_images(prepared).shape == (1, tiny.dim)
    assert sizes == [1]
