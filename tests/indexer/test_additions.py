"""Things without files: checked one by one, stored batch by batch, found like files."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmsearch import ItemData, SearchEngine
from mmsearch.encoders.hashing import HashingEncoder
from mmsearch.errors import LibraryLockedError, StorageError, UsageError
from mmsearch.storage.catalog import Catalog
from mmsearch.storage.lock import WriterLock
from mmsearch.types import Modality

DIM = 64


def opened(folder: Path, *, read_only: bool = False) -> SearchEngine:
    return SearchEngine(Catalog.open(folder, create=True, read_only=read_only), [HashingEncoder(DIM)])


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[SearchEngine]:
    with opened(tmp_path / "library") as engine:
        yield engine


def vector(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(DIM)


def segments(engine: SearchEngine) -> int:
    return engine.status().segments


def tone(hz: float, rate: int = 16_000, seconds: float = 2.0) -> np.ndarray:
    return np.sin(2 * np.pi * hz * np.arange(int(rate * seconds)) / rate).astype(np.float32) / 2


def png(colour: str) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (40, 30), colour).save(stream, "PNG")
    return stream.getvalue()


def test_items_of_every_kind_are_found_by_their_like(engine: SearchEngine) -> None:
    summary = engine.add(
        [
            ItemData("red", image=Image.new("RGB", (40, 30), "red"), text="a red square"),
            ItemData("green", image=np.full((30, 40, 3), (0, 200, 0), np.uint8)),
            {"key": "blue", "image": png("blue"), "metadata": {"price": 3}},
            {"key": "words", "text": "the quick brown fox"},
            {"key": "tone", "audio": (tone(440), 16_000)},
            {"key": "made", "vector": vector(1)},
        ]
    )
    assert (summary.new, summary.failed, summary.interrupted) == (6, (), False)
    assert engine.status().items == {"image": 4, "text": 1, "audio": 1}
    pictures = [Image.new("RGB", (9, 9), colour) for colour in ("red", "blue", (0, 200, 0))]
    assert engine.search_many(pictures, 1, modality="image").keys[:, 0].tolist() == ["red", "blue", "green"]
    assert engine.search_many(["quick fox", "red square"], 1, modality="text").keys[:, 0].tolist() == ["words", "red"]
    assert engine.search_many(vector(1)[None], 1).keys[0, 0] == "made"
    sound = engine.embed(sounds=[(tone(440, 8000), 8000)])
    assert engine.search_many(sound, 1, modality="audio").keys[0, 0] == "tone"
    (hit, *_) = engine.search(pictures[1], k=1, min_relevance=0)
    assert (hit.key, hit.path, hit.metadata) == ("blue", None, {"price": 3})


def test_samples_of_any_layout_and_type_are_one_sound(engine: SearchEngine) -> None:
    floats = tone(440)
    stereo, whole = np.stack([floats, floats], axis=1), (floats * 32767).astype(np.int16)
    engine.add({"key": name, "audio": (samples, 16_000)} for name, samples in enumerated(floats, stereo, whole))
    rows = engine.vectors(["0", "1", "2"])
    assert (rows @ rows[0] > 0.999).all()


def enumerated(*values: Any) -> list[tuple[str, Any]]:
    return [(str(number), value) for number, value in enumerate(values)]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "int64", "uint8"])
def test_vectors_of_any_real_type_and_length_are_stored_normalised(dtype: str, engine: SearchEngine) -> None:
    given = (100 * np.abs(vector(3))).clip(0, 127).astype(dtype)
    assert engine.add([{"key": "v", "vector": given}]).new == 1
    (row,) = engine.vectors(["v"])
    wide = given.astype(np.float64)
    assert np.allclose(row, wide / np.linalg.norm(wide), atol=1e-3)


def test_huge_and_tiny_vectors_keep_their_direction(engine: SearchEngine) -> None:
    engine.add([{"key": "huge", "vector": vector(1) * 1e300}, {"key": "tiny", "vector": vector(1) * 1e-300}])
    huge, tiny = engine.vectors(["huge", "tiny"])
    assert huge @ tiny > 0.999


@pytest.mark.full
def test_tensors_of_torch_are_vectors(engine: SearchEngine) -> None:
    torch = pytest.importorskip("torch")
    given = torch.tensor(vector(2), requires_grad=True)
    engine.add([{"key": "a", "vector": given}, {"key": "b", "vector": given.to(torch.bfloat16)}])
    a, b = engine.vectors(["a", "b"])
    assert a @ b > 0.99


BAD = {
    "a vector of another length": {"vector": np.ones(DIM + 1)},
    "a matrix": {"vector": np.ones((1, DIM))},
    "NaN": {"vector": np.full(DIM, np.nan)},
    "infinity": {"vector": np.full(DIM, np.inf)},
    "a zero vector": {"vector": np.zeros(DIM)},
    "complex numbers": {"vector": np.ones(DIM, complex)},
    "words as a vector": {"vector": ["a"] * DIM},
    "a ragged vector": {"vector": [[1], [1, 2]]},
    "a vector of another model": {"vector": {"mini": np.ones(DIM)}},
    "no content": {},
    "an empty text": {"text": "  \n "},
    "a text of another type": {"text": 5},
    "a damaged image": {"image": png("red")[:40]},
    "an image of floats": {"image": np.zeros((4, 4, 3))},
    "an empty image": {"image": np.zeros((0, 4, 3), np.uint8)},
    "a file that is not there": {"image": "/nowhere/at/all.jpg"},
    "a sound without a rate": {"audio": tone(440)},
    "silence": {"audio": (np.zeros(16_000, np.float32), 16_000)},
    "a sound of NaN": {"audio": (np.full(100, np.nan, np.float32), 16_000)},
    "a sound of 1 Hz": {"audio": (tone(440), 1)},
    "an image and a vector": {"image": png("red"), "vector": np.ones(DIM)},
    "an unknown modality": {"vector": np.ones(DIM), "modality": "smell"},
    "another modality than it holds": {"text": "words", "modality": "image"},
    "metadata that JSON cannot hold": {"text": "words", "metadata": {"when": datetime.now()}},
    "metadata of NaN": {"text": "words", "metadata": {"x": float("nan")}},
    "a time with a zone": {"text": "words", "taken_at": datetime.fromisoformat("2020-01-01T00:00:00+01:00")},
    "half a place": {"text": "words", "latitude": 5.0},
    "a place off the Earth": {"text": "words", "latitude": 95.0, "longitude": 5.0},
    "an unknown field": {"text": "words", "colour": "red"},
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_item_is_told_of_and_the_others_are_stored(name: str, engine: SearchEngine) -> None:
    summary = engine.add(
        [{"key": "before", "text": "one"}, {"key": "bad", **BAD[name]}, {"key": "after", "text": "two"}]
    )
    assert summary.new == 2
    ((key, reason),) = [(failure.key, failure.reason) for failure in summary.failed]
    assert key == "bad" and reason and len(reason) < 200
    assert engine.vectors(["before", "after"]).shape == (2, DIM)
    assert np.isnan(engine.vectors(["bad"], missing="nan")).all()


@pytest.mark.parametrize(
    "given", [None, 5, "text", {"text": "no key"}, {"key": "", "text": "x"}, {"key": 5, "text": "x"}]
)
def test_what_is_no_item_at_all_is_told_of_too(given: Any, engine: SearchEngine) -> None:
    summary = engine.add([given, {"key": "good", "text": "words"}])
    assert (summary.new, len(summary.failed)) == (1, 1)


def test_a_failed_replacement_leaves_what_was_there(engine: SearchEngine) -> None:
    engine.add([{"key": "a", "vector": vector(1)}])
    assert engine.add([{"key": "a", "vector": np.zeros(DIM)}]).failed
    assert engine.search_many(vector(1)[None], 1).scores[0, 0] > 0.999


def test_an_item_replaces_what_has_its_key(engine: SearchEngine) -> None:
    engine.add([{"key": "a", "vector": vector(1)}, {"key": "b", "text": "words"}])
    summary = engine.add([{"key": "a", "text": "now a text"}, {"key": "c", "text": "new"}])
    assert (summary.new, summary.changed, summary.unchanged) == (1, 1, 0)
    assert engine.status().items == {"text": 3}
    assert engine.search_many(["now a text"], 1).keys[0, 0] == "a"


def test_of_two_with_one_key_in_a_run_the_last_counts(engine: SearchEngine) -> None:
    summary = engine.add({"key": "same", "vector": vector(seed)} for seed in range(5))
    assert (summary.new, summary.changed) == (1, 4)
    assert segments(engine) == 1
    assert engine.search_many(vector(4)[None], 1).scores[0, 0] > 0.999


def test_adding_the_same_again_changes_nothing(engine: SearchEngine) -> None:
    items = [
        ItemData("red", image=Image.new("RGB", (40, 30), "red"), text="a red square", metadata={"n": [1, {"a": None}]}),
        ItemData("made", vector=vector(1), taken_at=datetime(2020, 5, 17), latitude=1.5, longitude=-2.0),
        ItemData("tone", audio=(tone(440), 16_000)),
        ItemData("words", text="one two " * 500),
    ]
    engine.add(items)
    before = (engine.catalog.last_segment_id(), segments(engine), engine.search_many(["two"], 5).segments.tolist())
    summary = engine.add(items)
    assert (summary.new, summary.changed, summary.unchanged, summary.embedded) == (0, 0, 4, 0)
    after = (engine.catalog.last_segment_id(), segments(engine), engine.search_many(["two"], 5).segments.tolist())
    assert after == before


def test_other_facts_alone_embed_nothing_again(engine: SearchEngine) -> None:
    red = Image.new("RGB", (40, 30), "red")
    engine.add([ItemData("red", image=red, text="a red square"), ItemData("v", vector=vector(1))])
    rows = engine.vectors(["red", "v"])
    summary = engine.add(
        [
            ItemData("red", image=red, text="a red square", metadata={"price": 2}),
            ItemData("v", vector=vector(1), taken_at=datetime(2021, 1, 1)),
        ]
    )
    assert (summary.changed, summary.embedded) == (2, 0)
    assert np.array_equal(engine.vectors(["red", "v"]), rows)
    (hit,) = engine.search(red, k=1, min_relevance=0)
    assert hit.metadata == {"price": 2}
    assert engine.search_many(["red square"], 1).keys[0, 0] == "red"
    assert segments(engine) == 3


def test_a_long_text_is_split_as_a_file_is_and_its_item_is_found_once(engine: SearchEngine) -> None:
    engine.add([{"key": "long", "text": "apples and pears. " * 300}, {"key": "short", "text": "apples"}])
    assert segments(engine) > 5
    hits = engine.search_many(["apples", "pears"], 5)
    assert sorted(hits.keys[0, :2]) == ["long", "short"]
    assert (hits.items[:, 2:] == -1).all() and np.isneginf(hits.scores[:, 2:]).all()


def test_a_text_with_its_own_vector_is_one_segment_that_words_find_too(engine: SearchEngine) -> None:
    engine.add([{"key": "note", "text": "a zebra in the snow", "vector": vector(7), "modality": "text"}])
    assert segments(engine) == 1
    assert engine.search_many(vector(7)[None], 1, modality=Modality.TEXT).scores[0, 0] > 0.999
    assert [hit.key for hit in engine.search("zebra", min_relevance=0)] == ["note"]


def test_a_million_would_not_be_held_at_once(engine: SearchEngine) -> None:
    alive: set[int] = set()
    most = 0

    class Tracked(np.ndarray):
        def __del__(self) -> None:
            alive.discard(id(self))

    def items() -> Iterator[dict[str, Any]]:
        nonlocal most
        for number in range(3000):
            made = vector(number % 50).view(Tracked)
            alive.add(id(made))
            most = max(most, len(alive))
            yield {"key": str(number), "vector": made}

    assert engine.add(items(), batch_size=4).new == 3000
    assert most <= 2 * 4 * 64 + 8


def test_every_batch_is_a_transaction_of_its_own(engine: SearchEngine) -> None:
    def items() -> Iterator[dict[str, Any]]:
        for number in range(200):
            if number == 150:
                raise RuntimeError("the source broke")
            yield {"key": str(number), "vector": vector(number)}

    with pytest.raises(RuntimeError, match="the source broke"):
        engine.add(items(), batch_size=1)
    assert segments(engine) == 128
    assert engine.add([{"key": str(number), "vector": vector(number)} for number in range(200)]).unchanged == 128


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from tests.indexer.test_additions import opened, vector
with opened(Path(sys.argv[1])) as engine:
    def items():
        for number in range(10_000):
            if number == 1000:
                os.kill(os.getpid(), signal.SIGKILL)
            yield {"key": str(number), "vector": vector(number), "metadata": {"n": number}}
    engine.add(items(), batch_size=2)
"""


