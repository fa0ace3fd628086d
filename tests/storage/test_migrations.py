from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine
from sqlalchemy.pool import StaticPool

from mmsearch.errors import LibraryDamagedError, LibraryTooNewError, StorageError
from mmsearch.filters import Filters
from mmsearch.storage import migrations
from mmsearch.storage.catalog import Catalog
from mmsearch.storage.connection import connect
from mmsearch.storage.models import metadata
from mmsearch.types import Modality
from tests.storage.full_text import check_full_text
from tests.storage.making import image_source, library_with, new_item
from tests.storage.old_libraries import FOLDER, contents, fill
from tests.storage.permissions import read_only

NEXT_STEP = (
    "ALTER TABLE items ADD COLUMN stars INTEGER NOT NULL DEFAULT 3",
    "CREATE INDEX items_by_stars ON items (stars)",
    "UPDATE items SET stars = 5 WHERE camera IS NOT NULL",
)


@pytest.fixture(params=range(1, migrations.current_version() + 1))
def version(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def old_library(version: int, tmp_path: Path) -> Path:
    (tmp_path / "library").mkdir()
    shutil.copy(FOLDER / f"version-{version}.sqlite3", tmp_path / "library" / "catalog.sqlite3")
    return tmp_path / "library"


@pytest.fixture
def with_a_next_step(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS, NEXT_STEP))
    return migrations.current_version()


def _version(library: Path) -> int:
    with closing(sqlite3.connect(library / "catalog.sqlite3")) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def test_a_library_of_every_version_opens_with_all_it_held(old_library: Path, version: int, tmp_path: Path) -> None:
    with Catalog.open(tmp_path / "new", create=True) as fresh:
        fill(fresh, version)
        expected = contents(fresh)
    with Catalog.open(old_library) as catalog:
        assert contents(catalog) == expected
        catalog.write(items=[new_item(1, "later.jpg", 9), new_item(1, "later.txt", 8, modality=Modality.TEXT)])
        catalog.write(removed=[2])
        assert catalog.status().version == migrations.current_version()
    assert _version(old_library) == migrations.current_version()
    check_full_text(old_library)


def test_texts_that_an_older_library_held_are_found_in_it(tmp_path: Path) -> None:
    with closing(connect(tmp_path / "catalog.sqlite3", "create")) as connection:
        for statement in migrations.MIGRATIONS[0]:
            connection.execute(statement)
        connection.execute("PRAGMA user_version = 1")
        connection.execute("INSERT INTO items (id, modality, size_bytes, mtime_ns) VALUES (1, 'text', 1, 1)")
        texts = [(1, 0, "a dog at the beach"), (1, 1, None), (1, 2, "a cat")]
        connection.executemany("INSERT INTO segments (item_id, ordinal, text) VALUES (?, ?, ?)", texts)
    with Catalog.open(tmp_path) as catalog:
        assert catalog.match_text("beach", 5)[0].tolist() == [1]
        assert catalog.match_text("cat", 5, filters=Filters(frozenset({Modality.TEXT})))[0].tolist() == [3]
        check_full_text(tmp_path)
        catalog.write(removed=[1])
        assert catalog.match_text("a", 5)[0].tolist() == []
    check_full_text(tmp_path)


def test_a_library_of_every_version_opens_for_reading(old_library: Path) -> None:
    with Catalog.open(old_library, read_only=True) as catalog:
        items = catalog.status().items
        assert items["image"] == 3 and items["video"] >= 1


def test_an_upgraded_library_has_the_schema_of_a_new_one(old_library: Path, tmp_path: Path) -> None:
    Catalog.open(old_library).close()
    Catalog.open(tmp_path / "new", create=True).close()
    schemas = []
    for library in (old_library, tmp_path / "new"):
        with closing(sqlite3.connect(library / "catalog.sqlite3")) as connection:
            schemas.append(_described(connection))
    assert schemas[0] == schemas[1]


def test_the_tables_of_sqlalchemy_are_those_that_the_steps_make(tmp_path: Path) -> None:
    Catalog.open(tmp_path, create=True).close()
    with (
        closing(sqlite3.connect(tmp_path / "catalog.sqlite3")) as real,
        closing(sqlite3.connect(":memory:")) as modelled,
    ):
        engine = create_engine("sqlite://", creator=lambda: modelled, poolclass=StaticPool)
        metadata.create_all(engine)
        made, described = _described(real), _described(modelled)
        engine.dispose()
    assert described == made


