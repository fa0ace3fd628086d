"""Published rerankers: tiny models through their real loading code, against what the models themselves say."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmsearch.encoders import hub, load_encoder
from mmsearch.errors import EncoderError, MediaError, ModelMissingError, UnknownEncoderError, UsageError
from mmsearch.protocols import Reranker
from mmsearch.rerank.file_reranker import FileReranker
from mmsearch.rerank.foreign import is_reranker, load_foreign_reranker
from mmsearch.types import Modality
from tests.encoders import tiny
from tests.encoders.conftest import picture
from tests.rerank import tiny_blip
from tests.rerank.pairs import candidate, term

WORDS = "two dogs in the rain"
TEXTS = ["a dog", "two red bicycles on the beach, and thunder", "it is not a cat", "\udcff rain"]
COCA, BLIP = "coca/coca_ViT-B-32/laion2b_s13b_b90k", "blip/Salesforce/blip-itm-base-coco"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MMSEARCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MMSEARCH_OFFLINE", "1")
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def blip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if find_spec("torch") is None or find_spec("transformers") is None:
        pytest.skip("torch and transformers are not installed")
    return tiny_blip.save_repository(tmp_path_factory.mktemp("models") / "blip")


@pytest.fixture(scope="module")
def coca_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if find_spec("torch") is None or find_spec("open_clip") is None:
        pytest.skip("torch and open_clip are not installed")
    return tiny.save_repository(tmp_path_factory.mktemp("models") / "coca", tiny.coca())


def load(name: str, **options: Any) -> FileReranker:
    return load_foreign_reranker(name, device="cpu", **{"precision": "fp32", **options})


@pytest.fixture
def blip(blip_folder: Path) -> FileReranker:
    return load(f"blip/{blip_folder}")


@pytest.fixture
def coca(coca_folder: Path) -> FileReranker:
    return load(f"coca/{coca_folder}")


@pytest.fixture(params=[pytest.param("blip", marks=pytest.mark.full), pytest.param("coca", marks=pytest.mark.full)])
def reranker(request: pytest.FixtureRequest) -> FileReranker:
    found: FileReranker = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    files = [tmp_path / f"{seed}.png" for seed in range(5)]
    for seed, file in enumerate(files):
        picture(seed, (48, 48)).save(file)  # as large as the towers read, so that nothing is resized
    return files


def blip_itself(folder: Path, photo: Path, text: str) -> float:
    """What transformers' own model and processor say."""
    import torch
    from transformers import BertTokenizer, BlipForImageTextRetrieval, BlipImageProcessor, BlipProcessor

    model = BlipForImageTextRetrieval.from_pretrained(folder).eval()
    size = {"height": tiny_blip.SIZE, "width": tiny_blip.SIZE}
    images = BlipImageProcessor(size=size, image_mean=tiny_blip.MEAN, image_std=tiny_blip.STD)
    processor = BlipProcessor(images, BertTokenizer.from_pretrained(folder))
    inputs = processor(images=Image.open(photo).convert("RGB"), text=text, return_tensors="pt")
    with torch.inference_mode():
        probabilities = model(**inputs).itm_score.softmax(dim=1)[0]
    return float(torch.log(probabilities[1] / probabilities[0]))


def coca_itself(folder: Path, photo: Path, text: str) -> float:
    """Mean log-likelihood from open_clip's own forward pass over the whole context."""
    import open_clip
    import torch

    name = f"local-dir:{folder}"
    model, transform = open_clip.create_model_from_pretrained(name)
    tokens = open_clip.get_tokenizer(name)([text])
    with torch.inference_mode():
        output = model.eval()(transform(Image.open(photo))[None], tokens)
    likelihoods = output["logits"][0].log_softmax(-1)
    steps = [likelihoods[place, token] for place, token in enumerate(output["labels"][0].tolist()) if token]
    return float(torch.stack(steps).mean())


