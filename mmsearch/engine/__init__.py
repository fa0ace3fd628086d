"""SearchEngine opens a library and composes the parts; each part does its own work.

with SearchEngine.open(Path("photos/.mmsearch")) as engine:
    hits = engine.search("a dog on the beach", k=10)
"""

from __future__ import annotations

import dataclasses

from mmsearch.engine.arrays import Arrays
from mmsearch.engine.changing import Changing
from mmsearch.engine.searching import Searching
from mmsearch.types import LibraryStatus

__all__ = ["SearchEngine"]


class SearchEngine(Searching, Arrays, Changing):
    """One library, opened: search it, add to it, ask how it is.

    Opening reads the catalog's header only. Towers and index files load when they are first used.
    """

    def status(self) -> LibraryStatus:
        """What the library holds."""
        return dataclasses.replace(
            self.catalog.status(), indexes=self._index_status(), tokens=tuple(self._token_status())
        )