def _described(connection: sqlite3.Connection) -> dict[str, object]:
    """Columns, foreign keys and unique places of all tables, however they were written down."""
    described: dict[str, object] = {}
    tables = connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name != 'sqlite_sequence'"
        " AND name NOT LIKE 'passages%' AND name NOT LIKE 'about%'"  # full text, which is SQLite's own affair
    )
    for table, statement in tables.fetchall():
        columns = connection.execute(
            f"SELECT name, type, \"notnull\", dflt_value, pk FROM pragma_table_info('{table}')"
        )
        # FLOAT and REAL, BLOB and LargeBinary are one thing to SQLite; keys may be NOT NULL by word or by nature.
        described[table] = (
            {
                (name, {"FLOAT": "REAL"}.get(kind, kind), bool(notnull) or bool(pk), (default or "").strip("'"), pk)
                for name, kind, notnull, default, pk in columns.fetchall()
            },
            set(
                connection.execute(
                    f'SELECT "from", "table", "to", on_delete FROM pragma_foreign_key_list(\'{table}\')'
                ).fetchall()
            ),
            {
                tuple(name for (name,) in connection.execute(f"SELECT name FROM pragma_index_info('{index}')"))
                for (index,) in connection.execute(
                    f"SELECT name FROM pragma_index_list('{table}') WHERE \"unique\" AND origin IN ('u', 'pk')"
                ).fetchall()
            },
            "AUTOINCREMENT" in statement,
            "WITHOUT ROWID" in statement,
        )
    return described


def test_an_older_library_is_brought_up_to_date_when_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = library_with(tmp_path / "library", ["a.jpg", "b.jpg"])
    before = migrations.current_version()
    monkeypatch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS, NEXT_STEP))
    with Catalog.open(library, read_only=True) as catalog:
        assert catalog.status().version == before + 1
        assert len(catalog.known_files(1)) == 2
    with closing(sqlite3.connect(library / "catalog.sqlite3")) as connection:
        assert connection.execute("SELECT stars FROM items").fetchall() == [(3,), (3,)]
        (steps,) = connection.execute("SELECT count(*) FROM meta WHERE key LIKE 'version_%_since'").fetchone()
    assert steps == before + 1


def test_a_new_library_takes_all_steps(tmp_path: Path, with_a_next_step: int) -> None:
    Catalog.open(tmp_path, create=True).close()
    assert _version(tmp_path) == with_a_next_step


def test_a_step_that_fails_leaves_the_library_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = library_with(tmp_path / "library", ["a.jpg"])
    before = migrations.current_version()
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS, NEXT_STEP, ("DROP TABLE vectors", "NO SQL")))
        with pytest.raises(StorageError):
            Catalog.open(library)
        # Steps are separate: the good one before it stays, the bad one leaves nothing.
        assert _version(library) == before + 1
        with closing(sqlite3.connect(library / "catalog.sqlite3")) as connection:
            assert connection.execute("SELECT count(*) FROM vectors").fetchone() == (1,)
    monkeypatch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS, NEXT_STEP))
    with Catalog.open(library) as catalog:
        assert image_source(catalog).watermark().count == 1


def test_an_older_library_that_cannot_be_written_to_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = library_with(tmp_path / "library", ["a.jpg"])
    monkeypatch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS, NEXT_STEP))
    with read_only(library), pytest.raises(StorageError, match="older mmsearch") as caught:
        Catalog.open(library, read_only=True)
    assert caught.value.hint


def test_a_newer_library_is_refused_and_left_alone(tmp_path: Path) -> None:
    library = library_with(tmp_path / "library", ["a.jpg"])
    with closing(connect(library / "catalog.sqlite3", "write")) as connection:
        connection.execute(f"PRAGMA user_version = {migrations.current_version() + 1}")
    content = (library / "catalog.sqlite3").read_bytes()
    for how in ({"create": True}, {"read_only": True}, {}):
        with pytest.raises(LibraryTooNewError, match="newer mmsearch") as caught:
            Catalog.open(library, **how)
        assert caught.value.hint == "Run: pip install --upgrade mmsearch"
    assert (library / "catalog.sqlite3").read_bytes() == content


@pytest.fixture
def foreign(tmp_path: Path) -> Iterator[Path]:
    with closing(sqlite3.connect(tmp_path / "catalog.sqlite3")) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
        connection.commit()
    yield tmp_path


def test_the_database_of_another_program_is_refused_and_left_alone(foreign: Path) -> None:
    content = (foreign / "catalog.sqlite3").read_bytes()
    for create in (False, True):
        with pytest.raises(LibraryDamagedError, match="not one of mmsearch"):
            Catalog.open(foreign, create=create)
    assert (foreign / "catalog.sqlite3").read_bytes() == content