@pytest.mark.full
def test_blip_gives_the_log_odds_of_its_matching_head(
    blip: FileReranker, blip_folder: Path, photos: list[Path]
) -> None:
    expected = [blip_itself(blip_folder, photo, WORDS) for photo in photos]
    got = blip.log_odds(term(WORDS), [candidate(photo, prior=5.0) for photo in photos])
    np.testing.assert_allclose(got, expected, atol=1e-3)
    assert np.ptp(expected) > 0.01
    texts = [text for text in TEXTS if text.isascii()]
    expected = [blip_itself(blip_folder, photos[0], text) for text in texts]
    got = blip.log_odds(term(photos[0]), [candidate(None, Modality.TEXT, text=text) for text in texts])
    np.testing.assert_allclose(got, expected, atol=1e-3)
    assert np.ptp(expected) > 0.01


@pytest.mark.full
def test_coca_adds_standardised_likelihoods_to_the_prior(
    coca: FileReranker, coca_folder: Path, photos: list[Path]
) -> None:
    priors = np.array([0.5, -1.0, 2.0, 0.0, -3.0])
    likelihoods = np.array([coca_itself(coca_folder, photo, WORDS) for photo in photos])
    np.testing.assert_allclose(
        coca.load().score_pictures(WORDS, [np.asarray(Image.open(photo)) for photo in photos]), likelihoods, atol=1e-4
    )
    got = coca.log_odds(term(WORDS), [candidate(p, prior=v) for p, v in zip(photos, priors, strict=True)])
    np.testing.assert_allclose(got, priors + (likelihoods - likelihoods.mean()) / likelihoods.std(), atol=0.02)
    texts = [text for text in TEXTS if text.isascii()]
    expected = [coca_itself(coca_folder, photos[1], text) for text in texts]
    got = coca.load().score_texts(np.asarray(Image.open(photos[1])), texts)
    np.testing.assert_allclose(got, expected, atol=1e-4)


@pytest.mark.full
def test_a_single_candidate_keeps_its_prior_with_coca(coca: FileReranker, photos: list[Path]) -> None:
    np.testing.assert_allclose(coca.log_odds(term(WORDS), [candidate(photos[0], prior=-2.5)]), [-2.5])


def test_it_is_a_reranker_without_tokens(reranker: FileReranker) -> None:
    assert isinstance(reranker, Reranker)
    assert reranker.tokens is None
    with pytest.raises(EncoderError, match="keeps no tokens"):
        reranker.compress(np.zeros((1, 2, 3), np.float32))


