"""The vector store: always what exact search over the catalog finds, whatever the state of its files."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from mmsearch.errors import StorageError, UsageError
from mmsearch.types import Progress
from mmsearch.vectors import arrays, delta, inverted
from mmsearch.vectors.exact import ExactIndex
from mmsearch.vectors.manifest import MANIFEST_NAME
from mmsearch.vectors.store import VectorStore
from tests.vectors.worlds import MemorySource, brute_force, clustered, recall

DIM = 32
KINDS = ["flat", "ivf", "hnsw"]


def source_of(count: int, seed: int = 0) -> MemorySource:
    source = MemorySource(DIM)
    source.add(clustered(count, DIM, seed))
    return source


def check_exact(store: VectorStore, source: MemorySource, k: int = 5, allowed: np.ndarray | None = None) -> None:
    """The store finds exactly what brute force over the source finds."""
    queries = clustered(3, DIM, seed=99)
    found, scores = store.search(source, queries, k, allowed=allowed)
    ids, vectors = source.fetch(source.ids)
    kept = np.ones(len(ids), bool) if allowed is None else np.isin(ids, allowed)
    for line, values, query in zip(found, scores, queries, strict=True):
        true_ids, true_scores = brute_force(ids[kept], vectors[kept], query, k)
        assert line[: len(true_ids)].tolist() == true_ids.tolist()
        assert np.allclose(values[: len(true_ids)], true_scores, atol=1e-6)
        assert (line[len(true_ids) :] == -1).all()


def files(store: VectorStore) -> list[str]:
    return sorted(path.name for path in store.folder.iterdir())


def test_without_any_files_the_catalog_is_searched(tmp_path: Path) -> None:
    store, source = VectorStore(tmp_path, "test", DIM), source_of(300)
    check_exact(store, source)
    assert store.manifest is None
    assert store.pending(source) == 300
    assert store.size_bytes() == 0
    assert not store.folder.exists()


def test_an_empty_catalog_has_no_hits_and_can_be_folded(tmp_path: Path) -> None:
    store, source = VectorStore(tmp_path, "test", DIM), MemorySource(DIM)
    for kind in ("auto", *KINDS):
        check_exact(store, source)
        assert store.fold(source, kind=kind, force=True).kind == "flat"
    source.add(clustered(10, DIM))
    check_exact(store, source)
    assert store.pending(source) == 10


@pytest.mark.parametrize("kind", KINDS)
def test_after_a_fold_nothing_is_read_but_the_shortlist(kind: str, tmp_path: Path) -> None:
    store, source = VectorStore(tmp_path, "test", DIM), source_of(1000)
    manifest = store.fold(source, kind=kind)
    assert manifest.kind.startswith(kind)
    assert manifest.watermark == source.watermark()
    assert store.manifest == manifest
    assert store.pending(source) == 0
    assert store.size_bytes() > 1000 * DIM
    source.batches_read = source.fetched = 0
    again = VectorStore(tmp_path, "test", DIM)
    found, _ = again.search(source, clustered(3, DIM, seed=99), 5)
    assert (found > 0).all()
    assert source.batches_read == 0
    assert source.fetched <= 3 * 21


@pytest.mark.parametrize("kind", KINDS)
def test_additions_and_removals_are_seen_at_once_and_folding_takes_them_in(kind: str, tmp_path: Path) -> None:
    store, source = VectorStore(tmp_path, "test", DIM), source_of(400)
    store.fold(source, kind=kind)
    for round_ in range(4):
        new = source.add(clustered(50, DIM, seed=round_ + 10))
        source.remove(source.ids[round_::17])
        source.remove(new[:3])
        check_exact(store, source, k=400)
        check_exact(store, source, k=20, allowed=source.ids[::3])
        if round_ % 2:
            manifest = store.fold(source)
            assert manifest.kind.startswith(kind)
            assert store.pending(source) == 0
            check_exact(store, source, k=400)
            check_exact(VectorStore(tmp_path, "test", DIM), source, k=400)


def test_pending_counts_additions_and_removals(tmp_path: Path) -> None:
    store, source = VectorStore(tmp_path, "test", DIM), source_of(100)
    store.fold(source)
    new = source.add(clustered(20, DIM, seed=1))
    assert store.pending(source) == 20
    source.remove([1, 2, 3])
    assert store.pending(source) == 23
    source.remove(new[:5])
    assert store.pending(source) == 18
    store.fold(source)
    assert store.pending(source) == 0


def test_few_changes_go_beside_a_large_index_and_many_into_it(tmp_path: Path) -> None:
    store, source = VectorStore(tmp_path, "test", DIM), source_of(6000)
    first = store.fold(source, kind="ivf")
    source.add(clustered(500, DIM, seed=1))
    source.remove([7, 8, 9])
    beside = store.fold(source)
    assert beside.index == first.index
    assert beside.tail is not None
    assert store.pending(source) == 0
    check_exact(store, source, k=10, allowed=source.ids[::5])
    source.add(clustered(2500, DIM, seed=2))
    within = store.fold(source)
    assert within.tail is None
    assert within.indexed == len(source.vectors)
    assert within.index != first.index
    assert files(store) == sorted([MANIFEST_NAME, within.index.name, within.sample.name])
    found, _ = store.search(source, clustered(1, DIM), 5000)
    assert not np.isin([7, 8, 9], found).any()
    queries = clustered(50, DIM, seed=50)
    oracle = ExactIndex(DIM)
    oracle.add(*source.fetch(source.ids))
    assert recall(store.search(source, queries, 10)[0], oracle.search(queries, 10)[0]) > 0.95


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_many_removals_make_the_index_smaller(kind: str, tmp_path: Path) -> None:
    store, source = VectorStore(tmp_path, "test", DIM), source_of(3000)
    before = store.fold(source, kind=kind)
    source.remove(source.ids[::2])
    after = store.fold(source)
    assert after.indexed == 1500
    assert after.index.size_bytes < 0.7 * before.index.size_bytes
    check_exact(store, source, k=10, allowed=source.ids[:200])


def test_a_kind_that_was_asked_for_stays_until_another_is_or_all_is_built_again(tmp_path: Path) -> None:
    store, source = VectorStore(tmp_path, "test", DIM), source_of(300)
    assert store.fold(source).kind == "flat"
    assert store.fold(source, kind="ivf").kind == "ivf18,sq8"
    source.add(clustered(10, DIM, seed=1))
    assert store.fold(source).kind == "ivf18,sq8"
    assert store.fold(source, kind="hnsw").kind == "hnsw32"
    assert store.fold(source, force=True).kind == "flat"
    with pytest.raises(UsageError):
        store.fold(source, kind="tree")


def test_lists_are_trained_again_when_outgrown(tmp_path: Path) -> None:
    store, source = VectorStore(tmp_path, "test", DIM), source_of(300)
    assert store.fold(source, kind="ivf").kind == "ivf18,sq8"
    source.add(clustered(9700, DIM, seed=1))
    assert store.fold(source).kind == "ivf240,sq8"
    check_exact(store, source, allowed=source.ids[::9])


def test_folding_twice_writes_nothing_the_second_time(tmp_path: Path) -> None:
    store, source = VectorStore(tmp_path, "test", DIM), source_of(300)
    first = store.fold(source)
    stamp = (store.folder / MANIFEST_NAME).stat().st_mtime_ns
    assert store.fold(source) == first
    assert (store.folder / MANIFEST_NAME).stat().st_mtime_ns == stamp
    assert store.fold(source, force=True).generation == first.generation + 1


def test_progress_rises_to_its_end(tmp_path: Path) -> None:
    store, source = VectorStore(tmp_path, "test", DIM), source_of(500)
    for kind in KINDS:
        seen: list[Progress] = []
        store.fold(source, kind=kind, force=True, progress=seen.append)
        assert [step.done for step in seen] == sorted(step.done for step in seen)
        assert seen[-1].done == seen[-1].total
        assert all(step.stage == "save" for step in seen)


def test_encoders_have_folders_of_their_own(tmp_path: Path) -> None:
    sources = {name: source_of(50, seed) for seed, name in enumerate(["mini", "open_clip/ViT-B-32/openai"])}
    stores = {name: VectorStore(tmp_path, name, DIM) for name in sources}
    for name, source in sources.items():
        stores[name].fold(source)
    for name, source in sources.items():
        check_exact(stores[name], source)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("kind", [*KINDS, "pq"])
def test_scores_do_not_depend_on_the_kind_of_index(kind: str, tmp_path: Path) -> None:
    store, source = VectorStore(tmp_path, "test", DIM), source_of(600)
    before = store.search(source, clustered(2, DIM, seed=3), 600)
    store.fold(source, kind=kind)
    after = store.search(source, clustered(2, DIM, seed=3), 600)
    assert np.array_equal(before[0], after[0])
    assert np.array_equal(before[1], after[1])


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_a_batch_of_queries_finds_what_single_ones_find(kind: str, tmp_path: Path) -> None:
    store, source = VectorStore(tmp_path, "test", DIM), source_of(5000)
    store.fold(source, kind=kind)
    queries = clustered(40, DIM, seed=5)
    for allowed in (None, source.ids[::2]):
        together, _ = store.search(source, queries, 10, allowed=allowed)
        alone = np.concatenate([store.search(source, query[None], 10, allowed=allowed)[0] for query in queries])
        assert recall(together, alone) > 0.98


def test_a_process_that_asks_often_gets_faiss_and_the_same_hits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmsearch.vectors.snapshot._PLENTY", 0)
    store, source = VectorStore(tmp_path, "test", DIM), source_of(3000)
    store.fold(source, kind="ivf")
    queries = clustered(150, DIM, seed=5)
    alone = [store.search(source, query[None], 10)[0][0] for query in queries]
    assert store._snapshot.main._faiss is not None
    again = VectorStore(tmp_path, "test", DIM)
    first = again.search(source, queries[149:], 10)[0][0]
    assert again._snapshot.main._faiss is None
    assert recall(alone[149][None], first[None]) >= 0.9


def test_a_wide_filter_over_a_batch_goes_through_faiss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, source = VectorStore(tmp_path, "test", DIM), source_of(3000)
    store.fold(source, kind="ivf")
    monkeypatch.setattr("mmsearch.vectors.snapshot.NARROW", 100)
    allowed = source.ids[::3]
    found, _ = store.search(source, clustered(40, DIM, seed=5), 1000, allowed=allowed)
    assert (np.sort(found, axis=1) == allowed).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("damage", ["truncated", "missing", "garbage", "empty", "manifest", "newer"])
def test_damaged_files_are_done_without_and_built_again(kind: str, damage: str, tmp_path: Path) -> None:
    store, source = VectorStore(tmp_path, "test", DIM), source_of(700)
    manifest = store.fold(source, kind=kind)
    index = store.folder / manifest.index.name
    content = index.read_bytes()
    if damage == "missing":
        index.unlink()
    elif damage == "manifest":
        (store.folder / MANIFEST_NAME).write_text("{")
    elif damage == "newer":
        data = json.loads((store.folder / MANIFEST_NAME).read_text())
        (store.folder / MANIFEST_NAME).write_text(json.dumps(data | {"format": 2}))
    else:
        index.write_bytes({"truncated": content[:-100], "garbage": bytes(len(content)), "empty": b""}[damage])
    again = VectorStore(tmp_path, "test", DIM)
    check_exact(again, source)
    assert again.manifest is None
    assert again.pending(source) == 700
    assert again.sample(source, 10)[0].shape == (10,)
    rebuilt = again.fold(source, kind=kind)
    assert files(again) == sorted([MANIFEST_NAME, *(stamp.name for stamp in rebuilt.files)])
    check_exact(again, source)


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_a_damaged_tail_or_sample_is_done_without(kind: str, tmp_path: Path) -> None:
    store, source = VectorStore(tmp_path, "test", DIM), source_of(700)
    store.fold(source, kind=kind)
    source.add(clustered(20, DIM, seed=4))
    manifest = store.fold(source)
    (store.folder / manifest.sample.name).write_bytes(b"x")
    again = VectorStore(tmp_path, "test", DIM)
    check_exact(again, source)
    assert len(again.sample(source)[0]) == 720
    (store.folder / manifest.tail.name).unlink()
    again = VectorStore(tmp_path, "test", DIM)
    check_exact(again, source)
    assert again.fold(source, kind=kind).indexed == 720


@pytest.mark.parametrize("kind", KINDS)
def test_a_changed_byte_is_noticed_before_files_are_built_upon(kind: str, tmp_path: Path) -> None:
    store, source = VectorStore(tmp_path, "test", DIM), source_of(3000)
    manifest = store.fold(source, kind=kind)
    index = store.folder / manifest.index.name
    content = bytearray(index.read_bytes())
    content[len(content) // 2] ^= 0x40
    index.write_bytes(content)
    source.add(clustered(2500, DIM, seed=3))
    again = VectorStore(tmp_path, "test", DIM)
    again.search(source, clustered(1, DIM), 5)
    again.fold(source)
    check_exact(again, source, k=8, allowed=source.ids[::10])


@pytest.mark.parametrize("kind", KINDS)
def test_files_of_another_catalog_are_not_believed(kind: str, tmp_path: Path) -> None:
    store, source = VectorStore(tmp_path, "test", DIM), source_of(500)
    source.add(clustered(10, DIM, seed=5))
    source.remove([3, 4])
    store.fold(source, kind=kind)
    restored = source_of(400)  # an older backup: fewer removals, fewer vectors
    check_exact(store, restored)
    assert store.pending(restored) == 400
    check_exact(store, source)  # and back again
    store.fold(restored, kind=kind)
    check_exact(store, restored)
    other = source_of(400, seed=7)  # the same numbers, other pictures
    assert other.watermark() == restored.watermark()
    store.fold(other)
    check_exact(store, other)


@pytest.mark.parametrize("folded", [True, False])
def test_a_catalog_made_anew_is_told_from_the_old_one_at_once(folded: bool, tmp_path: Path) -> None:
    old, new = MemorySource(DIM, catalog="old"), MemorySource(DIM, catalog="new")
    old.add(clustered(200, DIM))
    new.add(clustered(200, DIM, seed=1))
    assert old.watermark() == new.watermark()
    store = VectorStore(tmp_path, "test", DIM)
    if folded:
        store.fold(old)
    check_exact(store, old)
    check_exact(store, new)
    assert store.pending(new) == 200
    check_exact(store, old)
    assert store.fold(new).watermark.catalog == "new"
    check_exact(store, new)


def test_another_process_that_folds_is_noticed(tmp_path: Path) -> None:
    source = source_of(300)
    writer, reader = VectorStore(tmp_path, "test", DIM), VectorStore(tmp_path, "test", DIM)
    writer.fold(source)
    check_exact(reader, source)
    for kind in ("ivf", "flat", "hnsw", "ivf"):
        source.add(clustered(30, DIM, seed=4))
        check_exact(reader, source)
        manifest = writer.fold(source, kind=kind)
        assert reader.manifest == manifest
        check_exact(reader, source)


def test_a_reader_of_the_former_files_goes_on_after_they_are_gone(tmp_path: Path) -> None:
    source = source_of(2000)
    store = VectorStore(tmp_path, "test", DIM)
    for kind in KINDS:
        store.fold(source, kind=kind, force=True)
        reader = VectorStore(tmp_path, "test", DIM)
        check_exact(reader, source, allowed=source.ids[::4])
        snapshot = reader._snapshot
        store.fold(source, force=True, kind="flat")
        queries = clustered(40, DIM, seed=1)
        fetch = partial(reader._resident.fetch, source)
        found, _ = snapshot.search(fetch, queries, 5, allowed=None, excluded=np.empty(0, np.int64))
        assert (found > 0).all()


def test_a_delta_beyond_memory_is_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delta, "_KEPT_BYTES", 300 * DIM * 2)
    source = source_of(100)
    read = source.read
    monkeypatch.setattr(source, "read", lambda after=0: read(after, batch_size=128))
    store = VectorStore(tmp_path, "test", DIM)
    store.fold(source)
    for seed in range(4):
        source.add(clustered(300, DIM, seed=seed + 1))
        source.remove(source.ids[::23])
        check_exact(store, source, k=50)
        check_exact(store, source, k=50, allowed=source.ids[::2])


def test_a_writer_that_commits_while_a_fold_reads_is_left_to_the_next_one(tmp_path: Path) -> None:
    class Busy(MemorySource):
        def read(self, after_segment_id: int = 0, batch_size: int = 65536):
            self.add(clustered(5, DIM, seed=self.next_id))
            yield from super().read(after_segment_id, 100)

    source = Busy(DIM)
    source.add(clustered(500, DIM))
    store = VectorStore(tmp_path, "test", DIM)
    for kind in KINDS:
        manifest = store.fold(source, kind=kind)
        assert manifest.watermark.count == manifest.indexed < len(source.vectors)
        check_exact(store, source, k=20)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_is_deterministic_and_read_from_beside_the_index(kind: str, tmp_path: Path) -> None:
    store, source = VectorStore(tmp_path, "test", DIM), source_of(4000)
    unfolded = store.sample(source)
    store.fold(source, kind=kind)
    source.batches_read = 0
    ids, vectors = store.sample(source)
    assert source.batches_read == 0
    assert len(ids) == 2048
    assert np.array_equal(ids, unfolded[0])
    assert np.array_equal(vectors, unfolded[1])
    assert vectors.dtype == np.float32
    assert np.allclose(vectors, source.fetch(ids)[1], atol=1e-3)
    few = store.sample(source, 100)[0]
    assert len(few) == 100
    assert np.isin(few, ids).all()
    assert not np.array_equal(store.sample(source, 100, seed=1)[0], few)
    assert len(store.sample(source, 10_000)[0]) == 4000
    assert abs(ids.mean() - 2000) < 150


def test_an_empty_catalog_has_an_empty_sample(tmp_path: Path) -> None:
    store, source = VectorStore(tmp_path, "test", DIM), MemorySource(DIM)
    assert store.sample(source)[1].shape == (0, DIM)
    store.fold(source)
    assert store.sample(source)[1].shape == (0, DIM)


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_disk_leaves_the_old_files(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, source = VectorStore(tmp_path, "test", DIM), source_of(500)
    before = store.fold(source, kind=kind)
    source.add(clustered(3000, DIM, seed=2))
    for budget in range(6):
        with monkeypatch.context() as patch:
            left = [budget]
            fsync = arrays.os.fsync

            def full(handle: int, left: list[int] = left, fsync=fsync) -> None:
                left[0] -= 1
                if left[0] < 0:
                    raise OSError(28, "No space left on device")
                fsync(handle)

            patch.setattr(arrays.os, "fsync", full)
            try:
                store.fold(source)
            except StorageError as error:
                assert "No space left on device" in str(error)
            else:
                break
        assert store.manifest in (before, VectorStore(tmp_path, "test", DIM).manifest)
        check_exact(store, source, k=7, allowed=source.ids[::5])
        check_exact(VectorStore(tmp_path, "test", DIM), source, k=7, allowed=source.ids[::5])
        assert not any(name.endswith(".tmp") for name in files(store))
    store.fold(source)
    assert files(store) == sorted([MANIFEST_NAME, *(stamp.name for stamp in store.manifest.files)])


def test_a_narrow_filter_scores_only_what_is_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, source = VectorStore(tmp_path, "test", DIM), source_of(2000)
    store.fold(source, kind="ivf")
    monkeypatch.setattr(inverted.InvertedFile, "content", None)  # no list may be visited
    check_exact(store, source, k=10, allowed=source.ids[::40])


class StoreMachine(RuleBasedStateMachine):
    """Any order of additions, removals, folds, damages and new processes: the answers stay exact."""

    batches = Bundle("batches")

    @initialize(target=batches, count=st.integers(0, 300))
    def begin(self, count: int) -> np.ndarray:
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.source = MemorySource(8)
        self.store = VectorStore(Path(self.folder.name), "test", 8)
        return self.source.add(clustered(count, 8))

    @rule(target=batches, count=st.integers(1, 100), seed=st.integers(1, 50))
    def add(self, count: int, seed: int) -> np.ndarray:
        return self.source.add(clustered(count, 8, seed))

    @rule(ids=batches, step=st.integers(1, 4))
    def remove(self, ids: np.ndarray, step: int) -> None:
        self.source.remove(ids[::step])

    @rule(kind=st.sampled_from(["auto", "flat", "ivf", "hnsw"]), force=st.booleans())
    def fold(self, kind: str, force: bool) -> None:
        assert self.store.fold(self.source, kind=kind, force=force).watermark == self.source.watermark()

    @rule()
    def open_again(self) -> None:
        self.store = VectorStore(Path(self.folder.name), "test", 8)

    @rule(choice=st.integers(0, 5))
    def damage(self, choice: int) -> None:
        if self.store.folder.exists():
            names = files(self.store) or ["nothing"]
            (self.store.folder / names[choice % len(names)]).unlink(missing_ok=True)
            self.open_again()

    @rule(k=st.integers(1, 20), share=st.none() | st.integers(1, 9))
    def search(self, k: int, share: int | None) -> None:
        ids, vectors = self.source.fetch(self.source.ids)
        allowed = None if share is None else ids[::share]
        if share is not None:
            vectors, ids = vectors[::share], allowed
        query = clustered(1, 8, seed=k)
        found, scores = self.store.search(self.source, query, k, allowed=allowed)
        true_ids, true_scores = brute_force(ids, vectors, query[0], k)
        assert (found[0, : len(true_ids)] >= 0).all()
        assert (found[0, len(true_ids) :] == -1).all()
        manifest = self.store.manifest
        if manifest is None or manifest.kind == "flat" or allowed is not None:
            assert found[0, : len(true_ids)].tolist() == true_ids.tolist()
        elif len(true_ids):
            assert scores[0, 0] == pytest.approx(true_scores[0], abs=0.1)

    @invariant()
    def hits_exist(self) -> None:
        if hasattr(self, "source"):
            found, _ = self.store.search(self.source, clustered(1, 8, seed=7), 3)
            assert np.isin(found[found >= 0], self.source.ids).all()

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.folder.cleanup()


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)


@pytest.mark.parametrize("kind", ["flat", "ivf"])
def test_a_single_query_imports_no_faiss(kind: str, tmp_path: Path) -> None:
    import subprocess

    store, source = VectorStore(tmp_path, "test", DIM), source_of(3000)
    store.fold(source, kind=kind)
    source.add(clustered(3, DIM, seed=1))
    store.fold(source)
    code = f"""
import sys
from pathlib import Path
from tests.vectors.worlds import MemorySource, clustered
from mmsearch.vectors.store import VectorStore
source = MemorySource({DIM})
source.add(clustered(3000, {DIM})); source.add(clustered(3, {DIM}, seed=1))
store = VectorStore(Path({str(tmp_path)!r}), "test", {DIM})
ids, _ = store.search(source, clustered(1, {DIM}, seed=4), 5)
assert store.pending(source) == 0 and store.manifest is not None and (ids > 0).all()
store.sample(source)
assert not {{"faiss", "torch", "sqlalchemy", "numpy.ma"}} & set(sys.modules), sys.modules.keys()
"""
    repository = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
