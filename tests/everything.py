"""An engine that shows all it ranks by meaning, for tests of the ranking itself."""

from __future__ import annotations

from typing import Any

from mmsearch import Hit, SearchEngine


class Everything(SearchEngine):
    """Cuts nothing off, folds no near-duplicates, and finds nothing by its name."""

    def search(self, query: Any, k: int = 10, **options: Any) -> list[Hit]:
        return super().search(query, k, **({"min_relevance": 0, "duplicates": "show", "words": False} | options))
