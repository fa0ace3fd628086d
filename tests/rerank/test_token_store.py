"""What is appended is read again, whatever happened to the process or the files meanwhile."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmsearch.encoders.hashing import HashingEncoder
from mmsearch.errors import StorageError
from mmsearch.rerank.token_store import TokenStore, TokenStores
from mmsearch.types import Modality, TokenFormat
from tests.rerank.rows import FORMAT, RERANKER, add, expected, held, opened, tokens_of

REPOSITORY = Path(__file__).resolve().parents[2]
ROW_BYTES = 128  # 16 of header and 60 of tokens, filled up


def file(store: TokenStore, name: str) -> Path:
    (found,) = store.folder.glob(f"{name}-*.bin")
    return found


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 0x10
    path.write_bytes(content)


# --- what it holds


def test_a_store_that_was_never_begun_reads_as_empty(tmp_path: Path) -> None:
    store = opened(tmp_path, write=False)
    found, tokens = store.read([1, 2])
    assert (store.manifest, len(store), store.ids().tolist(), store.size_bytes()) == (None, 0, [], 0)
    assert found.tolist() == [False, False] and len(tokens) == 2
    assert not store.folder.exists()


def test_rows_are_read_in_the_order_asked_for_and_missing_ones_are_told(tmp_path: Path) -> None:
    store = opened(tmp_path)
    add(store, [3, 5, 9])
    found, tokens = store.read(np.array([9, 4, 3, 9]))
    assert found.tolist() == [True, False, True, True]
    assert np.array_equal(tokens[[0, 2, 3]], tokens_of([9, 3, 9])) and not tokens[1].any()
    assert store.ids().tolist() == [3, 5, 9]
    manifest = store.manifest
    assert manifest is not None and (manifest.reranker, manifest.format) == (RERANKER, FORMAT)


def test_a_row_takes_what_its_tokens_need_rounded_up_to_64_bytes(tmp_path: Path) -> None:
    store = opened(tmp_path)
    add(store, range(1, 11))
    assert file(store, "rows").stat().st_size == 10 * ROW_BYTES


def test_another_process_sees_what_is_appended(tmp_path: Path) -> None:
    writer, reader = opened(tmp_path), opened(tmp_path, write=False)
    for end in (3, 30, 300):
        add(writer, range(end // 3, end))
        assert held(reader, range(400)) == held(writer, range(400))
        assert len(held(reader, range(400))) == len(reader)


def test_gaps_can_be_filled_later_and_rows_replaced(tmp_path: Path) -> None:
    store, reader = opened(tmp_path), opened(tmp_path, write=False)
    add(store, [2, 4, 6])
    add(store, [1, 3, 5])
    add(store, [7, 8])
    add(store, [4], salt=1)
    assert held(reader, range(10)) == expected([1, 2, 3, 5, 6, 7, 8]) | expected([4], salt=1)
    assert store.ids().tolist() == list(range(1, 9))
    assert store.compact(np.arange(10), force=True)
    assert held(reader, range(10)) == expected([1, 2, 3, 5, 6, 7, 8]) | expected([4], salt=1)
    assert len(reader) == 8 and file(store, "rows").stat().st_size == 8 * ROW_BYTES


def test_copied_segments_share_tokens_as_far_as_there_are_any(tmp_path: Path) -> None:
    store = opened(tmp_path)
    add(store, range(1, 600))
    store.copy({1000 + number: number for number in range(590, 610)} | {2000: 1})
    assert set(store.ids().tolist()) == {*range(1, 600), *range(1590, 1600), 2000}
    found, tokens = store.read([1590, 2000])
    assert found.all() and np.array_equal(tokens, tokens_of([590, 1]))


def test_rows_are_written_anew_when_more_than_a_quarter_is_dead(tmp_path: Path) -> None:
    store, reader = opened(tmp_path), opened(tmp_path, write=False)
    add(store, range(1, 101))
    assert len(held(reader, range(1, 101))) == 100
    assert not store.compact(np.arange(26, 101))
    assert len(store) == 100
    assert store.compact(np.arange(27, 101))
    assert len(store) == len(reader) == 74
    assert held(reader, range(1, 101)) == expected(range(27, 101))
    add(store, [101])
    assert held(reader, [1, 101]) == expected([101])


def test_many_runs_are_brought_into_one(tmp_path: Path) -> None:
    store = opened(tmp_path)
    for number in range(20, 0, -1):
        add(store, [number])
    manifest = store.manifest
    assert manifest is not None and len(manifest.runs) == 20
    assert held(opened(tmp_path, write=False), range(25)) == expected(range(1, 21))
    assert store.compact(np.arange(21))
    manifest = store.manifest
    assert manifest is not None and manifest.runs == (0,)
    assert held(store, range(25)) == expected(range(1, 21))


@pytest.mark.parametrize("other", [("test@2", FORMAT), (RERANKER, TokenFormat(2, 20))])
def test_tokens_of_another_reranker_are_dropped(tmp_path: Path, other: tuple[str, TokenFormat]) -> None:
    store, reader = opened(tmp_path), opened(tmp_path, write=False)
    add(store, [1, 2])
    assert reader.read([1])[0].all()
    again = TokenStore(tmp_path, "hashing")
    assert not again.begin(*other, since=7)
    assert again.ids().tolist() == reader.ids().tolist() == []
    manifest = reader.manifest
    assert manifest is not None and manifest.since == 7
    assert len(list(store.folder.iterdir())) == 3
    again.append(np.array([5]), tokens_of([5], format=other[1]))
    assert reader.read([5])[0].all()


def test_tokens_of_another_catalog_are_not_believed(tmp_path: Path) -> None:
    add(opened(tmp_path), [1, 2])
    other = TokenStore(tmp_path, "hashing", "another")
    assert other.manifest is None and not other.read([1])[0].any()


def test_a_store_is_opened_once_for_each_encoder_and_modality(tmp_path: Path) -> None:
    stores = TokenStores(tmp_path)
    photos = stores(HashingEncoder(), Modality.IMAGE)
    assert stores(HashingEncoder(), Modality.IMAGE) is photos
    assert stores(HashingEncoder(), Modality.VIDEO).folder != photos.folder
    photos.begin(RERANKER, FORMAT)
    stores.close()
    assert not photos.begun


@pytest.mark.parametrize(
    ("ids", "tokens"),
    [
        ([2, 1], tokens_of([2, 1])),
        ([1, 1], tokens_of([1, 1])),
        ([-1], tokens_of([1])),
        ([1], tokens_of([1]).astype(np.int16)),
        ([1], tokens_of([1, 2])),
    ],
)
def test_rows_that_make_no_sense_are_refused(tmp_path: Path, ids: list[int], tokens: np.ndarray) -> None:
    store = opened(tmp_path)
    with pytest.raises(ValueError, match=r"tokens|ids"):
        store.append(np.array(ids), tokens)
    assert len(store) == 0


def test_a_store_is_begun_before_it_is_written_to(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="begun"):
        add(opened(tmp_path, write=False), [1])


actions = st.one_of(
    st.tuples(st.just("append"), st.sets(st.integers(0, 60), max_size=12), st.integers(1, 3)),
    st.tuples(st.just("next"), st.integers(0, 12), st.integers(1, 3)),
    st.tuples(st.just("copy"), st.dictionaries(st.integers(0, 90), st.integers(0, 90), max_size=5)),
    st.tuples(st.just("compact"), st.sets(st.integers(0, 60), max_size=30), st.booleans()),
    st.tuples(st.just("reopen")),
    st.tuples(st.just("save")),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(todo=st.lists(actions, max_size=15))
def test_it_behaves_as_a_dictionary(tmp_path: Path, todo: list[tuple]) -> None:
    shutil.rmtree(tmp_path)
    store, reader = opened(tmp_path), opened(tmp_path, write=False)
    model: dict[int, bytes] = {}
    for action, *details in todo:
        if action == "append":
            add(store, *details)
            model |= expected(*details)
        elif action == "next":
            first = max(model, default=0) + 1
            add(store, range(first, first + details[0]), details[1])
            model |= expected(range(first, first + details[0]), details[1])
        elif action == "copy":
            store.copy(details[0])
            model |= {new: model[old] for new, old in details[0].items() if old in model}
        elif action == "compact":
            if store.compact(np.array(sorted(details[0]), np.int64), force=details[1]):
                model = {id_: row for id_, row in model.items() if id_ in details[0]}
        elif action == "save":
            store.save()
        else:
            store.close()
            store = opened(tmp_path)
        assert held(reader, range(-2, 140)) == model
    assert store.ids().tolist() == reader.ids().tolist() == sorted(model)
    store.close()


# --- what happens to it


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_a_writer_that_is_killed_loses_nothing_that_it_had_appended(tmp_path: Path) -> None:
    reader = opened(tmp_path, write=False)
    last = 0
    for rows in (3, 11, 1, 40):
        with subprocess.Popen(
            [sys.executable, "-m", "tests.rerank.rows", str(tmp_path)], cwd=REPOSITORY, stdout=subprocess.PIPE
        ) as writer:
            assert writer.stdout is not None
            for _ in range(rows):
                last = int(writer.stdout.readline())
                assert held(reader, range(1, last + 1)) == expected(range(1, last + 1))
            writer.kill()
        store = opened(tmp_path)
        ids = store.ids().tolist()
        assert ids == list(range(1, len(ids) + 1)) and len(ids) >= last
        assert held(reader, ids) == held(store, ids) == expected(ids)
        store.close()


@pytest.mark.parametrize("lost", [1, ROW_BYTES - 1, ROW_BYTES, ROW_BYTES + 1, 5 * ROW_BYTES + 3, 10 * ROW_BYTES])
@pytest.mark.parametrize("saved", [False, True])
def test_rows_that_were_cut_short_are_missing_and_cut_off(tmp_path: Path, lost: int, saved: bool) -> None:
    store = opened(tmp_path)
    add(store, range(1, 11))
    if saved:
        store.save()
    os.truncate(file(store, "rows"), 10 * ROW_BYTES - lost)
    whole = range(1, 11 - -(-lost // ROW_BYTES))
    reader = opened(tmp_path, write=False)
    assert held(reader, range(12)) == held(store, range(12)) == expected(whole)
    store.close()
    store = opened(tmp_path)
    assert file(store, "rows").stat().st_size == len(whole) * ROW_BYTES
    add(store, range(11, 14))
    assert held(reader, range(20)) == expected([*whole, 11, 12, 13])


@pytest.mark.parametrize("length", [0, 3, 8, 36, 79])
def test_ids_that_were_cut_short_are_found_in_the_rows(tmp_path: Path, length: int) -> None:
    store = opened(tmp_path)
    add(store, [2, 4, 6, 8])
    add(store, [1, 3, 5, 7, 9, 11])
    store.save()
    os.truncate(file(store, "ids"), length)
    assert len(held(opened(tmp_path, write=False), range(12))) == length // 8
    store.close()
    assert held(opened(tmp_path), range(12)) == expected([*range(1, 10), 11])


def test_what_is_missing_altogether_is_made_anew(tmp_path: Path) -> None:
    store = opened(tmp_path)
    add(store, range(1, 6))
    file(store, "ids").unlink()
    assert held(opened(tmp_path, write=False), range(9)) == {}
    store = opened(tmp_path)
    assert held(store, range(9)) == expected(range(1, 6))
    file(store, "rows").unlink()
    assert held(opened(tmp_path, write=False), range(9)) == {}
    store = opened(tmp_path)
    assert store.ids().tolist() == []
    add(store, [3])
    (store.folder / "manifest.json").unlink()
    assert held(opened(tmp_path, write=False), range(9)) == {}
    assert len(opened(tmp_path)) == 0


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"version": 9}', b"\xff" * 40, b"[" * 100_000])
def test_a_manifest_that_cannot_be_read_is_as_none(tmp_path: Path, content: bytes) -> None:
    store = opened(tmp_path)
    add(store, [1])
    (store.folder / "manifest.json").write_bytes(content)
    reader = opened(tmp_path, write=False)
    assert reader.manifest is None and not reader.read([1])[0].any()
    add(opened(tmp_path), [2])
    assert held(reader, [1, 2]) == expected([2])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), name=st.sampled_from(["rows", "ids", "manifest"]), saved=st.booleans())
def test_a_flipped_bit_costs_rows_and_never_gives_wrong_ones(
    tmp_path: Path, data: st.DataObject, name: str, saved: bool
) -> None:
    shutil.rmtree(tmp_path)
    store = opened(tmp_path)
    add(store, [2, 4, 6, 8, 10])
    add(store, [1, 3, 9])
    truth = expected([1, 2, 3, 4, 6, 8, 9, 10])
    if saved:
        store.save()
    store.close()
    path = store.folder / "manifest.json" if name == "manifest" else file(store, name)
    flip(path, data.draw(st.integers(0, path.stat().st_size - 1)))
    for write in (False, True):
        store = opened(tmp_path, write=write)
        assert held(store, range(20)).items() <= truth.items()
    if name != "manifest":
        assert len(held(store, range(20))) >= (7 if saved else 0)
    add(store, [20])
    assert held(store, [20]) == expected([20])
    store.compact(np.arange(30), force=True)
    assert held(store, range(20)).items() <= truth.items()
    assert set(held(store, range(30))) == set(store.ids().tolist())
    store.close()


FILL = """
import json, sys
from pathlib import Path
from mmsearch.errors import StorageError
from tests.rerank.rows import add, expected, held, opened
if sys.argv[2] == "limit":
    import resource, signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
