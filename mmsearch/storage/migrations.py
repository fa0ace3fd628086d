"""The schema of the catalog as numbered steps; brings a database of any older version up to date.

A step is frozen once it is released: a later change is a new step. ``PRAGMA user_version`` holds the number of the
last step that was applied. `models` describes what the steps arrive at.
"""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

from mmsearch.errors import LibraryDamagedError, LibraryTooNewError

__all__ = ["APPLICATION_ID", "MIGRATIONS", "current_version", "migrate", "version_of"]

APPLICATION_ID = 0x6D6D7372  # "mmsr": tells a library from any other SQLite file

# Counters, the log of removals and cascades live in the database itself, so that no way of writing can forget them.
_FIRST = (
    "CREATE TABLE meta (key TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL)",
    """CREATE TABLE encoders (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        dim INTEGER NOT NULL,
        vector_count INTEGER NOT NULL DEFAULT 0,
        last_segment_id INTEGER NOT NULL DEFAULT 0
    )""",
    # `relative` is the way from the library's folder to the root where the library lies inside the root.
    "CREATE TABLE roots (id INTEGER PRIMARY KEY AUTOINCREMENT, path BLOB NOT NULL UNIQUE, relative BLOB)",
    """CREATE TABLE items (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        modality TEXT NOT NULL,
        root_id INTEGER REFERENCES roots (id) ON DELETE CASCADE,
        path BLOB,
        key TEXT UNIQUE,
        size_bytes INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL,
        content_hash BLOB,
        width INTEGER,
        height INTEGER,
        taken_at TEXT,
        camera TEXT,
        latitude REAL,
        longitude REAL,
        duration_ms INTEGER,
        metadata TEXT,
        UNIQUE (root_id, path)
    )""",
    "CREATE INDEX items_by_modality ON items (modality)",
    "CREATE INDEX items_by_hash ON items (content_hash) WHERE content_hash IS NOT NULL",
    "CREATE INDEX items_by_taken_at ON items (taken_at) WHERE taken_at IS NOT NULL",
    "CREATE INDEX items_by_camera ON items (camera) WHERE camera IS NOT NULL",
    "CREATE INDEX items_by_place ON items (latitude, longitude) WHERE latitude IS NOT NULL",
    """CREATE TABLE segments (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        item_id INTEGER NOT NULL REFERENCES items (id) ON DELETE CASCADE,
        ordinal INTEGER NOT NULL,
        start_ms INTEGER,
        end_ms INTEGER,
        start_char INTEGER,
        end_char INTEGER,
        text TEXT,
        UNIQUE (item_id, ordinal)
    )""",
    """CREATE TABLE vectors (
        segment_id INTEGER NOT NULL REFERENCES segments (id) ON DELETE CASCADE,
        encoder_id INTEGER NOT NULL REFERENCES encoders (id),
        embedding BLOB NOT NULL,
        PRIMARY KEY (segment_id, encoder_id)
    )""",
    "CREATE TABLE removals (id INTEGER PRIMARY KEY AUTOINCREMENT, segment_id INTEGER NOT NULL)",
    """CREATE TABLE failures (
        root_id INTEGER NOT NULL REFERENCES roots (id) ON DELETE CASCADE,
        path BLOB NOT NULL,
        size_bytes INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL,
        reason TEXT NOT NULL,
        PRIMARY KEY (root_id, path)
    ) WITHOUT ROWID""",
    """CREATE TRIGGER vector_added AFTER INSERT ON vectors BEGIN
        UPDATE encoders SET vector_count = vector_count + 1, last_segment_id = max(last_segment_id, NEW.segment_id)
        WHERE id = NEW.encoder_id;
    END""",
    """CREATE TRIGGER vector_removed AFTER DELETE ON vectors BEGIN
        UPDATE encoders SET vector_count = vector_count - 1 WHERE id = OLD.encoder_id;
        UPDATE encoders SET last_segment_id = coalesce(
            (SELECT segment_id FROM vectors WHERE encoder_id = OLD.encoder_id ORDER BY segment_id DESC LIMIT 1), 0)
        WHERE id = OLD.encoder_id AND last_segment_id = OLD.segment_id;
    END""",
    """CREATE TRIGGER segment_removed AFTER DELETE ON segments BEGIN
        INSERT INTO removals (segment_id) VALUES (OLD.id);
    END""",
    "INSERT INTO meta (key, value) VALUES ('library_id', lower(hex(randomblob(16))))",
    f"PRAGMA application_id = {APPLICATION_ID}",
)