def test_a_file_that_is_gone_or_damaged_is_not_a_number_and_the_others_are(
    reranker: FileReranker, photos: list[Path], tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged.jpg"
    damaged.write_bytes(b"no picture")
    files = [photos[0], tmp_path / "gone.png", None, damaged, *photos[1:]]
    got = reranker.log_odds(term(WORDS), [candidate(file) for file in files])
    alone = reranker.log_odds(term(WORDS), [candidate(photo) for photo in photos])
    assert got is not None
    np.testing.assert_array_equal(np.isnan(got), [False, True, True, True, False, False, False, False])
    np.testing.assert_allclose(got[~np.isnan(got)], alone, atol=1e-3)
    got = reranker.log_odds(term(WORDS), [candidate(damaged), candidate(None)])
    assert np.isnan(got).all()


def test_texts_of_a_picture_are_read_and_a_candidate_without_one_is_not_a_number(
    reranker: FileReranker, photos: list[Path]
) -> None:
    candidates = [candidate(None, Modality.TEXT, text=text) for text in [*TEXTS, None, "", "rain " * 200]]
    for content in (photos[0], photos[0].read_bytes(), Image.open(photos[0])):
        got = reranker.log_odds(term(content), candidates)
        assert got is not None
        np.testing.assert_array_equal(np.isnan(got), [False] * 4 + [True] + [False] * 2)


def test_frames_of_a_video_are_read_at_their_time(reranker: FileReranker, photos: list[Path], tmp_path: Path) -> None:
    pytest.importorskip("av")
    from mmsearch.media.video import read_frame
    from tests.media.recordings import shots, write_video

    video = write_video(tmp_path / "film.mp4", shots(((200, 30, 30), 2), ((20, 40, 220), 2)))
    frames = []
    for number, time in enumerate((0, 3000)):
        frames.append(tmp_path / f"frame{number}.png")
        read_frame(video, time, target_side=48).save(frames[-1])
    got = reranker.log_odds(term(WORDS), [candidate(video, Modality.VIDEO, start_ms=time) for time in (0, 3000)])
    expected = reranker.log_odds(term(WORDS), [candidate(frame) for frame in frames])
    np.testing.assert_allclose(got, expected, atol=1e-3)


@pytest.mark.parametrize(
    ("content", "asked", "modality"),
    [
        ("words", Modality.TEXT, Modality.TEXT),
        ("words", Modality.TEXT, Modality.AUDIO),
        (Path("a.png"), Modality.IMAGE, Modality.IMAGE),
        (Path("a.png"), Modality.IMAGE, Modality.VIDEO),
        (Path("a.wav"), Modality.AUDIO, Modality.TEXT),
    ],
)
def test_pairs_that_it_does_not_read_are_left_to_others(
    content: Any, asked: Modality, modality: Modality, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "blip"}')
    reranker = load(f"blip/{tmp_path}")  # never loaded: there are no weights
    assert reranker.log_odds(term(content, asked), [candidate(None, modality)]) is None
    assert reranker.log_odds(term(content, asked), []).shape == (0,)  # type: ignore[union-attr]


def test_a_picture_to_ask_with_that_cannot_be_read_is_said(reranker: FileReranker, tmp_path: Path) -> None:
    with pytest.raises(MediaError):
        reranker.log_odds(term(tmp_path / "gone.png"), [candidate(None, Modality.TEXT, text="a dog")])


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_hardly_changes_the_scores(reranker: FileReranker, precision: str, photos: list[Path]) -> None:
    pictures = [np.asarray(Image.open(photo)) for photo in photos]
    half = load(reranker.id, precision=precision).load()
    for scores in (
        lambda model: model.score_pictures(WORDS, pictures),
        lambda m: m.score_texts(pictures[0], TEXTS[:3]),
    ):
        np.testing.assert_allclose(scores(half), scores(reranker.load()), atol=0.3, rtol=0.03)


def test_more_pairs_than_a_batch_score_as_each_alone(reranker: FileReranker, tmp_path: Path) -> None:
    files = [tmp_path / f"many{seed}.png" for seed in range(21)]
    for seed, file in enumerate(files):
        picture(seed, (80, 60)).save(file)
    model = reranker.load()
    prepared = [model.transform(Image.open(file)) for file in files]
    together = model.score_pictures(WORDS, prepared)
    alone = np.concatenate([model.score_pictures(WORDS, [one]) for one in prepared])
    np.testing.assert_allclose(together, alone, atol=1e-3)
    texts = [f"{text} {'rain ' * times}" for times in range(6) for text in TEXTS[:3]]
    together = model.score_texts(prepared[0], texts)
    alone = np.concatenate([model.score_texts(prepared[0], [text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-3)


@pytest.mark.full
def test_a_processor_of_today_is_read_as_one_of_old(blip_folder: Path, tmp_path: Path, photos: list[Path]) -> None:
    pytest.importorskip("torchvision")
    folder = tiny_blip.save_repository(tmp_path / "today", older=False)
    assert not (folder / "preprocessor_config.json").exists()
    ours, theirs = (load(f"blip/{place}") for place in (folder, blip_folder))
    assert ours.load().transform == theirs.load().transform
    pairs = [candidate(photo) for photo in photos]
    np.testing.assert_allclose(ours.log_odds(term(WORDS), pairs), theirs.log_odds(term(WORDS), pairs), atol=1e-5)


@pytest.mark.full
@pytest.mark.parametrize("damage", ["no head", "no weights", "no processor", "no tokenizer", "other size"])
def test_a_blip_that_cannot_match_is_one_sentence(damage: str, blip_folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "damaged"
    shutil.copytree(blip_folder, folder)
    if damage == "no head":  # as those that write captions
        state = {k: v for k, v in load_file(folder / "model.safetensors").items() if "itm_head" not in k}
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    elif damage == "no weights":
        (folder / "model.safetensors").unlink()
    elif damage == "no processor":
        (folder / "preprocessor_config.json").unlink()
    elif damage == "no tokenizer":
        (folder / "tokenizer.json").unlink()
        (folder / "vocab.txt").unlink()
    else:
        (folder / "preprocessor_config.json").write_text(json.dumps({"size": 64}))
    with pytest.raises(EncoderError, match="cannot be loaded") as caught:
        load(f"blip/{folder}").load()
    assert "\n" not in caught.value.message


@pytest.mark.full
def test_a_clip_is_no_coca(coca_folder: Path, tmp_path: Path) -> None:
    folder = tiny.save_repository(tmp_path / "clip")
    with pytest.raises(EncoderError, match="no CoCa model"):
        load(f"coca/{folder}").load()


@pytest.mark.full
def test_a_checkpoint_of_a_known_architecture_is_read(coca: FileReranker, coca_folder: Path, tmp_path: Path) -> None:
    import open_clip

    (tmp_path / "mmsearch-coca.json").write_text(json.dumps(tiny.coca()))
    open_clip.add_model_config(tmp_path / "mmsearch-coca.json")
    checkpoint = coca_folder / "open_clip_model.safetensors"
    other = load(f"coca/mmsearch-coca/{checkpoint}")
    assert other.id == f"coca/mmsearch-coca/{checkpoint.resolve()}"
    pixels = [np.asarray(picture(0, (48, 48)))]
    np.testing.assert_allclose(
        other.load().score_pictures(WORDS, pixels), coca.load().score_pictures(WORDS, pixels), atol=0.5
    )  # with other means of colours, which a checkpoint alone does not tell


@pytest.mark.parametrize("name", [COCA, BLIP, "blip/hf-hub:Salesforce/blip-itm-base-coco"])
def test_published_models_have_one_id_and_making_one_loads_nothing_heavy(name: str) -> None:
    code = (
        "import sys; from mmsearch.rerank.foreign import load_foreign_reranker; "
        f"print(load_foreign_reranker({name!r}, device='auto', precision='auto').id); "
        "print(sorted({'torch', 'transformers', 'open_clip', 'huggingface_hub', 'PIL', 'av'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [name.replace("hf-hub:", ""), "[]"]


@pytest.mark.full
@pytest.mark.parametrize("name", [COCA, BLIP])
def test_weights_that_are_not_here_are_named_with_the_command_that_fetches(name: str, photos: list[Path]) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("open_clip" if name == COCA else "transformers")
    with pytest.raises(ModelMissingError, match="the network is not to be used") as caught:
        load_foreign_reranker(name).log_odds(term(WORDS), [candidate(photos[0])])
    assert f"mmsearch models pull {name}" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mini", "There is no reranker"),
        ("blip", "There is no reranker"),
        ("clap/laion/clap-htsat-unfused", "There is no reranker"),
        ("blip/x", "There is no model"),
        ("blip/./nowhere", "There is no checkpoint"),
        ("coca/local-dir:./nowhere", "There is no checkpoint"),
    ],
)
def test_what_names_no_reranker_is_told(name: str, said: str) -> None:
    with pytest.raises(UnknownEncoderError, match=said):
        load(name)


@pytest.mark.parametrize("options", [{"device": "gpu"}, {"precision": "int4"}])
def test_a_device_or_precision_that_does_not_exist_is_wrong_usage(options: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=r"There is no (device|precision)"):
        load_foreign_reranker(BLIP, **options)


def test_a_reranker_is_told_from_an_encoder() -> None:
    assert [is_reranker(name) for name in (COCA, BLIP, "mini", "clap/a/b", "open_clip/ViT-B-32/openai")] == [
        True,
        True,
        False,
        False,
        False,
    ]
    with pytest.raises(UnknownEncoderError, match="There is no encoder") as caught:
        load_encoder(BLIP)
    assert f"--reranker {BLIP}" in str(caught.value.hint)


@pytest.mark.full
def test_a_folder_of_ones_own_is_found_by_the_commands_and_never_deleted(blip_folder: Path) -> None:
    assert hub.pull(f"blip/{blip_folder}") == hub.path(f"blip/{blip_folder}") == blip_folder
    with pytest.raises(UsageError, match="not mmsearch's own"):
        hub.remove(f"blip/{blip_folder}")
    assert (blip_folder / "model.safetensors").exists()