store, stored, error = opened(Path(sys.argv[1])), 0, None
while error is None:
    try:
        add(store, range(stored + 1, stored + 34))
        stored += 33
    except StorageError as caught:
        error = caught
every = range(1, stored + 1)
for one in (store, opened(Path(sys.argv[1]), write=False)):
    assert one.ids().tolist() == list(every)
    assert held(one, range(stored + 50)) == expected(every)
try:
    compacted = store.compact(store.ids()[: stored // 2], force=sys.argv[2] == "limit")
except StorageError:
    compacted = False
assert len(held(store, every)) in (stored, stored // 2)
print(json.dumps({"stored": stored, "compacted": compacted, "message": error.message, "hint": error.hint}))
"""


def test_a_quota_keeps_what_was_stored(tmp_path: Path) -> None:
    pytest.importorskip("resource")
    done = subprocess.run(
        [sys.executable, "-c", FILL, str(tmp_path), "limit"], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert '"compacted": true' in done.stdout and '"hint": "Free the disk' in done.stdout


def test_a_disk_that_fills_up_keeps_what_was_stored(tmp_path: Path) -> None:
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("no unshare command")
    script = f'mount -t tmpfs -o size=300k tmpfs "{tmp_path}" || exit 77; exec "$@"'
    flags = "-m" if os.geteuid() == 0 else "-rm"
    done = subprocess.run(
        [unshare, flags, "sh", "-c", script, "sh", sys.executable, "-c", FILL, str(tmp_path), "tmpfs"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0 and ("Operation not permitted" in done.stderr or done.returncode == 77):
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    assert "No space left" in done.stdout and '"stored": 0' not in done.stdout
    assert '"compacted": false' in done.stdout  # there was no room for the new files beside the old ones


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_bytes(b"a file")
    with pytest.raises(StorageError, match="cannot be written") as caught:
        opened(tmp_path / "tokens")
    assert caught.value.hint
    assert held(opened(tmp_path / "tokens", write=False), [1]) == {}