# Segments are of a modality of their own, and vectors of one collection for each encoder and modality.
_SECOND = (
    "ALTER TABLE segments ADD COLUMN modality TEXT NOT NULL DEFAULT 'image'",
    # The modality of the item where it is another than the segment's, such as that of a photo's caption: so the
    # segments that only their item lets through a filter are found without looking at half a million others.
    "ALTER TABLE segments ADD COLUMN item_modality TEXT",
    "ALTER TABLE segments ADD COLUMN page INTEGER",
    "ALTER TABLE segments ADD COLUMN shot INTEGER",
    """UPDATE segments SET item_modality = (SELECT modality FROM items WHERE items.id = segments.item_id)
        WHERE item_id IN (SELECT id FROM items WHERE modality != 'image')""",
    """CREATE INDEX segments_by_item_modality ON segments (modality, item_modality)
        WHERE item_modality IS NOT NULL""",
    "ALTER TABLE items ADD COLUMN sidecars INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE items ADD COLUMN complete INTEGER NOT NULL DEFAULT 1",
    "ALTER TABLE failures ADD COLUMN sidecars INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE encoders RENAME TO collections",
    "ALTER TABLE collections ADD COLUMN encoder TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE collections ADD COLUMN modality TEXT NOT NULL DEFAULT 'image'",
    "ALTER TABLE collections ADD COLUMN last_removal_id INTEGER NOT NULL DEFAULT 0",
    "UPDATE collections SET encoder = name, last_removal_id = (SELECT coalesce(max(id), 0) FROM removals)",
    # What one collection loses is no news to the others: the log is of vectors now. Until here there was one encoder.
    "ALTER TABLE removals ADD COLUMN collection_id INTEGER REFERENCES collections (id)",
    "UPDATE removals SET collection_id = (SELECT min(id) FROM collections)",
    "DROP TRIGGER segment_removed",
    "DROP TRIGGER vector_removed",
    "ALTER TABLE vectors RENAME COLUMN encoder_id TO collection_id",
    "CREATE INDEX vectors_by_collection ON vectors (collection_id, segment_id)",
    """CREATE TRIGGER vector_removed AFTER DELETE ON vectors BEGIN
        INSERT INTO removals (segment_id, collection_id) VALUES (OLD.segment_id, OLD.collection_id);
        UPDATE collections SET vector_count = vector_count - 1, last_removal_id = (SELECT max(id) FROM removals),
            last_segment_id = CASE WHEN last_segment_id = OLD.segment_id THEN coalesce(
                (SELECT segment_id FROM vectors WHERE collection_id = OLD.collection_id
                ORDER BY segment_id DESC LIMIT 1), 0) ELSE last_segment_id END
        WHERE id = OLD.collection_id;
    END""",
    "CREATE TABLE encoders (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, dim INTEGER NOT NULL)",
    "INSERT INTO encoders (name, dim) SELECT name, dim FROM collections ORDER BY id",
    "CREATE VIEW passage_texts AS SELECT id, text FROM segments WHERE text IS NOT NULL",
    """CREATE VIRTUAL TABLE passages USING fts5(
        text, content = 'passage_texts', content_rowid = 'id', tokenize = 'unicode61 remove_diacritics 2')""",
    "INSERT INTO passages (passages) VALUES ('rebuild')",
    # What is added is entered by `batch.index_passages`, once for each batch: from a trigger, FTS5 would write its
    # index to the file after every row, which takes three times as long. Taking out what is not in would damage it.
    """CREATE TRIGGER passage_removed AFTER DELETE ON segments
        WHEN OLD.text IS NOT NULL AND EXISTS (SELECT 1 FROM passages_docsize WHERE id = OLD.id) BEGIN
        INSERT INTO passages (passages, rowid, text) VALUES ('delete', OLD.id, OLD.text);
    END""",
)

# The last part of a root's path, for which SQLite has no function: the path without all up to its last slash.
_ROOT_NAME = """(SELECT replace(path, rtrim(path, replace(path, '/', '')), '')
    FROM (SELECT CAST(roots.path AS TEXT) AS path FROM roots WHERE roots.id = {row}.root_id))"""
_WORDS = f"""coalesce({_ROOT_NAME} || '/', '') || CAST({{row}}.path AS TEXT) AS place,
    coalesce({{row}}.camera, '') || ' ' || coalesce(substr({{row}}.taken_at, 1, 7), '') AS origin,
    coalesce({{row}}.key, '') || ' ' || coalesce({{row}}.notes, '') AS notes"""
_TAKE_OUT = f"""INSERT INTO about (about, rowid, place, origin, notes)
    SELECT 'delete', OLD.id, {_WORDS.format(row="OLD")}"""

