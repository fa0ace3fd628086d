"""Fine-tuning of open_clip models: any of them in, towers locked or not, and the same kind of model out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("open_clip")

import torch

from mmsearch.encoders import load_encoder
from mmsearch.errors import ModelMissingError, StorageError, UnknownEncoderError, UsageError
from mmsearch.training.open_clip_locks import image_groups, lock_tower, text_groups
from mmsearch.training.open_clip_towers import (
    Lock,
    OpenClipDual,
    load_open_clip_towers,
    save_open_clip,
)
from tests.encoders import tiny
from tests.encoders.conftest import picture

pytestmark = pytest.mark.full

TEXTS = ["a dog on the beach", "two red bicycles", "", "Ein Café im Regen", "word " * 200]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMSEARCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MMSEARCH_OFFLINE", "1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_repository(tmp_path_factory.mktemp("models") / "tiny")


def other(kind: str, place: Path) -> Path:
    """A tiny model of another make."""
    place.mkdir(parents=True, exist_ok=True)
    preprocess = {**tiny.PREPROCESS, "resize_mode": "squash"}
    config: dict[str, Any] = {**tiny.architecture(), "custom_text": True}
    if kind == "resnet":
        config["vision_cfg"] = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}
    elif kind == "timm":
        config["vision_cfg"] = {
            "image_size": 64,
            "timm_model_name": "resnet10t",
            "timm_pool": "avg",
            "timm_proj": "linear",
        }
    elif kind == "siglip":
        config |= {"init_logit_bias": -10.0, "init_logit_scale": 2.3}
        config["text_cfg"] |= {"no_causal_mask": True, "pool_type": "last", "proj_bias": True}
    elif kind == "transformers":
        transformers = pytest.importorskip("transformers")
        pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dog", "on", "the", "beach", "two", "word", "##s"]
        base = place / "base"
        base.mkdir()
        (base / "vocab.txt").write_text("\n".join(pieces))
        tokenizer = transformers.BertTokenizerFast(vocab=str(base / "vocab.txt"))
        transformers.BertConfig(
            vocab_size=len(pieces),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=32,
        ).save_pretrained(base)
        tokenizer.save_pretrained(place)
        config["text_cfg"] = {
            "hf_model_name": str(base),
            "hf_tokenizer_name": str(base),
            "hf_model_pretrained": False,
            "hf_pooler_type": "mean_pooler",
            "hf_proj_type": "linear",
            "context_length": 16,
        }
    return tiny.save_repository(place, config, preprocess=preprocess)


KINDS = ["plain", "resnet", "timm", "siglip", "transformers"]


def model(kind: str, plain: Path, tmp_path: Path) -> Path:
    return plain if kind == "plain" else other(kind, tmp_path / kind)


def towers(folder: Path, lock: Lock = "none", unlocked: int = 0, **options: bool) -> OpenClipDual:
    return load_open_clip_towers(f"open_clip/local-dir:{folder}", lock=lock, unlocked=unlocked, **options)


def embedded(dual: OpenClipDual) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Photos and texts, as a trainer has them embedded for a measurement."""
    dual.eval()
    batch = np.stack([dual.images.prepare(picture(seed, (90, 60))) for seed in range(4)])
    tokens = dual.texts.tokenise(TEXTS)
    with torch.inference_mode():
        images = dual.images(torch.from_numpy(dual.images.frozen(batch)))
        texts = dual.texts(torch.from_numpy(dual.texts.frozen(tokens)) if dual.texts.cached else tokens)
    return images.numpy(), texts.numpy()


def train(dual: OpenClipDual, steps: int = 3, rate: float = 0.5) -> list[float]:
    """A few steps of the contrastive loss on one batch."""
    dual.train()
    batch = np.stack([dual.images.prepare(picture(seed)) for seed in range(4)])
    features = torch.from_numpy(dual.images.frozen(batch))
    tokens = dual.texts.tokenise(["a dog", "two cats", "the beach", "a red car"])
    optimizer = torch.optim.SGD([parameter for _, parameter in dual.learned()], lr=rate)
    losses = []
    for _ in range(steps):
        texts = dual.texts(torch.from_numpy(dual.texts.frozen(tokens)) if dual.texts.cached else tokens)
        similarity = dual.images(features) @ texts.T * dual.scale + dual.bias
        loss = torch.nn.functional.cross_entropy(similarity, torch.arange(4))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def agreement(ours: np.ndarray[Any, Any], theirs: np.ndarray[Any, Any]) -> float:
    return float((ours * theirs).sum(axis=1).min())