def test_a_killed_run_leaves_whole_batches_and_the_next_goes_on(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "library")], cwd=root, check=False)
    assert done.returncode == -signal.SIGKILL
    with opened(tmp_path / "library") as engine:
        there = segments(engine)
        assert there == 896  # seven batches of 128
        keys = [str(number) for number in range(there)]
        rows = engine.vectors(keys)
        assert all(row @ vector(number) > 0.99 * np.linalg.norm(vector(number)) for number, row in enumerate(rows))
        summary = engine.add({"key": str(n), "vector": vector(n), "metadata": {"n": n}} for n in range(1000))
        assert (summary.unchanged, summary.new) == (896, 104)


def test_a_second_writer_is_turned_away(engine: SearchEngine) -> None:
    with WriterLock(engine.library, "another"), pytest.raises(LibraryLockedError):
        engine.add([{"key": "a", "text": "x"}])
    with WriterLock(engine.library, "another"), pytest.raises(LibraryLockedError):
        engine.remove(["a"])
    assert engine.add([{"key": "a", "text": "x"}]).new == 1


def test_an_engine_for_reading_does_not_write(tmp_path: Path) -> None:
    with opened(tmp_path) as engine:
        engine.add([{"key": "a", "text": "x"}])
    with opened(tmp_path, read_only=True) as engine, pytest.raises(StorageError, match="reading only"):
        engine.add([{"key": "b", "text": "x"}])


