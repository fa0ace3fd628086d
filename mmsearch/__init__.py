"""Search photos, videos, sounds and notes by meaning, on your own machine.

from mmsearch import SearchEngine

with SearchEngine.open("photos/.mmsearch") as engine:
    for hit in engine.search("a dog on the beach", k=10):
        print(hit.rank, hit.relevance, hit.path)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmsearch.version import __version__

if TYPE_CHECKING:
    from indexer.sync import SyncOptions
    from mmsearch.encoders import load_encoder
    from mmsearch.engine import SearchEngine
    from mmsearch.errors import MmsearchError
    from mmsearch.filters import Area, Filters, Range
    from mmsearch.item_data import AddSummary, ItemData, ItemFailure
    from mmsearch.query.language import Query, Term, parse
    from mmsearch.query.trace import Trace
    from mmsearch.retrieval.many_hits import ManyHits
    from mmsearch.types import DuplicateGroup, Hit, IndexSummary, LibraryStatus, Modality

__all__ = [
    "AddSummary",
    "Area",
    "DuplicateGroup",
    "Filters",
    "Hit",
    "IndexSummary",
    "ItemData",
    "ItemFailure",
    "LibraryStatus",
    "ManyHits",
    "MmsearchError",
    "Modality",
    "Query",
    "Range",
    "SearchEngine",
    "SyncOptions",
    "Term",
    "Trace",
    "__version__",
    "load_encoder",
    "parse",
]

# Resolved on first use (PEP 562), so that `import mmsearch` and `mmsearch --help` load nothing heavy.
_HOMES = {
    "AddSummary": "mmsearch.item_data",
    "Area": "mmsearch.filters",
    "DuplicateGroup": "mmsearch.types",
    "Filters": "mmsearch.filters",
    "Hit": "mmsearch.types",
    "IndexSummary": "mmsearch.types",
    "ItemData": "mmsearch.item_data",
    "ItemFailure": "mmsearch.item_data",
    "LibraryStatus": "mmsearch.types",
    "ManyHits": "mmsearch.retrieval.many_hits",
    "MmsearchError": "mmsearch.errors",
    "Modality": "mmsearch.types",
    "Query": "mmsearch.query.language",
    "Range": "mmsearch.filters",
    "SearchEngine": "mmsearch.engine",
    "SyncOptions": "indexer.sync",
    "Term": "mmsearch.query.language",
    "Trace": "mmsearch.query.trace",
    "load_encoder": "mmsearch.encoders",
    "parse": "mmsearch.query.language",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
