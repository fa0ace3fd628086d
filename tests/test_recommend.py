"""Recommendations: profiles of users, what they get, and that a batch is no different."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsearch import SearchEngine
from mmsearch.encoders.hashing import HashingEncoder
from mmsearch.errors import UsageError
from mmsearch.recommend import Event, Histories, Recommender, popularity
from mmsearch.storage.catalog import Catalog
from tests.vectors.worlds import clustered, unit

DIM = 32
COUNT = 2500
KINDS = 12
RANDOM = np.random.default_rng(5)
CENTRES = unit(RANDOM.standard_normal((KINDS, DIM)))
KIND = RANDOM.integers(0, KINDS, COUNT)
VECTORS = unit(CENTRES[KIND] + 0.12 * RANDOM.standard_normal((COUNT, DIM)))


def of_kind(kind: int, count: int, start: int = 0) -> list[str]:
    return [f"i{n}" for n in np.flatnonzero(kind == KIND)[start : start + count]]


def kind_of(key: str) -> int:
    return int(KIND[int(key[1:])])


@pytest.fixture(scope="module", params=["flat", "ivf"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SearchEngine]:
    folder = tmp_path_factory.mktemp("shop")
    with SearchEngine(Catalog.open(folder, create=True), [HashingEncoder(DIM)]) as engine:
        engine.add({"key": f"i{n}", "vector": row} for n, row in enumerate(VECTORS))
        engine.rebuild(kind=request.param)
        yield engine


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SearchEngine]:
    folder = tmp_path_factory.mktemp("small")
    with SearchEngine(Catalog.open(folder, create=True), [HashingEncoder(DIM)]) as engine:
        engine.add({"key": f"i{n}", "vector": row} for n, row in enumerate(VECTORS[:200]))
        yield engine


def test_who_likes_two_kinds_gets_both_and_not_what_lies_between(engine: SearchEngine) -> None:
    likes = [*of_kind(3, 6), *of_kind(7, 5)]
    found = [kind_of(found.key) for found in Recommender(engine).recommend(likes, 20)]
    assert set(found) == {3, 7} and min(found.count(3), found.count(7)) >= 2


def test_what_was_seen_or_excluded_does_not_come(engine: SearchEngine) -> None:
    likes, recommender = of_kind(3, 8), Recommender(engine)
    found = [item.key for item in recommender.recommend(likes, 30)]
    assert not set(found) & set(likes) and len(found) == len(set(found)) == 30
    again = [item.key for item in recommender.recommend(likes, 30, exclude=found[:10])]
    assert not set(again) & {*likes, *found[:10]}
    assert set(likes) <= {item.key for item in recommender.recommend(likes, 250, seen=True)}


def test_k_items_come_however_much_was_seen(engine: SearchEngine) -> None:
    likes = [f"i{n}" for n in range(0, COUNT, 2)]
    found = Recommender(engine).recommend(likes, 200)
    assert len(found) == 200 and not {item.key for item in found} & set(likes)
    left = Recommender(engine).recommend([f"i{n}" for n in range(5, COUNT)], 10)
    assert {item.key for item in left} == {f"i{n}" for n in range(5)}


def test_dislikes_push_away(engine: SearchEngine) -> None:
    random = np.random.default_rng(0)
    likes = [Event(key) for key in of_kind(2, 6)]
    disliked = f"i{np.argsort(-(VECTORS @ VECTORS[int(likes[0].key[1:])]))[20]}"
    recommender = Recommender(engine, interests=1)
    plain = recommender.profile(likes).interests[0]
    turned = recommender.profile([*likes, Event(disliked, weight=-random.uniform(1, 2))]).interests[0]
    away = VECTORS[int(disliked[1:])]
    assert turned @ away < plain @ away - 0.05
    assert np.isclose(np.linalg.norm(turned), 1, atol=1e-5)
    assert recommender.recommend([Event(disliked, weight=-1)], 5) == []


def test_old_events_fade(engine: SearchEngine) -> None:
    now = datetime(2026, 8, 1, tzinfo=UTC)
    old = [Event(key, time=now - timedelta(days=300)) for key in of_kind(1, 9)]
    new = [Event(key, time=now) for key in of_kind(5, 3)]
    fading = Recommender(engine, half_life=timedelta(days=30))
    found = [kind_of(item.key) for item in fading.recommend([*old, *new], 10)]
    assert found.count(5) == 10
    shares = sorted(Recommender(engine).profile([*old, *new]).shares.tolist())
    assert shares[-1] >= 0.4
    profile = fading.profile([Event("i1", time=0.0), Event("i2", time=30 * 86400.0)])
    assert sorted(profile.shares.tolist()) == pytest.approx([1 / 3, 2 / 3])


def test_an_item_just_added_is_recommended_at_once_and_a_removed_one_no_more(small: SearchEngine) -> None:
    recommender = Recommender(small)
    likes = ["i0", "i1"]
    before = recommender.recommend(likes, 3)
    small.add([{"key": "fresh", "vector": VECTORS[0] + 0.01}])
    assert recommender.recommend(likes, 3)[0].key == "fresh"
    assert small.remove(["fresh"]) == 1
    assert recommender.recommend(likes, 3) == before


def test_priors_are_blended_in_and_new_users_get_the_best_of_them(small: SearchEngine) -> None:
    priors = {"i9": 10.0, "i8": 5.0, "nobody": 3.0, "i7": -1.0}
    recommender = Recommender(small, priors=priors, prior_weight=0.5)
    assert [(item.key, item.score) for item in recommender.recommend([], 5)] == [("i9", 0.5), ("i8", 0.25)]
    plain = {item.key: item.score for item in Recommender(small).recommend(["i0"], 199)}
    blended = {item.key: item.score for item in recommender.recommend(["i0"], 199)}
    assert blended["i9"] == pytest.approx(plain["i9"] + 0.5, abs=1e-5)
    assert blended["i7"] == pytest.approx(plain["i7"], abs=1e-5)


def test_popularity_counts_users_not_events() -> None:
    assert popularity([["a", "a"], ["a", "b"], [Event("b", -1)]]) == {
        "a": 1.0,
        "b": pytest.approx(np.log(2) / np.log(3)),
    }
    assert popularity([]) == {}


def test_near_duplicates_are_folded_and_mmr_widens(small: SearchEngine) -> None:
    small.add({"key": f"copy{n}", "vector": VECTORS[30] + 0.001 * n} for n in range(5))
    try:
        plain = [item.key for item in Recommender(small).recommend(["i30"], 8)]
        folded = [item.key for item in Recommender(small, duplicates="fold").recommend(["i30"], 8)]
        assert sum(key.startswith("copy") for key in plain) == 5
        assert sum(key.startswith("copy") for key in folded) == 1 and len(folded) == 8
        wide = [item.key for item in Recommender(small, diverse=0.7).recommend(["i30"], 8)]
        rows = small.vectors(wide), small.vectors(plain)
        assert (rows[0] @ rows[0].T).mean() < (rows[1] @ rows[1].T).mean()
    finally:
        small.remove([f"copy{n}" for n in range(5)])


OPTIONS: list[dict[str, Any]] = [
    {},
    {"interests": 1},
    {"half_life": timedelta(days=2)},
    {"diverse": 0.3},
    {"duplicates": "fold"},
    {"priors": {"i1": 1.0, "i77": 0.5}},
    {"interests": 5, "away": 1.0, "diverse": 0.5, "duplicates": "fold", "priors": {"i3": 1.0}},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "+".join(options) or "plain")
def test_a_batch_gets_what_each_would_get_alone(
    options: dict[str, Any], engine: SearchEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmsearch.recommend._TOGETHER", 150)  # several portions, side by side
    random = np.random.default_rng(1)
    histories = [
        [
            Event(f"i{n}", float(random.choice([-1, 1, 2.5])), float(random.uniform(0, 1e6)))
            for n in random.integers(0, COUNT + 50, random.integers(0, 30))
        ]
        for _ in range(320)
    ]
    recommender = Recommender(engine, **options)
    many = recommender.recommend_many(histories, 7)
    for user in range(0, len(histories), 4):
        alone = recommender.recommend_many([histories[user]], 7)
        assert np.array_equal(alone.items[0], many.items[user])
        assert np.array_equal(alone.scores[0], many.scores[user])
    for user, events in enumerate(histories):
        assert not {event.key for event in events} & set(many.keys[user])


KEYS = st.integers(0, 199).map("i{}".format)
EVENTS = st.lists(
    st.builds(Event, KEYS, st.sampled_from([-2.0, -1.0, 0.5, 1.0, 3.0]), st.one_of(st.none(), st.floats(0, 1e6))),
    max_size=15,
)


@settings(max_examples=40, deadline=None)
@given(EVENTS, st.randoms(use_true_random=False))
def test_the_order_of_events_does_not_matter(small: SearchEngine, events: list[Event], random: Any) -> None:
    recommender = Recommender(small, half_life=timedelta(days=3))
    shuffled = random.sample(events, len(events))
    assert recommender.recommend(events, 5) == recommender.recommend(shuffled, 5)


@settings(max_examples=40, deadline=None)
@given(EVENTS, st.sampled_from([0.25, 2.0, 1024.0]), st.floats(-1e5, 1e5))
def test_only_proportions_of_weights_and_differences_of_times_count(
    small: SearchEngine, events: list[Event], factor: float, shift: float
) -> None:
    recommender = Recommender(small)
    scaled = [Event(event.key, event.weight * factor, event.time) for event in events]
    assert [item.key for item in recommender.recommend(events, 5)] == [
        item.key for item in recommender.recommend(scaled, 5)
    ]
    timed = [Event(event.key, event.weight, event.time or 0.0) for event in events]
    later = [Event(event.key, event.weight, (event.time or 0.0) + shift) for event in events]
    fading = Recommender(small, half_life=timedelta(days=2))
    one, other = fading.profile(timed), fading.profile(later)
    assert np.allclose(np.sort(one.shares), np.sort(other.shares), atol=1e-4)


@settings(max_examples=40, deadline=None)
@given(EVENTS, st.lists(KEYS, max_size=30), st.integers(1, 60))
def test_whatever_is_excluded_never_comes_and_all_else_can(
    small: SearchEngine, events: list[Event], excluded: list[str], k: int
) -> None:
    found = [item.key for item in Recommender(small).recommend(events, k, exclude=excluded)]
    out = {*excluded, *(event.key for event in events)}
    assert not set(found) & out and len(found) == len(set(found))
    totals: dict[str, float] = {}
    for event in events:
        totals[event.key] = totals.get(event.key, 0.0) + event.weight
    likes = any(total > 0 for total in totals.values())
    assert len(found) == (min(k, 200 - len(out)) if likes else 0)


def test_columns_are_histories_too(engine: SearchEngine) -> None:
    recommender = Recommender(engine, half_life=timedelta(days=1))
    events = [("ann", "i1", 1.0, 5.0), ("bob", "i2", 2.0, 6.0), ("ann", "i3", -1.0, 7e5)]
    histories = Histories.from_columns(*zip(*events, strict=True))
    assert histories.users == ("ann", "bob")
    found = recommender.recommend_many(histories, 4)
    same = recommender.recommend_many([[Event("i1", 1.0, 5.0), Event("i3", -1.0, 7e5)], [Event("i2", 2.0, 6.0)]], 4)
    assert np.array_equal(found.items, same.items)
    assert recommender.recommend_many([], 4).items.shape == (0, 4)


def test_a_recommender_is_shared_by_threads(engine: SearchEngine) -> None:
    recommender = Recommender(engine)
    histories = [of_kind(n % KINDS, 1 + n % 5) for n in range(40)]
    truth = recommender.recommend_many(histories, 5)
    fresh = Recommender(engine)
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda history: fresh.recommend_many([history], 5).items[0], histories))
    assert np.array_equal(np.stack(found), truth.items)


def test_arguments_that_make_no_sense_are_refused(small: SearchEngine) -> None:
    for options in (
        {"interests": 0},
        {"half_life": timedelta(0)},
        {"away": -1.0},
        {"diverse": 2.0},
        {"duplicates": "hide"},
        {"model": "other"},
        {"priors": {"i1": float("nan")}},
    ):
        with pytest.raises(UsageError):
            Recommender(small, **options)  # type: ignore[arg-type]
    recommender = Recommender(small)
    with pytest.raises(UsageError, match="at least 1"):
        recommender.recommend(["i1"], 0)
    with pytest.raises(UsageError, match="events or keys"):
        recommender.recommend([5])  # type: ignore[list-item]
    with pytest.raises(UsageError, match="finite"):
        recommender.recommend([Event("i1", float("nan"))])
    with pytest.raises(UsageError, match="one length"):
        Histories.from_columns(["a"], [])


def test_a_library_without_anything_says_so(tmp_path: Path) -> None:
    with (
        SearchEngine(Catalog.open(tmp_path, create=True), [HashingEncoder(DIM)]) as engine,
        pytest.raises(UsageError, match="nothing in the library"),
    ):
        Recommender(engine).recommend(["a"])


def test_texts_of_many_passages_are_items_as_well(tmp_path: Path) -> None:
    with SearchEngine(Catalog.open(tmp_path, create=True), [HashingEncoder(DIM)]) as engine:
        engine.add(
            [
                {"key": "apples", "text": "apples and pears. " * 200},
                {"key": "fruit", "text": "apples or pears"},
                {"key": "trains", "text": "trains and rails. " * 200},
            ]
        )
        recommender = Recommender(engine)
        assert [item.key for item in recommender.recommend(["apples"], 5)] == ["fruit", "trains"]
        assert len(recommender.features()) == 3


def test_features_are_the_vectors_of_items(small: SearchEngine) -> None:
    features = Recommender(small).features()
    assert len(features) == 200 and features.vectors.dtype == np.float32
    assert np.allclose(features.vectors, small.vectors(features.keys), atol=1e-3)
    assert np.allclose(np.linalg.norm(features.vectors, axis=1), 1, atol=1e-5)
    some = Recommender(small).features(["i5", "i2"])
    assert some.keys == ("i5", "i2") and some.row == {"i5": 0, "i2": 1}
    with pytest.raises(UsageError, match="'x'"):
        Recommender(small).features(["x"])


def test_features_are_kept_as_files(small: SearchEngine, tmp_path: Path) -> None:
    features = Recommender(small).features()
    features.save(tmp_path / "items.npz")
    with np.load(tmp_path / "items.npz") as saved:
        assert saved["keys"].tolist() == list(features.keys)
        assert np.array_equal(saved["vectors"], features.vectors)
    parquet = pytest.importorskip("pyarrow.parquet")
    features.to_parquet(tmp_path / "items.parquet")
    table = parquet.read_table(tmp_path / "items.parquet")
    assert table.column("key").to_pylist() == list(features.keys)
    assert np.allclose(np.stack(table.column("vector").to_pylist()), features.vectors)


def test_interactions_and_features_have_the_shapes_that_other_tools_take(small: SearchEngine) -> None:
    pytest.importorskip("scipy")
    features = Recommender(small).features()
    matrix = features.interactions([["i1", "i1", "i2"], [], [Event("i3", -1), Event("nobody"), Event("i4", 2.5)]])
    assert matrix.shape == (3, 200)
    assert matrix[0, features.row["i1"]] == 2 and matrix[2, features.row["i4"]] == 2.5 and matrix.nnz == 3
    assert features.to_lightfm().shape == (200, DIM)
    assert features.to_lightfm(identity=True).shape == (200, DIM + 200)


@pytest.mark.filterwarnings("ignore")
def test_implicit_starts_from_the_features_of_items(small: SearchEngine) -> None:
    als = pytest.importorskip("implicit.als")
    features = Recommender(small).features()
    random = np.random.default_rng(0)
    liked = [[f"i{n}" for n in np.flatnonzero(KIND[:200] == kind)] for kind in range(KINDS)]
    histories = [random.choice(liked[n % KINDS], 4).tolist() for n in range(60)]
    matrix = features.interactions(histories)
    model = als.AlternatingLeastSquares(factors=DIM, iterations=0, num_threads=1, random_state=0)
    model.item_factors = features.vectors.copy()
    model.user_factors = np.zeros((60, DIM), np.float32)
    ids, _ = model.recommend(0, matrix[0], N=3, recalculate_user=True)
    assert [kind_of(features.keys[row]) for row in ids] == [0, 0, 0]


def test_without_a_package_an_export_says_what_to_install(small: SearchEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from mmsearch.errors import ExtraMissingError

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ExtraMissingError, match=r"pip install 'mmsearch\[recommend\]'"):
        Recommender(small).features().to_arrow()


def test_clusters_of_any_size_are_found_in_the_same_way_each_time(engine: SearchEngine) -> None:
    queries = [f"i{n}" for n in range(60)]
    one, other = Recommender(engine).profile(queries), Recommender(engine).profile(queries)
    assert np.array_equal(one.interests, other.interests) and one.shares.sum() == pytest.approx(1)
    assert clustered(1, DIM).shape == (1, DIM)