def test_removed_items_are_gone_and_unknown_keys_are_passed_over(engine: SearchEngine, tmp_path: Path) -> None:
    engine.add({"key": str(number), "vector": vector(number)} for number in range(20))
    assert engine.remove(["3", "4", "nobody", "4"]) == 2
    assert engine.remove([]) == engine.remove(["3"]) == 0
    assert "3" not in engine.search_many(vector(3)[None], 20).keys
    with pytest.raises(UsageError, match="one key"):
        engine.remove("5")
    photo = tmp_path / "photos" / "a.png"
    photo.parent.mkdir()
    photo.write_bytes(png("red"))
    engine.index([photo.parent])
    assert np.isfinite(engine.vectors([str(photo)])).all()
    assert engine.remove([photo]) == 1
    assert segments(engine) == 18


def test_progress_is_told_and_a_batch_has_at_least_one(engine: SearchEngine) -> None:
    told = []
    engine.add(({"key": str(number), "vector": vector(number)} for number in range(10)), progress=told.append)
    assert told[0].stage == "embed" and any(progress.done == 10 for progress in told)
    with pytest.raises(UsageError, match="at least 1"):
        engine.add([], batch_size=0)


def test_the_index_is_made_anew_only_when_much_has_come(engine: SearchEngine) -> None:
    engine.add({"key": f"a{number}", "vector": vector(number)} for number in range(2000))
    assert engine.status().indexes[0]["pending"] == 0
    engine.add({"key": f"b{number}", "vector": vector(5000 + number)} for number in range(50))
    assert engine.status().indexes[0]["pending"] == 50
    assert engine.search_many(vector(5007)[None], 1).keys[0, 0] == "b7"