def by_open_clip(folder: Path) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    import open_clip

    made, transform = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    pictures = torch.stack([transform(picture(seed, (90, 60))) for seed in range(4)])
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(TEXTS)
    with torch.inference_mode():
        made.eval()
        return made.encode_image(pictures, normalize=True).numpy(), made.encode_text(tokens, normalize=True).numpy()


def by_encoder(folder: Path) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    encoder = load_encoder(f"open_clip/local-dir:{folder}", precision="fp32", device="cpu")
    prepared = [encoder.prepare_image(picture(seed, (90, 60))) for seed in range(4)]
    ours = towers(folder, "image").images
    assert (ours.dim, ours.side) == (encoder.dim, encoder.image_size)
    for seed, array in enumerate(prepared):
        np.testing.assert_array_equal(ours.prepare(picture(seed, (90, 60))), array)
    return encoder.encode_images(prepared), encoder.encode_texts(TEXTS)


@pytest.mark.parametrize("kind", KINDS)
def test_towers_of_any_make_embed_as_open_clip_does_and_trained_as_the_encoder_does(
    kind: str, folder: Path, tmp_path: Path
) -> None:
    place = model(kind, folder, tmp_path)
    dual = towers(place)
    before = embedded(dual)
    for ours, theirs in zip(before, by_open_clip(place), strict=True):
        assert agreement(ours, theirs) > 0.9999
    train(dual, rate=0.05)
    after = embedded(dual)
    saved = tmp_path / "mine" / "saved"
    save_open_clip(dual, saved)
    # Other image towers have the text tower of the plain model, which need not be exported again.
    loaded = by_open_clip(saved) if kind in ("resnet", "timm") else by_encoder(saved)
    for ours, theirs, former in zip(after, loaded, before, strict=True):
        assert agreement(ours, theirs) > 0.999
        assert agreement(ours, former) < 0.9999
    again = towers(saved)
    torch.testing.assert_close(again.log_scale, dual.log_scale)
    for ours, theirs in zip(embedded(again), after, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_under_a_locked_image_tower_texts_move_and_photos_stay(folder: Path, tmp_path: Path) -> None:
    dual = towers(folder, "image")
    assert dual.images.cached
    assert not dual.texts.cached
    photos, texts = embedded(dual)
    losses = train(dual)
    assert losses[-1] < losses[0]
    saved = tmp_path / "saved"
    save_open_clip(dual, saved)
    photos_after, texts_after = by_encoder(saved)
    assert agreement(photos_after, photos) > 0.9999
    assert agreement(texts_after, texts) < 0.99
    assert agreement(texts_after, embedded(dual)[1]) > 0.999


@pytest.mark.parametrize("kind", ["plain", "siglip"])
def test_under_a_locked_text_tower_photos_move_and_texts_stay(kind: str, folder: Path, tmp_path: Path) -> None:
    dual = towers(model(kind, folder, tmp_path), "text")
    assert dual.texts.cached
    photos, texts = embedded(dual)
    train(dual)
    photos_after, texts_after = embedded(dual)
    assert agreement(photos_after, photos) < 0.9999
    np.testing.assert_allclose(texts_after, texts, atol=1e-6)


@pytest.mark.parametrize(("kind", "lock"), [("plain", "image"), ("plain", "text"), *((kind, "both") for kind in KINDS)])
def test_of_a_locked_tower_only_the_last_groups_learn(kind: str, lock: Lock, folder: Path, tmp_path: Path) -> None:
    place = model(kind, folder, tmp_path)
    whole = towers(place)
    dual = towers(place, lock, 2)
    assert not dual.images.cached
    assert not dual.texts.cached
    before = {name: value.clone() for name, value in dual.open_clip_state().items()}
    train(dual)
    after = dual.open_clip_state()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    for tower, prefix in (("images", "visual."), ("texts", "")):
        learned = {name for name, _ in dual.learned() if name.startswith(tower)}
        every = {name for name, _ in whole.learned() if name.startswith(tower)}
        locked = lock in ("both", tower[:-1])
        assert (learned < every) if locked else (learned == every)
        assert learned
        assert any(name.startswith("visual.") == (tower == "images") for name in moved), prefix
    learned = {name.removeprefix("texts.model.").replace("images.visual.", "visual.") for name, _ in dual.learned()} | {
        "logit_scale",
        "logit_bias",
    }
    assert moved <= learned
    assert not any("running" in name or "num_batches" in name for name in moved)


def test_groups_of_its_own_towers_are_those_of_open_clip(folder: Path) -> None:
    import open_clip

    for unlocked in range(6):
        ours = open_clip.create_model(f"local-dir:{folder}")
        theirs = open_clip.create_model(f"local-dir:{folder}")
        theirs.lock_image_tower(unlocked_groups=unlocked)
        theirs.lock_text_tower(unlocked_layers=unlocked)
        lock_tower(ours.visual, image_groups(ours.visual), unlocked)
        visual, scale = ours.visual, ours.logit_scale
        del ours.visual, ours.logit_scale
        lock_tower(ours, text_groups(ours), unlocked)
        ours.visual, ours.logit_scale = visual, scale
        learning = [{n for n, p in made.named_parameters() if p.requires_grad} for made in (ours, theirs)]
        assert learning[0] == learning[1]


def test_what_a_locked_tower_gives_is_named_by_its_weights(folder: Path, tmp_path: Path) -> None:
    first, again = towers(folder, "image"), towers(folder, "image")
    assert first.images.key == again.images.key
    copy = shutil.copytree(folder, tmp_path / "tiny")
    tiny.save_weights(copy / "open_clip_model.safetensors", seed=9)
    assert towers(copy, "image").images.key.rpartition("-")[2] != first.images.key.rpartition("-")[2]
    assert first.texts.key.endswith("-learns")


@pytest.mark.parametrize("kind", ["plain", "timm", "transformers"])
def test_gradients_are_the_same_when_activations_are_computed_twice(kind: str, folder: Path, tmp_path: Path) -> None:
    place = model(kind, folder, tmp_path)
    results = []
    for checkpointing in (False, True):
        torch.manual_seed(0)  # transformers' towers have dropout
        dual = towers(place, "image", 1, checkpointing=checkpointing)
        for module in dual.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        results.append(train(dual, rate=0.05))
    np.testing.assert_allclose(results[0], results[1], rtol=1e-4)


def test_a_model_is_trained_in_half_precision(folder: Path) -> None:
    dual = towers(folder)
    with torch.autocast("cpu", torch.bfloat16):
        batch = torch.from_numpy(np.stack([dual.images.prepare(picture(seed)) for seed in range(2)]))
        images, texts = dual.images(batch), dual.texts(dual.texts.tokenise(["a dog", "a longer text on cats"]))
        loss = (images * texts).sum()
    assert images.dtype == texts.dtype == torch.float32
    loss.backward()
    assert all(parameter.grad is not None for name, parameter in dual.learned() if name not in ("log_scale", "bias"))


def test_towers_go_where_they_are_sent(folder: Path) -> None:
    dual = towers(folder).to("meta")  # a device without numbers, as good as any to see that nothing stays behind
    batch = torch.from_numpy(np.stack([dual.images.prepare(picture(seed)) for seed in range(2)]))
    images, texts = dual.images(batch), dual.texts(dual.texts.tokenise(["a dog", "a cat"]))
    assert images.device.type == texts.device.type == "meta"
    assert images.shape == texts.shape == (2, 24)


@pytest.mark.gpu
@pytest.mark.parametrize("lock", ["none", "image"])
def test_a_model_is_trained_on_a_graphics_card_and_saved(folder: Path, tmp_path: Path, lock: Lock) -> None:
    dual = towers(folder, lock).to("cuda")
    with torch.autocast("cuda", torch.bfloat16):
        dual.train()
        batch = np.stack([dual.images.prepare(picture(seed)) for seed in range(4)])
        images = dual.images(torch.from_numpy(dual.images.frozen(batch)))
        texts = dual.texts(dual.texts.tokenise(TEXTS[:4]))
        loss = -(images * texts).sum()
    loss.backward()
    torch.optim.SGD([parameter for _, parameter in dual.learned()], lr=0.01).step()
    after = embedded(dual.to("cpu"))
    save_open_clip(dual.to("cuda"), tmp_path / "saved")
    for ours, theirs in zip(after, by_open_clip(tmp_path / "saved"), strict=True):
        assert agreement(ours, theirs) > 0.999


def test_scale_and_bias_are_those_of_the_checkpoint(folder: Path, tmp_path: Path) -> None:
    sigmoid = towers(other("siglip", tmp_path / "siglip"))
    assert sigmoid.log_scale.item() == pytest.approx(2.3)
    assert sigmoid.bias.item() == -10
    assert "logit_bias" in sigmoid.open_clip_state()
    plain = towers(folder)
    assert plain.scale.item() == pytest.approx(1 / 0.07)
    assert "logit_bias" not in plain.open_clip_state()
    with torch.no_grad():
        plain.bias.fill_(-7.5)  # as after training with the sigmoid loss
    save_open_clip(plain, tmp_path / "saved")
    assert towers(tmp_path / "saved").bias.item() == -7.5


def test_token_ids_are_those_of_open_clip_without_what_pads_them(folder: Path) -> None:
    import open_clip

    dual = towers(folder)
    expected = open_clip.get_tokenizer(f"local-dir:{folder}")(TEXTS)
    rows = dual.texts.tokenise(TEXTS)
    assert max(map(len, rows)) == 77
    assert len(rows[2]) == 2
    for row, whole in zip(rows, expected.tolist(), strict=True):
        assert row + [0] * (77 - len(row)) == whole
    assert dual.texts.tokenise([]) == []


def test_a_checkpoint_of_a_known_architecture_is_a_starting_point(tmp_path: Path) -> None:
    tiny.register(tmp_path)
    checkpoint = tiny.save_weights(tmp_path / "mine.safetensors", seed=3)
    dual = load_open_clip_towers(f"open_clip/{tiny.TINY}/{checkpoint}")
    save_open_clip(dual, tmp_path / "saved")
    for ours, theirs in zip(embedded(dual), by_open_clip(tmp_path / "saved"), strict=True):
        assert agreement(ours, theirs) > 0.9999


def test_a_saved_model_takes_the_place_of_an_earlier_one_and_of_nothing_else(folder: Path, tmp_path: Path) -> None:
    dual = towers(folder)
    place = tmp_path / "models" / "mine"
    save_open_clip(dual, place)
    (place / "notes.txt").write_text("of the earlier one")
    save_open_clip(dual, place)
    assert sorted(path.name for path in place.iterdir()) == ["open_clip_config.json", "open_clip_model.safetensors"]
    assert [path.name for path in place.parent.iterdir()] == ["mine"]
    assert json.loads((place / "open_clip_config.json").read_text())["preprocess_cfg"]["mean"] == [0.48, 0.46, 0.41]
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "one.txt").write_text("dear")
    with pytest.raises(UsageError, match="no model"):
        save_open_clip(dual, tmp_path / "letters")
    with pytest.raises(StorageError, match="cannot be written"):
        save_open_clip(dual, tmp_path / "letters" / "one.txt" / "model")
    assert (tmp_path / "letters" / "one.txt").read_text() == "dear"


@pytest.mark.parametrize(
    ("lock", "unlocked", "said"),
    [("both", 0, "nothing learns"), ("none", 2, "cannot be unlocked"), ("image", -1, "cannot be unlocked")],
)
def test_locks_without_sense_are_wrong_usage(folder: Path, lock: Lock, unlocked: int, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        towers(folder, lock, unlocked)


def test_a_model_of_another_family_or_that_is_not_here_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownEncoderError, match="no open_clip model"):
        load_open_clip_towers("mini")
    with pytest.raises(ModelMissingError):
        load_open_clip_towers("open_clip/ViT-B-32/laion2b_s34b_b79k")
    with pytest.raises(ModelMissingError):
        load_open_clip_towers(f"open_clip/local-dir:{tmp_path}/nowhere")
