"""Filters, by SQL and by the facts in memory, against a plain loop over what was stored."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from math import asin, cos, radians, sin, sqrt
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mmsearch.errors import QueryError
from mmsearch.filters import Area, Filters, Range
from mmsearch.storage.catalog import Catalog
from mmsearch.storage.changes import Move, Touch
from mmsearch.storage.facts import FactTable
from mmsearch.types import Collection, MediaInfo, Modality, NewItem, NewSegment
from tests.storage.making import ENCODER, RECORD, embedding, new_item

DAY = datetime(2023, 6, 1)
CAMERAS = (None, "Canon EOS 5D", "Apple iPhone 12", "canon powershot")
FOLDERS = ("", "2023/summer/", "2023/Winter/", "Germany/", "Ärger & Co/", "a[1]/")


def _item(number: int, root: int) -> NewItem:
    """Facts that differ in every way from one item to the next."""
    info = MediaInfo(
        width=None if number % 7 == 0 else 100 * (number % 11),
        height=None if number % 5 == 0 else 50 * (number % 9),
        taken_at=None if number % 4 == 0 else DAY + timedelta(hours=37 * number),
        camera=CAMERAS[number % len(CAMERAS)],
        latitude=None if number % 3 == 0 else -90 + 180 * (number % 13) / 12,
        longitude=None if number % 3 == 0 else -180 + 360 * (number % 17) / 16,
        duration_ms=None if number % 2 else 1000 * number,
    )
    path = f"{FOLDERS[number % len(FOLDERS)]}IMG_{number:03}.{'jpg' if number % 2 else 'PNG'}"
    changed = int((DAY + timedelta(days=number)).timestamp()) * 1_000_000_000
    return new_item(root, path, 10 * number, info=info, mtime_ns=changed)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    with Catalog.open(tmp_path_factory.mktemp("library"), create=True) as catalog:
        catalog.register_encoders([RECORD])
        roots = [catalog.add_root(Path(folder)) for folder in ("/photos", "/disk/Germany")]
        catalog.write(items=[_item(number, roots[number % 2].id) for number in range(60)])
        yield catalog


def _ids(catalog: Catalog, filters: Filters) -> list[int]:
    ids = catalog.select_segments(ENCODER, Modality.IMAGE, filters).tolist()
    assert catalog.passing_segments(range(1, 100), filters).tolist() == ids
    items = catalog.select_items(filters, 100)
    assert sorted(items) == sorted(record.item.id for record in catalog.segments(ids).values())
    return ids


def _paths(catalog: Catalog, *patterns: str) -> list[str]:
    records = catalog.segments(_ids(catalog, Filters(paths=patterns)))
    return sorted(str(record.item.path) for record in records.values())


ranges = st.builds(
    lambda low, width: Range(low, None if width is None else (low or 0) + width),
    st.none() | st.integers(0, 600),
    st.none() | st.integers(0, 300),
).filter(lambda found: found != Range())
moments = st.none() | st.integers(-50, 2500).map(lambda hours: DAY + timedelta(hours=hours))
plain = st.builds(
    Filters,
    modalities=st.none() | st.frozensets(st.sampled_from(Modality), min_size=1),
    after=moments,
    before=moments,
    cameras=st.lists(st.sampled_from(["canon", "eos canon", "iphone", "nikon"]), max_size=2).map(tuple),
    size_bytes=st.none() | ranges,
    width=st.none() | ranges,
    height=st.none() | ranges,
    duration_ms=st.none() | ranges,
    near=st.none()
    | st.builds(Area, st.floats(-90, 90), st.floats(-180, 180), st.floats(0.1, 25_000, exclude_min=True)),
    has=st.frozensets(st.sampled_from(["gps", "camera", "date"])),
)
filters_of_facts = st.builds(
    lambda base, excluded: Filters(
        **{name: getattr(base, name) for name in base.__slots__ if name != "excluded"}, excluded=tuple(excluded)
    ),
    plain,
    st.lists(plain.filter(bool), max_size=2),
)


def _passes(item: object, filters: Filters) -> bool:
    """The meaning of the filters, spelled out."""
    info, size = item.info, item.size_bytes  # type: ignore[attr-defined]
    moment = info.taken_at or datetime.fromtimestamp(item.mtime_ns / 1e9)  # type: ignore[attr-defined]
    values = {"size_bytes": size, "width": info.width, "height": info.height, "duration_ms": info.duration_ms}
    known = {"gps": info.latitude, "camera": info.camera, "date": info.taken_at}
    camera = (info.camera or "").casefold()
    return (
        (filters.modalities is None or Modality.IMAGE in filters.modalities)
        and (filters.after is None or moment >= filters.after)
        and (filters.before is None or moment < filters.before)
        and (not filters.cameras or any(all(w in camera for w in words.split()) for words in filters.cameras))
        and all(_between(value, getattr(filters, name)) for name, value in values.items())
        and all(known[fact] is not None for fact in filters.has)
        and (filters.near is None or _distance(info.latitude, info.longitude, filters.near) <= filters.near.radius_km)
        and not any(_passes(item, excluded) for excluded in filters.excluded)
    )


def _between(value: int | None, wanted: Range | None) -> bool:
    if wanted is None:
        return True
    return value is not None and (wanted.low or value) <= value <= (value if wanted.high is None else wanted.high)


def _distance(latitude: float | None, longitude: float | None, area: Area) -> float:
    if latitude is None or longitude is None:
        return float("inf")
    up, across = radians(area.latitude - latitude), radians(area.longitude - longitude)
    half = sin(up / 2) ** 2 + cos(radians(latitude)) * cos(radians(area.latitude)) * sin(across / 2) ** 2
    return 2 * 6371 * asin(min(1.0, sqrt(half)))


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(filters_of_facts)
def test_sql_and_the_facts_in_memory_let_through_what_the_words_say(catalog: Catalog, filters: Filters) -> None:
    table = FactTable(catalog._session, Collection(ENCODER, Modality.IMAGE))
    table.refresh()
    records = catalog.segments(range(1, 100))
    expected = sorted(id_ for id_, record in records.items() if _passes(record.item, filters))
    assert FactTable.tells(filters)
    assert table.select(filters).ids.tolist() == expected
    assert _ids(catalog, filters) == expected


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(filters_of_facts, filters_of_facts)
def test_merged_filters_let_through_what_passes_both(catalog: Catalog, one: Filters, other: Filters) -> None:
    assert set(_ids(catalog, one.merged(other))) == set(_ids(catalog, one)) & set(_ids(catalog, other))


def test_two_patterns_that_are_merged_must_both_fit(catalog: Catalog) -> None:
    both = Filters(paths=("2023/**",)).merged(Filters(paths=("*.jpg", "*007*")))
    assert set(_ids(catalog, both)) == set(_ids(catalog, Filters(paths=("2023/**",)))) & set(
        _ids(catalog, Filters(paths=("*.jpg",)))
    )


def test_a_pattern_without_a_slash_is_one_of_the_name_in_any_folder_and_case(catalog: Catalog) -> None:
    assert _paths(catalog, "*007.JPG") == ["/disk/Germany/2023/summer/IMG_007.jpg"]
    assert len(_paths(catalog, "*.png")) == 30
    assert len(_paths(catalog, "*.png", "*.jpg")) == 60


def test_two_stars_are_any_number_of_folders_and_one_is_a_part_of_a_name(catalog: Catalog) -> None:
    assert len(_paths(catalog, "2023/**")) == 20
    assert len(_paths(catalog, "2023/*")) == 0
    assert len(_paths(catalog, "2023/*/*")) == 20
    assert len(_paths(catalog, "**/winter/*")) == 10
    assert _paths(catalog, "IMG_???.jpg", "**/IMG_00[6-8].*") == _paths(catalog, "IMG_*.jpg", "**/img_00[!0-5,9].*")


def test_a_path_without_wildcards_is_a_file_or_a_folder_with_all_below_it(catalog: Catalog) -> None:
    assert _paths(catalog, "2023/summer") == _paths(catalog, "2023/summer/**") == _paths(catalog, "./2023/summer/")
    assert _paths(catalog, "germany/img_003.jpg") == ["/disk/Germany/Germany/IMG_003.jpg"]


def test_an_absolute_pattern_is_one_of_the_whole_path(catalog: Catalog) -> None:
    assert _paths(catalog, "/photos/**") == [path for path in _paths(catalog, "**") if path.startswith("/photos/")]
    assert len(_paths(catalog, "/disk/*/*/IMG_003.jpg")) == 1
    assert _paths(catalog, "/elsewhere/**") == []


def test_brackets_and_letters_of_any_alphabet_are_themselves(catalog: Catalog) -> None:
    assert len(_paths(catalog, "a[[]1]/*")) == 10
    assert len(_paths(catalog, "ärger*/*")) == 10


def test_in_a_folder_or_root_of_that_name(catalog: Catalog) -> None:
    inside = [len(_ids(catalog, Filters(inside=(name,)))) for name in ("germany", "summer", "GERMANY", "2023", "mer")]
    assert inside == [30, 10, 30, 20, 0]
    assert len(_ids(catalog, Filters(inside=("a[1]",)))) == 10
    assert len(_ids(catalog, Filters(inside=("2023/summer",)))) == 10


def test_a_root_that_was_not_indexed_below_a_folder_of_the_name_is_left_out(catalog: Catalog) -> None:
    assert len(_ids(catalog, Filters(inside=("winter", "germany")))) == len(
        set(_ids(catalog, Filters(inside=("winter",)))) | set(_ids(catalog, Filters(inside=("germany",))))
    )


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(), min_size=1, max_size=12))
@example("caf\udce9*")
@example("a\0b/**")
def test_no_pattern_name_or_phrase_can_break_a_search(catalog: Catalog, text: str) -> None:
    for filters in (
        Filters(metadata=((text, text),)),
        Filters(paths=(text,)),
        Filters(inside=(text,)),
        Filters(phrases=(text,)),
        Filters(cameras=(text,)),
    ):
        _ids(catalog, filters)


def test_exact_words_stand_in_a_name_or_in_what_is_written(tmp_path: Path) -> None:
    with Catalog.open(tmp_path, create=True) as catalog:
        catalog.register_encoders([RECORD])
        root = catalog.add_root(Path("/photos"))
        picture = NewSegment(Modality.IMAGE, {ENCODER: embedding(1)})
        caption = NewSegment(Modality.TEXT, {}, text="The Golden Gate in fog")
        items = [
            NewItem(Modality.IMAGE, (picture, caption), root.id, "one.jpg"),
            NewItem(Modality.IMAGE, (picture,), root.id, "golden gate/two.jpg"),
            NewItem(
                Modality.IMAGE, (picture,), key="three", metadata={"title": ["golden", {"of": "Gate golden gate"}]}
            ),
            NewItem(Modality.IMAGE, (picture,), root.id, "gate golden.jpg"),
        ]
        catalog.write(items=items)
        assert catalog.select_items(Filters(phrases=("golden gate",)), 9) == [1, 2, 3]
        assert catalog.select_items(Filters(phrases=("golden gate", "fog")), 9) == [1]
        assert catalog.select_items(Filters(has=frozenset({"caption"})), 9) == [1]
        assert catalog.select_items(Filters(excluded=(Filters(phrases=("golden gate",)),)), 9) == [4]
        assert catalog.match_items("three", 9)[0].tolist() == [3]


def test_metadata_is_compared_by_value_or_as_it_is_written(tmp_path: Path) -> None:
    with Catalog.open(tmp_path, create=True) as catalog:
        catalog.register_encoders([RECORD])
        rows = [{"size": 4, "sale": True}, {"size": "4", "sale": False}, {"a b": 'x"y'}]
        segment = NewSegment(Modality.IMAGE, {ENCODER: embedding(1)})
        catalog.write(
            items=[NewItem(Modality.IMAGE, (segment,), key=str(n), metadata=row) for n, row in enumerate(rows)]
        )

        def found(**metadata: object) -> list[int]:
            return catalog.select_items(Filters.of(metadata=metadata), 9)  # type: ignore[arg-type]

        assert (found(size="4"), found(size=4), found(sale="true"), found(sale=False)) == ([1, 2], [1], [1], [2])
        assert found(**{"a b": 'x"y'}) == [3] and found(nothing=1) == []
        for odd in ('a"b', "$", "[0]", "{}", "", "é\ud800".encode("utf-8", "replace").decode()):
            assert found(**{odd: "x"}) == []


def test_words_of_a_name_are_found_after_it_moved_and_not_after_it_went(tmp_path: Path) -> None:
    with Catalog.open(tmp_path, create=True) as catalog:
        catalog.register_encoders([RECORD])
        root = catalog.add_root(Path("/disk/Holiday"))
        catalog.write(items=[new_item(root.id, "spain/IMG_2041.jpg", 1), new_item(root.id, "b.jpg", 2)])
        assert [sorted(catalog.match_items(words, 9)[0]) for words in ("IMG_2041", "2041 spain", "holiday")] == [
            [1],
            [1],
            [1, 2],
        ]
        catalog.write(moves=[Move(1, root.id, "france/IMG_2041.jpg", 5)])
        assert [catalog.match_items(words, 9)[0].tolist() for words in ("spain", "france")] == [[], [1]]
        catalog.write(removed=[1])
        assert catalog.match_items("france", 9)[0].tolist() == []


def test_facts_follow_what_is_added_changed_and_removed(tmp_path: Path) -> None:
    with Catalog.open(tmp_path, create=True) as catalog:
        catalog.register_encoders([RECORD])
        root = catalog.add_root(Path("/photos"))
        catalog.write(items=[_item(number, root.id) for number in range(9)])
        table = FactTable(catalog._session, Collection(ENCODER, Modality.IMAGE))
        table.refresh()
        large = Filters(size_bytes=Range(50))
        assert table.select(large).ids.tolist() == [6, 7, 8, 9]
        catalog.write(touched=[Touch(2, 777, 1)], items=[_item(20, root.id)], removed=[9])
        table.refresh()
        living = set(catalog.select_segments(ENCODER, Modality.IMAGE, Filters()).tolist())
        assert sorted(living & set(table.select(large).ids.tolist())) == [2, 6, 7, 8, 10]
        assert catalog.select_segments(ENCODER, Modality.IMAGE, large).tolist() == [2, 6, 7, 8, 10]


def test_what_cannot_be_is_refused_with_a_word() -> None:
    for wrong in (lambda: Range(3, 2), lambda: Area(91, 0, 1), lambda: Area(0, 0, 0), lambda: Filters.of(has="fun")):  # type: ignore[arg-type]
        with pytest.raises(QueryError):
            wrong()
