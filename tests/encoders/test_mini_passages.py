"""Passages of the built-in model: by other arithmetic than queries, in the same space."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsearch.encoders.mini import MODELS, MiniEncoder
from mmsearch.encoders.mini_passages import SHORT
from mmsearch.encoders.mini_source import MiniSource
from mmsearch.encoders.mini_text import TextTower
from mmsearch.encoders.model_folder import MINI_FILES, PASSAGE_GRAPH, TEXT_GRAPH
from mmsearch.errors import EncoderError, ModelMissingError
from mmsearch.media.text import read_passages
from tests.encoders import own_mini

CAPTIONS = ["a dog on the beach", "espresso", "", "Two people, laughing.", "🐶 東京 café", "a temple in the mountains"]
NOTES = [
    "We reached the lake at noon. The water was cold and clear, and the children stayed in it until their lips were "
    "blue. In the evening we lit a fire on the shore, grilled fish, and counted shooting stars.",
    "Beat the eggs with the sugar until they are pale. Add flour, melted butter and the grated peel of a lemon, fill "
    "the dough into a round tin and bake the cake for forty minutes.",
    "The old railway bridge over the river was built of stone and steel. Two trains a day still cross it, and people "
    "who photograph them stand on the hill behind the station, whatever the weather.",
    "My guitar needs new strings before the concert on Saturday. The band meets at six in the cellar of the church; "
    "Paul brings the drums, and somebody has to fetch the singer from the airport.",
    "A hedgehog has moved in under the wood pile. At night it eats what the cat leaves in her bowl, and by day it "
    "sleeps among the dry leaves that nobody has swept away since autumn.",
]


@pytest.fixture(scope="module")
def mini() -> MiniEncoder:
    return MiniEncoder()


def cosines(these: np.ndarray, those: np.ndarray) -> np.ndarray:
    return (these * those).sum(axis=1)


def test_passages_become_unit_vectors(mini: MiniEncoder) -> None:
    embeddings = mini.encode_passages([*CAPTIONS, *NOTES])
    assert embeddings.dtype == np.float32
    assert embeddings.shape == (len(CAPTIONS) + len(NOTES), mini.dim)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)


def test_no_passages_give_nothing(mini: MiniEncoder) -> None:
    assert mini.encode_passages([]).shape == (0, mini.dim)


def test_short_passages_lie_where_queries_with_the_same_words_lie(mini: MiniEncoder) -> None:
    near = cosines(mini.encode_passages(CAPTIONS), mini.encode_texts(CAPTIONS))
    assert near.min() > 0.95  # nothing at all, and signs that it does not know
    assert near.mean() > 0.98


def test_long_passages_lie_near_queries_with_the_same_words(mini: MiniEncoder) -> None:
    near = cosines(mini.encode_passages(NOTES), mini.encode_texts(NOTES))
    assert near.min() > 0.8
    assert near.mean() > 0.85


def test_long_passages_are_found_by_what_they_are_about(mini: MiniEncoder) -> None:
    queries = ["swimming in a lake", "how to bake a cake", "a train on a bridge", "rehearsal of a band", "a hedgehog"]
    best = (mini.encode_texts(queries) @ mini.encode_passages(NOTES).T).argmax(axis=1)
    assert best.tolist() == [0, 1, 2, 3, 4]


def test_captions_of_unseen_photos_lie_where_queries_would(mini: MiniEncoder, shared_data: Path) -> None:
    with (shared_data / "flickr8k" / "dev" / "captions.csv").open(encoding="utf-8", newline="") as file:
        captions = [row["caption"] for row in csv.DictReader(file)][::50]
    near = cosines(mini.encode_passages(captions), mini.encode_texts(captions))
    assert near.mean() > 0.98
    together = " ".join(caption if caption.endswith(".") else f"{caption}." for caption in captions)
    passages = [passage.text for passage in read_passages(together.encode())]
    near = cosines(mini.encode_passages(passages), mini.encode_texts(passages))
    assert near.mean() > 0.85


@settings(max_examples=25, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=200), min_size=1, max_size=20))
def test_a_passage_has_one_embedding_alone_or_in_any_company(mini: MiniEncoder, passages: list[str]) -> None:
    together = mini.encode_passages(passages)
    np.testing.assert_allclose(together, mini.encode_passages(passages[::-1])[::-1], atol=1e-6)
    np.testing.assert_allclose(together[:1], mini.encode_passages(passages[:1]), atol=1e-6)


def test_order_is_kept_over_many_lengths(mini: MiniEncoder) -> None:
    words = " ".join(NOTES).split()
    passages = [" ".join(words[at : at + 1 + at % 90]) for at in range(120)]
    together = mini.encode_passages(passages)
    for at in (0, 7, 64, 119):
        np.testing.assert_allclose(together[at], mini.encode_passages([passages[at]])[0], atol=1e-6)


def test_a_very_long_passage_is_cut_where_a_text_is(mini: MiniEncoder) -> None:
    long = "a very long story about a dog " * 5000
    np.testing.assert_array_equal(mini.encode_passages([long]), mini.encode_passages([long[:6000]]))
    assert cosines(mini.encode_passages([long]), mini.encode_texts([long])).min() > 0.6


def test_threads_share_one_tower() -> None:
    encoder = MiniEncoder()
    expected = MiniEncoder().encode_passages(NOTES)
    with ThreadPoolExecutor(4) as pool:
        for embeddings in pool.map(lambda _: encoder.encode_passages(NOTES), range(8)):
            np.testing.assert_array_equal(embeddings, expected)


def test_the_limit_between_short_and_long_counts_both_marks() -> None:
    tower = TextTower(MODELS)
    (ids,) = tower.tokenise(["dog " * (SHORT - 2)])
    assert len(ids) == SHORT


def test_without_the_smaller_tower_the_whole_one_takes_long_passages(tmp_path: Path, mini: MiniEncoder) -> None:
    for name in (*MINI_FILES, TEXT_GRAPH):
        shutil.copyfile(MODELS / name, tmp_path / name)
    near = cosines(MiniEncoder(models=tmp_path).encode_passages(NOTES), mini.encode_texts(NOTES))
    assert near.min() > 0.97


def test_a_model_without_graphs_for_passages_embeds_them_as_texts(tmp_path: Path) -> None:
    folder = own_mini.save(tmp_path / "own")
    encoder = MiniEncoder(source=MiniSource.parse(f"mini/{folder}"))
    passages = ["a dog", "two cats on the beach", ""]
    np.testing.assert_array_equal(encoder.encode_passages(passages), encoder.encode_texts(passages))


def test_graphs_for_passages_count_among_the_weights_of_a_model(tmp_path: Path) -> None:
    folder = own_mini.save(tmp_path / "own")
    before = MiniSource.parse(f"mini/{folder}").fingerprint
    (folder / TEXT_GRAPH).write_bytes(b"a graph")
    assert MiniSource.parse(f"mini/{folder}").fingerprint != before


@pytest.mark.parametrize("damaged", [TEXT_GRAPH, PASSAGE_GRAPH])
def test_damaged_graphs_are_named(tmp_path: Path, damaged: str) -> None:
    for name in (*MINI_FILES, TEXT_GRAPH):
        shutil.copyfile(MODELS / name, tmp_path / name)
    (tmp_path / damaged).write_bytes(b"not a graph")
    with pytest.raises(ModelMissingError, match=damaged.replace(".", r"\.")):
        MiniEncoder(models=tmp_path).encode_passages(["a dog"])


def test_a_graph_of_other_weights_is_refused(tmp_path: Path) -> None:
    folder = own_mini.save(tmp_path / "own")
    shutil.copyfile(MODELS / TEXT_GRAPH, folder / TEXT_GRAPH)
    with pytest.raises((ModelMissingError, EncoderError)):
        MiniEncoder(models=folder).encode_passages(["a dog"])


def test_a_text_query_still_needs_no_onnx_runtime_where_passages_do() -> None:
    code = (
        "import sys\n"
        "from mmsearch.encoders.mini import MiniEncoder\n"
        "MiniEncoder().encode_texts(['a dog'])\n"
        "assert 'onnxruntime' not in sys.modules\n"
        "MiniEncoder().encode_passages(['a dog'])\n"
        "assert not {'torch', 'onnx', 'tokenizers'} & set(sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
