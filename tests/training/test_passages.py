"""Documents and captions become passages, and a smaller text tower learns from them."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from mmsearch.encoders.mini import MODELS, MiniEncoder  # noqa: E402
from mmsearch.encoders.mini_passages import PassageTower  # noqa: E402
from mmsearch.encoders.mini_text import TextTower  # noqa: E402
from mmsearch.encoders.model_folder import MINI_FILES, PASSAGE_GRAPH, TEXT_GRAPH  # noqa: E402
from mmsearch.errors import UsageError  # noqa: E402
from mmsearch.training.mini_texts import padded  # noqa: E402
from mmsearch.training.passage_texts import compose_passages, read_documents  # noqa: E402
from mmsearch.training.passages import PassageRecipe, export_passage_tower, small_tower, train_passages  # noqa: E402
from mmsearch.training.text_graphs import export_text_graph  # noqa: E402
from tests.encoders import own_mini  # noqa: E402

pytestmark = pytest.mark.full

WORDS = ["a", "dog", "cat", "on", "the", "beach", "two"]
RECIPE = PassageRecipe(layers=(0,), least=4, held_out=100, batch=16, steps=20, rate=1e-3, half=False)


def passages(count: int, seed: int = 0) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randint(3, 14))) for _ in range(count)]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = own_mini.save(tmp_path / "model")
    export_text_graph(folder)
    return folder


def test_a_graph_gives_what_the_tower_gives_and_holds_no_weights(model: Path) -> None:
    tower = TextTower(model)
    texts = ["", "a dog", *passages(50)]
    written = PassageTower(model, tower, hint="").encode(texts)
    near = (written * tower.encode(texts)).sum(axis=1)
    assert near.mean() > 0.98
    assert near.min() > 0.9  # words that the texts which gave the ranges do not hold
    arrays = (model / "mini_text.safetensors").stat().st_size
    assert (model / TEXT_GRAPH).stat().st_size < arrays + 8000


def test_the_graph_that_ships_is_that_of_the_weights_that_ship(tmp_path: Path) -> None:
    for name in MINI_FILES:
        shutil.copyfile(MODELS / name, tmp_path / name)
    export_text_graph(tmp_path)
    texts = ["a dog on the beach", "two people laugh"]
    expected = MiniEncoder().encode_passages(texts)
    np.testing.assert_allclose(MiniEncoder(models=tmp_path).encode_passages(texts), expected, atol=0.02)


def test_a_smaller_tower_begins_as_layers_of_the_whole_one(model: Path) -> None:
    tower = TextTower(model)
    texts = passages(20)
    with torch.no_grad():
        begun = small_tower(model, (0,))(*padded(tower.tokenise(texts))).numpy()
    np.testing.assert_allclose(begun, tower.encode(texts), atol=1e-4)  # all the layers there are


def test_a_written_smaller_tower_gives_what_the_trained_one_gave(model: Path) -> None:
    tower = TextTower(model)
    small = small_tower(model, (0, 0)).eval()
    export_passage_tower(small, model)
    tokens = [ids * 3 for ids in tower.tokenise(passages(30))]
    long = [ids[:16] for ids in tokens if len(ids) >= 16]
    with torch.no_grad():
        expected = small(*padded(long)).numpy()
    import mmsearch.encoders.mini_passages as module

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SHORT", 4)
        written = PassageTower(model, tower, hint="").encode_tokens(long)
    assert (written * expected).sum(axis=1).min() > 0.98


def test_training_brings_it_nearer_to_the_whole_tower(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for name in (*MINI_FILES, TEXT_GRAPH):
        shutil.copyfile(MODELS / name, folder / name)
    draw = random.Random(0)
    vocabulary = (MODELS / "mini_vocabulary.txt").read_text(encoding="utf-8").splitlines()[2000:2200]
    texts = [" ".join(draw.choices(vocabulary, k=20)) for _ in range(140)]
    seen: list[float] = []
    recipe = PassageRecipe(held_out=20, batch=24, steps=12, warmup=2, half=False)
    trained = train_passages(folder, texts, recipe, progress=lambda step, cosine: seen.append(cosine))
    assert (folder / PASSAGE_GRAPH).is_file()
    assert trained.steps == len(seen) == 12
    assert trained.passages == 120
    assert np.mean(seen[-3:]) > np.mean(seen[:3]) + 0.02
    assert MiniEncoder(models=folder).encode_passages(texts[:3]).shape == (3, 256)


def test_training_stops_when_its_time_is_up(model: Path) -> None:
    recipe = PassageRecipe(layers=(0,), least=4, held_out=100, batch=16, minutes=0.0001, half=False)
    assert train_passages(model, passages(300), recipe).steps < 1400


def test_too_few_passages_are_refused(model: Path) -> None:
    with pytest.raises(UsageError, match="long enough"):
        train_passages(model, passages(50), RECIPE)


@pytest.mark.parametrize("layers", [(), (1,), (-1,)])
def test_layers_that_are_not_there_are_refused(model: Path, layers: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="layers 0 to 0"):
        small_tower(model, layers)


def test_documents_are_read_as_the_passages_that_an_index_gets(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("A dog barks. It is late.\n\n# not a heading\n", encoding="utf-8")
    (tmp_path / "notes" / "b.md").write_text("# Lake\n\nWe swam in the lake.\n", encoding="utf-8")
    (tmp_path / "notes" / "copy.txt").write_text("A dog barks. It is late.\n\n# not a heading\n", encoding="utf-8")
    (tmp_path / "notes" / "bad.txt").write_bytes(b"\x00\x01\x02" * 500)
    (tmp_path / "notes" / "photo.jpg").write_bytes(b"")
    found, failures = read_documents([tmp_path / "notes"])
    assert any("swam in the lake" in passage for passage in found)
    assert len([passage for passage in found if "A dog barks." in passage]) == 1
    assert [failure.path.name for failure in failures] == ["bad.txt"]
    assert len(read_documents([tmp_path / "notes"], most=1)[0]) == 1
    with pytest.raises(UsageError, match="nowhere"):
        read_documents([tmp_path / "nowhere"])


def test_captions_of_a_picture_become_passages_of_sentences() -> None:
    groups = [["a dog runs .", "the dog is brown"], ["two cats", "cats on a sofa", "kittens"]]
    made = compose_passages(groups, rounds=4, seed=1)
    assert len(made) == 8
    assert made == compose_passages(groups, rounds=4, seed=1)
    assert all(any(word in passage.lower() for word in ("dog", "cats", "kittens")) for passage in made)
    assert any(passage.endswith(".") for passage in made)
    assert not any(" ." in passage for passage in made)