def test_readers_on_threads_go_on_while_items_are_added(engine: SearchEngine) -> None:
    engine.add({"key": str(number), "vector": vector(number)} for number in range(500))
    stopped, problems = threading.Event(), []

    def read() -> None:
        try:
            while not stopped.is_set():
                hits = engine.search_many(np.stack([vector(1), vector(2)]), 3)
                assert hits.keys[:, 0].tolist() == ["1", "2"]
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    engine.add(({"key": f"new{number}", "vector": vector(1000 + number)} for number in range(2000)), batch_size=4)
    stopped.set()
    for thread in threads:
        thread.join()
    assert not problems


ITEMS = st.lists(
    st.tuples(st.sampled_from("abcd"), st.one_of(st.integers(0, 3), st.text(max_size=30))), min_size=1, max_size=12
)


@settings(max_examples=25, deadline=None)
@given(ITEMS)
def test_whatever_comes_the_last_good_item_of_each_key_is_there(tmp_path_factory: Any, given: list[Any]) -> None:
    with opened(tmp_path_factory.mktemp("any")) as engine:
        items = [
            {"key": key, "text": content} if isinstance(content, str) else {"key": key, "vector": vector(content)}
            for key, content in given
        ]
        summary = engine.add(items)
        bad = {(key, content) for key, content in given if isinstance(content, str) and not content.strip()}
        good = {key: content for key, content in given if (key, content) not in bad}
        if not any(isinstance(content, str) for content in good.values()):
            for content in good.values():
                assert engine.search_many(vector(content)[None], 4).scores[0, 0] > 0.999
        there = engine.catalog.ids_of_keys(list("abcd")) >= 0
        assert summary.new + summary.changed + summary.unchanged + len(summary.failed) == len(items)
        assert {key for key, found in zip("abcd", there, strict=True) if found} <= set(good)
        assert engine.add(
            {"key": key, "text": content} if isinstance(content, str) else {"key": key, "vector": vector(content)}
            for key, content in good.items()
            if there["abcd".index(key)]
        ).unchanged == int(there.sum())