# What files are called and where they lie, their cameras and metadata, for full text; and indexes for filters.
_THIRD = (
    "ALTER TABLE items ADD COLUMN notes TEXT",
    """UPDATE items SET notes = (SELECT group_concat(atom, ' ') FROM json_tree(items.metadata) WHERE atom IS NOT NULL)
        WHERE metadata IS NOT NULL""",
    "CREATE INDEX items_by_mtime ON items (mtime_ns) WHERE taken_at IS NULL",
    "CREATE INDEX items_by_size ON items (size_bytes)",
    "CREATE INDEX items_by_width ON items (width) WHERE width IS NOT NULL",
    "CREATE INDEX items_by_height ON items (height) WHERE height IS NOT NULL",
    "CREATE INDEX items_by_duration ON items (duration_ms) WHERE duration_ms IS NOT NULL",
    f"CREATE VIEW item_words AS SELECT items.id, {_WORDS.format(row='items')} FROM items",
    """CREATE VIRTUAL TABLE about USING fts5(place, origin, notes,
        content = 'item_words', content_rowid = 'id', tokenize = 'unicode61 remove_diacritics 2')""",
    "INSERT INTO about (about) VALUES ('rebuild')",
    # As with passages, what is added is entered once for each batch; only what moves is entered from a trigger.
    f"""CREATE TRIGGER item_words_removed AFTER DELETE ON items
        WHEN EXISTS (SELECT 1 FROM about_docsize WHERE id = OLD.id) BEGIN
        {_TAKE_OUT};
    END""",
    f"""CREATE TRIGGER item_words_changed AFTER UPDATE OF root_id, path, key, camera, taken_at, notes ON items
        WHEN (OLD.root_id IS NOT NEW.root_id OR OLD.path IS NOT NEW.path OR OLD.key IS NOT NEW.key
            OR OLD.camera IS NOT NEW.camera OR OLD.taken_at IS NOT NEW.taken_at OR OLD.notes IS NOT NEW.notes)
            AND EXISTS (SELECT 1 FROM about_docsize WHERE id = OLD.id) BEGIN
        {_TAKE_OUT};
        INSERT INTO about (rowid, place, origin, notes) SELECT NEW.id, {_WORDS.format(row="NEW")};
    END""",
    # What was known of an item and is otherwise now: whoever keeps facts of items reads those again.
    "CREATE TABLE changes (id INTEGER PRIMARY KEY AUTOINCREMENT, item_id INTEGER NOT NULL)",
    """CREATE TRIGGER item_changed AFTER UPDATE OF modality, size_bytes, mtime_ns, width, height, taken_at, camera,
        latitude, longitude, duration_ms ON items BEGIN
        INSERT INTO changes (item_id) VALUES (NEW.id);
    END""",
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (_FIRST, _SECOND, _THIRD)


def current_version() -> int:
    """The version that this mmsearch writes, and the newest that it reads."""
    return len(MIGRATIONS)


def version_of(connection: sqlite3.Connection, library: Path) -> int:
    """Read the version of a catalog; 0 for a database without any table.

    Raises:
        LibraryTooNewError: A newer mmsearch made it.
        LibraryDamagedError: It is the database of another program.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    foreign = application != APPLICATION_ID
    if foreign and (version or application or connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()):
        raise LibraryDamagedError(
            f"The catalog of the library in {library} is not one of mmsearch.", hint="Choose another with --library."
        )
    if version > current_version():
        raise LibraryTooNewError(
            f"The library in {library} was made by a newer mmsearch (version {version} of the catalog; this one knows"
            f" up to {current_version()}).",
            hint="Run: pip install --upgrade mmsearch",
        )
    return int(version)


def migrate(connection: sqlite3.Connection, library: Path) -> tuple[int, int]:
    """Apply the steps that a catalog lacks, each in a transaction of its own.

    Args:
        connection: May write, and has no transaction open.
        library: For messages.

    Returns:
        The version before and the version after.
    """
    before = None
    while True:
        # The version is read inside the transaction: another process may be upgrading the same library.
        connection.execute("BEGIN IMMEDIATE")
        try:
            version = version_of(connection, library)
            before = version if before is None else before
            if version == current_version():
                connection.execute("COMMIT")
                return before, version
            for statement in MIGRATIONS[version]:
                connection.execute(statement)
            now = datetime.now(UTC).isoformat(timespec="seconds")
            connection.execute("INSERT INTO meta VALUES (?, ?)", (f"version_{version + 1}_since", now))
            connection.execute(f"PRAGMA user_version = {version + 1}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
